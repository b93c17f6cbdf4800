//! `palisade watch`: the board, live.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use clap::Parser;
use domain::{Timestamp, WorkId};
use engine::recorder::decoded;
use engine::views::board::{Board, Line};
use ports::log::Position;

use super::{Common, log, status};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::table::{cut, one_line};
use crate::terminal::{self, DIM};
use crate::{lock, moment};

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How many looks in a row must find no engine before nothing is said to move any more.
const LOOKS_ALONE_MAX: u32 = 10;

/// How many events are read at once.
const PAGE: usize = 1_000;

/// The width of a progress bar, in columns.
const BAR: usize = 9;

/// Watch the works move, until all wait for you or are over
///
/// On a terminal, one line for each open work: its steps, what it does, for how long, and what
/// happened last, redrawn in place. Elsewhere, a line for each event as it happens; with --json,
/// each event as a CloudEvents envelope. Watching takes no part: it reads the log while another
/// `palisade` drives the works, and Ctrl-C ends only the watching.
#[derive(Debug, Parser)]
pub(crate) struct Args {}

pub(crate) fn run(common: &Common, _args: &Args) -> Outcome {
    let context = common.context()?;
    let mut board = context.board()?;
    let mut told = Told::new(&context, board.position);
    let watched = board.open();
    if watched.is_empty() {
        terminal::say("no work is open; `palisade status` shows those that are over");
    }
    let mut screen = Screen::default();
    let mut alone = 0;
    loop {
        board.catch_up(context.recorder.world().log.as_ref())?;
        told.read(common, &screen)?;
        let lines = chosen(&board, &watched);
        if !common.json {
            screen.draw(&lines, &told, context.recorder.world().clock.now())?;
        }
        if !lines.iter().any(|it| status::moves(&board, it)) {
            return Ok(ended(&board, &lines));
        }
        alone = match lock::holder(&context.place.state) {
            Some(_) => 0,
            None => alone + 1,
        };
        if alone >= LOOKS_ALONE_MAX {
            terminal::say("nothing moves: no engine runs; `palisade resume` goes on");
            return Ok(Exit::Done);
        }
        thread::park_timeout(LOOK);
    }
}

/// Works that were open when the watch began, and those that came since.
fn chosen(board: &Board, watched: &[WorkId]) -> Vec<Line> {
    let mut lines = board.lines();
    lines.retain(|it| watched.contains(&it.work) || !status::is_over(it));
    lines
}

fn ended(board: &Board, lines: &[Line]) -> Exit {
    let questions = board.questions().len();
    if questions > 0 {
        let count = moment::counted(questions, "open question");
        terminal::say(format!("{count}: palisade queue, palisade answer"));
    }
    let decisions = board.decisions().len();
    if decisions > 0 {
        let count = moment::counted(decisions, "proposal");
        terminal::say(format!("{count} to look at: palisade decide"));
    }
    if lines.iter().any(|it| it.state == "failed") {
        Exit::Failed
    } else if lines.iter().any(|it| it.state == "input_required") {
        Exit::InputRequired
    } else {
        Exit::Done
    }
}

/// What happened last to each work.
struct Told<'a> {
    context: &'a Context,
    position: Position,
    last: BTreeMap<WorkId, String>,
}

impl<'a> Told<'a> {
    const fn new(context: &'a Context, position: Position) -> Self {
        Self {
            context,
            position,
            last: BTreeMap::new(),
        }
    }

    fn read(&mut self, common: &Common, screen: &Screen) -> Result<(), Failure> {
        let log = &self.context.recorder.world().log;
        loop {
            let page = log.read_all(self.position, PAGE)?;
            for recorded in &page {
                self.position = recorded.position;
                if common.json {
                    terminal::json_line(&context::envelope(recorded))?;
                    continue;
                }
                let Ok(work) = recorded.event.correlation.parse::<WorkId>() else {
                    continue;
                };
                let Some(told) = log::told(&decoded(recorded)?) else {
                    continue;
                };
                if screen.is_live() {
                    let plain = anstream::adapter::strip_str(&told).to_string();
                    self.last.insert(work, one_line(&plain));
                } else {
                    let case = self.context.recorder.load(work)?;
                    let name = engine::views::board::name_of(&case);
                    let time = moment::time(recorded.event.time);
                    terminal::data(format!("{time} {name:<16} {told}"));
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}

/// The part of the terminal that is drawn again and again.
#[derive(Debug, Default)]
struct Screen {
    drawn: Vec<String>,
}

impl Screen {
    fn is_live(&self) -> bool {
        terminal::size().is_some()
    }

    fn draw(&mut self, lines: &[Line], told: &Told<'_>, now: Timestamp) -> Result<(), Failure> {
        let Some((columns, rows)) = terminal::size() else {
            return Ok(());
        };
        // The last row stays free for the cursor; what does not fit is counted.
        let room = rows.saturating_sub(1).max(1);
        let shown = if lines.len() > room {
            room.saturating_sub(1)
        } else {
            lines.len()
        };
        let name = lines.iter().map(|it| it.name.len()).max().unwrap_or(0);
        let mut fresh: Vec<_> = lines
            .iter()
            .take(shown)
            .map(|it| {
                let last = told.last.get(&it.work).map_or("", String::as_str);
                drawn(it, last, now, name.min(24), columns)
            })
            .collect();
        if shown < lines.len() {
            fresh.push(format!("… and {} more", lines.len() - shown));
        }
        if fresh == self.drawn {
            return Ok(());
        }
        terminal::overwrite(self.drawn.len(), &fresh)?;
        self.drawn = fresh;
        Ok(())
    }
}

fn drawn(line: &Line, last: &str, now: Timestamp, name: usize, columns: usize) -> String {
    let (passed, steps) = line.steps;
    let style = status::colour(&line.state);
    let filled = (BAR * passed).checked_div(steps).unwrap_or(0);
    let bar = terminal::styled(&"━".repeat(filled), style);
    let rest = terminal::styled(&"─".repeat(BAR - filled), DIM);
    let count = format!("{passed}/{steps}");
    let until = if status::is_over(line) {
        line.touched
    } else {
        now
    };
    let elapsed = moment::age(until.since(line.submitted));
    let doing = if status::is_over(line) {
        format!("{}: {}", line.state, line.detail)
    } else {
        line.detail.clone()
    };
    let head = format!("{:<name$}", cut(&line.name, name));
    let used = name + 1 + BAR + 1 + 5 + 1 + 4 + 1;
    let room = columns.saturating_sub(used + 1);
    let doing = cut(&one_line(&doing), room);
    let left = room.saturating_sub(doing.chars().count() + 2);
    let last = if left > 8 && !status::is_over(line) {
        format!("  {}", terminal::styled(&cut(last, left), DIM))
    } else {
        String::new()
    };
    let doing = terminal::styled(&doing, style);
    format!("{head} {bar}{rest} {count:<5} {elapsed:>4} {doing}{last}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr as _;

    #[test]
    fn a_line_never_leaves_the_terminal() {
        let line = Line {
            work: WorkId::from_bits(1),
            name: "a-rather-long-name-for-a-work".to_string(),
            title: String::new(),
            state: "working".to_string(),
            step: None,
            steps: (3, 9),
            round: 1,
            detail: "at `check-build`".to_string(),
            questions: 0,
            findings: 0,
            sessions: (1, 24),
            troubles: vec![],
            submitted: Timestamp(0),
            touched: Timestamp(0),
        };
        let last = "writing the parser, which takes a while and is told at length";
        for columns in [60, 80, 100] {
            let text = drawn(&line, last, Timestamp(61_000), 24, columns);
            let plain = anstream::adapter::strip_str(&text).to_string();
            assert!(plain.width() < columns, "{plain}");
            assert!(plain.contains("━━━──────"), "{plain}");
            assert!(plain.contains("3/9"), "{plain}");
            assert!(plain.contains("1m"), "{plain}");
        }
    }
}
