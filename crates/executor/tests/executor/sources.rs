//! What must hold of a secret wherever it comes from: one suite, run over every source.

use palisade_executor::audit::Entry;
use wire::execution::action::GetStagingConfigValues;
use wire::execution::reply::Told;
use wire::execution::{Action, Failure, Summary};

use crate::scene::{Answer, Running, SECRET, Scene, word};

/// The secret in some of the ways that must be seen; all of them are a property of the guard.
pub(crate) fn forms() -> Vec<String> {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    vec![
        SECRET.to_owned(),
        SECRET.chars().rev().collect(),
        SECRET.bytes().map(|it| format!("{it:02X}")).collect(),
        SECRET.bytes().map(|it| format!("%{it:02x}")).collect(),
        base64.encode(SECRET),
        base64.encode(format!("x{SECRET}")),
        base64.encode(format!("xy{SECRET}z")),
        SECRET.chars().flat_map(|it| [it, '\n']).collect(),
    ]
}

/// Runs a scene whose `TOKEN` is `SECRET`, from wherever it says.
pub(crate) fn hold(scene: &Scene) {
    std::fs::write(
        scene.path("deploy"),
        "#!/bin/sh\nprintf %s \"$TOKEN\" > \"$TARGET/token\"\necho \"$TOKEN\"\n\
         echo \"$VERSION\" > \"$TARGET/released\"\n",
    )
    .unwrap();
    let running = scene.start();
    let mut texts = vec![is_present(scene, &running)];
    // The child that is to have it has it, and nobody is told.
    let deployed = running.execute(&scene.request(scene.deploy("one")));
    assert!(deployed.receipt().ok, "{deployed:?}");
    texts.push(deployed.text);
    let handed = std::fs::read(scene.path("staging").join("token")).unwrap();
    assert_eq!(handed, SECRET.as_bytes());
    texts.extend(withheld(scene, &running));
    for path in ["/actions", "/metrics", "/healthz"] {
        texts.push(running.get(path).text);
    }
    texts.push(std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap());
    assert!(texts.iter().all(|it| !it.contains(SECRET)));
    assert!(
        texts
            .iter()
            .all(|it| forms().iter().all(|form| !it.contains(form)))
    );
}

/// Of a secret is told that it is there, and no more.
fn is_present(scene: &Scene, running: &Running) -> String {
    let answer = ask(scene, running, "TOKEN");
    let values = [(word("TOKEN"), Told::IsPresent(true))].into();
    assert_eq!(
        answer.receipt().summary,
        Some(Summary::GetStagingConfigValues { values })
    );
    answer.text
}

/// However it is written, it stays here, and that it would have left is on record.
fn withheld(scene: &Scene, running: &Running) -> Vec<String> {
    let values = scene.path("values.toml");
    let mut texts = Vec::new();
    for form in forms() {
        let written = serde_json::json!(format!("before {form} after"));
        std::fs::write(&values, format!("HOST = {written}\n")).unwrap();
        let answer = ask(scene, running, "HOST");
        assert_eq!(answer.receipt().failure, Some(Failure::Withheld), "{form}");
        texts.push(answer.text);
    }
    let incidents = scene
        .audit()
        .into_iter()
        .filter(|it| matches!(&it.entry, Entry::Incident { secret, .. } if secret == "TOKEN"));
    assert_eq!(incidents.count(), forms().len());
    // The control: what is no secret is told.
    std::fs::write(&values, "HOST = \"before after\"\n").unwrap();
    assert!(ask(scene, running, "HOST").receipt().ok);
    texts
}

fn ask(scene: &Scene, running: &Running, key: &str) -> Answer {
    let keys = [word(key)].into();
    let action = Action::GetStagingConfigValues(GetStagingConfigValues { keys });
    running.execute(&scene.request(action))
}
