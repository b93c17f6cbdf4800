//! A remote as it is configured: a bare repository of this machine, or one behind HTTPS; and its
//! forge, if it has one.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::forge;
use crate::web::Site;

/// What a forge takes for the user's name beside a token, where it does not look at it.
const USUAL_USER: &str = "x-access-token";

/// The longest user's name, in bytes.
const USER_BYTES_MAX: usize = 64;

/// A remote.
#[derive(Debug)]
pub(in crate::actions) struct Remote {
    pub(super) at: At,
    pub(in crate::actions) forge: Option<forge::Settings>,
}

/// Where it is.
#[derive(Debug)]
pub(super) enum At {
    /// Here.
    Folder(PathBuf),
    /// Behind HTTPS.
    Web(Web),
}

/// A repository behind HTTPS.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) site: Site,
    pub(super) user: String,
    /// The secret that is its password or token.
    pub(super) secret: String,
    /// Certificates that are believed for it, instead of this machine's.
    pub(super) authority: Option<PathBuf>,
}

/// As it is written, when it is more than a path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: Option<PathBuf>,
    url: Option<Site>,
    user: Option<String>,
    secret: Option<String>,
    authority: Option<PathBuf>,
    forge: Option<forge::Settings>,
}

impl Remote {
    /// Returns whether it is on this machine.
    pub(super) const fn is_here(&self) -> bool {
        matches!(self.at, At::Folder(_))
    }

    /// Returns the names of the secrets that it takes.
    pub(in crate::actions) fn secrets(&self) -> impl Iterator<Item = &str> {
        let own = match &self.at {
            At::Folder(_) => None,
            At::Web(web) => Some(web.secret.as_str()),
        };
        let forge = self.forge.as_ref().map(|it| it.secret.as_str());
        own.into_iter().chain(forge)
    }

    fn read(written: Written) -> Result<Self, &'static str> {
        let Written {
            path,
            url,
            user,
            secret,
            authority,
            forge,
        } = written;
        let at = match (path, url) {
            (Some(path), None) if user.is_none() && secret.is_none() && authority.is_none() => {
                Self::folder(path)?
            }
            (None, Some(site)) if site.is_encrypted() => At::Web(Web {
                site,
                user: checked(user.unwrap_or_else(|| USUAL_USER.to_owned()))?,
                secret: secret.ok_or("a remote with `url` needs its `secret`")?,
                authority,
            }),
            (None, Some(_)) => return Err("a remote's `url` must be `https`"),
            (Some(_), None) => return Err("a remote with `path` has no user, secret or authority"),
            (Some(_), Some(_)) | (None, None) => {
                return Err("a remote needs either `path` or `url`");
            }
        };
        Ok(Self { at, forge })
    }

    fn folder(path: PathBuf) -> Result<At, &'static str> {
        if path.is_absolute() {
            Ok(At::Folder(path))
        } else {
            Err("a remote's path must be absolute")
        }
    }
}

fn checked(user: String) -> Result<String, &'static str> {
    let is_plain = user.bytes().all(|it| it.is_ascii_graphic() && it != b':');
    if is_plain && (1..=USER_BYTES_MAX).contains(&user.len()) {
        Ok(user)
    } else {
        Err("a remote's `user` must be plain and without `:`")
    }
}

impl<'de> Deserialize<'de> for Remote {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathOrTable)
    }
}

struct PathOrTable;

impl<'de> Visitor<'de> for PathOrTable {
    type Value = Remote;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the path of a bare repository, or a table with `path` or `url`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Remote, E> {
        let at = Remote::folder(PathBuf::from(text)).map_err(E::custom)?;
        Ok(Remote { at, forge: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Remote, A::Error> {
        let written = Written::deserialize(MapAccessDeserializer::new(table))?;
        Remote::read(written).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Remote, String> {
        let table: Result<std::collections::BTreeMap<String, Remote>, _> = toml::from_str(text);
        table
            .map_err(|it| it.to_string())
            .and_then(|mut it| it.remove("it").ok_or_else(String::new))
    }

    #[test]
    fn a_remote_is_here_or_behind_https() {
        assert!(read("it = \"/srv/forge.git\"").unwrap().is_here());
        assert!(
            read("it = { path = \"/srv/forge.git\" }")
                .unwrap()
                .is_here()
        );
        let web = read("it = { url = \"https://example.org/o/r.git\", secret = \"A\" }").unwrap();
        assert!(!web.is_here());
        assert_eq!(web.secrets().collect::<Vec<_>>(), ["A"]);
        for wrong in [
            "it = \"forge.git\"",
            "it = {}",
            "it = 1",
            "it = { path = \"/srv/forge.git\", secret = \"A\" }",
            "it = { path = \"/a\", url = \"https://example.org/a\", secret = \"A\" }",
            "it = { url = \"https://example.org/o/r.git\" }",
            "it = { url = \"http://127.0.0.1/o/r.git\", secret = \"A\" }",
            "it = { url = \"ssh://example.org/o/r.git\", secret = \"A\" }",
            "it = { url = \"https://example.org/r\", secret = \"A\", user = \"a:b\" }",
            "it = { url = \"https://example.org/r\", secret = \"A\", more = 1 }",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
