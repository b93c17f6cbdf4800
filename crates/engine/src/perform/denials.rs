//! What the kernel refused to a session, from the cell to the record: each kind at once, and again
//! each time its count has doubled, so that an agent that keeps trying cannot fill the log.

use std::collections::BTreeMap;

use ports::cells::Denied;

/// Kinds of attempts told apart in one session; all others are counted together.
const KINDS_MAX: usize = 100;

/// What attempts beyond [`KINDS_MAX`] are called.
const OTHERS: &str = "other attempts";

/// The longest name of an attempt, in characters.
const WHAT_CHARS_MAX: usize = 200;

/// What was refused to one session so far.
#[derive(Debug, Default)]
pub(super) struct Denials(BTreeMap<String, Count>);

#[derive(Debug, Default)]
struct Count {
    told: u64,
    waiting: u64,
}

impl Denials {
    /// Takes what a cell tells.
    pub(super) fn add(&mut self, denied: Vec<Denied>) {
        for Denied { what, count } in denied {
            let what: String = what
                .chars()
                .filter(|it| !it.is_control())
                .take(WHAT_CHARS_MAX)
                .collect();
            let is_known = self.0.contains_key(&what);
            let what = if is_known || self.0.len() < KINDS_MAX {
                what
            } else {
                OTHERS.to_owned()
            };
            let kind = self.0.entry(what).or_default();
            kind.waiting = kind.waiting.saturating_add(count);
        }
    }

    /// Takes out what is to be put on record now; with `all`, everything that is not.
    pub(super) fn due(&mut self, all: bool) -> Vec<Denied> {
        let kinds = self.0.iter_mut();
        let due = kinds.filter(|(_, it)| it.waiting > 0 && (all || it.waiting >= it.told));
        due.map(|(what, kind)| {
            let count = std::mem::take(&mut kind.waiting);
            kind.told = kind.told.saturating_add(count);
            let what = what.clone();
            Denied { what, count }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(what: &str, count: u64) -> Vec<Denied> {
        let what = what.to_owned();
        vec![Denied { what, count }]
    }

    #[test]
    fn a_kind_is_told_at_once_and_then_when_it_doubles() {
        let mut denials = Denials::default();
        let mut told = Vec::new();
        for _ in 0..1_000 {
            denials.add(one("ptrace", 1));
            told.extend(denials.due(false).into_iter().map(|it| it.count));
        }
        assert_eq!(told, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(denials.due(true), one("ptrace", 1_000 - 512));
        assert_eq!(denials.due(true), []);
    }

    #[test]
    fn many_kinds_are_counted_together_and_names_are_cleaned() {
        let mut denials = Denials::default();
        for number in 0..1_000 {
            denials.add(one(&format!("kind {number}"), 1));
        }
        denials.add(one(&format!("\u{1b}[2J{}", "x".repeat(300)), 1));
        let due = denials.due(true);
        assert_eq!(due.len(), KINDS_MAX + 1);
        let others = due.iter().find(|it| it.what == OTHERS);
        assert_eq!(others.map(|it| it.count), Some(901));
        let mut denials = Denials::default();
        denials.add(one(&format!("\u{1b}{}", "x".repeat(300)), 1));
        assert_eq!(denials.due(true), one(&"x".repeat(200), 1));
    }
}
