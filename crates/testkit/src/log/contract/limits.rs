//! Rules about what is too much, or has the wrong form.

use domain::{EffectId, Timestamp};
use ports::log::{
    BATCH_BYTES_MAX, BATCH_EFFECTS_MAX, BATCH_EVENTS_MAX, Batch, EVENT_BYTES_MAX, Error,
    NAME_BYTES_MAX, NUMBER_MAX, NewEvent, Position, TIME_MAX,
};

use super::Open;
use crate::log::build::{append, batch, effect};

/// Whatever breaks a limit or the form is refused, and nothing of it is kept.
pub fn malformed_batches_are_refused(open: Open<'_>) {
    let log = open();
    for (case, asked) in malformed_shapes().into_iter().chain(malformed_fields()) {
        let answer = log.append(asked);
        assert!(
            matches!(answer, Err(Error::Malformed(_))),
            "{case}: {answer:?}"
        );
    }
    assert_eq!(log.head().unwrap(), Position(0));
    assert_eq!(log.pending().unwrap(), []);
}

fn malformed_shapes() -> Vec<(&'static str, Batch)> {
    let named = |stream: &str| batch([append(stream, 0, [1])]);
    let bulk = |size: usize, count: u128| {
        let mut asked = batch([append("a", 0, 0..count)]);
        for event in &mut asked.appends[0].events {
            event.data = object_of(size);
        }
        asked
    };
    let twice = batch([append("a", 0, [1]), append("a", 0, [2])]);
    let over = (BATCH_BYTES_MAX / EVENT_BYTES_MAX) as u128 + 1;
    let many = BATCH_EVENTS_MAX as u128 + 1;
    let ids = 0..BATCH_EFFECTS_MAX as u128 + 1;
    let effects = Batch {
        effects: ids.clone().map(effect).collect(),
        ..Batch::default()
    };
    let settled = Batch {
        settled: ids.map(EffectId::from_bits).collect(),
        ..Batch::default()
    };
    vec![
        ("no events", batch([append("a", 0, [])])),
        ("a stream twice", twice),
        ("a stream without name", named("")),
        ("a long stream", named(&"x".repeat(NAME_BYTES_MAX + 1))),
        ("a stream with a control character", named("a\nb")),
        ("too many events", batch([append("a", 0, 0..many)])),
        ("an event too large", bulk(EVENT_BYTES_MAX + 1, 1)),
        ("a batch too large", bulk(EVENT_BYTES_MAX, over)),
        ("too many effects", effects),
        ("too many settled", settled),
    ]
}

fn malformed_fields() -> Vec<(&'static str, Batch)> {
    let with = |change: &dyn Fn(&mut NewEvent)| {
        let mut asked = batch([append("ok", 0, [1]), append("a", 0, [2])]);
        change(&mut asked.appends[1].events[0]);
        asked
    };
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let late = Timestamp(TIME_MAX.0 + 1);
    let mut cases = vec![
        ("no kind", with(&|it| it.kind.clear())),
        ("a kind with a blank", with(&|it| it.kind = "a b".into())),
        ("no actor", with(&|it| it.actor.clear())),
        ("a long actor", with(&|it| it.actor.clone_from(&long))),
        ("no correlation", with(&|it| it.correlation.clear())),
        ("no cause", with(&|it| it.causation = Some("".into()))),
        ("a nul", with(&|it| it.traceparent = Some("\0".into()))),
        ("a time out of range", with(&|it| it.time = late)),
        ("an epoch too high", with(&|it| it.epoch = NUMBER_MAX + 1)),
    ];
    for data in ["", "[]", "\"x\"", "{", "{}{}", "null", "{\"a\":1e999}"] {
        cases.push(("data", with(&|it| it.data = data.to_owned())));
        let mut asked = batch([append("a", 0, [1])]);
        asked.effects = vec![effect(1)];
        asked.effects[0].body = data.to_owned();
        cases.push(("a body that is no object", asked));
    }
    cases
}

/// The limits themselves are allowed.
pub fn what_is_at_the_limit_is_kept(open: Open<'_>) {
    let log = open();
    let mut largest = batch([append(&"s".repeat(NAME_BYTES_MAX), 0, [1])]);
    let event = &mut largest.appends[0].events[0];
    event.data = object_of(EVENT_BYTES_MAX);
    event.time = TIME_MAX;
    event.epoch = NUMBER_MAX;
    event.actor = "a".repeat(NAME_BYTES_MAX);
    let kept = event.clone();
    log.append(largest).unwrap();
    assert_eq!(log.read_all(Position(0), 1).unwrap()[0].event, kept);
    let mut widest = batch([append("a", 0, 2..2 + BATCH_EVENTS_MAX as u128)]);
    widest.effects = (0..BATCH_EFFECTS_MAX as u128).map(effect).collect();
    log.append(widest).unwrap();
    assert_eq!(log.read_stream("a", 0).unwrap().len(), BATCH_EVENTS_MAX);
    assert_eq!(log.pending().unwrap().len(), BATCH_EFFECTS_MAX);
    assert_eq!(log.verify().unwrap().broken, []);
}

fn object_of(bytes: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8))
}
