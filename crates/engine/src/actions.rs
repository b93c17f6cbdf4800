//! Actions as the engine tends them: proposed by anybody, approved on paper that the operator has
//! signed, and asked for beside the works, so that an executor that is away holds up nothing.

use domain::action::{self, Approval, Command, Facts, Needs, Paper, Proposal, State, Verdict};
use domain::effect::Effect;
use domain::{ActionId, EffectId, GrantId, SessionId, Timestamp, WorkId, grant};
use ports::executor::{Description, Executor};

use crate::perform::execute;
use crate::recorder::{Error, Recorder, decoded_effect};
use crate::views::board::Board;

/// The most actions that may wait for the operator at once, of one work or of none.
pub const WAITING_MAX: usize = 20;

/// What somebody wants done.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The action's name.
    pub name: String,
    /// Its arguments, as JSON.
    pub arguments: String,
    /// The work it comes from.
    pub work: Option<WorkId>,
    /// The session in which it is proposed.
    pub session: Option<SessionId>,
    /// Who proposes it.
    pub by: String,
    /// Who made what is brought into the world; without it, whoever wrote the work's change, or
    /// proposes it.
    pub author: Option<String>,
    /// Why.
    pub why: String,
}

/// Returns the executor.
///
/// # Errors
/// When none is set up.
pub fn executor(recorder: &Recorder) -> Result<&dyn Executor, Error> {
    let executor = recorder.world().executor.as_deref();
    executor.ok_or_else(|| {
        Error::Invalid(
            "no executor is set up; say `[executor] socket = \"/run/palisade/executor.sock\"` in \
             palisade.toml, or set PALISADE_EXECUTOR"
                .to_string(),
        )
    })
}

/// Proposes an action. The same one of the same work that waits already is not filed twice.
///
/// # Errors
/// When there is no such action, its arguments are not its own, or too many wait.
pub fn propose(recorder: &Recorder, wanted: &Wanted) -> Result<ActionId, Error> {
    let understood = executor(recorder)?.understand(&wanted.name, &wanted.arguments)?;
    let board = Board::read(recorder.world().log.as_ref())?;
    let waiting = board.actions.iter().filter(|(_, state)| {
        let proposal = state.proposal().filter(|it| it.work == wanted.work);
        matches!(state, State::Proposed(_)) && proposal.is_some()
    });
    let mut count = 0_usize;
    for (id, state) in waiting {
        let proposal = state.proposal();
        if proposal.is_some_and(|it| it.digest == understood.digest && it.by == wanted.by) {
            return Ok(*id);
        }
        count = count.saturating_add(1);
    }
    if count >= WAITING_MAX {
        return Err(Error::Invalid(format!(
            "{count} actions wait for the operator already; these come first"
        )));
    }
    let proposal = Proposal {
        name: understood.name,
        arguments: understood.arguments,
        digest: understood.digest,
        subject: understood.subject,
        lane: understood.lane,
        needs: understood.needs,
        authors: authors(recorder, wanted)?,
        by: wanted.by.clone(),
        work: wanted.work,
        session: wanted.session,
        why: wanted.why.clone(),
    };
    let id = ActionId::from_bits(recorder.fresh());
    recorder.on_action(id, None, |_| Ok(Some(Command::Propose(proposal.clone()))))?;
    Ok(id)
}

fn authors(recorder: &Recorder, wanted: &Wanted) -> Result<Vec<String>, Error> {
    if let Some(author) = &wanted.author {
        return Ok(vec![author.clone()]);
    }
    let mut authors = match wanted.work {
        Some(work) => recorder.load(work)?.authors(),
        None => Vec::new(),
    };
    let is_agents = wanted.session.is_some();
    if (is_agents && !authors.contains(&wanted.by)) || authors.is_empty() {
        authors.push(wanted.by.clone());
    }
    Ok(authors)
}

/// Returns what an action is judged on, as it is now.
///
/// # Errors
/// When the log cannot be read.
pub fn facts(recorder: &Recorder, proposal: &Proposal) -> Result<Facts, Error> {
    execute::facts(recorder, proposal)
}

/// Approves an action on paper that the operator has signed.
///
/// # Errors
/// When a rule says no.
pub fn approve(recorder: &Recorder, id: ActionId, approval: &Approval) -> Result<State, Error> {
    recorder.on_action(id, None, |state| {
        let facts = match state.proposal() {
            Some(proposal) => facts(recorder, proposal)?,
            None => Facts::default(),
        };
        Ok(Some(Command::Approve(approval.clone(), facts)))
    })
}

/// Says no to an action.
///
/// # Errors
/// When a rule says no.
pub fn deny(recorder: &Recorder, id: ActionId, reason: &str) -> Result<State, Error> {
    let verdict = verdict(recorder, reason);
    recorder.on_action(id, None, |_| Ok(Some(Command::Deny(verdict.clone()))))
}

/// Takes an action back before the executor is asked.
///
/// # Errors
/// When a rule says no.
pub fn withdraw(recorder: &Recorder, id: ActionId, reason: &str) -> Result<State, Error> {
    let verdict = verdict(recorder, reason);
    recorder.on_action(id, None, |_| Ok(Some(Command::Withdraw(verdict.clone()))))
}

fn verdict(recorder: &Recorder, reason: &str) -> Verdict {
    Verdict {
        by: recorder.actor().to_string(),
        reason: reason.to_string(),
    }
}

/// Asks the executor for the receipt of an action that nobody could say anything about, and settles
/// it by that; returns how it stands now.
///
/// # Errors
/// When the executor does not answer, or the log fails.
pub fn look_again(recorder: &Recorder, id: ActionId) -> Result<State, Error> {
    let state = recorder.action(id)?;
    let State::Settled(_, _, known) = &state else {
        return Ok(state);
    };
    if known.status != action::Status::Unknown {
        return Ok(state);
    }
    let request = domain::ExecutionId::from_bits(id.bits());
    let Some(receipt) = executor(recorder)?.receipt(request)? else {
        return Ok(state);
    };
    if receipt.status == action::Status::Unknown {
        return Ok(state);
    }
    let settlement = action::Settlement {
        status: receipt.status,
        why: receipt.failure,
        receipt: Some(recorder.world().artifacts.put(receipt.text.as_bytes())?),
    };
    recorder.on_action(id, None, |state| {
        let is_unknown =
            matches!(state, State::Settled(.., it) if it.status == action::Status::Unknown);
        Ok(is_unknown.then(|| Command::Settle(settlement.clone())))
    })
}

/// Something about an action that the engine can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Approve it by a standing grant.
    UseGrant(ActionId, GrantId),
    /// Ask the executor for it.
    Dispatch(ActionId, EffectId),
}

impl Task {
    /// Returns the action.
    #[must_use]
    pub const fn action(self) -> ActionId {
        match self {
            Self::UseGrant(id, _) | Self::Dispatch(id, _) => id,
        }
    }
}

/// Returns what can be done about actions now. Without an executor there is nothing.
///
/// # Errors
/// When the log cannot be read.
pub fn due(recorder: &Recorder, board: &Board) -> Result<Vec<Task>, Error> {
    let world = recorder.world();
    if world.executor.is_none() {
        return Ok(Vec::new());
    }
    let now = world.clock.now();
    let mut tasks = Vec::new();
    for (id, state) in &board.actions {
        if let State::Proposed(proposal) = state
            && let Some(grant) = covering(board, proposal, now)
        {
            tasks.push(Task::UseGrant(*id, grant));
        }
    }
    for pending in world.log.pending()? {
        let Effect::Execute { action } = decoded_effect(&pending.effect)? else {
            continue;
        };
        let wait = match board.actions.get(&action) {
            Some(State::Dispatched(_, approval, attempt)) => attempt.next.min(approval.expires),
            Some(
                State::Absent
                | State::Proposed(_)
                | State::Permitted(..)
                | State::Settled(..)
                | State::Denied(..)
                | State::Withdrawn(..)
                | State::Expired(..),
            )
            | None => Timestamp(0),
        };
        if now >= wait {
            tasks.push(Task::Dispatch(action, pending.effect.id));
        }
    }
    Ok(tasks)
}

/// Does one of these tasks.
///
/// # Errors
/// When the log or the store fails. An executor that is away is no error: it is asked again later.
pub fn carry_out(recorder: &Recorder, task: Task) -> Result<(), Error> {
    match task {
        Task::Dispatch(id, effect) => execute::perform(recorder, id, effect),
        Task::UseGrant(id, grant) => match use_grant(recorder, id, grant) {
            // Another process was faster, or the executor has another policy: it waits on.
            Err(Error::Grant(_) | Error::Action(_) | Error::Executor(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        },
    }
}

fn use_grant(recorder: &Recorder, id: ActionId, by: GrantId) -> Result<(), Error> {
    let Description { policy, .. } = executor(recorder)?.describe()?;
    let state = recorder.action(id)?;
    let granted = recorder.grant(by)?;
    let (Some(proposal), Some((grant, _))) = (state.proposal(), granted.grant()) else {
        return Ok(());
    };
    let now = recorder.world().clock.now();
    let approval = Approval {
        by: grant.by.clone(),
        paper: Paper::Grant(by),
        envelope: grant.envelope,
        policy,
        target: grant.target.clone(),
        requester: grant.requester.clone(),
        at: now,
        expires: grant.expires,
    };
    let approve = Command::Approve(approval, facts(recorder, proposal)?);
    let used = grant::Command::Use {
        action: id,
        name: proposal.name.clone(),
        policy,
        now,
    };
    recorder.approve_by_grant((id, &approve), (by, &used))?;
    Ok(())
}

/// Returns a standing grant that an action can run on, as far as its own terms tell: the one that
/// expires first.
fn covering(board: &Board, proposal: &Proposal, now: Timestamp) -> Option<GrantId> {
    if proposal.needs != Needs::Grant {
        return None;
    }
    let covers = |state: &grant::State| match state {
        grant::State::Given(grant, used) => {
            grant.actions.contains(&proposal.name) && now < grant.expires && *used < grant.uses_max
        }
        grant::State::Absent | grant::State::Revoked(..) => false,
    };
    let fitting = board.grants.iter().filter(|(_, state)| covers(state));
    let first = fitting.min_by_key(|(id, state)| {
        let expires = state.grant().map(|(it, _)| it.expires);
        (expires, **id)
    });
    first.map(|(id, _)| *id)
}
