//! What the operator's answers make due.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::{Desk, Due, overtake_open};
use crate::ambiguity;
use crate::case::Command;
use crate::run::{self, Note};

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
                steps.push(asked.step.as_str());
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
