//! A session's way to language models: opened before its agent runs, counted while it does, closed
//! when it is over. What was taken becomes events, so that the log alone says what a budget leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use domain::agent::EndReason;
use domain::case::{Case, Command};
use domain::event::Event;
use domain::model::{FellBack, Model, Outage};
use domain::session::{self, Session};
use domain::usage::{Cap, ModelUsage, Usage};
use domain::{SessionId, WorkId};
use ports::agents::{Driver, Outcome, Task};
use ports::models::{
    Account, Before, Egress, Error as Fault, Grant, Halt, WATCHED_BYTES_MAX, WATCHED_MAX, Watched,
};

use super::Bench;
use super::compile::role_of;
use super::watchdog::Watchdog;
use crate::recorder::{Error, decoded};
use crate::views::cost;

mod choice;

use choice::Choice;

/// How often a session's account is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A way that is open.
#[derive(Debug)]
pub(super) struct Opened {
    /// The session's socket.
    pub(super) socket: PathBuf,
    session: SessionId,
    work: WorkId,
    /// The model the session is given, unless its agent was named with one.
    model: Option<Model>,
    /// Whether package registries can be reached.
    may_fetch_packages: bool,
    /// What the log knows of.
    noted: Mutex<Noted>,
}

/// What the log knows a session to have taken and done.
#[derive(Debug, Default)]
struct Noted {
    used: BTreeMap<(String, String), Usage>,
    fell_back: BTreeMap<(Model, Model, Outage), u64>,
    connections: usize,
}

impl Opened {
    /// Shows a task the way.
    pub(super) fn show(&self, task: &mut Task) {
        task.model_socket = Some(self.socket.clone());
        task.model.clone_from(&self.model);
        task.may_fetch_packages = self.may_fetch_packages;
    }
}

/// Opens a session's way to models, if its agent is to have one.
///
/// # Errors
/// With the reason why the session cannot begin.
pub(super) fn open(
    bench: &Bench<'_>,
    case: &Case,
    id: SessionId,
    about: &Session,
    driver: &dyn Driver,
) -> Result<Option<Opened>, EndReason> {
    let settings = &bench.settings.models;
    let may_fetch_packages = egress(bench, case, about).is_some();
    if !driver.needs_model() && !settings.for_every_agent {
        // A way to registries is no way to models.
        let reached = || reach(bench, case, (id, about), None, &Cap::default());
        return may_fetch_packages.then(reached).transpose();
    }
    let class = role_of(case, about).and_then(|it| it.model.as_deref());
    let speaks_to = |it: &str| driver.speaks_to(it);
    let choice = choice::choose(class, &settings.classes, &own_classes(case), &speaks_to)
        .map_err(|detail| EndReason::LaunchFailed { detail })?;
    reach(bench, case, (id, about), Some(choice), &Cap::default()).map(Some)
}

/// Opens a judge's way to models. Stand-ins are the broker's to ask; `own` bounds it beside what the
/// operator has set.
///
/// # Errors
/// With the reason why the session cannot begin.
pub(super) fn open_for_judge(
    bench: &Bench<'_>,
    case: &Case,
    id: SessionId,
    about: &Session,
    own: &Cap,
) -> Result<Opened, EndReason> {
    let classes = &bench.settings.models.classes;
    let choice = choice::choose(None, classes, &own_classes(case), &|_| true)
        .map_err(|detail| EndReason::LaunchFailed { detail })?;
    reach(bench, case, (id, about), Some(choice), own)
}

fn own_classes(case: &Case) -> BTreeMap<String, Vec<Model>> {
    let own = case.work().and_then(|(_, state)| state.record());
    own.map(|it| it.work.models.clone()).unwrap_or_default()
}

/// Opens a session's way out: to models, if there is a choice of them, and to what else its role may
/// reach. `own` bounds it beside what the operator has set.
///
/// # Errors
/// With the reason why the session cannot begin.
fn reach(
    bench: &Bench<'_>,
    case: &Case,
    (id, about): (SessionId, &Session),
    choice: Option<Choice>,
    own: &Cap,
) -> Result<Opened, EndReason> {
    let may_fetch_packages = egress(bench, case, about).is_some();
    let model = choice.as_ref().and_then(|it| it.model.clone());
    let failed = |detail: String| EndReason::LaunchFailed { detail };
    let Some(models) = &bench.recorder.world().models else {
        let wants = if choice.is_some() {
            format!("`{}` needs a language model", about.agent)
        } else {
            format!("the role `{}` may fetch packages", about.role)
        };
        return Err(failed(format!(
            "{wants}, and there is no way there: write broker.toml, and see that `palisade-broker` \
             is installed beside `palisade`"
        )));
    };
    let told = |error: &dyn std::fmt::Display| failed(error.to_string());
    let mut grant = grant(bench, case, id, about, choice).map_err(|it| told(&it))?;
    grant.caps.session = grant.caps.session.and(own);
    let opened = match models.open(&grant) {
        // An engine that died between opening and launching has left it open.
        Err(Fault::AlreadyOpen(_)) => models.close(id).and_then(|_| models.open(&grant)),
        other => other,
    };
    match opened {
        Ok(socket) => Ok(Opened {
            socket,
            session: id,
            work: about.work,
            model,
            may_fetch_packages,
            noted: Mutex::new(noted(bench, id).map_err(|it| told(&it))?),
        }),
        Err(Fault::OverBudget(detail)) => Err(EndReason::OverBudget { detail }),
        Err(
            error @ (Fault::Unreachable { .. }
            | Fault::AlreadyOpen(_)
            | Fault::NotFound(_)
            | Fault::Refused(_)
            | Fault::Failed(_)),
        ) => Err(told(&error)),
    }
}

/// Returns what a session may reach beside models: what the operator has listed, if its role may.
fn egress(bench: &Bench<'_>, case: &Case, about: &Session) -> Option<Egress> {
    let may = role_of(case, about).is_some_and(|it| it.may_fetch_packages);
    bench.settings.models.egress.clone().filter(|_| may)
}

fn grant(
    bench: &Bench<'_>,
    case: &Case,
    id: SessionId,
    about: &Session,
    choice: Option<Choice>,
) -> Result<Grant, Error> {
    let settings = &bench.settings.models;
    let (goal, _) = case
        .goal()
        .ok_or_else(|| Error::Fault(format!("work {} serves no goal", about.work)))?;
    let caps = settings.caps;
    let unbounded = Cap::default();
    let before = if [caps.work, caps.goal, caps.day] == [unbounded; 3] {
        Before::default()
    } else {
        let world = bench.recorder.world();
        cost::before(world.log.as_ref(), about.work, goal, world.clock.now())?
    };
    Ok(Grant {
        session: id,
        work: about.work,
        goal,
        role: about.role.clone(),
        asks_models: choice.is_some(),
        models: settings.allowed.clone(),
        caps,
        before,
        sent_bytes_max: settings.sent_bytes_max,
        tape: settings.tape.clone(),
        watched: watched(bench.watched_values(&about.tree.base)?),
        accepted: bench.settings.secrets.accepted.clone(),
        classes: choice.map(|it| it.classes).unwrap_or_default(),
        egress: egress(bench, case, about),
    })
}

/// Keeps to the limits of a grant. The beginning of a long value tells it as well.
fn watched(mut values: Vec<Watched>) -> Vec<Watched> {
    values.truncate(WATCHED_MAX);
    for it in &mut values {
        it.value.truncate(WATCHED_BYTES_MAX);
    }
    values
}

/// Notes what is taken while the agent runs, and has it end when nothing more goes through.
///
/// # Errors
/// When what was taken cannot be recorded: then the session ends as well.
pub(super) fn count(
    bench: &Bench<'_>,
    opened: &Opened,
    watchdog: &Watchdog<'_>,
) -> Result<(), Error> {
    let Some(models) = &bench.recorder.world().models else {
        return Ok(());
    };
    while !watchdog.is_over_after(LOOK) {
        match models.account(opened.session) {
            Ok(account) => {
                if let Some(halt) = &account.halt {
                    watchdog.end_with(reason(halt));
                }
                if let Err(error) = note(bench, opened, &account) {
                    watchdog.end_with(EndReason::Stopped);
                    return Err(error);
                }
            }
            // Without the broker no budget can be kept.
            Err(error) => watchdog.end_with(EndReason::Failed {
                detail: error.to_string(),
            }),
        }
    }
    Ok(())
}

/// Closes the way, and returns the reason for the session's end that follows from it.
///
/// # Errors
/// When what was taken cannot be recorded.
pub(super) fn close(bench: &Bench<'_>, opened: Option<Opened>) -> Result<Option<EndReason>, Error> {
    let (Some(opened), Some(models)) = (opened, &bench.recorder.world().models) else {
        return Ok(None);
    };
    match models.close(opened.session) {
        Ok(account) => {
            note(bench, &opened, &account)?;
            Ok(account.halt.as_ref().map(reason))
        }
        // It is gone, and with it what was not noted yet; the agent was ended for it above.
        Err(_) => Ok(None),
    }
}

/// Ends whatever a session asks at this moment. What it took is noted when it is settled.
pub(super) fn hang_up(bench: &Bench<'_>, id: SessionId) {
    if let Some(models) = &bench.recorder.world().models {
        // A broker that is gone has hung up as well.
        let (Ok(_) | Err(_)) = models.close(id);
    }
}

/// Puts the reason that the broker gives in place of what the agent said: a leak always, a used-up
/// budget unless the agent was done all the same.
pub(super) fn overrule(outcome: &mut Outcome, reason: EndReason) {
    let is_leak = matches!(reason, EndReason::Incident { .. });
    let is_kept = matches!(
        outcome.reason,
        EndReason::Done { .. } | EndReason::Incident { .. } | EndReason::RolledBack { .. }
    );
    if is_leak || !is_kept {
        outcome.reason = reason;
    }
}

/// Closes what a dead engine left open at a broker that outlived it, and notes what was taken.
///
/// # Errors
/// When that cannot be recorded.
pub(super) fn settle(bench: &Bench<'_>, work: WorkId, id: SessionId) -> Result<(), Error> {
    let Some(models) = &bench.recorder.world().models else {
        return Ok(());
    };
    // Most sessions never had a way to models, or closed it.
    let Ok(account) = models.close(id) else {
        return Ok(());
    };
    let opened = Opened {
        socket: PathBuf::new(),
        session: id,
        work,
        model: None,
        may_fetch_packages: false,
        noted: Mutex::new(noted(bench, id)?),
    };
    note(bench, &opened, &account)
}

fn reason(halt: &Halt) -> EndReason {
    let detail = match halt {
        Halt::OverBudget { detail } | Halt::Leak { detail } => detail.clone(),
    };
    match halt {
        Halt::OverBudget { .. } => EndReason::OverBudget { detail },
        Halt::Leak { .. } => EndReason::Incident { detail },
    }
}

/// Returns what the log knows a session to have taken and done.
fn noted(bench: &Bench<'_>, id: SessionId) -> Result<Noted, Error> {
    let mut noted = Noted::default();
    let log = &bench.recorder.world().log;
    for recorded in log.read_stream(&format!("session/{id}"), 0)? {
        let Event::Session(_, event) = decoded(&recorded)? else {
            continue;
        };
        if let session::Event::ModelBilled(used) = event {
            let sum = noted.used.entry((used.provider, used.model)).or_default();
            *sum = sum.plus(used.usage);
        } else if let session::Event::ModelFellBack(it) = event {
            let sum = noted.fell_back.entry((it.from, it.to, it.why)).or_default();
            *sum = sum.saturating_add(it.count);
        } else if let session::Event::Connected(_) = event {
            noted.connections = noted.connections.saturating_add(1);
        }
    }
    Ok(noted)
}

/// Notes what came on top of what the log knows.
fn note(bench: &Bench<'_>, opened: &Opened, account: &Account) -> Result<(), Error> {
    let mut noted = opened
        .noted
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let new = noted.take(account);
    if new.is_empty() {
        return Ok(());
    }
    let commands = || {
        let new = new.iter().cloned();
        new.map(|it| Command::Session(opened.session, it)).collect()
    };
    bench
        .recorder
        .submit(opened.work, None, |_| Ok(commands()))
        .map(drop)
}

impl Noted {
    /// Takes note of an account, and returns what is new in it.
    fn take(&mut self, account: &Account) -> Vec<session::Command> {
        let mut new = Vec::new();
        for fell in &account.fell_back {
            let key = (fell.from.clone(), fell.to.clone(), fell.why);
            let known = self.fell_back.entry(key).or_default();
            let count = fell.count.saturating_sub(*known);
            if count > 0 {
                *known = fell.count;
                let fell = FellBack {
                    count,
                    ..fell.clone()
                };
                new.push(session::Command::FallBack(fell));
            }
        }
        for used in &account.used {
            let key = (used.provider.clone(), used.model.clone());
            let known = self.used.entry(key).or_default();
            let usage = used.usage.since(*known);
            if !usage.is_nothing() {
                *known = used.usage;
                let used = ModelUsage {
                    usage,
                    ..used.clone()
                };
                new.push(session::Command::Bill(used));
            }
        }
        for connection in account.connections.iter().skip(self.connections) {
            new.push(session::Command::Connect(connection.clone()));
        }
        self.connections = self.connections.max(account.connections.len());
        new
    }
}
