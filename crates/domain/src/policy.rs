//! The promotion rules: what must block is code. A model may add reasons, never remove one. The
//! only way to a [`Permit`] leads through [`judge`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ambiguity::Priority;
use crate::principal;
use crate::tree::Commit;
use crate::{AmbiguityId, Digest, FindingId, Millis, Timestamp};

/// How long an approval is good for, unless the operator says otherwise.
pub const APPROVAL_SPAN: Millis = Millis::from_mins(24 * 60);

/// What the rules look at: computed by code from the log, never written by an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The tree to be promoted.
    pub tree: Digest,
    /// The commit it starts from.
    pub base: Commit,
    /// What the target held when this was put together.
    pub target_head: Commit,
    /// Gates that must have passed.
    pub gates_required: Vec<String>,
    /// What gates said last.
    pub gates: Vec<GateFact>,
    /// Whether the tree's last checkpoint was judged by the import filter and found clean.
    pub is_validated: bool,
    /// How many files it changes.
    pub files: u64,
    /// Findings that are open.
    pub open_findings: Vec<FindingId>,
    /// Questions that are open.
    pub open_ambiguities: Vec<(AmbiguityId, Priority)>,
    /// The agents that wrote it.
    pub authors: Vec<String>,
}

impl Facts {
    /// Returns whether one of the authors bears this principal's name.
    #[must_use]
    pub fn has_author(&self, principal: &str) -> bool {
        let mut authors = self.authors.iter();
        authors.any(|it| principal::is_same(it, principal))
    }
}

/// What one gate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateFact {
    /// The gate.
    pub gate: String,
    /// The tree it looked at.
    pub tree: Digest,
    /// Why it does not pass; empty when it does.
    pub reasons: Vec<String>,
}

/// A reason that blocks a promotion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    /// Nothing is changed.
    NothingToPromote,
    /// The last checkpoint was not judged, or not clean.
    NotValidated,
    /// A required gate has no evidence for this tree.
    NoEvidence {
        /// The gate.
        gate: String,
    },
    /// A gate did not pass.
    GateFailed {
        /// The gate.
        gate: String,
        /// Why.
        reasons: Vec<String>,
    },
    /// No gate is required at all: nothing would be tested.
    NoGate,
    /// Findings are open.
    OpenFinding {
        /// Which.
        finding: FindingId,
    },
    /// A P0 or P1 question is open.
    OpenAmbiguity {
        /// Which.
        ambiguity: AmbiguityId,
        /// How grave.
        priority: Priority,
    },
    /// The target has moved on.
    StaleBase {
        /// What it holds.
        head: Commit,
    },
    /// Nobody has approved it.
    NotApproved,
    /// The approval is for something else.
    OtherDigest,
    /// The approval has expired.
    Expired,
    /// Who approved it is no operator.
    NotOperator {
        /// Who.
        name: String,
    },
    /// Who wrote it may not approve it, whatever kind of principal the name is used for.
    AuthorIsApprover {
        /// Who.
        name: String,
    },
}

impl Block {
    /// Returns the reason in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::NothingToPromote => "nothing is changed".into(),
            Self::NotValidated => {
                "the last checkpoint was not found clean by the import filter".into()
            }
            Self::NoEvidence { gate } => format!("gate `{gate}` has not looked at this tree"),
            Self::GateFailed { gate, reasons } => {
                format!("gate `{gate}` does not pass: {}", reasons.join("; "))
            }
            Self::NoGate => "no gate is configured, so nothing would be tested".into(),
            Self::OpenFinding { finding } => format!("finding {finding} is open"),
            Self::OpenAmbiguity {
                ambiguity,
                priority,
            } => {
                format!("question {ambiguity} ({}) is not answered", priority.name())
            }
            Self::StaleBase { head } => {
                format!(
                    "the target has moved to {}; the change must be rebased",
                    head.short()
                )
            }
            Self::NotApproved => "nobody has approved it".into(),
            Self::OtherDigest => "the approval is for another dossier".into(),
            Self::Expired => "the approval has expired".into(),
            Self::NotOperator { name } => format!("`{name}` is no operator and may not approve it"),
            Self::AuthorIsApprover { name } => format!("`{name}` wrote it and may not approve it"),
        }
    }
}

/// A human's yes: single-use, bound to one dossier, expiring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The human.
    pub by: String,
    /// The dossier that was shown.
    pub dossier: Digest,
    /// When it was given.
    pub at: Timestamp,
    /// From when on it counts no more.
    pub expires: Timestamp,
}

/// Proof that [`judge`] said yes to one dossier. Nothing else can make one; it cannot be read from
/// storage.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    dossier: Digest,
    tree: Digest,
}

impl Permit {
    /// Returns the dossier it is for.
    #[must_use]
    pub const fn dossier(&self) -> Digest {
        self.dossier
    }

    /// Returns the tree it is for.
    #[must_use]
    pub const fn tree(&self) -> Digest {
        self.tree
    }
}

/// Returns every reason that blocks, whoever approves.
#[must_use]
pub fn blocks(facts: &Facts) -> Vec<Block> {
    let mut blocks = Vec::new();
    if facts.files == 0 {
        blocks.push(Block::NothingToPromote);
    }
    if !facts.is_validated {
        blocks.push(Block::NotValidated);
    }
    if facts.gates_required.is_empty() {
        blocks.push(Block::NoGate);
    }
    for gate in &facts.gates_required {
        match facts
            .gates
            .iter()
            .find(|it| it.gate == *gate && it.tree == facts.tree)
        {
            None => blocks.push(Block::NoEvidence { gate: gate.clone() }),
            Some(fact) if !fact.reasons.is_empty() => {
                let reasons = fact.reasons.clone();
                blocks.push(Block::GateFailed {
                    gate: gate.clone(),
                    reasons,
                });
            }
            Some(_) => {}
        }
    }
    blocks.extend(
        facts
            .open_findings
            .iter()
            .map(|it| Block::OpenFinding { finding: *it }),
    );
    let grave = facts
        .open_ambiguities
        .iter()
        .filter(|(_, it)| *it <= Priority::P1);
    blocks.extend(grave.map(|(ambiguity, priority)| Block::OpenAmbiguity {
        ambiguity: *ambiguity,
        priority: *priority,
    }));
    if facts.target_head != facts.base {
        blocks.push(Block::StaleBase {
            head: facts.target_head.clone(),
        });
    }
    blocks
}

/// Judges a dossier and the approval that was given for it.
///
/// # Errors
/// Returns every reason that blocks, not only the first.
pub fn judge(
    facts: &Facts,
    dossier: Digest,
    approval: Option<&Approval>,
    now: Timestamp,
) -> Result<Permit, Vec<Block>> {
    let mut blocks = blocks(facts);
    match approval {
        None => blocks.push(Block::NotApproved),
        Some(approval) => {
            if approval.dossier != dossier {
                blocks.push(Block::OtherDigest);
            }
            // A clock that jumped back before the approval must not lengthen it.
            if approval.expires <= now || now < approval.at {
                blocks.push(Block::Expired);
            }
            if !principal::is_operator(&approval.by) {
                blocks.push(Block::NotOperator {
                    name: approval.by.clone(),
                });
            }
            if facts.has_author(&approval.by) {
                blocks.push(Block::AuthorIsApprover {
                    name: approval.by.clone(),
                });
            }
        }
    }
    if blocks.is_empty() {
        Ok(Permit {
            dossier,
            tree: facts.tree,
        })
    } else {
        Err(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn commit(digit: char) -> Commit {
        core::iter::repeat_n(digit, 40)
            .collect::<String>()
            .parse()
            .unwrap()
    }

    fn facts() -> Facts {
        let tree = Digest::from_bytes([1; 32]);
        Facts {
            tree,
            base: commit('a'),
            target_head: commit('a'),
            gates_required: vec!["unit".into()],
            gates: vec![GateFact {
                gate: "unit".into(),
                tree,
                reasons: vec![],
            }],
            is_validated: true,
            files: 1,
            open_findings: vec![],
            open_ambiguities: vec![],
            authors: vec!["agent:scripted".into()],
        }
    }

    fn approval() -> Approval {
        Approval {
            by: "operator:ada".into(),
            dossier: Digest::ZERO,
            at: Timestamp(100),
            expires: Timestamp(200),
        }
    }

    fn verdict(facts: &Facts, approval: Option<&Approval>, now: u64) -> Vec<Block> {
        judge(facts, Digest::ZERO, approval, Timestamp(now))
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn a_clean_and_approved_dossier_gets_its_permit() {
        let permit = judge(&facts(), Digest::ZERO, Some(&approval()), Timestamp(150)).unwrap();
        assert_eq!(permit.tree(), facts().tree);
    }

    #[test]
    fn without_approval_there_is_no_permit() {
        assert_eq!(verdict(&facts(), None, 150), [Block::NotApproved]);
    }

    #[test]
    fn an_approval_expires_and_does_not_work_before_its_time() {
        assert_eq!(verdict(&facts(), Some(&approval()), 200), [Block::Expired]);
        assert_eq!(verdict(&facts(), Some(&approval()), 99), [Block::Expired]);
    }

    #[test]
    fn an_approval_for_another_dossier_is_worthless() {
        let other = Approval {
            dossier: Digest::from_bytes([9; 32]),
            ..approval()
        };
        assert_eq!(verdict(&facts(), Some(&other), 150), [Block::OtherDigest]);
    }

    #[test]
    fn evidence_for_another_tree_is_no_evidence() {
        let mut facts = facts();
        facts.gates[0].tree = Digest::from_bytes([2; 32]);
        let expected = [Block::NoEvidence {
            gate: "unit".into(),
        }];
        assert_eq!(verdict(&facts, Some(&approval()), 150), expected);
    }

    #[test]
    fn everything_that_blocks_is_named_at_once() {
        let mut facts = facts();
        facts.files = 0;
        facts.is_validated = false;
        facts.gates_required.clear();
        facts.open_findings.push(FindingId::from_bits(1));
        facts
            .open_ambiguities
            .push((AmbiguityId::from_bits(1), Priority::P1));
        facts
            .open_ambiguities
            .push((AmbiguityId::from_bits(2), Priority::P2));
        facts.target_head = commit('b');
        facts.authors.push("operator:ada".into());
        assert_eq!(verdict(&facts, Some(&approval()), 150).len(), 7);
    }

    proptest! {
        #[test]
        fn no_single_breach_gets_a_permit(breach in 0_usize..8, now in 100_u64..200) {
            let (mut facts, mut approval) = (facts(), approval());
            match breach {
                0 => facts.files = 0,
                1 => facts.is_validated = false,
                2 => facts.gates.clear(),
                3 => facts.gates[0].reasons.push("red".into()),
                4 => facts.open_findings.push(FindingId::from_bits(3)),
                5 => facts.target_head = commit('c'),
                6 => facts.authors.push("agent:Ada".into()),
                _ => approval.by = "service:deploy".into(),
            }
            prop_assert_eq!(verdict(&facts, Some(&approval), now).len(), 1);
        }
    }
}
