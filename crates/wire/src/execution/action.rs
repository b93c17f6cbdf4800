//! The closed list of what the executor can do, with typed arguments. No text of a request is ever
//! a program, a path, an option or part of a command line: arguments are words of a configured
//! list, digests and commits; what people are to read is plain text, and data.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use domain::Digest;
use domain::formula::Lane;
use domain::tree::Commit;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::{Plain, canonical};

/// The most keys asked for in one request.
pub const KEYS_MAX: usize = 64;

/// A word of a configured list: 1 to 64 ASCII letters, digits, `_`, `-` and single dots, beginning
/// with a letter or digit. It is never an option, never a path, and looks like no other word.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

/// A text is no word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a word: 1 to 64 ASCII letters, digits, `_`, `-` and single dots, beginning with a letter \
     or digit"
)]
pub struct NotAWord;

impl Word {
    /// The longest word, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Returns the word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        let begins = text
            .bytes()
            .next()
            .is_some_and(|it| it.is_ascii_alphanumeric());
        let body = text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.'));
        // Two dots climb, and git takes neither a dot nor `.lock` at the end of a branch.
        let ends = text.ends_with('.') || text.to_ascii_lowercase().ends_with(".lock");
        let fits = text.len() <= Self::BYTES_MAX;
        if begins && body && fits && !ends && !text.contains("..") {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAWord)
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// The kinds of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Puts an artifact on staging.
    DeployStaging,
    /// Sums up a metric.
    FetchMetricsSummary,
    /// Tells allow-listed values of staging's configuration.
    GetStagingConfigValues,
    /// Pushes a commit to an allow-listed remote.
    PublishChange,
    /// Runs a plan of migrations against a database and takes it back.
    RehearseDbMigrationPlan,
    /// Runs a plan of migrations against a database.
    RunDbMigrationPlan,
    /// Runs a configured suite of tests.
    RunTests,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DeployStaging,
        Self::FetchMetricsSummary,
        Self::GetStagingConfigValues,
        Self::PublishChange,
        Self::RehearseDbMigrationPlan,
        Self::RunDbMigrationPlan,
        Self::RunTests,
    ];

    /// Returns the stored literal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeployStaging => "deploy_staging",
            Self::FetchMetricsSummary => "fetch_metrics_summary",
            Self::GetStagingConfigValues => "get_staging_config_values",
            Self::PublishChange => "publish_change",
            Self::RehearseDbMigrationPlan => "rehearse_db_migration_plan",
            Self::RunDbMigrationPlan => "run_db_migration_plan",
            Self::RunTests => "run_tests",
        }
    }

    /// Returns the kind with this very name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Returns the lane whose credentials it takes.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::FetchMetricsSummary | Self::GetStagingConfigValues => Lane::ReadOnly,
            Self::RehearseDbMigrationPlan | Self::RunTests => Lane::DryRun,
            Self::DeployStaging | Self::PublishChange | Self::RunDbMigrationPlan => Lane::Execute,
        }
    }

    /// Returns whether each call needs an approval of its own; the others run on a standing grant.
    #[must_use]
    pub const fn needs_permit(self) -> bool {
        match self {
            Self::DeployStaging | Self::PublishChange | Self::RunDbMigrationPlan => true,
            Self::FetchMetricsSummary
            | Self::GetStagingConfigValues
            | Self::RehearseDbMigrationPlan
            | Self::RunTests => false,
        }
    }
}

/// The span that a metric is summed up over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Window {
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour.
    #[serde(rename = "1h")]
    Hour,
    /// One day.
    #[serde(rename = "24h")]
    Day,
    /// Seven days.
    #[serde(rename = "7d")]
    Week,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FiveMinutes, Self::Hour, Self::Day, Self::Week];

    /// Returns the stored literal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// Returns how long it is.
    #[must_use]
    pub const fn span(self) -> domain::Millis {
        match self {
            Self::FiveMinutes => domain::Millis::from_mins(5),
            Self::Hour => domain::Millis::from_mins(60),
            Self::Day => domain::Millis::from_mins(24 * 60),
            Self::Week => domain::Millis::from_mins(7 * 24 * 60),
        }
    }
}

/// One action with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "action",
    content = "arguments",
    rename_all = "snake_case",
    deny_unknown_fields
)]
pub enum Action {
    /// Puts an artifact on staging.
    DeployStaging(DeployStaging),
    /// Sums up a metric.
    FetchMetricsSummary(FetchMetricsSummary),
    /// Tells values of staging's configuration.
    GetStagingConfigValues(GetStagingConfigValues),
    /// Pushes a commit.
    PublishChange(PublishChange),
    /// Runs a plan and takes it back.
    RehearseDbMigrationPlan(DbMigrationPlan),
    /// Runs a plan.
    RunDbMigrationPlan(DbMigrationPlan),
    /// Runs tests.
    RunTests(RunTests),
}

/// Which artifact is put on staging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployStaging {
    /// The artifact, by its content.
    pub artifact: Digest,
}

/// Which metric is summed up, over which span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchMetricsSummary {
    /// A configured metric.
    pub metric: Word,
    /// The span until now.
    pub window: Window,
}

/// Which values are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetStagingConfigValues {
    /// Configured keys, each once.
    pub keys: BTreeSet<Word>,
}

/// Which commit goes where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishChange {
    /// A configured remote.
    pub remote: Word,
    /// The branch within the identity's namespace.
    pub branch: Word,
    /// The commit that the branch is to hold.
    pub commit: Commit,
    /// What the branch holds before; none when it does not exist yet.
    pub expected: Option<Commit>,
    /// What is asked for afterwards at the remote's forge, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
}

/// Which plan of migrations runs against which database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DbMigrationPlan {
    /// A configured database.
    pub database: Word,
    /// The plan, by its content.
    pub plan: Digest,
}

/// A pull request for the branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// The branch that it is to be merged into, of the configured ones.
    pub base: Word,
    /// Its title.
    pub title: Title,
    /// What it says.
    pub text: Text,
}

/// A title: one line.
pub type Title = Plain<200, false>;

/// What a pull request says: lines.
pub type Text = Plain<8192, true>;

/// Which tests are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTests {
    /// A configured suite.
    pub suite: Word,
}

/// Why an action is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAction {
    /// Nothing is called that.
    #[error("there is no such action; GET /actions lists them")]
    Unknown,
    /// The arguments are not its arguments.
    #[error("the arguments of `{0}` are not as GET /actions describes them")]
    Arguments(&'static str),
}

impl Action {
    /// Reads an action by its name and arguments.
    ///
    /// # Errors
    /// When there is none of that name, or an argument is missing, unknown or of another type.
    pub fn read(name: &str, arguments: &Value) -> Result<Self, NoAction> {
        let kind = Kind::named(name).ok_or(NoAction::Unknown)?;
        let wrong = NoAction::Arguments(kind.name());
        let both = json!({"action": kind.name(), "arguments": arguments});
        let action: Self = serde_json::from_value(both).map_err(|_| wrong.clone())?;
        // A set drops what was said twice, a reader may take a short form: only the one text that
        // we would write is taken.
        if action.arguments() != *arguments || action.is_over() {
            return Err(wrong);
        }
        Ok(action)
    }

    /// Returns its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::DeployStaging(_) => Kind::DeployStaging,
            Self::FetchMetricsSummary(_) => Kind::FetchMetricsSummary,
            Self::GetStagingConfigValues(_) => Kind::GetStagingConfigValues,
            Self::PublishChange(_) => Kind::PublishChange,
            Self::RehearseDbMigrationPlan(_) => Kind::RehearseDbMigrationPlan,
            Self::RunDbMigrationPlan(_) => Kind::RunDbMigrationPlan,
            Self::RunTests(_) => Kind::RunTests,
        }
    }

    /// Returns its arguments as JSON.
    #[must_use]
    pub fn arguments(&self) -> Value {
        let mut both = json!(self);
        both["arguments"].take()
    }

    /// Returns the digest of action and arguments in canonical form: what an approval names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        canonical::digest(&json!(self))
    }

    /// Returns what it brings into the world, by content: an approval names it, too.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        match self {
            Self::DeployStaging(it) => Some(it.artifact.to_string()),
            Self::PublishChange(it) => Some(format!("git:{}", it.commit)),
            Self::RunDbMigrationPlan(it) => Some(it.plan.to_string()),
            Self::FetchMetricsSummary(_)
            | Self::GetStagingConfigValues(_)
            | Self::RehearseDbMigrationPlan(_)
            | Self::RunTests(_) => None,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::GetStagingConfigValues(it) => !(1..=KEYS_MAX).contains(&it.keys.len()),
            Self::DeployStaging(_)
            | Self::FetchMetricsSummary(_)
            | Self::PublishChange(_)
            | Self::RehearseDbMigrationPlan(_)
            | Self::RunDbMigrationPlan(_)
            | Self::RunTests(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMIT: &str = "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd";

    #[test]
    fn an_action_is_one_of_the_list_and_nothing_that_looks_like_it() {
        let arguments = json!({"suite": "unit"});
        assert!(Action::read("run_tests", &arguments).is_ok());
        for name in [
            "deploy_st\u{430}ging",
            "Run_Tests",
            "run_tests ",
            "run_tests\0",
            "sh -c id",
            "",
        ] {
            assert_eq!(
                Action::read(name, &arguments),
                Err(NoAction::Unknown),
                "{name}"
            );
        }
    }

    #[test]
    fn arguments_are_exactly_those_of_the_action() {
        for (name, arguments) in [
            ("run_tests", json!({})),
            ("run_tests", json!(null)),
            ("run_tests", json!("unit")),
            ("run_tests", json!(["unit"])),
            ("run_tests", json!({"suite": "unit", "more": 1})),
            ("run_tests", json!({"suite": "unit; cat .env"})),
            ("run_tests", json!({"suite": "$(id)"})),
            ("run_tests", json!({"suite": "--help"})),
            ("run_tests", json!({"suite": "a\nb"})),
            ("run_tests", json!({"suite": "a\0b"})),
            ("run_tests", json!({"suite": {"a": "b"}})),
            (
                "fetch_metrics_summary",
                json!({"metric": "m", "window": "1s"}),
            ),
            (
                "fetch_metrics_summary",
                json!({"metric": "../m", "window": "1h"}),
            ),
            ("get_staging_config_values", json!({"keys": []})),
            ("get_staging_config_values", json!({"keys": ["*"]})),
            ("get_staging_config_values", json!({"keys": ["A", "A"]})),
            ("get_staging_config_values", json!({"keys": ["B", "A"]})),
            ("deploy_staging", json!({"artifact": "main;id"})),
            (
                "run_db_migration_plan",
                json!({"database": "app", "plan": "DROP TABLE users"}),
            ),
            (
                "publish_change",
                json!({"remote": "origin", "branch": "b", "commit": COMMIT}),
            ),
            (
                "publish_change",
                json!({"remote": "origin", "branch": "a..b", "commit": COMMIT, "expected": null}),
            ),
            (
                "publish_change",
                json!({"remote": "origin", "branch": "b", "commit": "HEAD", "expected": null}),
            ),
            ("publish_change", proposing(&json!(null))),
            (
                "publish_change",
                proposing(&json!({"base": "main", "title": "a\nb", "text": "c"})),
            ),
            (
                "publish_change",
                proposing(&json!({"base": "../main", "title": "a", "text": "c"})),
            ),
            (
                "publish_change",
                proposing(&json!({"base": "main", "title": "a", "text": "c\u{202e}d"})),
            ),
            (
                "publish_change",
                proposing(&json!({"base": "main", "title": "a", "text": "c", "draft": true})),
            ),
        ] {
            let read = Action::read(name, &arguments);
            assert!(
                matches!(read, Err(NoAction::Arguments(_))),
                "{name} {arguments}"
            );
        }
        let keys: Vec<_> = (0..=KEYS_MAX).map(|it| format!("K{it:03}")).collect();
        assert!(Action::read("get_staging_config_values", &json!({"keys": keys})).is_err());
        assert!(Action::read("get_staging_config_values", &json!({"keys": keys[1..]})).is_ok());
    }

    fn proposing(pull_request: &Value) -> Value {
        json!({
            "remote": "origin", "branch": "b", "commit": COMMIT, "expected": null,
            "pull_request": pull_request,
        })
    }

    #[test]
    fn a_pull_request_is_part_of_what_is_approved() {
        let read = |title: &str| {
            let what = json!({"base": "main", "title": title, "text": "c\nd"});
            Action::read("publish_change", &proposing(&what)).unwrap()
        };
        assert_eq!(read("a").digest(), read("a").digest());
        assert_ne!(read("a").digest(), read("b").digest());
    }

    #[test]
    fn a_digest_means_action_and_arguments() {
        let read = |name, arguments| Action::read(name, &arguments).unwrap();
        let one = read("run_tests", json!({"suite": "unit"}));
        let other = read("run_tests", json!({"suite": "unit2"}));
        assert_ne!(one.digest(), other.digest());
        assert_eq!(
            canonical::text(&json!(one)),
            r#"{"action":"run_tests","arguments":{"suite":"unit"}}"#
        );
    }

    proptest! {
        #[test]
        fn a_word_is_safe_anywhere(text in ".{0,70}") {
            if let Ok(word) = text.parse::<Word>() {
                prop_assert!(word.as_str().is_ascii() && !word.as_str().starts_with(['-', '.']));
                prop_assert!(!word.as_str().contains(['/', '\\', ' ', '\n', '\0', '$', ';', '~', '^', ':']));
                prop_assert!(!word.as_str().contains(".."));
            }
        }
    }
}
