//! Configuration: `broker.toml`, read whole and strictly. What is missing means less power: a
//! provider that is not named is not reached, a model that no pattern names is not asked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::egress::Host;
use domain::usage::Money;
use globset::{Glob, GlobSet, GlobSetBuilder};
use hyper::Uri;
use ports::models::HOSTS_MAX;
use serde::Deserialize;
use toml::Spanned;

use crate::egress::Listed;
use crate::key;
use crate::prices::{Price, Prices, SHIPPED};
use crate::route::Family;

/// The most patterns of models of one provider.
const PATTERNS_MAX: usize = 256;

/// The most providers.
const PROVIDERS_MAX: usize = 32;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(out, "{file}:{line}:{column}: {message}")
    }
}

impl Fault {
    /// Returns a fault at a byte of a text.
    pub(crate) fn at(file: &str, text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |it| it + 1);
        Self {
            file: file.to_owned(),
            line,
            column: before[start..].chars().count() + 1,
            message,
        }
    }

    /// Returns what a parser says.
    pub(crate) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |it| it.start);
        Self::at(file, text, offset, error.message().replace('\n', " "))
    }
}

/// The broker's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom sessions may reach, by name.
    pub providers: BTreeMap<String, Provider>,
    /// What models cost.
    pub prices: Prices,
    /// Bounds.
    pub limits: Limits,
    /// Users beside the broker's own who may open sessions.
    pub peers: Vec<u32>,
    /// Hosts beside models that sessions may reach.
    pub egress: Listed,
}

/// One provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name: the first part of the path, after `compatible/` for those.
    pub name: String,
    /// Its language.
    pub family: Family,
    /// Where it is: scheme, host, and what stands before `/v1`.
    pub upstream: Uri,
    /// Which models may be asked.
    pub models: GlobSet,
    /// Where its key comes from; servers on one's own machine need none.
    pub key: Option<key::Source>,
    /// Whether it costs nothing.
    pub free: bool,
}

/// Bounds of each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One request, in bytes.
    pub request_bytes: usize,
    /// One reply, in bytes.
    pub reply_bytes: u64,
    /// Requests in a minute.
    pub requests_per_minute: u32,
    /// Requests at once.
    pub concurrent: usize,
    /// How long a provider may take to begin its reply.
    pub first_byte: Duration,
    /// How long a reply may stand still.
    pub idle: Duration,
    /// All that is kept on tape of one session, in bytes.
    pub tape_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 32 << 20,
            reply_bytes: 64 << 20,
            requests_per_minute: 240,
            concurrent: 16,
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            tape_bytes: 256 << 20,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    peers: Vec<u32>,
    identity: Option<PathBuf>,
    prices: Option<PathBuf>,
    unknown_price: Option<FilePrice>,
    #[serde(default)]
    limits: FileLimits,
    #[serde(default)]
    egress: FileEgress,
    anthropic: Option<Spanned<FileProvider>>,
    openai: Option<Spanned<FileProvider>>,
    gemini: Option<Spanned<FileProvider>>,
    #[serde(default)]
    compatible: BTreeMap<Spanned<String>, Spanned<FileProvider>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePrice {
    input: Spanned<String>,
    output: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileEgress {
    hosts: Vec<Spanned<String>>,
    private_hosts: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLimits {
    request_mib: Option<u16>,
    reply_mib: Option<u16>,
    requests_per_minute: Option<u32>,
    concurrent: Option<u16>,
    first_byte_seconds: Option<u32>,
    idle_seconds: Option<u32>,
    tape_mib: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProvider {
    upstream: Option<Spanned<String>>,
    models: Spanned<Vec<Spanned<String>>>,
    key: Option<FileKey>,
    #[serde(default)]
    free: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum FileKey {
    Environment(String),
    File(PathBuf),
    Age(PathBuf),
}

impl Config {
    /// Reads a file's text; `open` reads the price table it names.
    ///
    /// # Errors
    /// The first fault, with line and column.
    pub fn parse(
        name: &str,
        text: &str,
        open: &dyn Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self, Fault> {
        let file: File = toml::from_str(text).map_err(|it| Fault::syntax(name, text, &it))?;
        let identity = file.identity.clone();
        let reading = Reading {
            name,
            text,
            identity,
        };
        let ceiling = file.unknown_price.as_ref().map(|it| reading.price(it));
        let prices = match &file.prices {
            None => Prices::parse("prices.toml", SHIPPED, ceiling.transpose()?)?,
            Some(path) => {
                let table = open(path).map_err(|error| {
                    reading.fault(
                        0,
                        format!("`prices`: {} cannot be read: {error}", path.display()),
                    )
                })?;
                Prices::parse(&path.display().to_string(), &table, ceiling.transpose()?)?
            }
        };
        let mut providers = BTreeMap::new();
        let known = [
            (
                Family::Anthropic,
                file.anthropic,
                "https://api.anthropic.com",
            ),
            (Family::OpenAi, file.openai, "https://api.openai.com"),
            (
                Family::Gemini,
                file.gemini,
                "https://generativelanguage.googleapis.com",
            ),
        ];
        for (family, table, upstream) in known {
            if let Some(table) = table {
                let name = family.name().to_owned();
                providers.insert(
                    name.clone(),
                    reading.provider(name, family, table, upstream)?,
                );
            }
        }
        for (name, table) in file.compatible {
            let (span, name) = (name.span(), name.into_inner());
            let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
            let taken = Family::ALL.iter().any(|it| it.name() == name);
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) || taken {
                let why = "the name of a compatible server has letters, digits, `-` and `_`, and is \
                           not that of another provider";
                return Err(reading.fault(span.start, why.to_owned()));
            }
            let provider = reading.provider(name.clone(), Family::Compatible, table, "")?;
            providers.insert(name, provider);
        }
        if providers.is_empty() || providers.len() > PROVIDERS_MAX {
            let why = format!(
                "name 1 to {PROVIDERS_MAX} providers: [anthropic], [openai], [gemini], [compatible.NAME]"
            );
            return Err(reading.fault(0, why));
        }
        Ok(Self {
            providers,
            prices,
            limits: file.limits.resolved(),
            peers: file.peers,
            egress: reading.egress(&file.egress)?,
        })
    }
}

impl Config {
    /// The same, with the paths of keys and of the identity from the file's own folder.
    #[must_use]
    pub fn beside(mut self, folder: &Path) -> Self {
        for provider in self.providers.values_mut() {
            match &mut provider.key {
                Some(key::Source::File(file)) => *file = folder.join(&*file),
                Some(key::Source::Age { file, identity }) => {
                    *file = folder.join(&*file);
                    *identity = folder.join(&*identity);
                }
                Some(key::Source::Environment(_)) | None => {}
            }
        }
        self
    }
}

impl FileLimits {
    fn resolved(&self) -> Limits {
        let usual = Limits::default();
        let seconds =
            |it: Option<u32>, usual| it.map_or(usual, |it| Duration::from_secs(it.into()));
        Limits {
            request_bytes: self
                .request_mib
                .map_or(usual.request_bytes, |it| usize::from(it) << 20),
            reply_bytes: self
                .reply_mib
                .map_or(usual.reply_bytes, |it| u64::from(it) << 20),
            requests_per_minute: self
                .requests_per_minute
                .unwrap_or(usual.requests_per_minute),
            concurrent: self.concurrent.map_or(usual.concurrent, usize::from),
            first_byte: seconds(self.first_byte_seconds, usual.first_byte),
            idle: seconds(self.idle_seconds, usual.idle),
            tape_bytes: self
                .tape_mib
                .map_or(usual.tape_bytes, |it| u64::from(it) << 20),
        }
    }
}

struct Reading<'a> {
    name: &'a str,
    text: &'a str,
    identity: Option<PathBuf>,
}

impl Reading<'_> {
    fn fault(&self, offset: usize, message: String) -> Fault {
        Fault::at(self.name, self.text, offset, message)
    }

    fn price(&self, price: &FilePrice) -> Result<Price, Fault> {
        let money = |it: &Spanned<String>| {
            let why = "this is no amount of dollars, such as \"2.50\"";
            Money::parse(it.get_ref()).ok_or_else(|| self.fault(it.span().start, why.to_owned()))
        };
        Ok(Price::flat(money(&price.input)?, money(&price.output)?))
    }

    fn egress(&self, egress: &FileEgress) -> Result<Listed, Fault> {
        let public = egress.hosts.iter().map(|it| (it, false));
        let all = public.chain(egress.private_hosts.iter().map(|it| (it, true)));
        let mut listed = Listed::new();
        for (text, may_be_private) in all {
            let host = Host::parse(text.get_ref()).ok_or_else(|| {
                let why = format!(
                    "`{}` is no name of a host with its port, such as `static.crates.io:443`",
                    text.get_ref()
                );
                self.fault(text.span().start, why)
            })?;
            listed.insert(host, may_be_private);
        }
        if listed.len() > HOSTS_MAX {
            return Err(self.fault(0, format!("at most {HOSTS_MAX} hosts in [egress]")));
        }
        Ok(listed)
    }

    fn provider(
        &self,
        name: String,
        family: Family,
        table: Spanned<FileProvider>,
        usual: &str,
    ) -> Result<Provider, Fault> {
        let (span, table) = (table.span(), table.into_inner());
        let (place, upstream) = match &table.upstream {
            Some(it) => (it.span().start, it.get_ref().as_str()),
            None if usual.is_empty() => {
                let why = "say where it is with `upstream`".to_owned();
                return Err(self.fault(span.start, why));
            }
            None => (span.start, usual),
        };
        let upstream = address(upstream).map_err(|it| self.fault(place, it))?;
        let list = table.models.get_ref();
        if list.is_empty() || list.len() > PATTERNS_MAX {
            let why = format!("name 1 to {PATTERNS_MAX} models, or patterns such as \"claude-*\"");
            return Err(self.fault(table.models.span().start, why));
        }
        let mut models = GlobSetBuilder::new();
        for pattern in list {
            let glob = Glob::new(pattern.get_ref())
                .map_err(|it| self.fault(pattern.span().start, format!("no pattern: {it}")))?;
            models.add(glob);
        }
        let models = models
            .build()
            .map_err(|it| self.fault(table.models.span().start, it.to_string()))?;
        let key = table.key.map(|it| match it {
            FileKey::Environment(name) => key::Source::Environment(name),
            FileKey::File(path) => key::Source::File(path),
            FileKey::Age(file) => key::Source::Age {
                file,
                identity: self.identity.clone().unwrap_or_default(),
            },
        });
        if matches!(key, Some(key::Source::Age { .. })) && self.identity.is_none() {
            let why = "say with `identity` which file opens what is sealed".to_owned();
            return Err(self.fault(span.start, why));
        }
        if key.is_none() && family != Family::Compatible {
            let why =
                "say where its key is: `key.environment = \"NAME\"` or `key.file = \"/path\"`";
            return Err(self.fault(span.start, why.to_owned()));
        }
        Ok(Provider {
            name,
            family,
            upstream,
            models,
            key,
            free: table.free,
        })
    }
}

/// Reads the address of a provider: a key must not travel in the clear, but to this very machine.
fn address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .trim_end_matches('/')
        .parse()
        .map_err(|it| format!("`{text}` is no address: {it}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|it| it.is_loopback());
    let has_user = uri.authority().is_some_and(|it| it.as_str().contains('@'));
    match uri.scheme_str() {
        Some("https") if !host.is_empty() && !has_user && uri.query().is_none() => Ok(uri),
        Some("http") if is_loopback && !has_user && uri.query().is_none() => Ok(uri),
        _ => Err(format!(
            "`{text}` must be https://HOST, or http:// on this machine's loopback; without user and query"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Fault> {
        Config::parse("broker.toml", text, &|_| Err(std::io::Error::other("none")))
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = parse(
            "[limits]\nrequest_mib = 2\n[anthropic]\nmodels = [\"claude-*\"]\n\
             key.environment = \"ANTHROPIC_API_KEY\"\n[compatible.ollama]\n\
             upstream = \"http://127.0.0.1:11434/\"\nmodels = [\"*\"]\nfree = true\n",
        )
        .unwrap();
        assert_eq!(config.limits.request_bytes, 2 << 20);
        let anthropic = &config.providers["anthropic"];
        assert_eq!(anthropic.upstream.host(), Some("api.anthropic.com"));
        assert!(anthropic.models.is_match("claude-sonnet-4-5"));
        assert!(!anthropic.models.is_match("gpt-5"));
        assert!(config.providers["ollama"].free);
    }

    #[test]
    fn every_fault_has_a_place() {
        for (text, place) in [
            ("", "1:1"),
            ("surprise = 1\n", "1:1"),
            (
                "[anthropic]\nmodels = []\nkey.environment = \"K\"\n",
                "2:10",
            ),
            ("[anthropic]\nmodels = [\"a\"]\n", "1:1"),
            (
                "[openai]\nmodels = [\"a\", \"[\"]\nkey.file = \"/k\"\n",
                "2:16",
            ),
            (
                "[openai]\nupstream = \"http://api.openai.com\"\nmodels = [\"a\"]\nkey.file = \"/k\"\n",
                "2:12",
            ),
            ("[compatible.x]\nmodels = [\"a\"]\n", "1:1"),
            ("[openai]\nmodels = [\"a\"]\nkey.age = \"k.age\"\n", "1:1"),
            (
                "[egress]\nhosts = [\"1.1.1.1:443\"]\n[compatible.x]\nupstream = \"http://localhost:1\"\nmodels = [\"a\"]\n",
                "2:10",
            ),
            (
                "[compatible.gemini]\nupstream = \"http://localhost:1\"\nmodels = [\"a\"]\n",
                "1:13",
            ),
            ("prices = \"/nowhere\"\n", "1:1"),
            (
                "unknown_price = { input = \"1\", output = \"much\" }\n[compatible.x]\n\
                 upstream = \"http://localhost:1\"\nmodels = [\"a\"]\n",
                "1:41",
            ),
        ] {
            let fault = parse(text).unwrap_err();
            let told = fault.to_string();
            assert!(
                told.starts_with(&format!("broker.toml:{place}: ")),
                "{told}"
            );
        }
    }

    #[test]
    fn a_key_never_travels_in_the_clear() {
        for wrong in [
            "http://example.org",
            "http://10.0.0.1:80",
            "ftp://localhost",
            "https://user@example.org",
            "https://example.org/?a=b",
            "example.org",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        for right in [
            "https://example.org/base",
            "http://[::1]:8080",
            "http://localhost:1",
        ] {
            assert!(address(right).is_ok(), "{right}");
        }
    }
}
