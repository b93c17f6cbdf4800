//! What the operator's answers make due.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::{Desk, Due, overtake_open};
use crate::ambiguity;
use crate::case::Command;
use crate::formula::{Kind, Step};
use crate::run::{self, Note, Status};

/// An answer that equals the held default is applied at once; another sends the work back to every
/// step that leaned on the default. Once the change is landed it comes too late, and says so by
/// never being applied.
pub(super) fn answers(desk: &Desk<'_>) -> Option<Due> {
    let (mut commands, mut steps) = (Vec::new(), Vec::new());
    for (id, state) in &desk.case.ambiguities {
        if let ambiguity::State::Answered(asked, answer) = state {
            let overturned = asked.overturns(answer);
            if overturned && desk.has_acted(&asked.step) {
                continue;
            }
            commands.push(Command::Ambiguity(*id, ambiguity::Command::Apply));
            if overturned {
                steps.extend(leaning(desk, &asked.step));
            }
        }
    }
    if commands.is_empty() {
        return None;
    }
    let formula = &desk.active.run.formula;
    let leans = |it: &str| {
        let mut others = steps.iter().filter(|other| **other != it);
        others.any(|other| formula.downstream(other).contains(it))
    };
    let roots = formula.steps.iter().map(|it| it.id.as_str());
    let roots: Vec<_> = roots
        .filter(|it| steps.contains(it) && !leans(it))
        .collect();
    if !roots.is_empty() {
        commands.extend(overtake_open(
            desk.case,
            "an answer changed what it is built on",
        ));
    }
    let mut notes = desk.active.notes.clone();
    if !notes.contains(&Note::Answers) {
        notes.push(Note::Answers);
    }
    for to in roots {
        let (to, notes) = (to.to_string(), notes.clone());
        commands.push(desk.run(run::Command::SendBack { to, notes }));
    }
    Some(Due::Do(commands))
}

/// Returns the steps that lean on the defaults of a step's questions: the step itself, which worked
/// with them; a judge only asks, so for one what comes after it and has begun.
fn leaning<'a>(desk: &'a Desk<'_>, asked: &'a str) -> Vec<&'a str> {
    let active = desk.active;
    let formula = &active.run.formula;
    let is_judge = formula
        .step(asked)
        .is_some_and(|it| matches!(it.kind, Kind::Judge(_)));
    if !is_judge {
        return [asked].into();
    }
    let has_begun = |it: &&Step| *active.status(&it.id) != Status::Waiting;
    let after = formula
        .steps
        .iter()
        .filter(|it| it.needs.iter().any(|need| need == asked));
    after.filter(has_begun).map(|it| it.id.as_str()).collect()
}
