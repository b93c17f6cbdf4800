//! What a checkpoint means that was taken while the agent works: it is told at once what would be
//! turned away at the end, and what is grave does not wait until then.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use super::{Left, judged};
use crate::case::{Case, Command};
use crate::checkpoint;
use crate::message::{self, Message, Topic};
use crate::rollback::{Rollback, Strategy};
use crate::session::Pause;
use crate::severity::Severity;
use crate::{MessageId, Millis, SessionId, run, session};

/// Checkpoints in a row that may break rules before the operator must look.
pub const VIOLATIONS_MAX: usize = 3;

/// How long an agent may take to acknowledge what is grave, the first time it is told.
const ACKNOWLEDGE_WITHIN: Millis = Millis::from_secs(30);

/// The most violations named in one message.
const NAMED_MAX: usize = 20;

/// The name under which the engine speaks to agents and pauses them.
pub const ENGINE: &str = "engine";

/// Says what a checkpoint of a running session means. `policy` is how a tree with a critical
/// violation is put back; with none, the agent is only told.
#[must_use]
pub fn watched(
    case: &Case,
    id: SessionId,
    left: &Left,
    policy: Option<Strategy>,
    message: MessageId,
) -> Vec<Command> {
    let mut commands = Vec::new();
    // One that nobody could judge when it was taken is on record already.
    if !matches!(
        case.checkpoints.get(&left.id),
        Some(checkpoint::State::Captured(_))
    ) {
        let capture = checkpoint::Command::Capture(left.checkpoint.clone());
        commands.push(Command::Checkpoint(left.id, capture));
    }
    commands.push(judged(left));
    let (Some(about), Some(severity)) = (
        case.sessions.get(&id).and_then(session::State::live),
        Severity::greatest(&left.violations),
    ) else {
        return commands;
    };
    let in_a_row = case.violations_in_a_row().saturating_add(1);
    let is_over = in_a_row >= VIOLATIONS_MAX;
    let is_grave = severity == Severity::Critical;
    let put_back = policy.filter(|_| is_grave && !is_over);
    let mut text = told(left);
    if is_over {
        text.push_str("\nYou stand still now: the operator has to look.");
    } else if put_back.is_some() {
        text.push_str("\nYour session ends here; another goes on from the restored tree.");
    } else {
        text.push_str("\nTake it back, or it will be turned away at the end.");
    }
    let acknowledge = is_grave && put_back.is_none() && !is_over;
    let queue = message::Command::Queue(Message {
        work: about.work,
        session: id,
        topic: Topic::Violation,
        severity,
        text,
        from: ENGINE.to_string(),
        acknowledge_within: acknowledge.then_some(ACKNOWLEDGE_WITHIN),
    });
    commands.push(Command::Message(message, queue));
    let by = ENGINE.to_string();
    if is_over {
        let why = format!("{in_a_row} checkpoints in a row broke rules");
        let pause = session::Command::Pause(Pause { by, why });
        commands.push(Command::Session(id, pause));
    } else if let Some(strategy) = put_back {
        let wanted = Rollback {
            to: None,
            strategy,
            paths: vec![],
            by,
            why: summary(left),
        };
        let request = run::Command::RequestRollback(wanted);
        // One that is wanted already does as well.
        if case
            .decide(Command::Run(about.run, request.clone()))
            .is_ok()
        {
            let why = "the tree is about to be put back".to_string();
            let by = ENGINE.to_string();
            let pause = session::Command::Pause(Pause { by, why });
            commands.push(Command::Session(id, pause));
            commands.push(Command::Run(about.run, request));
        }
    }
    commands
}

fn summary(left: &Left) -> String {
    match left.violations.as_slice() {
        [] => String::new(),
        [only] => format!("{} [{}]: {}", only.path, only.rule.name(), only.detail),
        [first, rest @ ..] => format!(
            "{} [{}]: {}, and {} more",
            first.path,
            first.rule.name(),
            first.detail,
            rest.len()
        ),
    }
}

fn told(left: &Left) -> String {
    let mut lines = checkpoint::told(&left.violations);
    let more = lines.len().saturating_sub(NAMED_MAX);
    lines.truncate(NAMED_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    format!("These changes break rules:\n- {}", lines.join("\n- "))
}
