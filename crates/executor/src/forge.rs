//! Forges: where a branch becomes a pull request. What the API of each wants is its own; what is
//! believed of an answer is a number, and that a pull request is for this branch and base.

mod forgejo;
mod github;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue,
};
use hyper::{Method, Request};
use serde::Deserialize;
use serde_json::Value;
use wire::execution::Word;
use wire::execution::action::PullRequest;

use crate::reach::Connections;
use crate::secret::Secret;
use crate::web::{self, Answer, Service, Site, percent};

/// The largest answer of a forge, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The most pages of pull requests that are looked through.
const PAGES_MAX: u32 = 40;

/// What is configured of a remote's forge.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    kind: Kind,
    /// Where its API is.
    api: Site,
    /// Certificates that are believed for it, instead of this machine's.
    authority: Option<PathBuf>,
    /// The repository, as `owner/name`.
    repository: Repository,
    /// The secret that is its token.
    pub(crate) secret: String,
    /// The branches that pull requests may be for.
    pub(crate) bases: BTreeSet<Word>,
    /// What the receipt calls the place where pull requests are to be seen.
    pub(crate) url_id: Word,
    #[serde(default = "usual_timeout_seconds")]
    timeout_seconds: u64,
}

const fn usual_timeout_seconds() -> u64 {
    30
}

/// The kinds of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    GitHub,
    Forgejo,
    /// Whose API Forgejo's is.
    Gitea,
}

/// A repository at a forge.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Repository {
    owner: Word,
    name: Word,
}

impl TryFrom<String> for Repository {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "not a repository, such as `owner/name`";
        let (owner, name) = text.split_once('/').ok_or(wrong)?;
        Ok(Self {
            owner: owner.parse().map_err(|_| wrong)?,
            name: name.parse().map_err(|_| wrong)?,
        })
    }
}

/// A pull request that is wanted, of this branch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The branch, without `refs/heads/`.
    pub(crate) head: &'a str,
    pub(crate) what: &'a PullRequest,
}

/// Why a forge did not do as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It could not be reached, and nothing was asked.
    Unreachable,
    /// It refused.
    Refused,
    /// It answered what cannot be read, or too much.
    Unreadable,
    /// Whether it was done is not known.
    Unclear,
}

/// What came of opening one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It has this number.
    Done(u64),
    /// There is one already.
    IsThere,
}

/// What the API of a kind of forge wants.
trait Dialect: Sync {
    /// Returns what goes with each request.
    fn headers(&self) -> &'static [(&'static str, &'static str)];
    /// Returns the words before the token.
    fn scheme(&self) -> &'static str;
    /// Returns the path of the pull requests of a repository.
    fn path(&self, repository: &Repository) -> String;
    /// Returns the query for one page of the open ones, from 1.
    fn page(&self, repository: &Repository, wanted: Wanted<'_>, page: u32) -> String;
    /// Returns whether after a page of so many there is none.
    fn is_last(&self, length: usize) -> bool;
    /// Returns whether a status says that there is such a pull request already.
    fn is_there(&self, status: u16) -> bool;
}

/// A forge, as it is asked.
pub(crate) struct Forge<'a> {
    settings: &'a Settings,
    dialect: &'static dyn Dialect,
    token: &'a Secret,
    connections: &'a Connections,
}

impl<'a> Forge<'a> {
    pub(crate) fn new(
        settings: &'a Settings,
        token: &'a Secret,
        connections: &'a Connections,
    ) -> Self {
        Self {
            settings,
            dialect: match settings.kind {
                Kind::GitHub => &github::GitHub,
                Kind::Forgejo | Kind::Gitea => &forgejo::Forgejo,
            },
            token,
            connections,
        }
    }

    /// Returns what the receipt calls the place where its pull requests are to be seen.
    pub(crate) const fn url_id(&self) -> &Word {
        &self.settings.url_id
    }

    /// Returns the number of the open pull request of a branch into its base.
    pub(crate) fn find(&self, wanted: Wanted<'_>) -> Result<Option<u64>, Fault> {
        let repository = &self.settings.repository;
        for page in 1..=PAGES_MAX {
            let path = self.dialect.path(repository);
            let query = self.dialect.page(repository, wanted, page);
            let answer = self.ask(Method::GET, &format!("{path}?{query}"), None)?;
            let list = match answer.status {
                200 => read(&answer)?,
                500..=599 => return Err(Fault::Unreachable),
                // Also where it would send us elsewhere: our token is for nobody there.
                _ => return Err(Fault::Refused),
            };
            let list = list.as_array().ok_or(Fault::Unreadable)?;
            if let Some(found) = list.iter().find(|it| self.is_wanted(it, wanted)) {
                return number(found).map(Some);
            }
            if list.is_empty() || self.dialect.is_last(list.len()) {
                return Ok(None);
            }
        }
        // There may be one behind what was looked through.
        Err(Fault::Unreadable)
    }

    /// Opens a pull request.
    pub(crate) fn open(&self, wanted: Wanted<'_>) -> Result<Opening, Fault> {
        let path = self.dialect.path(&self.settings.repository);
        let body = serde_json::json!({
            "title": wanted.what.title, "body": wanted.what.text,
            "head": wanted.head, "base": wanted.what.base,
        });
        let answer = self.ask(Method::POST, &path, Some(&body))?;
        match answer.status {
            201 => read(&answer)
                .and_then(|it| number(&it))
                .map(Opening::Done)
                // It is there; under which number has to be looked for.
                .map_err(|_| Fault::Unclear),
            status if self.dialect.is_there(status) => Ok(Opening::IsThere),
            300..=499 => Err(Fault::Refused),
            _ => Err(Fault::Unclear),
        }
    }

    /// What the forge was asked for is not believed, but looked at once more.
    fn is_wanted(&self, found: &Value, wanted: Wanted<'_>) -> bool {
        let repository = &self.settings.repository;
        let is_ours = |side: &Value| {
            let name = side["repo"]["full_name"].as_str().unwrap_or_default();
            name.split_once('/').is_some_and(|(owner, name)| {
                owner.eq_ignore_ascii_case(repository.owner.as_str())
                    && name.eq_ignore_ascii_case(repository.name.as_str())
            })
        };
        let (head, base) = (&found["head"], &found["base"]);
        found["state"] == "open"
            && head["ref"] == wanted.head
            && base["ref"] == wanted.what.base.as_str()
            && is_ours(head)
            && is_ours(base)
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Fault> {
        let is_question = method == Method::GET;
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        let path = self.settings.api.path(path);
        *request.uri_mut() = path.parse().map_err(|_| Fault::Unreachable)?;
        let headers = request.headers_mut();
        for (name, value) in self.dialect.headers() {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let token = self.token.header(self.dialect.scheme());
        headers.insert(AUTHORIZATION, token.ok_or(Fault::Unreachable)?);
        let service = Service {
            site: &self.settings.api,
            authority: self.settings.authority.as_deref(),
            patience: Duration::from_secs(self.settings.timeout_seconds),
            bytes_max: ANSWER_BYTES_MAX,
            connections: self.connections,
        };
        service.ask(request).map_err(|fault| match fault {
            web::Fault::Unreachable => Fault::Unreachable,
            // A question that got no answer has changed nothing.
            web::Fault::Silent if is_question => Fault::Unreachable,
            web::Fault::TooLarge if is_question => Fault::Unreadable,
            web::Fault::Silent | web::Fault::TooLarge => Fault::Unclear,
        })
    }
}

fn read(answer: &Answer) -> Result<Value, Fault> {
    serde_json::from_slice(&answer.body).map_err(|_| Fault::Unreadable)
}

fn number(found: &Value) -> Result<u64, Fault> {
    found["number"]
        .as_u64()
        .filter(|it| *it > 0)
        .ok_or(Fault::Unreadable)
}

/// Returns a query of names and values.
fn query(all: &[(&str, &str)]) -> String {
    let all: Vec<_> = all
        .iter()
        .map(|(name, value)| format!("{name}={}", percent(value)))
        .collect();
    all.join("&")
}
