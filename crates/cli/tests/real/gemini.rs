//! Gemini CLI itself, as its maker ships it, at work in a cell by the Agent Client Protocol.

use std::time::Duration;

use agents::GeminiDriver;
use domain::agent::{EndReason, Signal};
use ports::agents::{Driver as _, Outcome, Stream};
use serde_json::json;
use testkit::agents::{Recorder, Setting};
use testkit::scripted_model::Turn;

use crate::scene::{cells, greeting, installed, own, with_model};

/// How long a test waits for something to be asked.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(setting: &Setting, recorder: &Recorder) -> Outcome {
    let program = installed(".bin/gemini");
    GeminiDriver::new(program, cells(), own()).run(setting.task.clone(), recorder)
}

fn shell(command: &str) -> Turn {
    Turn::Call(
        "run_shell_command",
        json!({"command": command, "description": "scripted"}),
    )
}

fn write(path: &str, text: &str) -> Turn {
    Turn::Call("write_file", json!({"file_path": path, "content": text}))
}

#[test]
#[ignore = "needs Gemini CLI, which .ci/agents-for-tests installs; ./check runs it"]
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
            Turn::Call("mcp_palisade_ask", ask),
            write("/workspace/src/greeting", "hello\n"),
            write("/workspace/src/new", "new\n"),
            shell("make test && echo it is green"),
            write("/workspace/Makefile", "test:\n\ttrue\n"),
            Turn::Say("The greeting is mended."),
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
    // It left its files to its client, which is us.
    assert!(printed.contains("fs/write_text_file"), "{printed}");
    let signals = recorder.signals();
    assert!(
        matches!(&signals[..], [Signal::Ask { report, .. }, Signal::Done { .. }]
            if report.contains("Which language?")),
        "{signals:?}"
    );
    let asked = model.asked();
    let last = asked.last().unwrap().body["contents"].to_string();
    for told in [
        "Mend the greeting.",
        "Hold your default",
        "it is green",
        "does not let `Makefile` be written",
    ] {
        assert!(last.contains(told), "{told}: {last}");
    }
    let path = "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
    for one in &asked {
        assert_eq!(one.path, path);
        assert_eq!(one.header("x-goog-api-key"), Some("palisade-no-key"));
        // Nothing that the provider itself would look up outside.
        let tools = one.body["tools"].to_string();
        assert!(tools.contains("write_file"), "{tools}");
        assert!(
            !tools.contains("web_") && !tools.contains("oogle"),
            "{tools}"
        );
    }
}

#[test]
#[ignore = "needs Gemini CLI, which .ci/agents-for-tests installs; ./check runs it"]
fn it_gets_a_finding_and_mends_it() {
    let mut setting = greeting("Mend what was found.");
    let found = "Mend it: src/greeting:1 [spelling]";
    std::fs::write(setting.task.brief.join("prompt.md"), found).unwrap();
    let model = with_model(
        &mut setting,
        vec![
            Turn::Call("mcp_palisade_get_task", json!({})),
            write("/workspace/src/greeting", "hello\n"),
            shell("make test && echo it is green"),
            Turn::Call(
                "mcp_palisade_finish",
                json!({"summary": "hello is spelled"}),
            ),
            Turn::Say("Over."),
        ],
    );
    let recorder = Recorder::default();
    let outcome = run(&setting, &recorder);
    let summary = "hello is spelled".to_owned();
    let printed = recorder.output(Stream::Out) + &recorder.output(Stream::Err);
    assert_eq!(outcome.reason, EndReason::Done { summary }, "{printed}");
    assert_eq!(setting.text("src/greeting"), "hello\n");
    let last = model.asked().pop().unwrap().body["contents"].to_string();
    assert!(
        last.contains("[spelling]") && last.contains("it is green"),
        "{last}"
    );
}

#[test]
#[ignore = "needs Gemini CLI, which .ci/agents-for-tests installs; ./check runs it"]
fn a_failing_provider_is_a_failed_session() {
    let mut setting = greeting("Mend the greeting.");
    let _model = with_model(&mut setting, vec![Turn::Fail(400, "no such model")]);
    let outcome = run(&setting, &Recorder::default());
    assert!(
        matches!(&outcome.reason, EndReason::Failed { detail } if detail.contains("no such model")),
        "{outcome:?}"
    );
}

#[test]
#[ignore = "needs Gemini CLI, which .ci/agents-for-tests installs; ./check runs it"]
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
    // It was asked by its protocol: it had time to tell that it stopped.
    let printed = recorder.output(Stream::Out);
    assert!(printed.contains(r#""stopReason":"cancelled""#), "{printed}");
}

#[test]
#[ignore = "needs Gemini CLI, which .ci/agents-for-tests installs; ./check runs it"]
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
            write("/workspace/src/french", "bonjour\n"),
            Turn::Say("Now it is French."),
        ],
    );
    let outcome = run(&setting, &Recorder::default());
    let summary = "Now it is French.".to_owned();
    assert_eq!(outcome.reason, EndReason::Done { summary });
    assert_eq!(setting.text("src/french"), "bonjour\n");
    let asked = model.asked();
    assert!(asked[1].body["contents"].to_string().contains("in French"));
}

#[test]
#[ignore = "needs Gemini CLI, which .ci/agents-for-tests installs; ./check runs it"]
fn without_a_model_or_a_program_it_is_said_how_to_mend_it() {
    let mut setting = greeting("Mend the greeting.");
    let outcome = run(&setting, &Recorder::default());
    assert!(
        matches!(&outcome.reason, EndReason::LaunchFailed { detail } if detail.contains("no broker")),
        "{outcome:?}"
    );
    let _model = with_model(&mut setting, Vec::new());
    for (program, why) in [
        (
            "/usr/bin/no-gemini",
            "npm install -g @google/gemini-cli@0.61.0",
        ),
        ("/bin/true", "no program of the package"),
    ] {
        let driver = GeminiDriver::new(program.into(), cells(), own());
        let outcome = driver.run(setting.task.clone(), &Recorder::default());
        assert!(
            matches!(&outcome.reason, EndReason::LaunchFailed { detail } if detail.contains(why)),
            "{outcome:?}"
        );
    }
}
