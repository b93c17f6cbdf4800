//! What it means that a budget of tokens or money, or a work's allowance of disk or output, is used
//! up: what the session did is kept, and the operator is asked before another goes on from there.

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use super::{Left, ended, sentence};
use crate::agent::EndReason;
use crate::ambiguity::{self, Ambiguity, Priority, Report};
use crate::case::Command;
use crate::run::{self, Active, Mend};
use crate::session::Session;
use crate::{AmbiguityId, SessionId};

/// Says what follows. The attempt does not count, and the next session begins on what was left.
pub(super) fn exhausted(
    id: SessionId,
    about: &Session,
    active: &Active,
    detail: &str,
    left: Option<&Left>,
) -> Vec<Command> {
    let detail = detail.to_string();
    let told = sentence(&EndReason::OverBudget {
        detail: detail.clone(),
    });
    let mut commands = Vec::new();
    if let Some(left) = left {
        let tree = left.clean.clone();
        commands.push(Command::Run(about.run, run::Command::Advance { tree }));
    }
    commands.push(Command::Run(
        about.run,
        run::Command::Fail {
            step: about.step.clone(),
            why: told.clone(),
            mend: Mend::Again,
            notes: ended(active, told),
        },
    ));
    // A session ends once, so its own bits name one question.
    let question = AmbiguityId::from_bits(id.bits());
    let file = ambiguity::Command::File(question_of(id, about, &detail));
    commands.push(Command::Ambiguity(question, file));
    commands
}

fn question_of(id: SessionId, about: &Session, detail: &str) -> Ambiguity {
    let go_on = "Go on, within the budgets as they are set then".to_string();
    Ambiguity {
        work: about.work,
        run: about.run,
        session: id,
        step: about.step.clone(),
        role: about.role.clone(),
        priority: Priority::P0,
        report: Report {
            question: format!("May the work take more? The budget is used up: {detail}"),
            why: "no further session can begin; what this one did is kept".to_string(),
            options: vec![
                go_on.clone(),
                "Go on, and do what I write in my answer".to_string(),
            ],
            recommended: go_on.clone(),
            impact:
                "raise it in palisade.toml first (`[models]`, or `work_…` in `[limits]`), or the \
                     next session ends as this one did; `palisade cost` and `palisade stats` say \
                     what was taken, `palisade stop` calls the work off"
                    .to_string(),
            default_held: go_on,
        },
        key: format!("budget of session {id}"),
        malformed: vec![],
    }
}
