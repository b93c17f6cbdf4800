//! Claude Code itself, as its maker ships it, at work in a cell.

use std::time::Duration;

use agents::ClaudeDriver;
use domain::agent::{EndReason, Signal};
use ports::agents::{Driver as _, Outcome, Report, Stream};
use serde_json::json;
use testkit::agents::{Recorder, Setting};
use testkit::scripted_model::Turn;

use crate::scene::{cells, greeting, installed, own, with_model};

/// How long a test waits for something to be asked.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(setting: &Setting, recorder: &Recorder) -> Outcome {
    let program = installed(".bin/claude");
    ClaudeDriver::new(program, cells(), own()).run(setting.task.clone(), recorder)
}

fn bash(command: &str) -> Turn {
    Turn::Call(
        "Bash",
        json!({"command": command, "description": "scripted"}),
    )
}

fn write(path: &str, text: &str) -> Turn {
    Turn::Call("Write", json!({"file_path": path, "content": text}))
}

fn read(path: &str) -> Turn {
    Turn::Call("Read", json!({"file_path": path}))
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn it_speaks_through_our_tools_and_mends_a_finding() {
    let mut setting = greeting("Mend the greeting.");
    std::fs::write(
        setting.task.brief.join("prompt.md"),
        "Mend it: src/greeting:1 [spelling]",
    )
    .unwrap();
    let ask = json!({
        "question": "Which language?", "why": "It is not said.", "options": ["english", "french"],
        "recommend": "english", "impact": "small", "default": "english", "priority": "P1",
    });
    let finding = json!({"file": "src/greeting", "rule": "spelling", "text": "helo"});
    let model = with_model(
        &mut setting,
        vec![
            Turn::Call("mcp__palisade__get_task", json!({})),
            Turn::Call("mcp__palisade__ask", ask),
            Turn::Call("mcp__palisade__report_finding", finding),
            read("/workspace/src/greeting"),
            write("/workspace/src/greeting", "hello\n"),
            bash("make test && echo it is green"),
            Turn::Call(
                "mcp__palisade__finish",
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
    let signals = recorder.signals();
    assert!(
        matches!(&signals[..], [Signal::Ask { priority, .. }, Signal::Done { .. }]
            if priority == "P1"),
        "{signals:?}"
    );
    let last = model.asked().pop().unwrap().body["messages"].to_string();
    for told in ["[spelling]", "Hold your default", "it is green"] {
        assert!(last.contains(told), "{told}: {last}");
    }
    // A builder has no such tool, and it is not there to be called.
    assert!(last.contains("No such tool available"), "{last}");
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn it_edits_tests_asks_and_is_told_why_it_may_not() {
    let mut setting = greeting("Mend the greeting.");
    let model = with_model(
        &mut setting,
        vec![
            bash("make test"),
            read("/workspace/src/greeting"),
            write("/workspace/src/greeting", "hello\n"),
            write("/workspace/Makefile", "test:\n\ttrue\n"),
            bash(
                "palisade-agent ask --question 'Which language?' --why 'It is not said.' \
                 --option english --option french --recommend english --impact small \
                 --default english",
            ),
            bash("make test && echo it is green"),
            Turn::Say("The greeting is mended."),
        ],
    );
    let recorder = Recorder::default();
    let outcome = run(&setting, &recorder);
    let summary = "The greeting is mended.".to_owned();
    let printed = recorder.output(Stream::Out);
    assert_eq!(outcome.reason, EndReason::Done { summary }, "{printed}");
    assert_eq!(setting.text("src/greeting"), "hello\n");
    assert!(setting.text("Makefile").contains("greeting.sh"));
    let signals = recorder.signals();
    assert!(
        matches!(&signals[..], [Signal::Ask { report, .. }, Signal::Done { .. }]
            if report.contains("Which language?")),
        "{signals:?}"
    );
    let calls = recorder.called();
    let refused: Vec<_> = calls.iter().filter(|it| it.refused.is_some()).collect();
    assert!(
        matches!(&refused[..], [it] if it.subject == "Makefile"),
        "{calls:?}"
    );
    let ran = calls.iter().filter(|it| it.subject.contains("make test"));
    assert_eq!(ran.count(), 2, "{calls:?}");
    let asked = model.asked();
    let last = asked.last().unwrap().body["messages"].to_string();
    assert!(
        last.contains("does not let `Makefile` be written"),
        "{last}"
    );
    assert!(last.contains("it is green"), "{last}");
    assert!(
        asked[0].body["messages"]
            .to_string()
            .contains("Mend the greeting.")
    );
    for one in &asked {
        assert!(
            one.path.starts_with("/anthropic/v1/messages"),
            "{}",
            one.path
        );
        assert_eq!(one.header("x-api-key"), Some("palisade-no-key"));
    }
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn what_the_agent_itself_says_outranks_its_closing_words() {
    let mut setting = greeting("Mend the greeting.");
    let refuse = bash("palisade-agent refuse too_large 'more than a greeting'");
    let _model = with_model(&mut setting, vec![refuse, Turn::Say("I refused.")]);
    let outcome = run(&setting, &Recorder::default());
    assert!(
        matches!(&outcome.reason, EndReason::Refused { detail, .. } if detail.contains("greeting")),
        "{outcome:?}"
    );
    assert_eq!(outcome.late, 0);
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
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
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn a_stop_reaches_the_model_and_ends_the_program_by_itself() {
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
    // It was interrupted by its own protocol: it had time to tell the result.
    let printed = recorder.output(Stream::Out);
    assert!(printed.contains("error_during_execution"), "{printed}");
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
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
    let recorder = Recorder::default();
    let outcome = run(&setting, &recorder);
    let summary = "Now it is French.".to_owned();
    assert_eq!(outcome.reason, EndReason::Done { summary });
    assert_eq!(setting.text("src/french"), "bonjour\n");
    let asked = model.asked();
    assert!(asked[1].body["messages"].to_string().contains("in French"));
    let reports = recorder.reports();
    let ends = reports.iter().filter(|it| matches!(it, Report::Signal(..)));
    assert_eq!(ends.count(), 1);
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn without_a_model_or_a_program_it_is_said_how_to_mend_it() {
    let setting = greeting("Mend the greeting.");
    let outcome = run(&setting, &Recorder::default());
    assert!(
        matches!(&outcome.reason, EndReason::LaunchFailed { detail } if detail.contains("no broker")),
        "{outcome:?}"
    );
    let mut setting = greeting("Mend the greeting.");
    let _model = with_model(&mut setting, Vec::new());
    for (program, why) in [
        (
            "/usr/bin/no-claude",
            "npm install -g @anthropic-ai/claude-code@",
        ),
        ("/bin/true", "says no version"),
        ("/usr/bin/git", "was never tried"),
    ] {
        let driver = ClaudeDriver::new(program.into(), cells(), own());
        let outcome = driver.run(setting.task.clone(), &Recorder::default());
        assert!(
            matches!(&outcome.reason, EndReason::LaunchFailed { detail } if detail.contains(why)),
            "{outcome:?}"
        );
    }
}
