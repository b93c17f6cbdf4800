//! `palisade queue`: the questions that agents have filed, for one sitting.

use anstyle::Style;
use clap::Parser;
use domain::ambiguity::{Ambiguity, Priority};
use domain::{AmbiguityId, WorkId};
use engine::views::actions::{self, Line};
use engine::views::board::OpenQuestion;
use serde::Serialize;

use super::Common;
use super::actions::showing;
use crate::exit::{Exit, Outcome};
use crate::moment::counted;
use crate::table::{one_line, wrapped};
use crate::terminal::{self, BAD, BOLD, DIM, WARN};

/// How wide text is set where there is no terminal to ask.
const COLUMNS: usize = 100;

/// The width of the words before each section.
const WORD: usize = 12;

/// Show open questions, the gravest first
///
/// Each with its six sections: the question, why it blocks, the options, the one recommended, the
/// impact, and the default that is held meanwhile; and with the works it holds up. P0 parks the
/// work, P1 holds the promotion, P2 and P3 are told in the dossier. A question that several works
/// ask is shown once, and one answer reaches all of them. What was filed in a broken form is shown
/// raw. `palisade answer` answers.
///
/// Actions that wait for an approval follow; `palisade decide` decides on them.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Print a file to fill in, for `palisade answer --file`.
    #[arg(long)]
    template: bool,
}

/// A question and everybody who asks it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Asked {
    /// The one that is answered.
    pub(crate) id: AmbiguityId,
    /// The others that ask the same; an answer reaches them too.
    pub(crate) same: Vec<AmbiguityId>,
    /// The works that ask.
    pub(crate) works: Vec<AskingWork>,
    /// Everything that was filed.
    pub(crate) ambiguity: Ambiguity,
}

/// A work that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AskingWork {
    /// The work.
    pub(crate) work: WorkId,
    /// Its name.
    pub(crate) name: String,
}

impl Asked {
    /// Returns whether it keeps the form: then it has options and a default.
    pub(crate) const fn is_well_formed(&self) -> bool {
        self.ambiguity.malformed.is_empty()
    }

    /// Returns the names of the works, without repetition.
    pub(crate) fn names(&self) -> String {
        let mut names: Vec<_> = self.works.iter().map(|it| it.name.clone()).collect();
        names.dedup();
        names.join(", ")
    }
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let queue = grouped(board.questions());
    if args.template {
        terminal::put(&template(&queue));
        return Ok(Exit::Done);
    }
    let waiting = actions::waiting(&board, &context.settings.operator);
    if common.json {
        let questions = queue.iter().map(Waiting::Question);
        let actions = waiting.iter().map(|action| Waiting::Action { action });
        let all: Vec<_> = questions.chain(actions).collect();
        terminal::json(&all)?;
        return Ok(Exit::Done);
    }
    if !queue.is_empty() || waiting.is_empty() {
        print(&queue);
    }
    for action in &waiting {
        if !queue.is_empty() {
            terminal::data("");
        }
        showing::print(action);
    }
    if !waiting.is_empty() {
        let count = counted(waiting.len(), "action");
        terminal::say(format!("{count} for you to decide on: palisade decide"));
    }
    Ok(Exit::Done)
}

/// What waits for the operator, as programs read it: a question, or an action under that name.
#[derive(Serialize)]
#[serde(untagged)]
enum Waiting<'a> {
    Question(&'a Asked),
    Action { action: &'a Line },
}

/// Puts questions that ask the same together, the gravest first. One in a broken form asks only
/// for itself.
pub(crate) fn grouped(open: Vec<OpenQuestion>) -> Vec<Asked> {
    let mut queue: Vec<Asked> = Vec::new();
    for question in open {
        let (work, name) = (question.work, question.name);
        let well_formed = question.ambiguity.malformed.is_empty();
        let same = queue.iter_mut().find(|it| {
            well_formed && it.is_well_formed() && it.ambiguity.key == question.ambiguity.key
        });
        match same {
            Some(asked) => {
                asked.same.push(question.id);
                asked.works.push(AskingWork { work, name });
            }
            None => queue.push(Asked {
                id: question.id,
                same: Vec::new(),
                works: vec![AskingWork { work, name }],
                ambiguity: question.ambiguity,
            }),
        }
    }
    queue
}

fn print(queue: &[Asked]) {
    if queue.is_empty() {
        terminal::say("no question is open");
        return;
    }
    for (index, asked) in queue.iter().enumerate() {
        if index > 0 {
            terminal::data("");
        }
        show(asked);
    }
    let all: usize = queue.iter().map(|it| 1 + it.same.len()).sum();
    let count = counted(all, "open question");
    let once = if all > queue.len() {
        format!(", {} to answer", queue.len())
    } else {
        String::new()
    };
    terminal::say(format!("{count}{once}: palisade answer"));
}

/// Prints one question.
pub(crate) fn show(asked: &Asked) {
    let it = &asked.ambiguity;
    let (style, effect) = weight(it.priority);
    let priority = terminal::styled(it.priority.name(), style);
    let id = terminal::styled(&asked.id.to_string(), DIM);
    terminal::data(format!("{priority} {id}"));
    let asks = format!("{} ({} at `{}`)", asked.names(), it.role, it.step);
    section("asked by", &asks, Style::new());
    section("holds up", effect, style);
    if !asked.is_well_formed() {
        section("malformed", &it.malformed.join("; "), BAD);
        section("raw text", &it.report.question, Style::new());
        return;
    }
    let report = &it.report;
    section("question", &report.question, BOLD);
    section("why", &report.why, Style::new());
    let mut word = "options";
    for (index, option) in report.options.iter().enumerate() {
        let mark = if is_recommended(it, index) {
            " (recommended)"
        } else {
            ""
        };
        let text = format!("{}. {option}{mark}", index + 1);
        section(word, &text, Style::new());
        word = "";
    }
    section("impact", &report.impact, Style::new());
    section("held", &report.default_held, WARN);
}

/// Returns whether an option, counted from 0, is the one the agent recommends: by its words or by
/// its number.
fn is_recommended(it: &Ambiguity, index: usize) -> bool {
    use domain::ambiguity::report::normalized;
    let recommended = &it.report.recommended;
    let same = |option: &String| normalized(option) == normalized(recommended);
    it.report.options.get(index).is_some_and(same) || recommended.trim().parse() == Ok(index + 1)
}

const fn weight(priority: Priority) -> (Style, &'static str) {
    match priority {
        Priority::P0 => (BAD, "the work: nothing more is started for it"),
        Priority::P1 => (WARN, "the promotion; the work goes on with the default"),
        Priority::P2 | Priority::P3 => (DIM, "nothing; it is told in the dossier"),
    }
}

fn section(word: &str, text: &str, style: Style) {
    let width = terminal::width().unwrap_or(COLUMNS);
    let mut word = word;
    for line in wrapped(text, width.saturating_sub(WORD + 1)) {
        let text = terminal::styled(&line, style);
        terminal::data(format!("  {word:<10}{text}").trim_end());
        word = "";
    }
}

/// Returns the file for `palisade answer --file`: every question with nothing chosen, so that an
/// unedited file answers nothing.
fn template(queue: &[Asked]) -> String {
    let mut lines = vec![
        "# Answers for `palisade answer --file FILE`. Take the `#` from one line of each block."
            .to_string(),
        "# A block without an answer leaves its question open.".to_string(),
    ];
    for asked in queue {
        let it = &asked.ambiguity;
        let (_, effect) = weight(it.priority);
        lines.push(String::new());
        let mut comment = |word: &str, text: &str| {
            let mut word = word.to_string();
            for line in wrapped(text, COLUMNS - WORD) {
                lines.push(format!("# {word:<10}{line}").trim_end().to_string());
                word.clear();
            }
        };
        comment(it.priority.name(), &format!("holds up {effect}"));
        comment("asked by", &asked.names());
        if asked.is_well_formed() {
            comment("question", &it.report.question);
            comment("why", &it.report.why);
            comment("impact", &it.report.impact);
            comment("held", &it.report.default_held);
        } else {
            comment("malformed", &it.malformed.join("; "));
            comment("raw text", &it.report.question);
        }
        lines.push("[[answer]]".to_string());
        lines.push(format!("question = \"{}\"", asked.id));
        if asked.is_well_formed() {
            lines.push("# take = \"default\"".to_string());
        }
        for (index, option) in it.report.options.iter().enumerate() {
            let mark = if is_recommended(it, index) {
                " (recommended)"
            } else {
                ""
            };
            let option = one_line(option);
            lines.push(format!("# option = {}  # {option}{mark}", index + 1));
        }
        lines.push("# text = \"\"".to_string());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use domain::ambiguity::Report;
    use domain::{RunId, SessionId};

    /// Returns an open question of work `number`.
    pub(crate) fn question(number: u128, key: &str) -> OpenQuestion {
        let report = Report {
            question: "Which region?\nSay so.".to_string(),
            why: "The name differs.".to_string(),
            options: vec!["eu".to_string(), "us".to_string()],
            recommended: "2".to_string(),
            impact: "Latency.".to_string(),
            default_held: "us".to_string(),
        };
        OpenQuestion {
            id: AmbiguityId::from_bits(number),
            work: WorkId::from_bits(number),
            name: format!("work-{number}"),
            ambiguity: Ambiguity {
                work: WorkId::from_bits(number),
                run: RunId::from_bits(1),
                session: SessionId::from_bits(1),
                step: "build".to_string(),
                role: "builder".to_string(),
                priority: Priority::P1,
                report,
                key: key.to_string(),
                malformed: Vec::new(),
            },
        }
    }

    #[test]
    fn what_several_works_ask_is_one_question() {
        let mut broken = question(4, "which region?");
        broken.ambiguity.malformed = vec!["`Impact` is missing".to_string()];
        let open = vec![
            question(1, "which region?"),
            question(2, "another"),
            question(3, "which region?"),
            broken,
        ];
        let queue = grouped(open);
        let names: Vec<_> = queue.iter().map(Asked::names).collect();
        assert_eq!(names, ["work-1, work-3", "work-2", "work-4"]);
        assert_eq!(queue[0].same, [AmbiguityId::from_bits(3)]);
    }

    #[test]
    fn a_recommendation_may_be_a_number() {
        let it = question(1, "k").ambiguity;
        assert!(is_recommended(&it, 1));
        assert!(!is_recommended(&it, 0));
    }

    #[test]
    fn an_unedited_template_answers_nothing() {
        let text = template(&grouped(vec![question(1, "k")]));
        let answers = super::super::answer::sheet::read("answers.toml", &text).unwrap();
        assert_eq!(answers.given, []);
        assert_eq!(answers.left_open, 1);
    }

    #[test]
    fn a_template_takes_no_key_from_a_question() {
        let mut hostile = question(1, "k");
        hostile.ambiguity.report.question = "a\ntake = \"default\"\r[[answer]]".to_string();
        hostile.ambiguity.report.options[0] = "x\n[[answer]]".to_string();
        let text = template(&grouped(vec![hostile]));
        let answers = super::super::answer::sheet::read("answers.toml", &text).unwrap();
        assert_eq!((answers.given.len(), answers.left_open), (0, 1));
    }
}
