//! Credentials: which files hold them, by name or by what is in them, and where they are in
//! folders that cells see.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::probe::name_of;

/// The most entries of one mounted folder that are looked at. What lies beyond is not judged.
pub(crate) const ENTRIES_MAX: usize = 20_000;
/// How deep a mounted folder is looked at.
const DEPTH_MAX: usize = 8;
/// How deep an installation or a cache of published packages is looked at: what lies deeper can be
/// downloaded by anyone, and covering it would break builds (`cacert.pem`, test keys).
const PUBLISHED_DEPTH_MAX: usize = 1;

/// Files that are credentials by their whole name.
const NAMES: [&str; 25] = [
    ".dockercfg",
    ".env",
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".s3cfg",
    ".yarnrc.yml",
    "_netrc",
    "application_default_credentials.json",
    "auth.json",
    "credentials",
    "credentials.toml",
    "gradle.properties",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "npmrc",
    "oauth_creds.json",
    "settings-security.xml",
    "settings.xml",
];
/// Files of these names are credentials only when a secret is in them.
const ONLY_WITH_SECRET: [&str; 5] = [
    ".yarnrc.yml",
    "gradle.properties",
    "npmrc",
    ".npmrc",
    "settings.xml",
];
/// Files that hold keys, by how their names end.
const ENDINGS: [&str; 8] = ["pem", "key", "p12", "pfx", "jks", "keystore", "kdbx", "ppk"];
/// Words in the name of a file of settings or data that speak of credentials.
const WORDS: [&str; 4] = ["credential", "secret", "token", "password"];
/// Endings of files of settings and data; `tokens.rs` is no secret.
const DATA: [&str; 11] = [
    "",
    "cfg",
    "conf",
    "env",
    "ini",
    "json",
    "properties",
    "toml",
    "txt",
    "yaml",
    "yml",
];
/// Folders of published packages.
const PUBLISHED: [&str; 14] = [
    "_cacache",
    "caches",
    "checkouts",
    "db",
    "dist-packages",
    "gems",
    "jvm",
    "mod",
    "node_modules",
    "registry",
    "repository",
    "site-packages",
    "toolchains",
    "wrapper",
];
/// What settings that hold a secret say.
const SPOKEN: [&str; 13] = [
    "_auth",
    "_password",
    "<password>",
    "<passphrase>",
    "<privatekey>",
    "accesskey",
    "api_key",
    "apikey",
    "npmauthtoken",
    "password=",
    "passwd",
    "secret",
    "token",
];

/// Returns whether the text of a file of settings holds a secret: it speaks of one, or an address
/// in it carries a user and a password. Rather once too often.
pub(crate) fn holds_secret(text: &str) -> bool {
    let text = without_comments(text);
    let settings = text
        .lines()
        .map(str::trim)
        .filter(|it| !it.starts_with(['#', ';']));
    settings
        .map(str::to_lowercase)
        .any(|line| SPOKEN.iter().any(|it| line.contains(it)) || carries_user(&line))
}

/// Settings in XML come with examples in comments.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("<!--");
    let mut kept = parts.next().unwrap_or_default().to_string();
    for part in parts {
        kept.push_str(part.split_once("-->").map_or("", |(_, rest)| rest));
    }
    kept
}

fn carries_user(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| {
        let host = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        host.split_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    })
}

/// Returns whether a file is a credential.
fn is_credential(path: &Path) -> bool {
    let name = name_of(path).to_lowercase();
    if ONLY_WITH_SECRET.contains(&name.as_str()) {
        return super::probe::text(path).is_none_or(|it| holds_secret(&it));
    }
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    NAMES.contains(&name.as_str())
        || name.starts_with(".env.")
        || ENDINGS.contains(&ending.as_str())
        || DATA.contains(&ending.as_str()) && WORDS.iter().any(|it| name.contains(it))
}

/// What was found in a mounted folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Credential files, on the host.
    pub(crate) found: Vec<PathBuf>,
    /// Whether there was more than could be looked at.
    pub(crate) cut_short: bool,
}

/// Looks for credential files at or beneath a path, without following links.
pub(crate) fn scan(source: &Path) -> Scan {
    scan_most(source, ENTRIES_MAX)
}

fn scan_most(source: &Path, entries_max: usize) -> Scan {
    let mut scan = Scan::default();
    // What is mounted may be a link itself; what it leads to is what the cell sees.
    if source.metadata().is_ok_and(|it| it.is_file()) {
        scan.found
            .extend(is_credential(source).then(|| source.to_path_buf()));
        return scan;
    }
    let depth = if is_published(source) {
        PUBLISHED_DEPTH_MAX
    } else {
        DEPTH_MAX
    };
    let mut waiting = VecDeque::from([(source.to_path_buf(), depth)]);
    let mut seen = 0_usize;
    while let Some((folder, depth)) = waiting.pop_front() {
        let Ok(listing) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in listing.flatten() {
            seen += 1;
            if seen > entries_max {
                scan.cut_short = true;
                scan.found.sort();
                return scan;
            }
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
                continue;
            };
            if kind.is_dir() && depth > 1 {
                let deeper = depth - 1;
                let most = if is_published(&path) {
                    PUBLISHED_DEPTH_MAX
                } else {
                    deeper
                };
                waiting.push_back((path, deeper.min(most)));
            } else if kind.is_file() && is_credential(&path) {
                scan.found.push(path);
            }
        }
    }
    scan.found.sort();
    scan
}

/// Returns whether what lies deep in a folder can be downloaded by anyone.
fn is_published(folder: &Path) -> bool {
    let is_installation = || {
        folder.join("bin").is_dir()
            && ["lib", "libexec", "pkg"]
                .iter()
                .any(|it| folder.join(it).is_dir())
    };
    let named = |it: &Path| PUBLISHED.contains(&name_of(it).as_str());
    folder.ancestors().take(3).any(named) || is_installation()
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    fn found(machine: &Machine) -> Vec<String> {
        let scan = scan(&machine.probe.home);
        let names = scan
            .found
            .iter()
            .map(|it| it.strip_prefix(&machine.probe.home).unwrap());
        names.map(|it| it.display().to_string()).collect()
    }

    #[test]
    fn credentials_are_found_by_name_and_by_what_is_in_them() {
        let machine = Machine::new();
        for name in [
            "a/.netrc",
            "a/server.pem",
            "a/id_ed25519",
            "b/api-token.json",
            "b/.env.local",
            "c/SECRETS.YAML",
        ] {
            machine.home(name, "");
        }
        machine.home("d/.npmrc", "//registry.example/:_authToken=abc\n");
        machine.home("e/settings.xml", "<server><password>x</password></server>");
        for harmless in [
            "a/id_ed25519.pub",
            "a/token.py",
            "a/tokens.rs",
            "a/readme.md",
        ] {
            machine.home(harmless, "");
        }
        machine.home("f/.npmrc", "fund=false\n# _authToken=old\n");
        assert_eq!(
            found(&machine),
            [
                "a/.netrc",
                "a/id_ed25519",
                "a/server.pem",
                "b/.env.local",
                "b/api-token.json",
                "c/SECRETS.YAML",
                "d/.npmrc",
                "e/settings.xml",
            ]
        );
    }

    #[test]
    fn published_packages_are_not_covered() {
        let machine = Machine::new();
        machine.home("py/lib/python3.12/site-packages/certifi/cacert.pem", "");
        machine.home("py/bin/python3", "");
        machine.home("app/node_modules/tls/test/key.pem", "");
        machine.home("app/.netrc", "");
        assert_eq!(found(&machine), ["app/.netrc"]);
        assert_eq!(
            scan(&machine.probe.home.join("py")).found,
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn a_link_is_not_followed_and_a_file_is_judged_itself() {
        let machine = Machine::new();
        let key = machine.home("keys/x.key", "");
        std::os::unix::fs::symlink(key.parent().unwrap(), machine.probe.home.join("link")).unwrap();
        assert_eq!(found(&machine), ["keys/x.key"]);
        assert_eq!(scan(&key).found, [key]);
    }

    #[test]
    fn a_huge_folder_says_that_it_was_cut_short() {
        let machine = Machine::new();
        for number in 0..4 {
            machine.home(&format!("many/{number}.key"), "");
        }
        let folder = machine.probe.home.join("many");
        let scan = scan_most(&folder, 3);
        assert!(scan.cut_short);
        assert_eq!(scan.found.len(), 3);
        assert!(!scan_most(&folder, 4).cut_short);
    }

    #[test]
    fn an_address_with_a_password_is_a_secret() {
        assert!(holds_secret(
            "index-url = https://ada:pass@pypi.example/simple"
        ));
        assert!(!holds_secret("index-url = https://pypi.example/simple"));
        assert!(!holds_secret("<a><!-- <password>x</password> --></a>"));
        assert!(holds_secret("<!-- x --><password>y</password>"));
        assert!(!holds_secret("[global]\ncert = /etc/ssl/certs/ca.crt\n"));
    }
}
