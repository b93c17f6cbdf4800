//! What was recorded is answered again, without a provider.

use ports::models::{Grant, Tape};
use testkit::models::contract::grant;

use crate::scene::{Scene, begin_stream, piece};

fn ask(id: &str, text: &str) -> String {
    format!(
        r#"{{"model":"claude-a","stream":true,"metadata":{{"user_id":"{id}"}},"messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}

const EVENTS: [&str; 3] = [
    "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\ndata: {\"delta\":{\"text\":\"hello\"}}\n\n",
    "event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\n",
];

/// Records one exchange and returns the scene, whose provider nobody needs any more.
fn recorded() -> (Scene, Grant) {
    let act = Box::new(|_: &_, stream: &mut _| {
        begin_stream(stream);
        for event in EVENTS {
            piece(stream, event);
        }
        piece(stream, "");
    });
    let scene = Scene::with(act, "");
    let mut taped = grant(1, 1);
    taped.tape = Tape::Record;
    let agent = scene.open(&taped);
    let got = agent.post("/anthropic/v1/messages", &ask("lovelace", "on 2026-11-20"));
    assert_eq!(got.body, EVENTS.concat());
    let name = scene.close(&taped).tape.unwrap();
    let mut replayed = grant(2, 2);
    replayed.tape = Tape::Replay(name);
    (scene, replayed)
}

fn name_of(replayed: &Grant) -> String {
    match &replayed.tape {
        Tape::Replay(name) => name.clone(),
        Tape::Off | Tape::Record => String::new(),
    }
}

fn with_fault(fault: &str) -> crate::scene::Got {
    let (scene, replayed) = recorded();
    let name = &name_of(&replayed);
    let path = scene
        .folder
        .path()
        .join("tapes")
        .join(name)
        .join("faults.json");
    std::fs::write(path, format!(r#"[{{"call":0,"fault":"{fault}"}}]"#)).unwrap();
    let agent = scene.open(&replayed);
    let got = agent.post("/anthropic/v1/messages", &ask("bob", "on 2027-01-01"));
    let again = agent.post("/anthropic/v1/messages", &ask("bob", "on 2027-01-01"));
    assert_eq!(
        (again.status, again.body),
        (200, EVENTS.concat()),
        "the fault is over"
    );
    got
}

#[test]
fn what_was_recorded_is_answered_again_whatever_the_day() {
    let (scene, replayed) = recorded();
    let agent = scene.open(&replayed);
    let got = agent.post("/anthropic/v1/messages", &ask("bob", "on 2027-01-01"));
    assert_eq!(
        (got.status, got.body.as_str(), got.is_whole),
        (200, EVENTS.concat().as_str(), true)
    );
    assert!(got.head.contains("text/event-stream"));
    assert_eq!(
        scene.provider.asked().len(),
        1,
        "only the recording asked it"
    );
}

#[test]
fn what_was_not_recorded_is_told_by_its_difference() {
    let (scene, replayed) = recorded();
    let agent = scene.open(&replayed);
    let got = agent.post("/anthropic/v1/messages", &ask("lovelace", "off 2026-11-20"));
    assert_eq!(got.status, 400);
    let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("/messages/0/content") && message.contains("off"),
        "{message}"
    );
}

#[test]
fn faults_happen_on_purpose() {
    assert_eq!(with_fault("too_many_requests").status, 429);
    assert_eq!(with_fault("server_error").status, 500);
    let cut = with_fault("cut");
    assert!(
        !cut.is_whole && EVENTS.concat().starts_with(&cut.body),
        "{}",
        cut.body
    );
    assert_eq!(with_fault("slow").body, EVENTS.concat());
    let malformed = with_fault("malformed");
    assert!(malformed.is_whole && malformed.body.len() > EVENTS.concat().len());
}

#[test]
fn a_changed_tape_is_not_played() {
    let (scene, replayed) = recorded();
    let name = &name_of(&replayed);
    let folder = scene
        .folder
        .path()
        .join("tapes")
        .join(name)
        .join("exchanges");
    let file = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("hello", "jello");
    std::fs::write(&file, text).unwrap();
    let refused = ports::models::Models::open(&scene.client, &replayed);
    assert!(
        matches!(&refused, Err(ports::models::Error::Refused(_))),
        "{refused:?}"
    );
}

#[test]
fn a_tape_is_kept_within_its_bound_and_without_names() {
    let (scene, replayed) = recorded();
    let name = &name_of(&replayed);
    let tapes = scene.folder.path().join("tapes");
    let lines = wire::tape::index(&tapes, name).unwrap();
    assert_eq!((lines.len(), lines[0].status), (1, 200));
    let kept = wire::tape::exchange(&tapes, name, &lines[0].digest).unwrap();
    assert!(
        !kept.request.to_string().contains("lovelace"),
        "{}",
        kept.request
    );
    assert!(wire::tape::index(&tapes, "../run").is_err());
}

#[test]
fn the_sessions_of_a_work_are_answered_one_after_the_other() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let act = Box::new(move |_: &_, stream: &mut _| {
        begin_stream(stream);
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let event = format!("event: x\ndata: {{\"answer\":{number}}}\n\n");
        piece(stream, &event);
        piece(stream, "");
    });
    let scene = Scene::with(act, "");
    let session = |number: u128, work: u128, tape: Tape| {
        let mut grant = grant(number, work);
        grant.tape = tape;
        let agent = scene.open(&grant);
        let got = agent.post("/anthropic/v1/messages", &ask("lovelace", "the same"));
        scene.close(&grant);
        got.body
    };
    for number in [1, 2] {
        session(number, 1, Tape::Record);
    }
    let other = session(3, 2, Tape::Record);
    assert!(other.contains("\"answer\":2"), "{other}");
    let work = grant(1, 1).work.to_string();
    let replay = |number, work_of| session(number, work_of, Tape::Replay(work.clone()));
    // Each session goes on where the one before it left off; another work begins at the beginning.
    for (answer, (number, work_of)) in [("0", (10, 10)), ("1", (11, 10)), ("0", (12, 11))] {
        let body = replay(number, work_of);
        assert!(body.contains(&format!("\"answer\":{answer}")), "{body}");
    }
    assert_eq!(scene.provider.asked().len(), 3);
}
