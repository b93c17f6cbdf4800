//! The walls tried on this machine, and the record that runs refer to; a downgrade, and who is told.

use domain::machine::{Downgrade, Event as Machine, THIS};
use domain::{EventId, Timestamp, event::Event};
use ports::log::{Append, Batch, EventLog as _, NewEvent};
use serde_json::Value;
use store::log::SqliteLog;

use crate::house::{GOOD, House, Said};

/// What is said where the walls were not tried.
const NO_RECORD: &str = "no attack record for this kernel and version";

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

/// The dossier of the only open decision.
fn dossier(house: &House) -> Value {
    let decisions = json(&house.run(&["decide", "--json"]));
    decisions[0]["dossier"].clone()
}

#[test]
fn a_run_relies_on_the_record_of_the_attacks_or_says_that_there_is_none() {
    let house = House::with(GOOD);
    let said = house.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains(NO_RECORD), "{said:?}");
    let without = dossier(&house);
    assert_eq!(without["attack_record"], Value::Null, "{without}");
    assert!(
        without["degraded"].to_string().contains(NO_RECORD),
        "{without}"
    );

    let said = house.run(&["doctor", "--attack", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let record = json(&said);
    let attempts = record["attempts"].as_array().unwrap();
    assert!(attempts.len() >= 110, "{}", attempts.len());
    let oracles = record["oracles"].as_object().unwrap();
    assert!(!oracles.is_empty() && oracles.values().all(|it| it == ""));
    let (_, digest) = said.err.trim().rsplit_once(' ').unwrap();
    assert!(digest.starts_with("b3:"), "{said:?}");
    let state = house.path("repo/.git/palisade");
    for entry in std::fs::read_dir(state).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("attack-"), "{name:?}");
    }

    let said = house.run(&["status"]);
    assert!(said.err.contains("all stopped"), "{said:?}");
    house.run(&["stop", "spec"]);
    house.spec("again", "# Say goodbye\n\nWrite `src/bye`.\n");
    let said = house.take("again");
    assert_eq!(said.code, 4, "{said:?}");
    assert!(!said.err.contains(NO_RECORD), "{said:?}");
    let with = dossier(&house);
    assert_eq!(with["attack_record"], digest, "{with}");
    assert!(!with["degraded"].to_string().contains(NO_RECORD), "{with}");
}

#[test]
fn a_downgrade_is_said_on_every_screen() {
    let house = House::with(GOOD);
    // This machine lacks nothing, so that nothing can be accepted.
    let said = house.run(&["doctor", "--accept-downgrade", "because"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("no wall is missing"), "{said:?}");
    // On one that lacks Landlock, this is what would be on record.
    accept(&house, &rustix::system::uname().release().to_string_lossy());
    let line = "DOWNGRADED: landlock missing, accepted by operator:ada: it is replaced";
    for command in ["status", "queue", "watch", "log", "decide"] {
        let said = house.run(&[command]);
        assert!(said.err.starts_with(line), "{command}: {said:?}");
    }
    let said = house.take("spec");
    assert!(said.err.starts_with(line), "{said:?}");
    assert!(dossier(&house)["degraded"].to_string().contains(line));
    let said = house.run(&["show", "spec"]);
    assert!(said.err.starts_with(line), "{said:?}");
    let said = house.run(&["doctor", "--withdraw-downgrade"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = house.run(&["status"]);
    assert!(!said.err.contains("DOWNGRADED"), "{said:?}");
    let said = house.run(&["doctor", "--withdraw-downgrade"]);
    assert_eq!(said.code, 3, "{said:?}");
    // What was accepted for another kernel does not hold for this one, and that is said too.
    accept(&house, "2.6.0");
    let said = house.run(&["status"]);
    assert!(
        said.err.contains("kernel 2.6.0, and does not hold"),
        "{said:?}"
    );
}

/// Puts an accepted downgrade on record.
fn accept(house: &House, kernel: &str) {
    house.run(&["status"]);
    let log = SqliteLog::open(&house.path("repo/.git/palisade/events.sqlite")).unwrap();
    let event = Event::Machine(
        THIS.to_string(),
        Machine::DowngradeAccepted(Downgrade {
            kernel: kernel.to_string(),
            walls: vec!["landlock".to_string()],
            by: "operator:ada".to_string(),
            reason: "it is replaced".to_string(),
            at: Timestamp(1),
        }),
    );
    let stream = event.stream();
    let earlier = log.read_stream(&stream, 0).unwrap();
    let expected = earlier.last().map_or(0, |it| it.version);
    let events = vec![NewEvent {
        id: EventId::from_bits(u128::from(expected) + 1),
        kind: event.kind().to_string(),
        time: Timestamp(1),
        actor: "operator:ada".to_string(),
        epoch: 0,
        correlation: stream.clone(),
        causation: None,
        traceparent: None,
        data: serde_json::to_string(&event).unwrap(),
    }];
    let appends = vec![Append {
        stream,
        expected,
        events,
    }];
    log.append(Batch {
        appends,
        ..Batch::default()
    })
    .unwrap();
}
