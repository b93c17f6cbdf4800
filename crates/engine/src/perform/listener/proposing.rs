//! Proposing: what an agent wants done beyond its tree is filed for the operator, if its role may
//! propose it; the agent is told under which name, or why not.

use domain::action::REASON_BYTES_MAX;
use domain::message::Topic;
use domain::{ActionId, MessageId};

use super::SessionListener;
use crate::actions::{self, Wanted};
use crate::recorder::Error;
use crate::steering::note;

/// Proposals heard from one session; more are refused, and that is recorded.
const PROPOSALS_MAX: usize = 20;

/// Who tells the agent.
const FROM: &str = "engine";

impl SessionListener<'_> {
    /// Files a proposal, or refuses it; the agent is told either way.
    pub(super) fn propose(
        &self,
        heard: &mut usize,
        action: &str,
        arguments: String,
        why: &str,
    ) -> Result<(), Error> {
        *heard += 1;
        let raw = format!("{action} {arguments}: {why}");
        let told = match self.file(*heard, action, arguments, why)? {
            Ok(id) => format!("{action} is filed as {id}; a human decides. Go on without it."),
            Err(refusal) => {
                self.refuse(&refusal, &raw)?;
                format!("{action} is not filed: {refusal}")
            }
        };
        if *heard > PROPOSALS_MAX {
            return Ok(());
        }
        let id = MessageId::from_bits(self.bench.recorder.fresh());
        self.submit(|_| {
            let whom = (self.work, self.id);
            Ok(vec![note(whom, id, Topic::Notice, told.clone(), FROM)])
        })
    }

    /// Returns under which name it was filed, or why it was not.
    fn file(
        &self,
        heard: usize,
        action: &str,
        arguments: String,
        why: &str,
    ) -> Result<Result<ActionId, String>, Error> {
        let case = self.bench.recorder.load(self.work)?;
        let roles = case.active().map(|it| it.run.roles.as_slice());
        let mut own = roles
            .unwrap_or_default()
            .iter()
            .filter(|it| it.name == self.about.role);
        let may = own.any(|it| it.may_propose.iter().any(|it| it == action));
        if !may {
            let role = &self.about.role;
            return Ok(Err(format!(
                "the role `{role}` does not propose `{action}`"
            )));
        }
        if heard > PROPOSALS_MAX {
            return Ok(Err("more proposals than one session may file".to_owned()));
        }
        let mut why: String = why.chars().filter(|it| !it.is_control()).collect();
        why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
        let wanted = Wanted {
            name: action.to_owned(),
            arguments,
            work: Some(self.work),
            session: Some(self.id),
            by: format!("agent:{}", self.about.agent),
            author: None,
            why,
        };
        match actions::propose(self.bench.recorder, &wanted) {
            Ok(id) => Ok(Ok(id)),
            Err(error @ (Error::Executor(_) | Error::Invalid(_) | Error::Action(_))) => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}
