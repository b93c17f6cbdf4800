//! Severity: how much a violation weighs, and what follows from it while an agent still works.

use serde::{Deserialize, Serialize};

use crate::tree::{Rule, Violation};

/// How much something weighs. Later variants weigh more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// The agent is told.
    Warning,
    /// The agent is told, and what it is about is not taken in.
    Error,
    /// As an error; and the agent stands still, its session goes on only from a restored tree.
    Critical,
}

impl Severity {
    /// Returns the literal used in messages and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Returns how much a breach of a rule weighs. What could reach beyond the tree, or past the
    /// gates, is critical: an agent that does it by mistake has lost its way, and one that does it
    /// on purpose is not to go on.
    #[must_use]
    pub const fn of(rule: Rule) -> Self {
        match rule {
            Rule::GitInternals | Rule::SymlinkEscape | Rule::Secret | Rule::Protected => {
                Self::Critical
            }
            Rule::RoleScope
            | Rule::PlanAllowed
            | Rule::PlanDenied
            | Rule::Path
            | Rule::FileType
            | Rule::Mode
            | Rule::Size
            | Rule::Count
            | Rule::Content
            | Rule::TestWeakened => Self::Error,
        }
    }

    /// Returns the greatest severity among violations, if there is any.
    #[must_use]
    pub fn greatest(violations: &[Violation]) -> Option<Self> {
        violations.iter().map(|it| Self::of(it.rule)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_counts() {
        let of = |rule| Violation {
            path: "x".into(),
            rule,
            detail: "y".into(),
        };
        let both = [of(Rule::Protected), of(Rule::Size)];
        assert_eq!(Severity::greatest(&both), Some(Severity::Critical));
        assert_eq!(Severity::greatest(&both[1..]), Some(Severity::Error));
        assert_eq!(Severity::greatest(&[]), None);
    }
}
