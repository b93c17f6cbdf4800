//! OpenCode itself, as its maker ships it, at work in a cell by the Agent Client Protocol.

use std::time::Duration;

use agents::OpenCodeDriver;
use domain::agent::{EndReason, Signal};
use ports::agents::{Driver as _, Outcome, Stream};
use serde_json::json;
use testkit::agents::{Recorder, Setting};
use testkit::scripted_model::Turn;

use crate::scene::{cells, greeting, installed, own, with_model};

/// How long a test waits for something to be asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of this machine; the package that npm would put before it brings it twice.
#[cfg(target_arch = "x86_64")]
const PROGRAM: &str = "opencode-linux-x64/bin/opencode";
#[cfg(target_arch = "aarch64")]
const PROGRAM: &str = "opencode-linux-arm64/bin/opencode";

fn run_with(setting: &Setting, model: &str, recorder: &Recorder) -> Outcome {
    let driver = OpenCodeDriver::new(installed(PROGRAM), cells(), own()).with_model(model);
    driver.run(setting.task.clone(), recorder)
}

fn run(setting: &Setting, recorder: &Recorder) -> Outcome {
    run_with(setting, "local/scripted", recorder)
}

fn shell(command: &str) -> Turn {
    Turn::Call(
        "bash",
        json!({"command": command, "description": "scripted"}),
    )
}

fn write(path: &str, text: &str) -> Turn {
    Turn::Call("write", json!({"filePath": path, "content": text}))
}

#[test]
#[ignore = "needs OpenCode, which .ci/agents-for-tests installs; ./check runs it"]
fn it_edits_tests_asks_and_is_told_why_it_may_not() {
    let mut setting = greeting("Mend the greeting.");
    let ask = json!({
        "question": "Which language?", "why": "It is not said.", "options": ["english", "french"],
        "recommend": "english", "impact": "small", "default": "english", "priority": "P1",
    });
    let model = with_model(
        &mut setting,
        vec![
            shell("make test"),
            Turn::Call("palisade_ask", ask),
            Turn::Call("read", json!({"filePath": "/workspace/src/greeting"})),
            write("/workspace/src/greeting", "hello\n"),
            shell("make test && echo it is green"),
            write("/workspace/src/new", "new\n"),
            write("/workspace/Makefile", "test:\n\ttrue\n"),
            Turn::Say("It is mended without it."),
        ],
    );
    let recorder = Recorder::default();
    let outcome = run(&setting, &recorder);
    let summary = "It is mended without it.".to_owned();
    let printed = recorder.output(Stream::Out) + &recorder.output(Stream::Err);
    assert_eq!(outcome.reason, EndReason::Done { summary }, "{printed}");
    assert_eq!(setting.text("src/greeting"), "hello\n");
    assert_eq!(setting.text("src/new"), "new\n");
    assert!(setting.text("Makefile").contains("greeting.sh"));
    let signals = recorder.signals();
    assert!(
        matches!(&signals[..], [Signal::Ask { report, .. }, Signal::Done { .. }]
            if report.contains("Which language?")),
        "{signals:?}"
    );
    let asked = model.asked();
    let last = asked.last().unwrap().body["messages"].to_string();
    for told in [
        "Mend the greeting.",
        "it is green",
        "does not let `Makefile` be written",
    ] {
        assert!(last.contains(told), "{told}: {last}");
    }
    for one in &asked {
        assert_eq!(one.path, "/compatible/local/v1/chat/completions");
        assert_eq!(one.header("authorization"), Some("Bearer palisade-no-key"));
        assert!(!one.body["tools"].to_string().contains("webfetch"));
    }
}

#[test]
#[ignore = "needs OpenCode, which .ci/agents-for-tests installs; ./check runs it"]
fn it_speaks_to_the_provider_that_its_model_names() {
    let mut setting = greeting("Mend the greeting.");
    let finish = Turn::Call("palisade_finish", json!({"summary": "nothing to mend"}));
    let model = with_model(&mut setting, vec![finish, Turn::Say("Over.")]);
    let recorder = Recorder::default();
    let outcome = run_with(&setting, "anthropic/claude-sonnet-4-5", &recorder);
    let summary = "nothing to mend".to_owned();
    let printed = recorder.output(Stream::Out) + &recorder.output(Stream::Err);
    assert_eq!(outcome.reason, EndReason::Done { summary }, "{printed}");
    for one in model.asked() {
        assert_eq!(one.path, "/anthropic/v1/messages");
        assert_eq!(one.header("x-api-key"), Some("palisade-no-key"));
        assert_eq!(one.body["model"], "claude-sonnet-4-5");
    }
}

#[test]
#[ignore = "needs OpenCode, which .ci/agents-for-tests installs; ./check runs it"]
fn a_stop_reaches_the_model() {
    let mut setting = greeting("Tell a long story.");
    let model = with_model(&mut setting, vec![Turn::Hang("Once upon a time")]);
    let recorder = Recorder::default();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&setting, &recorder));
        // It asks for a title as well, in an order of its own.
        let is_at_work = || model.asked().iter().any(|it| it.body["tools"].is_array());
        for count in 1.. {
            assert!(model.wait_asked(count, PATIENCE));
            if is_at_work() {
                break;
            }
        }
        recorder.stop();
        running.join().unwrap()
    });
    assert_eq!(outcome.reason, EndReason::Stopped);
    assert!(model.wait_hung_up(PATIENCE));
}
