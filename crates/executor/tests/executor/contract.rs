//! The contract: what is committed is what is served, and what is served is the truth.

use std::path::Path;
use std::process::Command;

use palisade_executor::openapi;
use serde_json::Value;

use crate::scene::Scene;

const COMMITTED: &str = "../../docs/openapi/executor.json";

#[test]
fn what_is_committed_is_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let printed = Command::new(env!("CARGO_BIN_EXE_palisade-executor"))
        .arg("openapi")
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        printed, committed,
        "write it anew: palisade-executor openapi > docs/openapi/executor.json"
    );
    let scene = Scene::new();
    let running = scene.start();
    assert_eq!(running.get("/openapi.json").value(), openapi::document());
}

#[test]
fn every_path_of_the_contract_is_answered_and_no_reference_leads_nowhere() {
    let scene = Scene::new();
    let running = scene.start();
    let document = openapi::document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "exec_00000000000000000000000zzz");
        let is_get = methods.get("get").is_some();
        let answer = if is_get {
            running.get(&path)
        } else {
            running.post(b"{}")
        };
        let code = if answer.text.starts_with('{') {
            answer.value()["code"].clone()
        } else {
            Value::Null
        };
        assert!(
            code != "not_found" && code != "method",
            "{path}: {answer:?}"
        );
    }
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name}"
        );
    }
}

#[test]
fn the_actions_that_are_told_are_those_that_are_configured() {
    let scene = Scene::new();
    let running = scene.start();
    let told = running.get("/actions").value();
    let names: Vec<_> = told["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        wire::execution::Kind::ALL.map(wire::execution::Kind::name)
    );
    assert_eq!(told["policy"], scene.policy().to_string());
    assert_eq!(told["target"], "staging");
    assert_eq!(told["requester"], crate::scene::REQUESTER);
}

#[test]
fn our_own_client_asks_and_is_told() {
    use wire::execution::client::Fault;
    let scene = Scene::new();
    let running = scene.start();
    let client = wire::execution::Client::new(&running.socket);
    assert_eq!(client.actions().unwrap()["target"], "staging");
    let request = scene.request(scene.deploy("one"));
    let receipt = client.execute(&request).unwrap();
    assert!(receipt.ok);
    assert_eq!(client.receipt(request.request_id).unwrap(), receipt);
    assert_eq!(client.execute(&request).unwrap(), receipt);
    let mut other = request;
    other.target = crate::scene::word("production");
    let Err(Fault::Refused(problem)) = client.execute(&other) else {
        panic!("it was not refused");
    };
    assert_eq!(problem.code.name(), "conflict");
    assert_eq!(problem.request_id, Some(other.request_id));
}

#[test]
fn the_audit_is_read_without_the_engine_and_a_change_is_found() {
    let scene = Scene::new();
    let running = scene.start();
    assert!(
        running
            .execute(&scene.request(scene.deploy("one")))
            .receipt()
            .ok
    );
    let path = scene.path("state/audit.jsonl");
    let run = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_palisade-executor"))
            .args(["audit", command])
            .arg(&path)
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).unwrap())
    };
    let (holds, told) = run("verify");
    assert!(holds && told.starts_with("3 entries hold"), "{told}");
    let (_, shown) = run("show");
    assert_eq!(shown, std::fs::read_to_string(&path).unwrap());
    running.kill();
    std::fs::write(&path, shown.replace("operator:ada", "operator:eve")).unwrap();
    let (holds, told) = run("verify");
    assert!(!holds && told.contains("was changed at line 2"), "{told}");
}
