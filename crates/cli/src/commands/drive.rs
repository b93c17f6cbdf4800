//! Driving: run the engine until every work waits for the operator or is over, and tell what
//! happens meanwhile.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use domain::event::Event;
use domain::{WorkId, promotion};
use engine::collection::Intent;
use engine::coordinator::Coordinator;
use engine::recorder::decoded;
use engine::views;
use engine::views::board::{Board, Line, name_of};
use ports::log::Position;

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::lock::{self, Taken};
use crate::models;
use crate::terminal::{self, BAD, DIM, GOOD, WARN};

mod acting;

/// The longest text of an agent or a runner that is told in a line, in characters.
const TOLD_CHARS_MAX: usize = 240;

/// Drives all open works; `about` are the ones to report on, or all open ones if it is empty.
pub(crate) fn drive(common: &Common, context: &Context, about: &[WorkId]) -> Outcome {
    let mut teller = Teller::from_now(context)?;
    match lock::take(&context.place.state)? {
        Taken::Ours(_lock) => {
            sweep(context)?;
            let coordinator = Coordinator::new(&context.recorder, &context.settings);
            let rest = coordinator.run(|| teller.tell(context))?;
            let failed = !rest.errors.is_empty();
            let failed = failed || !rest.action_errors.is_empty();
            for (action, error) in rest.action_errors {
                terminal::complain(
                    &anyhow::Error::new(error).context(format!("{action} cannot go on")),
                );
            }
            for (work, error) in rest.errors {
                let name = teller.name(work);
                terminal::complain(
                    &anyhow::Error::new(error).context(format!("{name} cannot go on")),
                );
            }
            teller.tell(context);
            store_views(context)?;
            report(common, context, about, failed)
        }
        Taken::Theirs(holder) => {
            terminal::say(format!(
                "another palisade (process {holder}) is at work here and takes this on; following it"
            ));
            follow(context, &mut teller, about)?;
            report(common, context, about, false)
        }
    }
}

/// Removes what engines that died have left, and says so.
fn sweep(context: &Context) -> Result<(), Failure> {
    let found = engine::sweep::sweep(&context.recorder, &context.settings)?;
    let sockets = models::sweep(Intent::Remove).len();
    let stale = found.iter().filter(|it| it.is_stale).count() + sockets;
    if stale > 0 {
        terminal::say(format!("swept what an engine that died had left: {stale}"));
    }
    for kept in found.iter().filter(|it| !it.is_stale) {
        let text = format!(
            "left as it is: {} of {}: {}",
            kept.kind, kept.owner, kept.why
        );
        terminal::say(terminal::styled(&text, WARN));
    }
    Ok(())
}

/// Follows another engine until the works rest, or that engine is gone.
fn follow(context: &Context, teller: &mut Teller, about: &[WorkId]) -> Result<(), Failure> {
    loop {
        teller.tell(context);
        let lines = context.board()?.lines();
        let busy = lines.iter().any(|it| {
            about.contains(&it.work) && matches!(it.state.as_str(), "submitted" | "working")
        });
        if !busy {
            return Ok(());
        }
        if let Taken::Ours(_) = lock::take(&context.place.state)? {
            terminal::say("the other palisade has ended; `palisade resume` goes on");
            return Ok(());
        }
        thread::park_timeout(Duration::from_millis(200));
    }
}

/// Writes the stored views, for programs that read files.
pub(crate) fn store_views(context: &Context) -> Result<(), Failure> {
    let text = context.board()?.stored()?;
    let folder = context.place.state.join("views");
    std::fs::create_dir_all(&folder)?;
    let (path, fresh) = (folder.join("board.json"), folder.join("board.json.new"));
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)?;
    Ok(())
}

fn report(common: &Common, context: &Context, about: &[WorkId], failed: bool) -> Outcome {
    let board = context.board()?;
    let wanted = |it: &Line| about.is_empty() || about.contains(&it.work);
    let lines: Vec<_> = board.lines().into_iter().filter(wanted).collect();
    if common.json {
        terminal::json(&lines)?;
    }
    let of = |state: &str| lines.iter().filter(|it| it.state == state).count();
    let waiting = of("input_required");
    if !common.json {
        for line in &lines {
            let style = match line.state.as_str() {
                "completed" => GOOD,
                "failed" | "canceled" => BAD,
                _ => WARN,
            };
            let state = terminal::styled(&line.state, style);
            terminal::say(format!("{}: {state}: {}", line.name, line.detail));
        }
    }
    next_steps(&board, &lines);
    Ok(if failed || of("failed") > 0 {
        Exit::Failed
    } else if waiting > 0 {
        Exit::InputRequired
    } else {
        Exit::Done
    })
}

fn next_steps(board: &Board, lines: &[Line]) {
    let mut landed: Vec<_> = lines.iter().filter_map(|it| landed_on(board, it)).collect();
    landed.sort();
    landed.dedup();
    for branch in landed {
        terminal::say(format!(
            "landed on {branch}; take it with: git merge --ff-only {branch}"
        ));
    }
    let questions = board.questions().len();
    if questions > 0 {
        terminal::say(format!(
            "open questions: {questions} (palisade queue, palisade answer)"
        ));
    }
    let decisions = board.decisions().len();
    if decisions > 0 {
        terminal::say(format!(
            "proposals that wait for you: {decisions} (palisade decide)"
        ));
    }
    let actions = views::actions::waiting(board, "").len();
    if actions > 0 {
        terminal::say(format!(
            "actions that wait for you: {actions} (palisade decide)"
        ));
    }
}

/// Returns the branch that holds a promoted change, if it is not the one it was meant for.
fn landed_on(board: &Board, line: &Line) -> Option<String> {
    let promotions = board.cases.get(&line.work)?.promotions.values();
    promotions.into_iter().find_map(|state| match state {
        promotion::State::Promoted(proposal, ..) => {
            let branch = proposal.lands_on.strip_prefix("refs/heads/")?;
            (branch != proposal.target).then(|| branch.to_string())
        }
        promotion::State::Absent
        | promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..)
        | promotion::State::Refused(..)
        | promotion::State::Stale(..) => None,
    })
}

/// Tells on stderr what happens, a line for each event that matters.
#[derive(Debug)]
pub(crate) struct Teller {
    position: Position,
    names: BTreeMap<WorkId, String>,
}

impl Teller {
    /// Returns a teller of what happens from the works' present state on.
    pub(crate) fn from_now(context: &Context) -> Result<Self, Failure> {
        let board = context.board()?;
        let names = board
            .cases
            .iter()
            .map(|(id, case)| (*id, name_of(case)))
            .collect();
        Ok(Self {
            position: board.position,
            names,
        })
    }

    fn name(&self, work: WorkId) -> String {
        self.names
            .get(&work)
            .cloned()
            .unwrap_or_else(|| work.to_string())
    }

    /// Tells what was appended since.
    pub(crate) fn tell(&mut self, context: &Context) {
        let Ok(page) = context.recorder.world().log.read_all(self.position, 1_000) else {
            return;
        };
        for recorded in page {
            self.position = recorded.position;
            let Ok(work) = recorded.event.correlation.parse::<WorkId>() else {
                continue;
            };
            let Ok(event) = decoded(&recorded) else {
                continue;
            };
            if let Event::Work(id, domain::work::Event::Submitted(about)) = &event {
                self.names.insert(*id, about.name.clone());
            }
            if let Some(told) = told(&event) {
                let name = terminal::styled(&format!("{:<16}", self.name(work)), DIM);
                terminal::say(format!("{name} {told}"));
            }
        }
    }
}

/// Returns the first paths of a list, and how many more there are.
fn named(paths: &[String]) -> String {
    const NAMED_MAX: usize = 3;
    let first: Vec<_> = paths.iter().take(NAMED_MAX).map(String::as_str).collect();
    match (first.is_empty(), paths.len().saturating_sub(NAMED_MAX)) {
        (true, _) => "nothing had changed".to_string(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{}, and {more} more", first.join(", ")),
    }
}

/// Returns what an event means in a line, if people want to know.
#[expect(clippy::too_many_lines, reason = "a table: one line for each event")]
pub(crate) fn told(event: &Event) -> Option<String> {
    use domain::{ambiguity, breaker, checkpoint, finding, message, run, session, work};
    let printable = |text: &str| {
        let line = terminal::printable(text).replace('\n', " ");
        let cut: String = line.chars().take(TOLD_CHARS_MAX).collect();
        if cut.len() < line.len() {
            cut + "…"
        } else {
            cut
        }
    };
    Some(match event {
        Event::Session(_, session::Event::Requested(it)) => {
            format!("{}: {} starts (round {})", it.step, it.role, it.round)
        }
        Event::Session(_, session::Event::Progressed { text }) => format!("  {}", printable(text)),
        Event::Session(_, session::Event::SignalRefused { why, .. }) => {
            terminal::styled(&format!("  refused: {}", printable(why)), WARN)
        }
        Event::Session(_, session::Event::AttemptDenied { what, count }) => {
            let text = format!("  the kernel refused {} ({count} times)", printable(what));
            terminal::styled(&text, WARN)
        }
        Event::Session(
            _,
            session::Event::ToolCalled(session::ToolCall {
                tool,
                subject,
                refused: Some(why),
                ..
            }),
        ) => {
            let text = format!("  {tool} {subject}: not permitted: {why}");
            terminal::styled(&printable(&text), WARN)
        }
        Event::Session(_, session::Event::ModelFellBack(it)) => {
            terminal::styled(&format!("  {}", printable(&it.to_string())), WARN)
        }
        Event::Session(_, session::Event::Connected(it)) => {
            format!("  {}", printable(&it.to_string()))
        }
        Event::Session(_, session::Event::PauseRequested(it)) => terminal::styled(
            &format!("  paused by {}: {}", it.by, printable(&it.why)),
            WARN,
        ),
        Event::Session(_, session::Event::Resumed { by }) => format!("  goes on: {by}"),
        Event::Session(_, session::Event::Ended(end))
            if matches!(end.reason, domain::agent::EndReason::RolledBack { .. }) =>
        {
            format!("  ended after {}, for its tree to be put back", end.wall)
        }
        Event::Session(_, session::Event::Ended(end)) => {
            let told = printable(&domain::conclude::sentence(&end.reason));
            format!("  ended after {}: {told}", end.wall)
        }
        Event::Message(_, message::Event::Queued(it)) => format!(
            "  {} to the agent: {}",
            it.severity.name(),
            printable(&it.text)
        ),
        Event::Message(_, message::Event::Acknowledged { text }) => {
            format!("  the agent understood: {}", printable(text))
        }
        Event::Message(_, message::Event::Escalated) => {
            terminal::styled("  a message was not acknowledged: please look", WARN)
        }
        Event::Breaker(service, breaker::Event::Opened { why, .. }) => terminal::styled(
            &format!(
                "the {service} is left alone for a while: {}",
                printable(why)
            ),
            BAD,
        ),
        Event::Breaker(service, breaker::Event::Closed { .. }) => {
            format!("the {service} works again")
        }
        Event::Run(_, run::Event::RolledBack(done)) => {
            let text = format!(
                "the tree was put back by {}: {}; {} kept",
                done.rollback.by,
                printable(&named(&done.reverted)),
                done.kept.len(),
            );
            terminal::styled(&text, WARN)
        }
        Event::Run(_, run::Event::RollbackAbandoned { why }) => terminal::styled(
            &format!("the tree was not put back: {}", printable(why)),
            BAD,
        ),
        Event::Checkpoint(_, checkpoint::Event::Violated { violations, .. }) => {
            let lines = checkpoint::told(violations);
            let text = format!("  turned away: {}", printable(&lines.join("; ")));
            terminal::styled(&text, WARN)
        }
        Event::Ambiguity(_, ambiguity::Event::Filed(it)) => {
            let text = format!(
                "  asks ({}): {}",
                it.priority.name(),
                printable(&it.report.question)
            );
            terminal::styled(&text, WARN)
        }
        Event::Finding(_, finding::Event::Reported(it)) => {
            let text = format!(
                "  finding {}:{} [{}] {}",
                it.file, it.line, it.rule, it.text
            );
            terminal::styled(&printable(&text), WARN)
        }
        Event::Finding(_, finding::Event::Resolved(_)) => "  a finding is resolved".to_string(),
        Event::Run(
            _,
            run::Event::StepBegan {
                step,
                activity: run::Activity::Gates,
            },
        ) => {
            format!("{step}: gates run")
        }
        Event::Run(_, run::Event::StepPassed { step }) => {
            terminal::styled(&format!("{step}: passed"), GOOD)
        }
        Event::Run(_, run::Event::StepFailed { step, why, .. }) => {
            terminal::styled(&format!("{step}: {}", printable(why)), WARN)
        }
        Event::Run(_, run::Event::SentBack { to, .. }) => format!("sent back to `{to}`"),
        Event::Run(_, run::Event::Reopened { tree }) => {
            format!("gates and decision again, on {}", tree.base.short())
        }
        Event::Promotion(_, promotion::Event::Proposed(it)) => {
            format!(
                "proposed for {} (dossier {})",
                it.target,
                it.dossier.short()
            )
        }
        Event::Promotion(_, promotion::Event::Promoted { commit }) => {
            terminal::styled(&format!("promoted as {}", commit.short()), GOOD)
        }
        Event::Action(id, event) => acting::told(*id, event),
        Event::Work(_, work::Event::Closed(work::Ending::Failed { reason })) => {
            terminal::styled(&format!("failed: {}", printable(reason)), BAD)
        }
        Event::Ambiguity(..)
        | Event::Breaker(..)
        | Event::Message(..)
        | Event::Checkpoint(..)
        | Event::Evidence(..)
        | Event::Finding(..)
        | Event::Goal(..)
        | Event::Grant(..)
        | Event::Lease(..)
        | Event::Machine(..)
        | Event::Output(..)
        | Event::Plan(..)
        | Event::Promotion(..)
        | Event::Run(..)
        | Event::Session(..)
        | Event::Work(..) => return None,
    })
}
