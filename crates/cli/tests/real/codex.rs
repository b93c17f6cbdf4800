//! Codex itself, as its maker ships it, at work in a cell.

use std::time::Duration;

use agents::CodexDriver;
use domain::agent::{EndReason, Signal};
use ports::agents::{Driver as _, Outcome, Stream};
use serde_json::json;
use testkit::agents::{Recorder, Setting};
use testkit::scripted_model::Turn;

use crate::scene::{cells, greeting, installed, own, with_model};

/// How long a test waits for something to be asked.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(setting: &Setting, recorder: &Recorder) -> Outcome {
    let program = installed(".bin/codex");
    let driver = CodexDriver::new(program, cells(), own()).with_model("gpt-5.5");
    driver.run(setting.task.clone(), recorder)
}

fn shell(command: &str) -> Turn {
    Turn::Call("exec_command", json!({"cmd": command}))
}

#[test]
#[ignore = "needs Codex, which .ci/agents-for-tests installs; ./check runs it"]
fn it_speaks_through_our_tools() {
    let mut setting = greeting("Mend the greeting.");
    let ask = json!({
        "question": "Which language?", "why": "It is not said.", "options": ["english", "french"],
        "recommend": "english", "impact": "small", "default": "english", "priority": "P1",
    });
    let model = with_model(
        &mut setting,
        vec![
            Turn::Call("mcp__palisade/ask", ask),
            shell("echo hello > src/greeting && make test && echo it is green"),
            Turn::Call(
                "mcp__palisade/finish",
                json!({"summary": "hello is spelled"}),
            ),
            Turn::Say("Over."),
        ],
    );
    let recorder = Recorder::default();
    let outcome = run(&setting, &recorder);
    let summary = "hello is spelled".to_owned();
    let printed = recorder.output(Stream::Out);
    assert_eq!(outcome.reason, EndReason::Done { summary }, "{printed}");
    assert_eq!(setting.text("src/greeting"), "hello\n");
    let first = model.asked()[0].body["tools"].to_string();
    // Nothing that the provider itself would look up outside.
    assert!(!first.contains("web_search"), "{first}");
    let signals = recorder.signals();
    assert!(
        matches!(&signals[..], [Signal::Ask { priority, .. }, Signal::Done { .. }]
            if priority == "P1"),
        "{signals:?}"
    );
}

#[test]
#[ignore = "needs Codex, which .ci/agents-for-tests installs; ./check runs it"]
fn it_edits_tests_and_asks_and_is_told_why_it_may_not() {
    let mut setting = greeting("Mend the greeting.");
    let patch =
        "*** Begin Patch\n*** Update File: src/greeting\n@@\n-helo\n+hello\n*** End Patch\n";
    let outside = "*** Begin Patch\n*** Update File: Makefile\n@@\n-test:\n+none:\n*** End Patch\n";
    let model = with_model(
        &mut setting,
        vec![
            shell("make test"),
            Turn::Call("apply_patch", json!({"input": patch})),
            Turn::Call("apply_patch", json!({"input": outside})),
            shell("echo 'test:' > Makefile"),
            shell(
                "palisade-agent ask --question 'Which language?' --why 'It is not said.' \
                 --option english --option french --recommend english --impact small \
                 --default english",
            ),
            shell("make test && echo it is green"),
            Turn::Say("The greeting is mended."),
        ],
    );
    let recorder = Recorder::default();
    let outcome = run(&setting, &recorder);
    let summary = "The greeting is mended.".to_owned();
    let printed = recorder.output(Stream::Out);
    let errors = recorder.output(Stream::Err);
    assert_eq!(
        outcome.reason,
        EndReason::Done { summary },
        "{printed}{errors}"
    );
    assert_eq!(setting.text("src/greeting"), "hello\n", "{printed}");
    assert!(setting.text("Makefile").contains("greeting.sh"));
    let signals = recorder.signals();
    assert!(
        matches!(&signals[..], [Signal::Ask { report, .. }, Signal::Done { .. }]
            if report.contains("Which language?")),
        "{signals:?}"
    );
    let asked = model.asked();
    let last = asked.last().unwrap().body["input"].to_string();
    assert!(last.contains("it is green"), "{last}");
    assert!(last.contains("Read-only file system"), "{last}");
    assert!(
        last.contains("does not let `Makefile` be written"),
        "{last}"
    );
    let calls = recorder.called();
    let refused: Vec<_> = calls.iter().filter(|it| it.refused.is_some()).collect();
    assert!(
        matches!(&refused[..], [it] if it.subject == "Makefile"),
        "{calls:?}"
    );
    assert!(calls.iter().any(|it| it.subject.contains("make test")));
    for one in &asked {
        assert!(one.path.starts_with("/openai/v1/"), "{}", one.path);
        assert_eq!(one.header("authorization"), Some("Bearer palisade-no-key"));
    }
}

#[test]
#[ignore = "needs Codex, which .ci/agents-for-tests installs; ./check runs it"]
fn what_the_operator_says_meanwhile_is_taken_up() {
    let mut setting = greeting("Mend the greeting.");
    let folder = setting.task.brief.join("messages");
    std::fs::create_dir(&folder).unwrap();
    let message = r#"{"id":"m1","acknowledge_within_ms":1,"state":"delivered","text":"in French"}"#;
    std::fs::write(folder.join("0001.json"), message).unwrap();
    let model = with_model(
        &mut setting,
        vec![
            Turn::Say("It is English."),
            shell("echo bonjour > src/french"),
            Turn::Say("Now it is French."),
        ],
    );
    let outcome = run(&setting, &Recorder::default());
    let summary = "Now it is French.".to_owned();
    assert_eq!(outcome.reason, EndReason::Done { summary });
    assert_eq!(setting.text("src/french"), "bonjour\n");
    let asked = model.asked();
    assert!(asked[1].body["input"].to_string().contains("in French"));
}

#[test]
#[ignore = "needs Codex, which .ci/agents-for-tests installs; ./check runs it"]
fn a_failing_provider_is_a_failed_session() {
    let mut setting = greeting("Mend the greeting.");
    let _model = with_model(&mut setting, vec![Turn::Fail(400, "no such model")]);
    let outcome = run(&setting, &Recorder::default());
    let EndReason::Failed { detail } = &outcome.reason else {
        panic!("{outcome:?}");
    };
    assert!(detail.contains("no such model"), "{detail}");
}

#[test]
#[ignore = "needs Codex, which .ci/agents-for-tests installs; ./check runs it"]
fn a_stop_reaches_the_model() {
    let mut setting = greeting("Tell a long story.");
    let model = with_model(&mut setting, vec![Turn::Hang("Once upon a time")]);
    let recorder = Recorder::default();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&setting, &recorder));
        assert!(model.wait_asked(1, PATIENCE));
        recorder.stop();
        running.join().unwrap()
    });
    assert_eq!(outcome.reason, EndReason::Stopped);
    assert!(model.wait_hung_up(PATIENCE));
}
