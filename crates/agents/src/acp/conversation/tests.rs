//! The conversation by itself: what follows from what is heard.

use super::*;
use proptest::prelude::*;
use testkit::agents::Setting;

struct Scene {
    setting: Setting,
    talk: Conversation,
}

fn scene() -> Scene {
    let mut setting = Setting::new();
    if let Some(tree) = &mut setting.task.cell.workspace {
        tree.writes.writable = vec!["src".into()];
    }
    let programs = [("make".to_owned(), "/usr/bin/make".into())];
    setting.task.cell.programs = Some(programs.into());
    let manner = Manner {
        told: "`it`".to_owned(),
        tools: json!({"name": "palisade"}),
    };
    let news = News::new(setting.task.brief.clone());
    let talk = Conversation::new(manner, Judge::of(&setting.task), news);
    Scene { setting, talk }
}

impl Scene {
    fn hear(&mut self, message: &Value) -> Vec<Step> {
        self.talk.hear(message.to_string().as_bytes())
    }

    fn answer(&mut self, id: u64, result: &Value) -> Vec<Step> {
        self.hear(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    fn ends_turn(&mut self, id: u64, reason: &str) -> Vec<Step> {
        self.answer(id, &json!({"stopReason": reason}))
    }

    /// Brings it to its first turn.
    fn in_a_turn() -> Self {
        let mut scene = scene();
        scene.talk.begin("Make it work.");
        scene.answer(1, &json!({"protocolVersion": 1}));
        scene.answer(2, &json!({"sessionId": "s1"}));
        assert_eq!(scene.talk.stage, Stage::Turn);
        scene
    }

    fn asks(&mut self, method: &str, params: &Value) -> Vec<Step> {
        let mut params = params.clone();
        params["sessionId"] = json!("s1");
        self.hear(&json!({"jsonrpc": "2.0", "id": "r", "method": method, "params": params}))
    }

    fn asks_to_write(&mut self, path: &str) -> Vec<Step> {
        let locations = json!([{"path": path}]);
        let call = json!({"toolCallId": path, "kind": "edit", "locations": locations});
        let options = json!([{"optionId": "y", "kind": "allow_once"},
            {"optionId": "n", "kind": "reject_once"}]);
        let params = json!({"toolCall": call, "options": options});
        self.asks("session/request_permission", &params)
    }
}

/// Returns the one thing that is said; every no goes on record beside it.
fn said(steps: &[Step]) -> Value {
    let [Step::Say(text), record @ ..] = steps else {
        panic!("{steps:?}");
    };
    let answer: Value = serde_json::from_str(text).unwrap();
    let is_no = answer["error"]["code"] == DENIED || answer["result"]["outcome"]["optionId"] == "n";
    let on_record = matches!(record, [Step::Called(call)] if call.refused.is_some());
    assert!(
        on_record == is_no && (on_record || record.is_empty()),
        "{steps:?}"
    );
    answer
}

fn failed(steps: &[Step]) -> &str {
    let [Step::Ended(Signal::Fail { reason }), Step::Close] = steps else {
        panic!("{steps:?}");
    };
    reason
}

#[test]
fn a_session_is_greeting_opening_turns_and_an_end() {
    let mut scene = scene();
    let greeting = said(&scene.talk.begin("Make it work."));
    assert_eq!(greeting["method"], "initialize");
    assert_eq!(greeting["params"]["protocolVersion"], 1);
    let opening = said(&scene.answer(1, &json!({"protocolVersion": 1})));
    assert_eq!(opening["method"], "session/new");
    assert_eq!(opening["params"]["cwd"], "/workspace");
    assert_eq!(opening["params"]["mcpServers"][0]["name"], "palisade");
    let turn = said(&scene.answer(2, &json!({"sessionId": "s1"})));
    assert_eq!(turn["method"], "session/prompt");
    assert_eq!(turn["params"]["prompt"][0]["text"], "Make it work.");
    let update = json!({"sessionUpdate": "agent_message_chunk", "content": {"text": "Built."}});
    let params = json!({"sessionId": "s1", "update": update});
    let told = json!({"method": "session/update", "params": params});
    assert_eq!(scene.hear(&told), []);
    let foreign = json!({"sessionId": "s2", "update": update});
    scene.hear(&json!({"method": "session/update", "params": foreign}));
    let summary = "Built.".to_owned();
    let ended = Step::Ended(Signal::Done { summary });
    assert_eq!(scene.ends_turn(3, "end_turn"), [ended, Step::Close]);
    assert_eq!(scene.ends_turn(3, "end_turn"), [], "it ends once");
}

#[test]
fn only_version_one_is_spoken() {
    for version in [json!(99), json!(2), json!(0), json!("1"), Value::Null] {
        let mut scene = scene();
        scene.talk.begin("p");
        let steps = scene.answer(1, &json!({"protocolVersion": version}));
        assert!(failed(&steps).contains("only 1 is understood"), "{steps:?}");
    }
}

#[test]
fn every_reason_for_the_end_of_a_turn_is_told() {
    for (reason, told) in [
        ("max_tokens", "limit of tokens"),
        ("max_turn_requests", "limit of requests"),
        ("refusal", "refused"),
        ("cancelled", "cancelled its own turn"),
        ("nobody knows", "`nobody knows`"),
        ("", "``"),
    ] {
        let steps = Scene::in_a_turn().ends_turn(3, reason);
        assert!(failed(&steps).contains(told), "{reason}: {steps:?}");
    }
    let error = json!({"code": -32603, "message": "oops", "data": {"details": "429"}});
    for (answers, doing) in [
        (0, "greeting"),
        (1, "opens no session"),
        (2, "ended its turn"),
    ] {
        let mut scene = scene();
        scene.talk.begin("p");
        for result in [json!({"protocolVersion": 1}), json!({"sessionId": "s1"})]
            .iter()
            .take(answers)
        {
            scene.answer(scene.talk.asked, result);
        }
        let steps = scene.hear(&json!({"id": scene.talk.asked, "error": error}));
        let told = failed(&steps);
        assert!(told.contains(doing) && told.contains("oops: 429"), "{told}");
    }
    let mut scene = scene();
    scene.talk.begin("p");
    scene.answer(1, &json!({"protocolVersion": 1}));
    assert!(failed(&scene.answer(2, &json!({"sessionId": 7}))).contains("without a name"));
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut scene = Scene::in_a_turn();
    for id in [
        json!(0),
        json!(1),
        json!(2),
        json!(4),
        json!("3"),
        json!(-3),
    ] {
        let answer = json!({"id": id, "result": {"stopReason": "end_turn"}});
        assert_eq!(scene.hear(&answer), [], "{id}");
    }
    for noise in ["", "not json", "[]", "{}", "\u{7f}"] {
        assert_eq!(scene.talk.hear(noise.as_bytes()), []);
    }
    assert_eq!(scene.talk.stage, Stage::Turn);
}

#[test]
fn what_is_left_to_the_client_is_judged_and_done_in_the_cell() {
    let mut scene = Scene::in_a_turn();
    for (method, params) in [
        ("fs/read_text_file", json!({"path": "/workspace/Makefile"})),
        (
            "fs/write_text_file",
            json!({"path": "/workspace/src/a", "content": "x"}),
        ),
        (
            "terminal/create",
            json!({"command": "make", "cwd": "/workspace"}),
        ),
        ("terminal/output", json!({"terminalId": "t"})),
        ("terminal/wait_for_exit", json!({"terminalId": "t"})),
        ("terminal/kill", json!({"terminalId": "t"})),
        ("terminal/release", json!({"terminalId": "t"})),
    ] {
        let order = said(&scene.asks(method, &params));
        assert_eq!(order["palisade"]["method"], method);
        assert_eq!(order["palisade"]["id"], "r");
    }
    for (method, params, why) in [
        (
            "fs/write_text_file",
            json!({"path": "/workspace/Makefile"}),
            "does not let `Makefile`",
        ),
        (
            "fs/write_text_file",
            json!({"path": "/workspace/src/../../etc/x"}),
            "beneath /workspace",
        ),
        ("fs/write_text_file", json!({}), "plainly"),
        ("fs/read_text_file", json!({"path": "a\0b"}), "plainly"),
        (
            "terminal/create",
            json!({"command": "curl"}),
            "it lets `make`",
        ),
        (
            "terminal/create",
            json!({"command": "make", "cwd": "/etc"}),
            "no folder of this",
        ),
        ("terminal/create", json!({}), "names its program"),
    ] {
        let answer = said(&scene.asks(method, &params));
        assert_eq!(answer["error"]["code"], DENIED, "{method}");
        let told = answer["error"]["message"].as_str().unwrap();
        assert!(told.contains(why), "{method}: {told}");
    }
    for other in [
        "fs/delete",
        "session/prompt",
        "_palisade",
        "elicitation/create",
    ] {
        let answer = said(&scene.asks(other, &json!({})));
        assert_eq!(answer["error"]["code"], METHOD_NOT_FOUND);
    }
    let params = json!({"sessionId": "s2", "path": "/workspace/src/a"});
    let foreign = json!({"id": 1, "method": "fs/read_text_file", "params": params});
    assert_eq!(said(&scene.hear(&foreign))["error"]["code"], INVALID_PARAMS);
}

#[test]
fn why_leave_was_not_given_is_the_next_prompt_once() {
    let mut scene = Scene::in_a_turn();
    let answer = said(&scene.asks_to_write("/workspace/src/a"));
    assert_eq!(answer["result"]["outcome"]["optionId"], "y");
    let answer = said(&scene.asks_to_write("/workspace/Makefile"));
    assert_eq!(answer["result"]["outcome"]["optionId"], "n");
    let next = said(&scene.ends_turn(3, "cancelled"));
    let text = next["params"]["prompt"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("does not let `Makefile` be written"),
        "{text}"
    );
    // It tries the same again: it was told.
    scene.asks_to_write("/workspace/Makefile");
    assert!(failed(&scene.ends_turn(4, "cancelled")).contains("cancelled"));
}

#[test]
fn what_the_operator_said_meanwhile_is_the_next_prompt() {
    let mut scene = Scene::in_a_turn();
    let folder = scene.setting.task.brief.join("messages");
    std::fs::create_dir(&folder).unwrap();
    let message = r#"{"id":"m1","acknowledge_within_ms":1,"state":"delivered","text":"stop X"}"#;
    std::fs::write(folder.join("0001.json"), message).unwrap();
    let next = said(&scene.ends_turn(3, "end_turn"));
    let text = next["params"]["prompt"][0]["text"].as_str().unwrap();
    assert!(text.contains("stop X"), "{text}");
    assert!(matches!(
        scene.ends_turn(4, "end_turn")[..],
        [Step::Ended(_), Step::Close]
    ));
}

#[test]
fn who_is_to_stop_is_told_by_the_protocol_first() {
    let mut scene = Scene::in_a_turn();
    let told = said(&scene.talk.cancel());
    assert_eq!(told["method"], "session/cancel");
    assert_eq!(told.get("id"), None);
    let answer = said(&scene.asks_to_write("/workspace/src/a"));
    assert_eq!(answer["result"]["outcome"], leave::cancelled());
    let answer = said(&scene.asks("fs/read_text_file", &json!({"path": "a"})));
    assert_eq!(answer["error"]["code"], INVALID_PARAMS);
    assert_eq!(scene.ends_turn(3, "cancelled"), [Step::Close]);
    let mut early = scene_that_began();
    assert_eq!(early.talk.cancel(), [Step::Close]);
    assert_eq!(
        early.answer(1, &json!({"protocolVersion": 1})),
        [Step::Close]
    );
}

fn scene_that_began() -> Scene {
    let mut scene = scene();
    scene.talk.begin("p");
    scene
}

#[test]
fn floods_and_overlong_messages_end_it() {
    let mut scene = Scene::in_a_turn();
    let params = json!({"path": "/workspace/src/a"});
    for _ in 0..REQUESTS_MAX {
        assert_eq!(scene.asks("fs/read_text_file", &params).len(), 1);
    }
    let steps = scene.asks("fs/read_text_file", &params);
    assert!(failed(&steps).contains("asked for over"), "{steps:?}");
    let mut scene = Scene::in_a_turn();
    assert!(failed(&scene.talk.overlong()).contains("in one message"));
    assert_eq!(scene.talk.overlong(), []);
    // Before there is a turn, nothing is done for anybody.
    let mut early = scene_that_began();
    let asked = json!({"id": 1, "method": "fs/read_text_file", "params": params});
    assert_eq!(said(&early.hear(&asked))["error"]["code"], INVALID_PARAMS);
}

/// Words that mean something somewhere.
const WORDS: [&str; 14] = [
    "s1",
    "/workspace/src/a",
    "/workspace/Makefile",
    "../x",
    "edit",
    "diff",
    "allow_once",
    "reject_once",
    "end_turn",
    "plan",
    "tool_call",
    "completed",
    "make",
    "",
];

/// Any value that a program could put into a message, most of it meaningless.
fn anything() -> impl Strategy<Value = Value> {
    let names = [
        "sessionId",
        "path",
        "toolCall",
        "kind",
        "content",
        "locations",
        "options",
        "update",
        "sessionUpdate",
        "stopReason",
        "protocolVersion",
        "command",
        "cwd",
        "toolCallId",
        "status",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(WORDS.to_vec()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        let entries = prop::collection::btree_map(name, inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            entries.prop_map(|it| it.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_said_nothing_is_done_that_the_judge_does_not_allow(
        messages in prop::collection::vec(
            (0..9_usize, anything(), any::<bool>(), prop::sample::select(WORDS.to_vec())),
            0..40,
        ),
    ) {
        let methods = [
            "fs/write_text_file", "fs/read_text_file", "terminal/create", "terminal/kill",
            "session/request_permission", "session/update", "initialize", "session/prompt", "",
        ];
        let mut scene = Scene::in_a_turn();
        let judge = Judge::of(&scene.setting.task);
        for (method, mut params, is_plausible, word) in messages {
            if let (Some(params), true) = (params.as_object_mut(), is_plausible) {
                for (name, value) in [("sessionId", "s1"), ("path", word), ("command", word)] {
                    params.insert(name.to_owned(), json!(value));
                }
            }
            let asked = json!({"id": 1, "method": methods[method], "params": params});
            let answered = json!({"id": scene.talk.asked, "result": params});
            let told = json!({"method": methods[method], "params": params});
            let messages = [asked, told, answered];
            for step in messages.iter().flat_map(|it| scene.hear(it)) {
                let Step::Say(text) = step else { continue };
                let Some(order) = json_rpc::performed(text.as_bytes()) else { continue };
                let path = order.params["path"].as_str().unwrap_or_default();
                let command = order.params["command"].as_str().unwrap_or_default();
                match order.method.as_str() {
                    "fs/write_text_file" => prop_assert_eq!(judge.write(path), Ok(())),
                    "fs/read_text_file" => prop_assert_eq!(judge.read(path), Ok(())),
                    "terminal/create" => prop_assert_eq!(command, "make"),
                    other => prop_assert_eq!(other, "terminal/kill"),
                }
            }
        }
    }
}
