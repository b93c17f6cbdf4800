//! Bounds: how much of each fact is shown. What is never cut passes whole; everything else has its
//! share, and says where it was cut.

use super::Part;
use super::facts::{Change, Facts, Finding, Gate, Note, Plan, Question, Role};
use super::text::{Kept, Shears, whole};

/// The actions that a role may propose, in bytes.
const ACTIONS_BYTES_MAX: usize = 1_000;

/// What a role is for, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2 * 1024;
/// The specification that a session is shown, in bytes; it has all of it as a file.
const SPECIFICATION_BYTES_MAX: usize = 48 * 1024;
/// One reason why the work is back, in bytes.
const NOTE_BYTES_MAX: usize = 4 * 1024;
/// All of them, in bytes.
const NOTES_BYTES_MAX: usize = 16 * 1024;
/// One change that was turned away, in bytes.
const TURNED_AWAY_LINE_BYTES_MAX: usize = 1024;
/// All of them, in bytes.
const TURNED_AWAY_BYTES_MAX: usize = 12 * 1024;
/// Why gates did not pass, in bytes.
const REASONS_BYTES_MAX: usize = 12 * 1024;
/// The ends of their output, in bytes.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;
/// The texts of findings, in bytes.
const FINDING_TEXTS_BYTES_MAX: usize = 24 * 1024;
/// A file's or a rule's name in a finding, in bytes.
const FINDING_PLACE_BYTES_MAX: usize = 512;
/// The words of all questions, in bytes.
const QUESTIONS_BYTES_MAX: usize = 16 * 1024;
/// What the operator answered, in bytes.
const ANSWERS_BYTES_MAX: usize = 16 * 1024;
/// The list of changed paths, in bytes.
const STAT_BYTES_MAX: usize = 6 * 1024;
/// The difference, in bytes.
const DIFF_BYTES_MAX: usize = 32 * 1024;
/// Each list of globs or programs, in bytes.
const PLAN_BYTES_MAX: usize = 8 * 1024;
/// Names and titles, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Returns the facts as they are shown, and how much of each that is. What may be cut is halved so
/// often.
#[must_use]
pub fn within(facts: &Facts, halvings: u32) -> (Facts, Vec<Part>) {
    let mut desk = Desk {
        halvings,
        parts: Vec::new(),
    };
    let answers = desk.most(ANSWERS_BYTES_MAX);
    let plain = |text: &str| Shears::default().line(text, NAME_BYTES_MAX);
    let shown = Facts {
        task: desk.part("task", facts.task.as_str(), |_, it| whole(it), str::len),
        step: plain(&facts.step),
        round: facts.round,
        role: Role {
            name: plain(&facts.role.name),
            description: Shears::default().line(&facts.role.description, DESCRIPTION_BYTES_MAX),
            may_propose: Shears::default().line(&facts.role.may_propose, ACTIONS_BYTES_MAX),
        },
        title: plain(&facts.title),
        specification: desk.specification(facts),
        notes: desk.notes(&facts.notes),
        turned_away: desk.turned_away(&facts.turned_away),
        gates: desk.gates(&facts.gates),
        findings: desk.findings(&facts.findings),
        answered: desk.questions("answered", &facts.answered, answers),
        held: desk.questions("held", &facts.held, usize::MAX),
        change: desk.change(&facts.change),
        diff: desk.diff(&facts.diff),
        plan: desk.plan(&facts.plan),
        schema: desk.part("schema", facts.schema.as_str(), |_, it| whole(it), str::len),
    };
    (shown, desk.parts)
}

struct Desk {
    halvings: u32,
    parts: Vec<Part>,
}

impl Desk {
    fn most(&self, bytes: usize) -> usize {
        bytes.checked_shr(self.halvings).unwrap_or(0)
    }

    /// Makes one part of the prompt, and notes what it takes.
    fn part<T: ?Sized, Shown>(
        &mut self,
        name: &str,
        from: &T,
        make: impl FnOnce(&mut Shears, &T) -> Shown,
        size: impl Fn(&T) -> usize,
    ) -> Shown
    where
        Shown: std::borrow::Borrow<T>,
    {
        let mut shears = Shears::default();
        let shown = make(&mut shears, from);
        self.parts.push(Part {
            name: name.to_string(),
            bytes: size(shown.borrow()),
            of_bytes: size(from),
            is_cut: shears.has_cut,
        });
        shown
    }

    fn specification(&mut self, facts: &Facts) -> String {
        let is_judge = !facts.schema.is_empty();
        let most = if is_judge {
            usize::MAX
        } else {
            self.most(SPECIFICATION_BYTES_MAX)
        };
        self.part(
            "specification",
            facts.specification.as_str(),
            |shears, it| shears.quoted(it, most, Kept::Start),
            str::len,
        )
    }

    fn notes(&mut self, notes: &[Note]) -> Vec<Note> {
        let (each, all) = (self.most(NOTE_BYTES_MAX), self.most(NOTES_BYTES_MAX));
        let make = |shears: &mut Shears, notes: &[Note]| {
            let texts: Vec<_> = notes.iter().map(|it| it.text.clone()).collect();
            let texts = shears.listed(&texts, each, all);
            // What says how many are left out has the kind of the first of them.
            let shown = notes.iter().zip(texts).map(|(it, text)| Note {
                kind: it.kind.clone(),
                text,
            });
            shown.collect::<Vec<_>>()
        };
        self.part("notes", notes, make, |all| {
            all.iter().map(|it| it.text.len()).sum()
        })
    }

    fn turned_away(&mut self, lines: &[String]) -> Vec<String> {
        let each = self.most(TURNED_AWAY_LINE_BYTES_MAX);
        let all = self.most(TURNED_AWAY_BYTES_MAX);
        let make = |shears: &mut Shears, lines: &[String]| shears.listed(lines, each, all);
        self.part("turned_away", lines, make, total)
    }

    fn gates(&mut self, gates: &[Gate]) -> Vec<Gate> {
        let reasons = share(self.most(REASONS_BYTES_MAX), gates.len());
        let output = share(self.most(OUTPUT_BYTES_MAX), gates.len());
        let make = |shears: &mut Shears, gates: &[Gate]| {
            let shown = gates.iter().map(|it| Gate {
                name: shears.line(&it.name, NAME_BYTES_MAX),
                reasons: shears.line(&it.reasons, reasons),
                output: shears.quoted(&it.output, output, Kept::End),
            });
            shown.collect::<Vec<_>>()
        };
        self.part("gates", gates, make, |all| {
            let sizes = all.iter();
            let sizes = sizes.map(|it| it.name.len() + it.reasons.len() + it.output.len());
            sizes.sum()
        })
    }

    fn findings(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let texts = share(self.most(FINDING_TEXTS_BYTES_MAX), findings.len());
        let make = |shears: &mut Shears, findings: &[Finding]| {
            let shown = findings.iter().map(|it| Finding {
                id: whole(&it.id),
                file: shears.line(&it.file, FINDING_PLACE_BYTES_MAX),
                line: it.line,
                rule: shears.line(&it.rule, FINDING_PLACE_BYTES_MAX),
                text: shears.line(&it.text, texts),
            });
            shown.collect::<Vec<_>>()
        };
        self.part("findings", findings, make, |all| {
            let sizes = all.iter();
            let sizes = sizes.map(|it| it.id.len() + it.file.len() + it.rule.len() + it.text.len());
            sizes.sum()
        })
    }

    fn questions(&mut self, name: &str, all: &[Question], answers: usize) -> Vec<Question> {
        let words = share(self.most(QUESTIONS_BYTES_MAX), all.len());
        let answers = match answers {
            usize::MAX => usize::MAX,
            bounded => share(bounded, all.len()),
        };
        let make = |shears: &mut Shears, all: &[Question]| {
            let shown = all.iter().map(|it| Question {
                question: shears.line(&it.question, words),
                answer: shears.line(&it.answer, answers),
            });
            shown.collect::<Vec<_>>()
        };
        self.part(name, all, make, |all| {
            let sizes = all.iter().map(|it| it.question.len() + it.answer.len());
            sizes.sum()
        })
    }

    fn change(&mut self, change: &Change) -> Change {
        let stat = self.most(STAT_BYTES_MAX);
        let make = |shears: &mut Shears, it: &Change| Change {
            files: it.files,
            stat: shears.listed(&it.stat, NAME_BYTES_MAX, stat),
        };
        self.part("change", change, make, |it| total(&it.stat))
    }

    fn diff(&mut self, diff: &str) -> String {
        let most = self.most(DIFF_BYTES_MAX);
        let make = |shears: &mut Shears, it: &str| shears.quoted(it, most, Kept::Start);
        self.part("diff", diff, make, str::len)
    }

    fn plan(&mut self, plan: &Plan) -> Plan {
        let each = self.most(PLAN_BYTES_MAX);
        let make = |shears: &mut Shears, it: &Plan| Plan {
            role_writes: shears.line(&it.role_writes, each),
            allowed: shears.line(&it.allowed, each),
            denied: shears.line(&it.denied, each),
            programs: shears.line(&it.programs, each),
        };
        self.part("plan", plan, make, |it| {
            it.role_writes.len() + it.allowed.len() + it.denied.len() + it.programs.len()
        })
    }
}

/// What each of so many has of a bound.
fn share(bytes_max: usize, count: usize) -> usize {
    bytes_max / count.max(1)
}

fn total(lines: &[String]) -> usize {
    lines.iter().map(String::len).sum()
}
