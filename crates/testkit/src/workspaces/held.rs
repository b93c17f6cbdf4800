//! What the repository holds: commits and refs, and the trouble that is planned for it.

use domain::tree::Commit;
use ports::workspaces::{Landed, Target};

use super::{Fault, Held};

impl Held {
    /// Returns the fault that a call which does this meets, if one.
    pub(super) fn due(&mut self, doing: &str) -> Option<Fault> {
        self.calls += 1;
        if self.fault_always == Some(doing) {
            return Some(Fault::Before);
        }
        if let Some((_, fault)) = self.fault_of.take_if(|(what, _)| *what == doing) {
            return Some(fault);
        }
        match &mut self.fault {
            Some((0, fault)) => {
                let fault = *fault;
                self.fault = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    pub(super) fn is_ancestor(&self, of: &Commit, commit: &Commit) -> bool {
        let mut at = Some(commit);
        while let Some(here) = at {
            if here == of {
                return true;
            }
            at = self.commits.get(here).and_then(|it| it.parent.as_ref());
        }
        false
    }

    pub(super) fn land(&mut self, target: &Target, commit: &Commit) -> Landed {
        let now = self.refs.get(&target.lands_on).cloned();
        if now.as_ref().is_some_and(|it| self.is_ancestor(commit, it)) {
            return Landed::Yes;
        }
        if now != target.expected {
            return Landed::Moved(now);
        }
        self.refs.insert(target.lands_on.clone(), commit.clone());
        *self.landings.entry(commit.clone()).or_default() += 1;
        Landed::Yes
    }
}
