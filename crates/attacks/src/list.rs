//! The attempts, by group. A name stays what it is for good: records and documents refer to it.

mod collecting;
mod escapes;
mod exfiltration;
pub(crate) mod limits;
mod liveness;
mod persistence;
mod secrets;
mod shapes;
mod writes;

use crate::attempt::Attempt;

/// The groups, and what they are about.
pub const GROUPS: [(&str, &str); 7] = [
    ("S1", "reads secrets"),
    ("S2", "writes outside of its tree"),
    ("S3", "has the engine collect what it may not"),
    ("S4", "leaves behind what a collector stumbles over"),
    ("S5", "sends something out"),
    ("S9", "takes more than is given, or does not end"),
    ("S10", "stays, or gains rights"),
];

/// Returns every attempt, in the order of the groups.
#[must_use]
pub fn all() -> Vec<&'static Attempt> {
    [
        secrets::LIST,
        writes::LIST,
        collecting::LIST,
        shapes::LIST,
        exfiltration::LIST,
        liveness::LIST,
        persistence::LIST,
        escapes::LIST,
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_attempt_has_a_name_of_its_own_and_a_known_group() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|it| it.id).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.len() >= 110, "{}", names.len());
        let acts: BTreeSet<_> = all
            .iter()
            .map(|it| format!("{:?} {:?} {:?}", it.act, it.given.len(), it.oracle))
            .collect();
        assert!(acts.len() + 4 >= all.len(), "attempts must be distinct");
        for attempt in all {
            assert!(
                GROUPS.iter().any(|(group, _)| *group == attempt.group()),
                "{}",
                attempt.id
            );
        }
    }

    #[test]
    fn few_have_no_control_and_each_says_why() {
        let without: Vec<_> = all()
            .into_iter()
            .filter(|it| it.control.none.is_some())
            .map(|it| it.id)
            .collect();
        assert!(without.len() <= 12, "{without:?}");
    }
}
