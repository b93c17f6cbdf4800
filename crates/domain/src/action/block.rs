//! What holds an action: the rules that no approval passes by, over facts alone.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Approval, Needs, Paper, Proposal, subject_of};
use crate::principal;
use crate::tree::Commit;

/// How many grave questions and findings of the action's work are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Of priority P0.
    pub p0: u32,
    /// Of priority P1; an open finding counts as one.
    pub p1: u32,
}

/// What the action's work has brought home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Landed {
    /// It comes from no work.
    #[default]
    NoWork,
    /// Nothing yet.
    Nothing,
    /// This commit.
    Commit(Commit),
}

/// What the rules look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What is open.
    pub open: Open,
    /// What its work has landed.
    pub landed: Landed,
}

/// A rule that holds an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Grave questions or findings are open.
    Open(Open),
    /// Two who must be different bear one name.
    SamePrincipal {
        /// What the one is.
        one: &'static str,
        /// What the other is.
        other: &'static str,
        /// The name.
        name: String,
    },
    /// What it would bring into the world is not what its work has landed.
    Stale {
        /// What it would bring.
        subject: String,
        /// What the work has landed, if anything.
        landed: Option<Commit>,
    },
}

impl Block {
    /// Returns a sentence that says what is wrong and how to mend it.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Open(open) => format!(
                "its work has {} open P0 and {} open P1; answer or resolve them first",
                open.p0, open.p1
            ),
            Self::SamePrincipal { one, other, name } => {
                format!("{one} and {other} bear the same name ({name}); somebody else must approve")
            }
            Self::Stale {
                subject,
                landed: None,
            } => format!("it would bring {subject}, and its work has landed nothing yet"),
            Self::Stale {
                subject,
                landed: Some(landed),
            } => format!("it would bring {subject}, but its work landed {landed}; propose it anew"),
        }
    }
}

/// Returns all that holds an action from being approved so.
#[must_use]
pub fn blocks(proposal: &Proposal, approval: &Approval, facts: &Facts) -> Vec<Block> {
    let mut found = held(proposal, facts);
    let (by, requester) = (approval.by.as_str(), approval.requester.as_str());
    found.extend(same(("approver", by), ("requester", requester)));
    // A grant is for whatever is done by its name, whoever made it.
    if matches!(approval.paper, Paper::Permit(_)) {
        for author in &proposal.authors {
            found.extend(same(("author", author), ("approver", by)));
            found.extend(same(("author", author), ("requester", requester)));
        }
    }
    found
}

/// Returns what would hold a permit of this approver, as far as that is known before the executor
/// was asked as whom it takes us.
#[must_use]
pub fn foreseen(proposal: &Proposal, approver: &str, facts: &Facts) -> Vec<Block> {
    let mut found = held(proposal, facts);
    for author in &proposal.authors {
        found.extend(same(("author", author), ("approver", approver)));
    }
    found
}

fn same(
    (one, first): (&'static str, &str),
    (other, second): (&'static str, &str),
) -> Option<Block> {
    let name = first.into();
    principal::is_same(first, second).then_some(Block::SamePrincipal { one, other, name })
}

/// Returns what holds an action whoever approves it.
fn held(proposal: &Proposal, facts: &Facts) -> Vec<Block> {
    let mut found = Vec::new();
    if proposal.needs == Needs::Permit && facts.open != Open::default() {
        found.push(Block::Open(facts.open));
    }
    let git = proposal.subject.as_ref();
    if let Some(subject) = git.filter(|it| it.starts_with("git:")) {
        let landed = match &facts.landed {
            Landed::NoWork => None,
            Landed::Nothing => Some(None),
            Landed::Commit(commit) => {
                (*subject != subject_of(commit)).then(|| Some(commit.clone()))
            }
        };
        if let Some(landed) = landed {
            let subject = subject.clone();
            found.push(Block::Stale { subject, landed });
        }
    }
    found
}

/// Returns what blocks say, one after the other.
pub(super) fn told(blocks: &[Block]) -> String {
    let sentences: Vec<_> = blocks.iter().map(Block::sentence).collect();
    sentences.join("; ")
}
