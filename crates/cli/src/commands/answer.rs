//! `palisade answer`: answer questions in one sitting; all answers are recorded at once.

use std::path::{Path, PathBuf};

use clap::Parser;
use domain::ambiguity::Answer;
use domain::{AmbiguityId, WorkId};
use engine::answers;
use engine::views::board::Board;

use super::queue::{self, Asked};
use super::{Common, catalog, drive};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::counted;
use crate::naming;
use crate::reading;
use crate::table::one_line;
use crate::terminal::{self, BAD, BOLD, DIM};

pub(crate) mod sheet;

/// Answer open questions
///
/// On a terminal, without anything else, walks through the queue: the held default, an option by
/// its number, words of your own, or later. Otherwise one QUESTION with --default, --option or
/// --text; a --file, for which `palisade queue --template` writes the form; or --all-defaults. All
/// answers are recorded together or none is. An answer that equals the default changes nothing; one
/// that does not sends the work back to where it leaned on the default. Then the engine goes on.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The question's identifier, or the end of it.
    #[arg(value_name = "QUESTION", conflicts_with_all = ["file", "all_defaults"])]
    question: Option<String>,
    /// The default that is held is right.
    #[arg(long, requires = "question", conflicts_with_all = ["option", "text"])]
    default: bool,
    /// One of the options, from 1.
    #[arg(long, value_name = "N", requires = "question", conflicts_with = "text")]
    option: Option<u32>,
    /// Something else.
    #[arg(long, value_name = "TEXT", requires = "question")]
    text: Option<String>,
    /// A file of answers.
    #[arg(long, value_name = "FILE", conflicts_with = "all_defaults")]
    file: Option<PathBuf>,
    /// The held default is right for every open question that states one.
    #[arg(long)]
    all_defaults: bool,
    /// Only record the answers; `palisade resume` goes on.
    #[arg(long)]
    no_resume: bool,
}

type Given = Vec<(AmbiguityId, Answer)>;

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let queue = queue::grouped(board.questions());
    let given = if let Some(text) = &args.question {
        one(args, &board, &queue, text)?
    } else if let Some(path) = &args.file {
        from_file(path)?
    } else if args.all_defaults {
        defaults(&queue)
    } else {
        if !queue.is_empty() && !terminal::is_interactive() {
            let text = "nobody can be asked here; give a QUESTION, --file or --all-defaults";
            return Err(Failure::usage(text));
        }
        walk(&queue)?
    };
    if given.is_empty() {
        let text = if queue.is_empty() {
            "no question is open"
        } else {
            "nothing is answered"
        };
        terminal::say(text);
        return Ok(Exit::Done);
    }
    let works = works(&board, &queue, &given);
    let count = answers::answer(&context.recorder, &board, &given)?;
    terminal::say(format!("{} answered", counted(count, "question")));
    go_on(common, &context, args, &works)
}

fn go_on(common: &Common, context: &Context, args: &Args, works: &[WorkId]) -> Outcome {
    if args.no_resume {
        return Ok(Exit::Done);
    }
    context.check_walls()?;
    drive::drive(common, context, works)
}

fn one(args: &Args, board: &Board, queue: &[Asked], text: &str) -> Result<Given, Failure> {
    let ids = board
        .cases
        .values()
        .flat_map(|it| it.ambiguities.keys().copied());
    let id = naming::find(ids, text, "question", "palisade queue")?;
    let answer = match (args.default, args.option, &args.text) {
        (true, _, _) => Answer::Default,
        (_, Some(number), _) => Answer::Option { number },
        (_, _, Some(text)) => Answer::Text { text: text.clone() },
        (false, None, None) => {
            let asked = queue.iter().find(|it| it.id == id || it.same.contains(&id));
            let Some(asked) = asked.filter(|_| terminal::is_interactive()) else {
                let text = "say what the answer is: --default, --option N or --text T";
                return Err(Failure::usage(text));
            };
            return walk(std::slice::from_ref(asked));
        }
    };
    let stated = queue.iter().find(|it| it.id == id);
    if answer == Answer::Default && stated.is_some_and(|it| !it.is_well_formed()) {
        let text = format!("question {id} is malformed and states no default; give --text");
        return Err(Failure::usage(text));
    }
    Ok(vec![(id, answer)])
}

fn from_file(path: &Path) -> Result<Given, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = reading::named(path).map_err(|it| wrong(it.to_string()))?;
    let name = path.display().to_string();
    let answers = sheet::read(&name, &text).map_err(|faults| {
        Failure::usage(format!(
            "nothing is recorded, since the file has faults:\n{}",
            catalog::told(&faults, &text)
        ))
    })?;
    if answers.left_open > 0 {
        let count = counted(answers.left_open, "question");
        terminal::say(format!("{count} left open in {name}"));
    }
    Ok(answers.given)
}

fn defaults(queue: &[Asked]) -> Given {
    let (stated, without): (Vec<_>, Vec<_>) = queue.iter().partition(|it| it.is_well_formed());
    for asked in without {
        let (id, names) = (asked.id, asked.names());
        terminal::say(format!(
            "question {id} of {names} is malformed and states no default; it stays open"
        ));
    }
    stated
        .into_iter()
        .map(|it| (it.id, Answer::Default))
        .collect()
}

/// Returns the works that the answers concern, each once.
fn works(board: &Board, queue: &[Asked], given: &Given) -> Vec<WorkId> {
    let mut works = Vec::new();
    for asked in queue {
        let is_given = |(id, _): &(AmbiguityId, Answer)| asked.id == *id || asked.same.contains(id);
        if given.iter().any(is_given) {
            works.extend(asked.works.iter().map(|it| it.work));
        }
    }
    works.retain(|it| board.cases.contains_key(it));
    works.sort_unstable();
    works.dedup();
    works
}

enum Choice {
    Take(Answer),
    Later,
    Quit,
}

/// Asks one question after the other, then whether all of it shall be recorded.
fn walk(queue: &[Asked]) -> Result<Given, Failure> {
    let mut given = Vec::new();
    for (index, asked) in queue.iter().enumerate() {
        let place = format!("question {} of {}", index + 1, queue.len());
        terminal::say(terminal::styled(&place, DIM));
        queue::show(asked);
        match choose(asked)? {
            Choice::Take(answer) => given.push((asked.id, answer)),
            Choice::Later => {}
            Choice::Quit => break,
        }
        terminal::say("");
    }
    if given.is_empty() {
        return Ok(given);
    }
    for (id, answer) in &given {
        let asked = queue.iter().find(|it| it.id == *id);
        let question = asked.map_or("", |it| it.ambiguity.report.question.as_str());
        let told = asked.map_or_else(String::new, |it| it.ambiguity.told(answer));
        let told = terminal::styled(&one_line(&told), BOLD);
        terminal::say(format!("  {} → {told}", one_line(question)));
    }
    let question = format!("record {}? [y/N]", counted(given.len(), "answer"));
    let said = terminal::ask(&question)?.unwrap_or_default();
    if matches!(said.trim(), "y" | "yes") {
        return Ok(given);
    }
    terminal::say("nothing is recorded");
    Ok(Vec::new())
}

fn choose(asked: &Asked) -> Result<Choice, Failure> {
    let options = asked.ambiguity.report.options.len();
    let prompt = match (asked.is_well_formed(), options) {
        (true, 1..) => format!("[d]efault, [1-{options}] option, [t]ext, [s]kip, [q]uit?"),
        (true, 0) => "[d]efault, [t]ext, [s]kip, [q]uit?".to_string(),
        (false, _) => "[t]ext, [s]kip, [q]uit?".to_string(),
    };
    loop {
        let Some(said) = terminal::ask(&prompt)? else {
            return Ok(Choice::Quit);
        };
        match said.trim() {
            "d" | "default" if asked.is_well_formed() => return Ok(Choice::Take(Answer::Default)),
            "t" | "text" => {
                let text = terminal::ask("your answer:")?.unwrap_or_default();
                if !text.trim().is_empty() {
                    return Ok(Choice::Take(Answer::Text { text }));
                }
            }
            "s" | "skip" => return Ok(Choice::Later),
            "q" | "quit" => return Ok(Choice::Quit),
            other => match other.parse::<u32>() {
                Ok(number)
                    if usize::try_from(number).is_ok_and(|it| (1..=options).contains(&it)) =>
                {
                    return Ok(Choice::Take(Answer::Option { number }));
                }
                Ok(_) => {
                    let text = format!("there are {options} options");
                    terminal::say(terminal::styled(&text, BAD));
                }
                Err(_) => {}
            },
        }
    }
}
