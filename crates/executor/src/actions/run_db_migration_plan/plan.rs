//! A plan of migrations: one plain text that a person can read before approving it, named by its
//! content. Each migration begins with a line `-- migration: V7__add_email`, in the order of their
//! versions; what follows is its SQL.

use std::io::Read as _;
use std::path::Path;

use domain::Digest;
use wire::execution::{Code, Word};

use super::super::deploy_staging::regular;

/// The largest plan, in bytes.
pub(crate) const PLAN_BYTES_MAX: u64 = 4 << 20;

/// The most migrations of a plan.
const MIGRATIONS_MAX: usize = 4_096;

/// What a line begins with that begins a migration.
pub(crate) const MARK: &str = "-- migration: ";

/// A plan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) digest: Digest,
    pub(crate) migrations: Vec<Migration>,
}

/// One migration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Migration {
    /// `V7__add_email`.
    pub(crate) name: Word,
    pub(crate) version: u32,
    pub(crate) sql: String,
}

/// Why a text is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It is too long.
    #[error("a plan has at most {PLAN_BYTES_MAX} bytes and {MIGRATIONS_MAX} migrations")]
    TooLarge,
    /// It is no text.
    #[error("a plan is UTF-8")]
    NotText,
    /// It begins with something else.
    #[error("a plan begins with a line `{MARK}V1__name`")]
    NoMigration,
    /// A migration is called something else.
    #[error(
        "`{0}` names no migration: V, a version of at most nine digits without a zero in front, \
         two underscores, and letters, digits and underscores, at most 64 in all"
    )]
    Name(String),
    /// The order is another.
    #[error("`{0}` comes after a migration of the same or a later version")]
    Order(Word),
}

impl Plan {
    /// Returns the plan of this digest.
    pub(super) fn find(plans: &Path, digest: Digest) -> Result<Self, Code> {
        let name = digest.to_string().replace("b3:", "");
        let file = regular(&plans.join(name)).ok_or(Code::ArtifactMissing)?;
        let mut bytes = Vec::new();
        file.take(PLAN_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| Code::Unavailable)?;
        // Read once: what is judged, and runs, is what has this digest.
        let plan = Self::read(&bytes).map_err(|fault| match fault {
            Fault::TooLarge
            | Fault::NotText
            | Fault::NoMigration
            | Fault::Name(_)
            | Fault::Order(_) => Code::PlanInvalid,
        })?;
        if plan.digest == digest {
            Ok(plan)
        } else {
            Err(Code::ArtifactMismatch)
        }
    }

    /// Reads a plan.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        if u64::try_from(bytes.len()).map_or(true, |it| it > PLAN_BYTES_MAX) {
            return Err(Fault::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotText)?;
        let mut migrations: Vec<Migration> = Vec::new();
        for line in text.split_inclusive('\n') {
            if let Some(name) = line.strip_prefix(MARK) {
                let next = named(name.trim_end())?;
                if migrations
                    .last()
                    .is_some_and(|it| it.version >= next.version)
                {
                    return Err(Fault::Order(next.name));
                }
                migrations.push(next);
            } else if let Some(migration) = migrations.last_mut() {
                migration.sql.push_str(line);
            } else if !line.trim().is_empty() {
                return Err(Fault::NoMigration);
            }
        }
        match migrations.len() {
            0 => Err(Fault::NoMigration),
            1..=MIGRATIONS_MAX => Ok(Self {
                digest: Digest::from_bytes(*blake3::hash(bytes).as_bytes()),
                migrations,
            }),
            _ => Err(Fault::TooLarge),
        }
    }
}

/// Returns the migration of a name, without its SQL.
pub(crate) fn named(text: &str) -> Result<Migration, Fault> {
    let wrong = || Fault::Name(text.chars().take(Word::BYTES_MAX).collect());
    let name: Word = text.parse().map_err(|_| wrong())?;
    let (digits, rest) = text
        .strip_prefix('V')
        .and_then(|it| it.split_once("__"))
        .ok_or_else(wrong)?;
    let is_number = (1..=9).contains(&digits.len())
        && digits.bytes().all(|it| it.is_ascii_digit())
        && !digits.starts_with('0');
    let is_name = !rest.is_empty()
        && rest
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
    if !is_number || !is_name {
        return Err(wrong());
    }
    Ok(Migration {
        version: digits.parse().map_err(|_| wrong())?,
        sql: String::new(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_its_migrations_in_their_order() {
        let text = "\n-- migration: V1__one\nCREATE TABLE a (b int);\n\n-- migration: V12__two\n-- said\nDROP TABLE a;";
        let plan = Plan::read(text.as_bytes()).unwrap();
        let told: Vec<_> = plan
            .migrations
            .iter()
            .map(|it| (it.name.as_str(), it.version, it.sql.as_str()))
            .collect();
        let wanted = [
            ("V1__one", 1, "CREATE TABLE a (b int);\n\n"),
            ("V12__two", 12, "-- said\nDROP TABLE a;"),
        ];
        assert_eq!(told, wanted);
        assert_eq!(
            plan.digest,
            Digest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes())
        );
    }

    #[test]
    fn what_is_no_plan_is_not_read() {
        for text in ["", "\n", "SELECT 1;", "-- V1__one\n"] {
            assert_eq!(
                Plan::read(text.as_bytes()),
                Err(Fault::NoMigration),
                "{text}"
            );
        }
        for name in [
            "",
            "V__a",
            "V1_a",
            "V1__",
            "V01__a",
            "V1__a-b",
            "V1__a.b",
            "U1__a",
            "v1__a",
            "V1234567890__a",
            "V1__\u{e4}",
            "V1__a b",
            "../V1__a",
        ] {
            let read = Plan::read(format!("{MARK}{name}\n").as_bytes());
            assert!(matches!(read, Err(Fault::Name(_))), "{name}");
        }
        for two in [("V1__a", "V1__b"), ("V2__a", "V1__b")] {
            let text = format!("{MARK}{}\n{MARK}{}\n", two.0, two.1);
            assert!(matches!(Plan::read(text.as_bytes()), Err(Fault::Order(_))));
        }
        assert_eq!(
            Plan::read(b"-- migration: V1__a\n\xff"),
            Err(Fault::NotText)
        );
    }

    #[test]
    fn a_huge_plan_is_refused() {
        let most = usize::try_from(PLAN_BYTES_MAX).unwrap();
        let head = format!("{MARK}V1__a\n");
        let fits = format!("{head}{}", "-".repeat(most - head.len()));
        assert!(Plan::read(fits.as_bytes()).is_ok());
        assert_eq!(
            Plan::read(format!("{fits}-").as_bytes()),
            Err(Fault::TooLarge)
        );
        let many: String = (1..=MIGRATIONS_MAX + 1)
            .map(|it| format!("{MARK}V{it}__a\n"))
            .collect();
        assert_eq!(Plan::read(many.as_bytes()), Err(Fault::TooLarge));
    }
}
