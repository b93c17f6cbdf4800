//! The dialogue by what Codex 0.169 prints.

use super::*;
use ports::cells::Writes;
use testkit::agents::Setting;

/// A dialogue whose first turn has begun.
fn server() -> Server {
    let mut task = Setting::new().task;
    task.cell.workspace.as_mut().unwrap().writes = Writes {
        writable: vec!["src".into()],
        read_only: Vec::new(),
    };
    let news = News::new(task.brief.clone());
    let mut server = Server::new(Judge::of(&task), news, Some("m".to_owned()));
    assert_eq!(
        said(&server.begin("Make it work.")[0])["method"],
        "initialize"
    );
    let steps = hear(&mut server, &json!({"id": 1, "result": {}}));
    assert_eq!(said(&steps[0]), json!({"method": "initialized"}));
    assert_eq!(said(&steps[1])["params"]["approvalPolicy"], "untrusted");
    assert_eq!(said(&steps[1])["params"]["model"], "m");
    let thread = json!({"id": 2, "result": {"thread": {"id": "th"}}});
    let steps = hear(&mut server, &thread);
    assert_eq!(
        said(&steps[0])["params"]["input"][0]["text"],
        "Make it work."
    );
    let turn = json!({"id": 3, "result": {"turn": {"id": "tu"}}});
    assert_eq!(hear(&mut server, &turn), []);
    server
}

fn hear(server: &mut Server, message: &Value) -> Vec<Step> {
    server.hear(message.to_string().as_bytes())
}

fn said(step: &Step) -> Value {
    let Step::Say(text) = step else {
        panic!("{step:?}");
    };
    serde_json::from_str(text).unwrap()
}

fn change(path: &str) -> Value {
    let changes = json!([{"path": path, "kind": {"type": "add"}, "diff": ""}]);
    let item = json!({"id": "i", "type": "fileChange", "changes": changes});
    json!({"method": "item/started", "params": {"item": item}})
}

fn approval() -> Value {
    json!({"id": 0, "method": "item/fileChange/requestApproval", "params": {"itemId": "i"}})
}

fn ended(status: &str) -> Value {
    let turn = json!({"status": status, "error": {"message": "stream error"}});
    json!({"method": "turn/completed", "params": {"turn": turn}})
}

#[test]
fn a_change_is_judged_by_the_files_it_was_announced_with() {
    let mut server = server();
    hear(&mut server, &change("/workspace/src/a"));
    let steps = hear(&mut server, &approval());
    assert_eq!(said(&steps[0])["result"]["decision"], "accept");
    assert_eq!(steps.len(), 1);
    hear(&mut server, &change("/workspace/docs/a"));
    let steps = hear(&mut server, &approval());
    assert_eq!(said(&steps[0])["result"]["decision"], "decline");
    assert!(
        matches!(&steps[1], Step::Called(it) if it.refused.is_some() && it.subject == "docs/a"),
        "{steps:?}"
    );
    let steer = said(&steps[2]);
    assert_eq!(steer["params"]["expectedTurnId"], "tu");
    assert!(
        steer["params"]["input"]
            .to_string()
            .contains("does not let `docs/a`"),
        "{steer}"
    );
    // One that was not announced, or is asked for again, could be anything.
    let steps = hear(&mut server, &approval());
    assert_eq!(said(&steps[0])["result"]["decision"], "decline");
}

#[test]
fn changes_that_nobody_asked_about_make_room_when_they_are_over() {
    let mut server = server();
    for number in 0..=CHANGES_MAX {
        let mut message = change("/workspace/src/a");
        message["params"]["item"]["id"] = json!(format!("i{number}"));
        hear(&mut server, &message);
        message["method"] = json!("item/completed");
        hear(&mut server, &message);
    }
    hear(&mut server, &change("/workspace/src/a"));
    let steps = hear(&mut server, &approval());
    assert_eq!(said(&steps[0])["result"]["decision"], "accept");
}

#[test]
fn commands_are_left_to_the_walls_and_what_is_not_known_is_not_answered() {
    let mut server = server();
    let run = json!({"id": 5, "method": "item/commandExecution/requestApproval",
        "params": {"command": "ls"}});
    assert_eq!(
        said(&hear(&mut server, &run)[0]),
        json!({"id": 5, "result": {"decision": "accept"}})
    );
    let ask = |name| json!({"id": 6, "method": "mcpServer/elicitation/request", "params": {"serverName": name}});
    for (name, action) in [("palisade", "accept"), ("other", "decline")] {
        let steps = hear(&mut server, &ask(name));
        assert_eq!(said(&steps[0])["result"]["action"], action);
    }
    let other = json!({"id": 7, "method": "item/permissions/requestApproval"});
    let steps = hear(&mut server, &other);
    assert_eq!(said(&steps[0])["error"]["code"], METHOD_NOT_FOUND);
}

#[test]
fn calls_are_told_when_they_are_over() {
    let mut server = server();
    let mut over = |item: Value| {
        let steps = hear(
            &mut server,
            &json!({"method": "item/completed", "params": {"item": item}}),
        );
        steps.first().map(|step| {
            let Step::Called(it) = step else {
                panic!("{step:?}");
            };
            (it.tool.clone(), it.kind, it.subject.clone())
        })
    };
    let told = over(json!({"type": "commandExecution", "command": "ls", "status": "completed"}));
    assert_eq!(
        told,
        Some(("command".to_owned(), ToolKind::Run, "ls".to_owned()))
    );
    let called = json!({"type": "mcpToolCall", "server": "palisade", "tool": "finish", "arguments": {"summary": "done"}});
    let expected = (
        "palisade.finish".to_owned(),
        ToolKind::Signal,
        "done".to_owned(),
    );
    assert_eq!(over(called), Some(expected));
    let declined = json!({"type": "fileChange", "status": "declined", "changes": []});
    assert_eq!(over(declined), None);
}

#[test]
fn the_last_words_of_a_completed_turn_are_its_summary_and_a_failure_is_one() {
    let mut first = server();
    for words in ["I begin.", " It builds. "] {
        let item = json!({"type": "agentMessage", "text": words});
        let message = json!({"method": "item/completed", "params": {"item": item}});
        assert_eq!(hear(&mut first, &message), []);
    }
    let summary = "It builds.".to_owned();
    assert_eq!(
        hear(&mut first, &ended("completed")),
        [Step::Ended(Signal::Done { summary }), Step::Close]
    );
    let reason = "Codex ended with a failed turn: stream error".to_owned();
    let failed = [Step::Ended(Signal::Fail { reason }), Step::Close];
    assert_eq!(hear(&mut server(), &ended("failed")), failed);
    let mut refused = server();
    refused.turn.clear();
    let error = json!({"id": 1, "error": {"message": "stream error"}});
    assert_eq!(hear(&mut refused, &error), failed);
}

#[test]
fn a_stop_is_asked_for_by_the_protocol() {
    let mut server = server();
    let steps = server.cancel();
    assert_eq!(said(&steps[0])["method"], "turn/interrupt");
    assert_eq!(
        said(&steps[0])["params"],
        json!({"threadId": "th", "turnId": "tu"})
    );
    assert_eq!(hear(&mut server, &ended("interrupted")), []);
}

#[test]
fn nothing_that_is_printed_is_believed_to_be_more_than_it_is() {
    let mut server = server();
    for line in [
        "",
        "hello",
        "[]",
        "7",
        "{}",
        r#"{"id":"x"}"#,
        r#"{"method":7}"#,
    ] {
        assert_eq!(server.hear(line.as_bytes()), [], "{line}");
    }
}
