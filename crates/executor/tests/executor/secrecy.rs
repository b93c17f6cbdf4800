//! No secret leaves: not in a receipt, not in a refusal, not in the audit.

use std::io::{Read as _, Write as _};

use palisade_executor::audit::Entry;
use wire::execution::action::GetStagingConfigValues;
use wire::execution::{Action, Failure};

use crate::scene::{SECRET, Scene, posted, word};
use crate::sources::forms;

#[test]
fn an_outcome_that_holds_a_secret_is_withheld_whatever_its_form() {
    let scene = Scene::new();
    let running = scene.start();
    let values = scene.path("values.toml");
    let ask = || {
        let keys = [word("HOST")].into();
        let action = Action::GetStagingConfigValues(GetStagingConfigValues { keys });
        running.execute(&scene.request(action))
    };
    for form in forms() {
        let written = serde_json::json!(format!("before {form} after"));
        std::fs::write(&values, format!("HOST = {written}\n")).unwrap();
        let answer = ask();
        assert_eq!(answer.receipt().failure, Some(Failure::Withheld), "{form}");
        assert_eq!(answer.receipt().summary, None);
        assert!(!answer.text.contains(&form));
    }
    let incidents = scene.audit().into_iter().filter(|it| match &it.entry {
        Entry::Incident { secret, .. } => secret == "TOKEN",
        Entry::Started { .. }
        | Entry::Reached { .. }
        | Entry::Refused(_)
        | Entry::Intent(_)
        | Entry::Settled(_)
        | Entry::Torn { .. } => false,
    });
    assert_eq!(incidents.count(), forms().len());
    // The control: what is no secret is told.
    std::fs::write(&values, "HOST = \"before after\"\n").unwrap();
    assert!(ask().receipt().ok);
}

#[test]
fn a_report_that_names_a_secret_is_withheld() {
    let scene = Scene::new();
    let running = scene.start();
    let receipt = running
        .execute(&scene.request(scene.test("leak")))
        .receipt();
    assert_eq!(
        (receipt.failure, receipt.summary),
        (Some(Failure::Withheld), None)
    );
}

#[test]
fn nothing_that_is_kept_or_answered_holds_the_secret() {
    let scene = Scene::new();
    let running = scene.start();
    let mut texts = vec![
        running.execute(&scene.request(scene.deploy("one"))).text,
        running.execute(&scene.request(scene.test("leak"))).text,
        running.execute(&scene.request(scene.test("green"))).text,
    ];
    for path in ["/actions", "/metrics", "/openapi.json", "/healthz"] {
        texts.push(running.get(path).text);
    }
    let told = running.get(&format!("/receipts/{SECRET}"));
    texts.push(told.text);
    texts.push(std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap());
    assert!(texts.iter().all(|it| !it.contains(SECRET)));
}

#[test]
fn a_request_that_holds_a_secret_is_refused_and_not_repeated() {
    let scene = Scene::new();
    let running = scene.start();
    for form in forms() {
        let body = serde_json::json!({"action": form, "x": 1}).to_string();
        let answer = running.post(body.as_bytes());
        assert_eq!(answer.code(), "secret_in_request");
    }
    let audit = std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap();
    assert!(forms().iter().all(|it| !audit.contains(it.as_str())));
}

#[test]
fn a_secret_that_could_not_be_recognised_stops_the_start() {
    let scene = Scene::new();
    scene.configure();
    std::fs::write(scene.path("TOKEN"), "short").unwrap();
    let told = scene.refusal_to_start();
    assert!(told.contains("could not be recognised"), "{told}");
    assert!(!told.contains("short"));
}

#[test]
fn the_executors_environment_is_not_its_childrens() {
    let mut scene = Scene::new();
    scene.deploy_mode = "well";
    std::fs::write(
        scene.path("deploy"),
        "#!/bin/sh\nenv > \"$TARGET/env\"\necho \"$VERSION\" > \"$TARGET/released\"\n",
    )
    .unwrap();
    let running = scene.start();
    assert!(
        running
            .execute(&scene.request(scene.deploy("one")))
            .receipt()
            .ok
    );
    let env = std::fs::read_to_string(scene.path("staging").join("env")).unwrap();
    let mut names: Vec<_> = env
        .lines()
        .filter_map(|it| it.split_once('='))
        .map(|it| it.0)
        .collect();
    names.retain(|it| !["PWD", "_", "SHLVL", "OLDPWD"].contains(it));
    names.sort_unstable();
    assert_eq!(
        names,
        ["ARTIFACT", "LC_ALL", "PATH", "TARGET", "TOKEN", "VERSION"]
    );
}

#[test]
fn who_leaves_in_the_middle_changes_nothing() {
    let scene = Scene::new();
    let running = scene.start();
    let request = scene.request(scene.deploy("one"));
    let mut stream = running.connect();
    stream
        .write_all(&posted(request.value().to_string().as_bytes()))
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    drop(stream.read(&mut [0; 1]));
    drop(stream);
    assert!(running.execute(&request).receipt().ok);
    assert_eq!(scene.runs(), 1);
}
