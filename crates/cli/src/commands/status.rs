//! `palisade status`: every work and where it stands.

use anstyle::Style;
use clap::Parser;
use domain::{Timestamp, work};
use engine::views::board::{Board, Line};
use engine::views::{actions, health, outside};

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::lock;
use crate::moment::{age, counted};
use crate::table::{Cell, Table, one_line};
use crate::terminal::{self, BAD, DIM, GOOD, WARN};

/// Works that are over and still shown without `--all`.
const CLOSED_SHOWN: usize = 10;

/// Show every work and where it stands
///
/// One line for each open work and for the last ten that are over: its state, the steps passed of
/// all steps, the round, the sessions started of those the budget allows, open questions and
/// findings, the time since it was submitted, and what it does or waits for. What you can do next
/// is said on stderr, and so is all that is degraded: paused sessions, what could not be judged,
/// services that are left alone, too little disk or memory for a session. Reads the log only, so it can be called at any moment.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Show every work that is over, not only the last ten.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let (lines, left_out) = chosen(board.lines(), args.all);
    if common.json {
        terminal::json(&lines)?;
        return Ok(Exit::Done);
    }
    let now = context.recorder.world().clock.now();
    let waiting = actions::waiting(&board, &context.settings.operator);
    if lines.is_empty() && waiting.is_empty() {
        terminal::say("no works yet; `palisade run SPEC.md --agent NAME` begins one");
        return Ok(Exit::Done);
    }
    table(&lines, now).print(0);
    if left_out > 0 {
        let works = counted(left_out, "more work");
        let text = format!("{works} over before that: palisade status --all");
        terminal::say(terminal::styled(&text, DIM));
    }
    degraded(&context, &lines)?;
    for told in actions::troubles(&board) {
        terminal::say(terminal::styled(&one_line(&told), WARN));
    }
    next(&context, &board);
    for action in &waiting {
        let held = if action.blocks.is_empty() {
            "palisade decide".to_owned()
        } else {
            format!("blocked: {}", action.blocks.join("; "))
        };
        let text = format!("{} {} waits for you: {held}", action.name, action.id);
        terminal::say(one_line(&text));
    }
    crate::boundary::say_record(&context.recorder.machine()?);
    Ok(Exit::Done)
}

/// Keeps open works and the last that are over, in their order; returns how many are left out.
fn chosen(lines: Vec<Line>, all: bool) -> (Vec<Line>, usize) {
    let mut closed: Vec<_> = lines.iter().filter(|it| is_over(it)).collect();
    closed.sort_by_key(|it| std::cmp::Reverse((it.touched, it.work)));
    let shown = if all { closed.len() } else { CLOSED_SHOWN };
    let left_out: Vec<_> = closed.iter().skip(shown).map(|it| it.work).collect();
    let count = left_out.len();
    let kept = lines
        .into_iter()
        .filter(|it| !left_out.contains(&it.work))
        .collect();
    (kept, count)
}

/// Returns whether a work is over.
pub(crate) fn is_over(line: &Line) -> bool {
    matches!(line.state.as_str(), "completed" | "failed" | "canceled")
}

/// Returns the colour of a state: of a work, session, step, checkpoint, question or promotion.
pub(crate) fn colour(state: &str) -> Style {
    match state {
        "completed" | "passed" | "validated" | "promoted" | "done" | "ok" => GOOD,
        "failed" | "canceled" | "violated" | "blocked" | "refused" => BAD,
        "input_required" | "open" | "ready" | "stale" => WARN,
        _ => Style::new(),
    }
}

fn table(lines: &[Line], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "WORK", "STATE", "STEPS", "ROUND", "SESSIONS", "ASKS", "FINDINGS", "AGE", "NOW",
    ])
    .with_whole_first()
    .with_optional(&[4, 3, 7]);
    let count = |it: usize| {
        if it == 0 {
            String::new()
        } else {
            it.to_string()
        }
    };
    for line in lines {
        let (passed, steps) = line.steps;
        let (started, allowed) = line.sessions;
        let steps = if steps == 0 {
            String::new()
        } else {
            format!("{passed}/{steps}")
        };
        table.row([
            (&line.name).into(),
            Cell::styled(&line.state, colour(&line.state)),
            steps.into(),
            line.round.to_string().into(),
            format!("{started}/{allowed}").into(),
            Cell::styled(count(line.questions), WARN),
            Cell::styled(count(line.findings), WARN),
            Cell::styled(age(now.since(line.submitted)), DIM),
            (&line.detail).into(),
        ]);
    }
    table
}

/// Says what is not as it should be: of works, of services, of the disk.
pub(crate) fn degraded(context: &Context, lines: &[Line]) -> Result<(), Failure> {
    for line in lines {
        for trouble in &line.troubles {
            let text = format!("{}: {}", line.name, one_line(trouble));
            terminal::say(terminal::styled(&text, WARN));
        }
    }
    let log = context.recorder.world().log.as_ref();
    for line in lines.iter().filter(|it| !is_over(it)) {
        for told in outside::of_work(log, line.work)?.stand_ins() {
            let text = format!("{}: {}", line.name, one_line(&told));
            terminal::say(terminal::styled(&text, WARN));
        }
    }
    for told in health::open_breakers(context.recorder.world().log.as_ref())? {
        terminal::say(terminal::styled(&one_line(&told), BAD));
    }
    for line in lines.iter().filter(|it| !is_over(it)) {
        let case = context.recorder.load(line.work)?;
        for told in health::strained(&case, &context.settings.allowance) {
            let text = format!("{}: {told}", line.name);
            terminal::say(terminal::styled(&text, WARN));
        }
    }
    if let Some(told) = without_reserve(context) {
        terminal::say(terminal::styled(&told, WARN));
    }
    for told in engine::room::short_of(context.recorder.world(), &context.settings)? {
        terminal::say(terminal::styled(&told, BAD));
    }
    Ok(())
}

/// Says that the reserve was given up, if it was.
fn without_reserve(context: &Context) -> Option<String> {
    let reserve = context.recorder.reserve()?;
    let is_whole = reserve.held() >= reserve.wanted();
    (!is_whole).then(|| {
        format!(
            "the reserve of {} MiB for a full disk is not held: free some of the disk of {}, and the \
             next run takes it back",
            reserve.wanted() >> 20,
            context.place.state.display()
        )
    })
}

/// Says what the operator can do next.
fn next(context: &Context, board: &Board) {
    let questions = board.questions().len();
    if questions > 0 {
        let count = counted(questions, "open question");
        terminal::say(format!("{count}: palisade queue, palisade answer"));
    }
    let decisions = board.decisions();
    let ready = decisions.iter().filter(|it| it.blocks.is_empty()).count();
    if ready > 0 {
        let wait = if ready == 1 { "waits" } else { "wait" };
        let count = counted(ready, "proposal");
        terminal::say(format!("{count} {wait} for you: palisade decide"));
    }
    for blocked in decisions.iter().filter(|it| !it.blocks.is_empty()) {
        let why = blocked.blocks.join("; ");
        terminal::say(format!("{}: cannot be promoted: {why}", blocked.name));
    }
    if let Some(count) = undriven(context, board) {
        let count = counted(count, "work");
        terminal::say(format!(
            "{count} could go on, no engine runs: palisade resume"
        ));
    }
}

/// Returns how many works could go on while no engine is there to drive them, if any.
pub(crate) fn undriven(context: &Context, board: &Board) -> Option<usize> {
    let lines = board.lines();
    let moving = lines.iter().filter(|it| moves(board, it)).count();
    (moving > 0 && lock::holder(&context.place.state).is_none()).then_some(moving)
}

/// Returns whether a work moves as soon as an engine drives it: it is not over, does not wait for
/// the operator, and not for a work that does.
pub(crate) fn moves(board: &Board, line: &Line) -> bool {
    let state = board.cases.get(&line.work).and_then(|it| it.work());
    match state {
        Some((_, work::State::Open(open))) => match open.status {
            work::Status::InputRequired => false,
            work::Status::Admitted | work::Status::Working => true,
            work::Status::Submitted => board
                .dependencies(open)
                .iter()
                .all(|(_, it)| matches!(it, work::State::Closed(..))),
        },
        Some((_, work::State::Absent | work::State::Closed(..))) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::WorkId;

    fn line(number: u128, state: &str) -> Line {
        Line {
            work: WorkId::from_bits(number),
            name: format!("work-{number}"),
            title: String::new(),
            state: state.to_string(),
            step: None,
            steps: (3, 9),
            round: 1,
            detail: "at `build`".to_string(),
            questions: 0,
            findings: 2,
            sessions: (1, 24),
            troubles: vec![],
            submitted: Timestamp(0),
            touched: Timestamp(u64::try_from(number).unwrap()),
        }
    }

    #[test]
    fn open_works_and_the_last_ten_that_are_over_are_shown() {
        let mut lines = vec![line(1, "working")];
        lines.extend((2..16).map(|it| line(it, "completed")));
        let (kept, left_out) = chosen(lines.clone(), false);
        assert_eq!((kept.len(), left_out), (11, 4));
        assert_eq!(kept[0].name, "work-1");
        assert_eq!(kept[1].name, "work-6");
        assert_eq!(chosen(lines, true).1, 0);
    }
}
