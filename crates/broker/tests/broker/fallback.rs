//! A model that cannot be had: another of its class is asked, says so, and is paid for.

use std::io::Write as _;

use domain::model::{Model, Outage};
use ports::models::{Grant, Tape};
use testkit::models::contract::grant;

use crate::scene::{Act, Scene};

const ASK: &str = r#"{"max_tokens":5, "model": "claude-opus-4-5", "messages":[]}"#;

/// Nobody listens there, whatever the machine.
const DEAD: &str =
    "[compatible.dead]\nupstream = \"http://127.0.0.1:1\"\nmodels = [\"llama\"]\nfree = true\n";

fn class(all: &[&str]) -> Vec<Model> {
    all.iter().map(|it| Model::parse(it).unwrap()).collect()
}

fn routed(all: &[&str]) -> Grant {
    Grant {
        classes: vec![class(all)],
        ..grant(1, 1)
    }
}

/// Answers by model: with a status if it is this one, else with a message.
fn fails_for(model: &'static str, status: &'static str) -> Act {
    Box::new(move |asked, stream| {
        let body = r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#;
        let status = if asked.body.contains(model) {
            status
        } else {
            "200 OK"
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        drop(stream.write_all(format!("{head}{body}").as_bytes()));
    })
}

fn fell(scene: &Scene, grant: &Grant) -> Vec<(String, String, Outage, u64)> {
    let fell = scene.account(grant).fell_back.into_iter();
    fell.map(|it| (it.from.to_string(), it.to.to_string(), it.why, it.count))
        .collect()
}

fn opus_to_sonnet(why: Outage, count: u64) -> (String, String, Outage, u64) {
    let (from, to) = ("anthropic/claude-opus-4-5", "anthropic/claude-sonnet-4-5");
    (from.to_owned(), to.to_owned(), why, count)
}

#[test]
fn an_overloaded_model_is_asked_twice_and_another_stands_in() {
    let scene = Scene::with(fails_for("opus", "529 Overloaded"), "");
    let mut grant = routed(&["anthropic/claude-opus-4-5", "anthropic/claude-sonnet-4-5"]);
    grant.tape = Tape::Record;
    let agent = scene.open(&grant);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    let bodies: Vec<_> = scene
        .provider
        .asked()
        .into_iter()
        .map(|it| it.body)
        .collect();
    let renamed = ASK.replace("opus", "sonnet");
    assert_eq!(bodies, [ASK, ASK, renamed.as_str()]);
    assert_eq!(fell(&scene, &grant), [opus_to_sonnet(Outage::Failing, 1)]);
    // It rests meanwhile, and each request that another takes is counted.
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    assert_eq!(scene.provider.asked().len(), 4);
    assert_eq!(fell(&scene, &grant), [opus_to_sonnet(Outage::Failing, 2)]);
    let account = scene.close(&grant);
    let used: Vec<_> = account
        .used
        .iter()
        .map(|it| (it.model.as_str(), it.usage.calls))
        .collect();
    let paid: Vec<_> = used.into_iter().filter(|(_, calls)| *calls > 0).collect();
    assert_eq!(paid, [("claude-sonnet-4-5", 2)]);
    let (tapes, name) = (scene.folder.path().join("tapes"), account.tape.unwrap());
    let lines = wire::tape::index(&tapes, &name).unwrap();
    let kept = wire::tape::exchange(&tapes, &name, &lines[0].digest).unwrap();
    assert_eq!(kept.model, "claude-opus-4-5");
    assert_eq!(
        kept.served_by.as_deref(),
        Some("anthropic/claude-sonnet-4-5")
    );
}

#[test]
fn who_cannot_be_reached_is_stood_in_for_across_providers() {
    let scene = Scene::with(fails_for("nothing", "500 Oops"), DEAD);
    let grant = routed(&["dead/llama", "local/llama", "openai/gpt-5"]);
    let agent = scene.open(&grant);
    let ask = r#"{"model":"llama","messages":[]}"#;
    let got = agent.post("/compatible/dead/v1/chat/completions", ask);
    assert_eq!(got.status, 200);
    let (from, to) = ("dead/llama".to_owned(), "local/llama".to_owned());
    assert_eq!(fell(&scene, &grant), [(from, to, Outage::Unreachable, 1)]);
}

#[test]
fn another_language_never_stands_in() {
    let scene = Scene::with(fails_for("opus", "503 Down"), "");
    let grant = routed(&[
        "anthropic/claude-opus-4-5",
        "openai/gpt-5",
        "gemini/gemini-2.5-pro",
    ]);
    let agent = scene.open(&grant);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 503);
    assert_eq!(
        scene.provider.asked().len(),
        1,
        "and nobody is asked twice in vain"
    );
    assert_eq!(fell(&scene, &grant), []);
}

#[test]
fn what_may_not_be_asked_never_stands_in() {
    let scene = Scene::with(fails_for("opus", "503 Down"), "");
    let mut grant = routed(&[
        "anthropic/claude-opus-4-5",
        "anthropic/other",
        "anthropic/claude-sonnet-4-5",
    ]);
    grant.models = vec!["*opus*".to_owned()];
    let agent = scene.open(&grant);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 503);
    assert_eq!(fell(&scene, &grant), []);
}

#[test]
fn the_agent_waits_when_asked_to_and_not_for_ever() {
    let scene = Scene::with(fails_for("opus", "429 Too Many Requests"), "");
    let grant = routed(&["anthropic/claude-opus-4-5", "anthropic/claude-sonnet-4-5"]);
    let agent = scene.open(&grant);
    let statuses: Vec<_> = (0..4)
        .map(|_| agent.post("/anthropic/v1/messages", ASK).status)
        .collect();
    assert_eq!(statuses, [429, 429, 429, 200]);
    assert_eq!(fell(&scene, &grant), [opus_to_sonnet(Outage::Throttled, 1)]);
}

#[test]
fn a_mistake_of_the_agent_is_no_outage() {
    let scene = Scene::with(fails_for("opus", "400 Bad Request"), "");
    let grant = routed(&["anthropic/claude-opus-4-5", "anthropic/claude-sonnet-4-5"]);
    let agent = scene.open(&grant);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 400);
    assert_eq!(scene.provider.asked().len(), 1);
}

#[test]
fn a_reply_that_has_begun_is_never_begun_anew() {
    let act: Act = Box::new(|_, stream| {
        crate::scene::begin_stream(stream);
        crate::scene::piece(stream, "event: ping\ndata: {}\n\n");
    });
    let scene = Scene::with(act, "");
    let grant = routed(&["anthropic/claude-opus-4-5", "anthropic/claude-sonnet-4-5"]);
    let agent = scene.open(&grant);
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert!(got.status == 200 && !got.is_whole);
    assert_eq!(scene.provider.asked().len(), 1);
    assert_eq!(fell(&scene, &grant), []);
}
