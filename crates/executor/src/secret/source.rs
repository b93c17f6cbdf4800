//! Where secrets come from, as `executor.toml` says it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::formula::Lane;
use serde::Deserialize;

/// The longest name of a parameter, in bytes.
const PARAMETER_BYTES_MAX: usize = 1_011;

/// The deepest name of a parameter, in parts.
const PARAMETER_PARTS_MAX: usize = 15;

/// The most secrets.
const SECRETS_MAX: usize = 256;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a secret is `\"age\"`, `\"environment\"`, `\"credential\"` or `{ ssm = \"/exact/name\" }`, \
                 with a `version` if it is to be that one"
)]
enum Written {
    Here(Here),
    Ssm(Parameter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Here {
    Age,
    Environment,
    Credential,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub(crate) enum Source {
    /// The store of `[age]`, by this name.
    Age,
    /// A variable of the executor's own environment, by this name.
    Environment,
    /// A file of this name in the folder that systemd's `LoadCredential=` fills.
    Credential,
    /// A parameter of AWS.
    Ssm(Parameter),
}

impl From<Written> for Source {
    fn from(written: Written) -> Self {
        match written {
            Written::Here(Here::Age) => Self::Age,
            Written::Here(Here::Environment) => Self::Environment,
            Written::Here(Here::Credential) => Self::Credential,
            Written::Ssm(parameter) => Self::Ssm(parameter),
        }
    }
}

/// A parameter of AWS Systems Manager, by its exact name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameter {
    /// Its whole name, from the `/` on.
    pub(crate) ssm: String,
    /// The version that it must be; without one, the newest.
    pub(crate) version: Option<u32>,
}

/// Where sealed secrets are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgeStore {
    /// A folder that `palisade-executor keys` made.
    pub(crate) store: PathBuf,
}

/// How secrets are had from AWS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aws {
    pub(crate) region: String,
    /// How it proves who it is.
    #[cfg_attr(
        not(feature = "aws"),
        expect(
            dead_code,
            reason = "nobody is asked, and a wrong one is refused all the same"
        )
    )]
    pub(crate) credentials: Credentials,
    /// The role that reads the secrets of each lane.
    pub(crate) roles: BTreeMap<Lane, String>,
    /// What its sessions are called in the trail of AWS.
    #[serde(default = "session_name")]
    pub(crate) role_session_name: String,
    pub(crate) external_id: Option<String>,
    /// For tests, or an endpoint of one's own network: TLS, or this very machine.
    pub(crate) endpoint: Option<String>,
}

fn session_name() -> String {
    "palisade-executor".to_owned()
}

/// How the executor proves to AWS who it is; there is no other way, and none is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of its own environment.
    Environment,
    /// The same, as files that systemd's `LoadCredential=` fills.
    Credential,
    /// The token in the file that `AWS_WEB_IDENTITY_TOKEN_FILE` names.
    WebIdentity,
    /// The metadata of the machine it runs on (IMDSv2).
    Instance,
}

/// All that is known of where secrets come from.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) wanted: &'a BTreeMap<String, Source>,
    pub(crate) age: Option<&'a AgeStore>,
    pub(crate) aws: Option<&'a Aws>,
    /// The furthest lane that each secret is needed in.
    pub(crate) lanes: BTreeMap<&'a str, Lane>,
}

impl<'a> Sources<'a> {
    /// Returns sources without AWS.
    #[cfg(test)]
    pub(crate) const fn local(
        wanted: &'a BTreeMap<String, Source>,
        age: Option<&'a AgeStore>,
    ) -> Self {
        Self {
            wanted,
            age,
            aws: None,
            lanes: BTreeMap::new(),
        }
    }

    /// Returns the parameters that are wanted of AWS, by the names of their secrets.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a Parameter)> {
        self.wanted.iter().filter_map(|(name, it)| match it {
            Source::Ssm(parameter) => Some((name.as_str(), parameter)),
            Source::Age | Source::Environment | Source::Credential => None,
        })
    }

    /// Checks what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.wanted.len() > SECRETS_MAX {
            return Err(format!("at most {SECRETS_MAX} secrets in [secrets]"));
        }
        if self.age.is_some_and(|it| !it.store.is_absolute()) {
            return Err("`store` of [age] must be an absolute path".to_owned());
        }
        for (name, parameter) in self.parameters() {
            if !is_exact(&parameter.ssm) || parameter.version == Some(0) {
                return Err(format!(
                    "the secret `{name}` needs the exact name of a parameter, such as \
                     `/palisade/staging/deploy-token`: no pattern, no path that ends in `/`, and its \
                     version as `version = 3`"
                ));
            }
            let aws = self.aws.ok_or_else(|| {
                format!("the secret `{name}` is at AWS; say in [aws] how it is had")
            })?;
            let lane = self.lanes.get(name).ok_or_else(|| {
                format!("the secret `{name}` is at AWS and needed by no action; remove it")
            })?;
            if !aws.roles.contains_key(lane) {
                let lane = lane_name(*lane);
                return Err(format!(
                    "the secret `{name}` is needed in the lane `{lane}`; say in `roles` of [aws] which \
                     role reads it"
                ));
            }
        }
        self.aws.map_or(Ok(()), Aws::check)
    }
}

impl Aws {
    fn check(&self) -> Result<(), String> {
        let word = |it: &str, most: usize, more: &[u8]| {
            let letter = |it: u8| it.is_ascii_alphanumeric() || more.contains(&it);
            (2..=most).contains(&it.len()) && it.bytes().all(letter)
        };
        if !word(&self.region, 32, b"-") {
            return Err("`region` of [aws] must be one, such as `eu-central-1`".to_owned());
        }
        if !word(&self.role_session_name, 64, b"+=,.@_-") {
            return Err(
                "`role_session_name` of [aws] has 2 to 64 letters, digits and `+=,.@_-`".to_owned(),
            );
        }
        if let Some(it) = &self.external_id
            && !word(it, 1_224, b"+=,.@:/_-")
        {
            return Err("`external_id` of [aws] has letters, digits and `+=,.@:/_-`".to_owned());
        }
        for (lane, role) in &self.roles {
            let parts: Vec<_> = role.splitn(6, ':').collect();
            let is_role = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, name]
                if partition.starts_with("aws") && account.len() == 12
                    && account.bytes().all(|it| it.is_ascii_digit())
                    && name.strip_prefix("role/").is_some_and(|it| word(it, 600, b"+=,.@_/-")));
            if !is_role {
                return Err(format!(
                    "the role of the lane `{}` is none such as `arn:aws:iam::123456789012:role/NAME`",
                    lane_name(*lane)
                ));
            }
        }
        match &self.endpoint {
            Some(it) if !is_safe(it) => Err(
                "`endpoint` of [aws] is for tests: `https://…`, or `http://127.0.0.1:PORT` on this very \
                 machine"
                    .to_owned(),
            ),
            Some(_) | None => Ok(()),
        }
    }
}

/// Returns a lane's name, as it is configured.
pub(crate) const fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::ReadOnly => "read_only",
        Lane::DryRun => "dry_run",
        Lane::Execute => "execute",
    }
}

/// Returns whether this is one parameter's whole name and can be nothing else.
fn is_exact(name: &str) -> bool {
    let Some(path) = name.strip_prefix('/') else {
        return false;
    };
    let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_');
    let is_part = |it: &str| !it.is_empty() && it.bytes().all(letter);
    name.len() <= PARAMETER_BYTES_MAX
        && path.split('/').count() <= PARAMETER_PARTS_MAX
        && path.split('/').all(is_part)
}

/// Returns whether nobody on the way to an address can listen.
fn is_safe(address: &str) -> bool {
    let letter = |it: u8| it.is_ascii_alphanumeric() || b".-:[]/".contains(&it);
    if let Some(rest) = address.strip_prefix("https://") {
        return !rest.is_empty() && rest.bytes().all(letter);
    }
    let rest = address.strip_prefix("http://").unwrap_or_default();
    let socket: Result<std::net::SocketAddr, _> = rest.parse();
    socket.is_ok_and(|it| it.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, Source>, String> {
        toml::from_str(text).map_err(|it| it.to_string())
    }

    fn aws(change: &str) -> Aws {
        let (key, _) = change.split_once(" = ").unwrap_or_default();
        let usual = [
            "region = \"eu-central-1\"",
            "credentials = \"environment\"",
            "role_session_name = \"palisade\"",
            "roles = { execute = \"arn:aws:iam::123456789012:role/palisade/execute\" }",
        ];
        let kept = usual
            .into_iter()
            .filter(|it| !it.starts_with(&format!("{key} =")));
        let text: Vec<_> = kept.chain([change]).collect();
        toml::from_str(&text.join("\n")).unwrap()
    }

    #[test]
    fn a_source_is_one_of_four_and_what_is_not_says_which() {
        let all = read(
            "A = \"age\"\nB = \"environment\"\nC = \"credential\"\nD = { ssm = \"/a/b\", version = 3 }",
        );
        let all: Vec<_> = all.unwrap().into_values().collect();
        let parameter = Parameter {
            ssm: "/a/b".to_owned(),
            version: Some(3),
        };
        let wanted = [
            Source::Age,
            Source::Environment,
            Source::Credential,
            Source::Ssm(parameter),
        ];
        assert_eq!(all, wanted);
        for wrong in [
            "A = \"vault\"",
            "A = { ssm = 1 }",
            "A = { ssm = \"/a\", path = true }",
            "A = { ssm_path = \"/a/\" }",
        ] {
            let told = read(wrong).unwrap_err();
            assert!(told.contains("`{ ssm = \"/exact/name\" }`"), "{told}");
        }
    }

    #[test]
    fn a_parameter_is_named_exactly() {
        for name in ["/a", "/palisade/staging/deploy-token", "/A.b_c/1"] {
            assert!(is_exact(name), "{name}");
        }
        let deep = "/a".repeat(16);
        let long = format!("/{}", "a".repeat(1_011));
        for name in [
            "", "/", "a", "a/b", "/a/", "//a", "/a/*", "/a?", "/a:3", "/a b", "/ä", "/a\n",
            "/${x}", &deep, &long,
        ] {
            assert!(!is_exact(name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_meant_of_aws_is_refused() {
        for right in [
            "external_id = \"a:b\"",
            "endpoint = \"http://127.0.0.1:5000\"",
            "endpoint = \"http://[::1]:5000\"",
            "endpoint = \"https://vpce-1.ssm.eu-central-1.vpce.amazonaws.com\"",
        ] {
            assert_eq!(aws(right).check(), Ok(()), "{right}");
        }
        for wrong in [
            "region = \"eu central\"",
            "role_session_name = \"a b\"",
            "external_id = \"a b\"",
            "roles = { execute = \"palisade\" }",
            "roles = { dry_run = \"arn:aws:iam::123456789012:user/palisade\" }",
            "roles = { dry_run = \"arn:aws:iam::1234:role/palisade\" }",
            "roles = { dry_run = \"arn:aws:iam::123456789012:role/*\" }",
            "endpoint = \"http://10.0.0.1:5000\"",
            "endpoint = \"http://127.0.0.1.example.org\"",
            "endpoint = \"http://localhost@example.org:80\"",
            "endpoint = \"http://169.254.169.254\"",
            "endpoint = \"127.0.0.1:5000\"",
        ] {
            assert!(aws(wrong).check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_of_aws_needs_an_action_and_a_role_of_its_lane() {
        let wanted = read("TOKEN = { ssm = \"/a/b\" }").unwrap();
        let aws = aws("");
        let mut sources = Sources {
            wanted: &wanted,
            age: None,
            aws: None,
            lanes: BTreeMap::from([("TOKEN", Lane::Execute)]),
        };
        assert!(sources.check().unwrap_err().contains("[aws]"));
        sources.aws = Some(&aws);
        assert_eq!(sources.check(), Ok(()));
        sources.lanes = BTreeMap::from([("TOKEN", Lane::DryRun)]);
        assert!(sources.check().unwrap_err().contains("`dry_run`"));
        sources.lanes.clear();
        assert!(sources.check().unwrap_err().contains("no action"));
    }
}
