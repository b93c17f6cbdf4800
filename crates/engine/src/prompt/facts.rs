//! Facts: all that a template may name. They are assembled by code from the log, the accepted tree
//! and the pinned formula; a template chooses among them and can reach nothing else.

use serde::Serialize;

/// What is known when a session or a judge is about to begin.
///
/// Raw as it leaves the log; what a template sees of it has passed [`super::bounds::within`]: lines
/// are one line each, what others wrote at length is quoted line by line (`> `), nothing holds a
/// control character, and each fact is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What the formula asks of the step. Never cut.
    pub task: String,
    /// The step's name.
    pub step: String,
    /// The round, from 1.
    pub round: u32,
    /// Who it is told to.
    pub role: Role,
    /// The specification's first heading.
    pub title: String,
    /// The specification, quoted. Cut for a session, which has it as a file; never for a judge.
    pub specification: String,
    /// Why the work is back, oldest first.
    pub notes: Vec<Note>,
    /// Changes that were turned away and taken out, or put back for breaking rules: a line each.
    pub turned_away: Vec<String>,
    /// Gates that did not pass.
    pub gates: Vec<Gate>,
    /// Open findings; each is named, its text may be cut.
    pub findings: Vec<Finding>,
    /// Questions that the operator has answered.
    pub answered: Vec<Question>,
    /// Questions that are open. The default that is held is never cut.
    pub held: Vec<Question>,
    /// What the work has changed so far.
    pub change: Change,
    /// The difference itself, quoted.
    pub diff: String,
    /// What may be written and run.
    pub plan: Plan,
    /// The form of a judge's answer, as JSON Schema; empty for a session. Never cut.
    pub schema: String,
}

/// Who a prompt is told to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Role {
    /// The role's name.
    pub name: String,
    /// What the role is for.
    pub description: String,
    /// The executor's actions that it may propose, in a line; empty for none.
    pub may_propose: String,
}

/// One reason why the work is back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Note {
    /// `findings`, `answers`, `operator`, `ended`, `rolled_back`, `conflict` or `judge`.
    pub kind: String,
    /// The reason in a sentence.
    pub text: String,
}

/// A gate that did not pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// Why it did not pass.
    pub reasons: String,
    /// The end of its output, quoted.
    pub output: String,
}

/// An open finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its identifier. Never cut.
    pub id: String,
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The rule that is broken.
    pub rule: String,
    /// What is wrong.
    pub text: String,
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Question {
    /// What was asked.
    pub question: String,
    /// What was answered, or the default that is held.
    pub answer: String,
}

/// What the work has changed so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How many paths.
    pub files: usize,
    /// A line for each path.
    pub stat: Vec<String>,
}

/// What may be written and run, as lists in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Globs that the role may write, or `nothing`.
    pub role_writes: String,
    /// Globs that the plan allows, or `nothing`.
    pub allowed: String,
    /// Globs that plan or role deny; empty for none.
    pub denied: String,
    /// Programs that are found by name; empty for all that the machine offers.
    pub programs: String,
}

impl Facts {
    /// Returns facts in which nothing is empty, to try templates on.
    #[must_use]
    pub fn sample() -> Self {
        let text = || String::from("words");
        let question = || Question {
            question: text(),
            answer: text(),
        };
        Self {
            task: text(),
            step: text(),
            round: 1,
            role: Role {
                name: text(),
                description: text(),
                may_propose: text(),
            },
            title: text(),
            specification: text(),
            notes: vec![Note {
                kind: text(),
                text: text(),
            }],
            turned_away: vec![text()],
            gates: vec![Gate {
                name: text(),
                reasons: text(),
                output: text(),
            }],
            findings: vec![Finding {
                id: text(),
                file: text(),
                line: 1,
                rule: text(),
                text: text(),
            }],
            answered: vec![question()],
            held: vec![question()],
            change: Change {
                files: 1,
                stat: vec![text()],
            },
            diff: text(),
            plan: Plan {
                role_writes: text(),
                allowed: text(),
                denied: text(),
                programs: text(),
            },
            schema: text(),
        }
    }
}
