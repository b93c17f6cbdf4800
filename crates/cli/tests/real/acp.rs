//! Programs that speak the Agent Client Protocol in real cells: every rule, against a scripted agent.

use std::path::Path;
use std::time::Duration;

use agents::{AcpDriver, command};
use domain::agent::{EndReason, Signal};
use domain::session::ToolKind;
use ports::agents::{Driver as _, Outcome, Report, Stream};
use testkit::agents::{Recorder, Setting};

use crate::scene::{cells, greeting, own};

/// A deadline that a test means to reach.
const SHORT: Duration = Duration::from_secs(2);

/// Plays a part of the scripted agent.
fn play(setting: &Setting, part: &str, recorder: &Recorder) -> Outcome {
    let agent = setting.folder().join("agent.py");
    std::fs::write(&agent, include_str!("acp_agent.py")).unwrap();
    let mut task = setting.task.clone();
    task.cell.binds.push(ports::cells::Bind {
        source: agent,
        target: "/opt/agent.py".into(),
        access: ports::cells::Access::ReadOnly,
    });
    let spec = format!("/usr/bin/python3 -I /opt/agent.py {part}");
    let argv = command::parse(&spec, Path::new("/")).unwrap();
    AcpDriver::new(argv, cells(), own()).run(task, recorder)
}

fn played(part: &str) -> (Setting, Outcome, Recorder) {
    let (setting, recorder) = (greeting("Mend the greeting."), Recorder::default());
    let outcome = play(&setting, part, &recorder);
    (setting, outcome, recorder)
}

fn done(summary: &str) -> EndReason {
    EndReason::Done {
        summary: summary.to_owned(),
    }
}

/// Returns why a session failed; nothing when it did not.
fn failed(outcome: &Outcome) -> &str {
    if let EndReason::Failed { detail } = &outcome.reason {
        detail
    } else {
        ""
    }
}

#[test]
fn an_agent_edits_tests_asks_and_ends() {
    let (setting, outcome, recorder) = played("cycle");
    let told = recorder.output(Stream::Err);
    assert_eq!(outcome.reason, done("It is spelled."), "{told}");
    assert_eq!(setting.text("src/greeting"), "hello\n");
    for expected in [
        "prompt Mend the greeting.",
        "read 'helo\\n'",
        "leave yes",
        "asked False",
        "tests (0, 'sh tests/greeting.sh\\n')",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(told.contains("tests (2, "), "it was red before: {told}");
    let signals = recorder.signals();
    let progress = |text: &str| Signal::Progress {
        text: text.to_owned(),
    };
    assert_eq!(signals[0], progress("plan: 0 of 2 done; now: step 1"));
    assert!(matches!(&signals[1], Signal::Ask { priority, .. } if priority == "P1"));
    assert_eq!(signals[2], progress("plan: 1 of 2 done; now: step 2"));
    assert_eq!(signals.len(), 4, "{signals:?}");
    let calls = recorder.called();
    let called: Vec<_> = calls
        .iter()
        .map(|it| (it.kind, it.subject.as_str()))
        .collect();
    assert_eq!(called, [(ToolKind::Write, "src/greeting")]);
}

#[test]
fn no_path_leads_out_of_the_plan_and_every_no_says_why() {
    let (setting, outcome, recorder) = played("paths");
    let told = recorder.output(Stream::Err);
    assert_eq!(outcome.reason, done("I did one thing."), "{told}");
    for (path, why) in [
        (
            "/workspace/Makefile",
            "the plan of this work does not let `Makefile`",
        ),
        (
            "/workspace/src/../Makefile",
            "the plan of this work does not let `Makefile`",
        ),
        (
            "/workspace/src/../../etc/passwd",
            "`/etc/passwd` is no file of this session",
        ),
        ("/etc/passwd", "`/etc/passwd` is no file of this session"),
        (
            "../brief/prompt.md",
            "`/brief/prompt.md` is no file of this session",
        ),
        ("", "`` does not name a file plainly"),
        (
            "/workspace/.git/config",
            "the git directory is shown to be read",
        ),
        // By their names these are in the plan: the walls hold what they lead to.
        (
            "/workspace/src/link",
            "`/workspace/src/link` cannot be written: ",
        ),
        (
            "/workspace/src/brief",
            "`/workspace/src/brief` cannot be written: ",
        ),
        ("/workspace/src", "`/workspace/src` cannot be written: "),
        ("/workspace/src/new/one", "done"),
    ] {
        let line = format!("write {path} -> {why}");
        assert!(told.contains(&line), "{line}: {told}");
    }
    for line in [
        "look /nonexistent -> `/nonexistent` is not there",
        "look /brief/none -> `/brief/none` is not there",
        "look /workspace/src -> `/workspace/src` cannot be read: it is no regular file",
        "look /workspace/src/new/one -> escaped",
        "leave no\nleave no\nleave yes\n",
        // What it was refused without a word is its next prompt.
        "prompt What you asked leave for was not allowed:\n- the plan of this work does not let \
         `Makefile` be written",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    // Each no is on record: seven files, two leaves.
    let refused = recorder.called();
    assert!(refused.iter().all(|it| it.refused.is_some()), "{refused:?}");
    assert_eq!(refused.len(), 9, "{refused:?}");
    assert!(setting.text("Makefile").contains("greeting.sh"));
    assert_eq!(setting.text("src/new/one"), "escaped\n");
    assert_eq!(
        std::fs::read_to_string(setting.task.brief.join("prompt.md")).unwrap(),
        "Make it work.\n"
    );
}

#[test]
fn terminals_run_what_the_plan_names_and_nothing_else() {
    let mut setting = greeting("Mend the greeting.");
    let make = ("make".to_owned(), "/usr/bin/make".into());
    setting.task.cell.programs = Some([make].into());
    let recorder = Recorder::default();
    let outcome = play(&setting, "terminals", &recorder);
    let told = recorder.output(Stream::Err);
    assert_eq!(outcome.reason.name(), "done", "{told}");
    for line in [
        "0\nsh -> the plan of this work does not let `sh` be run; it lets `make`.",
        "/usr/bin/make -> the plan of this work does not let `/usr/bin/make` be run",
        "make -> `/etc` is no folder of this session",
        "other -> there is no such terminal",
        "foreign -> there is no such session",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[test]
fn terminals_have_the_walls_of_their_cell_and_end_with_what_they_started() {
    let (setting, outcome, recorder) = played("walls");
    let told = recorder.output(Stream::Err);
    assert_eq!(outcome.reason.name(), "done", "{told}");
    assert!(told.contains("Makefile: "), "{told}");
    assert!(told.contains("\\nsaid\\n/workspace/src\\n')"), "{told}");
    assert!(told.contains("'signal': 'SIGKILL'"), "{told}");
    assert!(setting.text("Makefile").contains("greeting.sh"));
}

#[test]
fn noise_and_answers_to_nothing_change_nothing() {
    let (_, outcome, recorder) = played("strays");
    let told = recorder.output(Stream::Err);
    assert_eq!(outcome.reason.name(), "done", "{told}");
    assert_eq!(outcome.malformed, 0);
}

#[test]
fn another_version_is_refused() {
    let (_, outcome, _) = played("version");
    assert!(
        failed(&outcome).contains("speaks version 99"),
        "{outcome:?}"
    );
}

#[test]
fn how_a_turn_ends_is_how_the_session_does() {
    for (part, why) in [
        ("max_tokens", "limit of tokens"),
        ("refusal", "model refused"),
    ] {
        let (_, outcome, _) = played(part);
        assert!(failed(&outcome).contains(why), "{outcome:?}");
    }
}

#[test]
fn a_message_over_every_measure_ends_the_session() {
    let (_, outcome, _) = played("huge");
    assert!(failed(&outcome).contains("in one message"), "{outcome:?}");
}

#[test]
fn who_asks_and_never_listens_is_ended_for_its_silence() {
    let mut setting = greeting("Mend the greeting.");
    setting.task.limits.idle = SHORT;
    let recorder = Recorder::default();
    let outcome = play(&setting, "flood", &recorder);
    // Held by its own full pipes it falls silent, or it asks too much before.
    assert!(
        matches!(
            &outcome.reason,
            EndReason::Silent | EndReason::Failed { .. }
        ),
        "{outcome:?}"
    );
    assert!(outcome.output_bytes < 64 << 20);
}

#[test]
fn who_falls_silent_after_the_prompt_is_ended() {
    let mut setting = greeting("Mend the greeting.");
    setting.task.limits.idle = SHORT;
    let outcome = play(&setting, "silent", &Recorder::default());
    assert_eq!(outcome.reason, EndReason::Silent);
}

#[test]
fn a_message_of_the_operators_is_the_next_prompt() {
    let setting = greeting("Mend the greeting.");
    let folder = setting.task.brief.join("messages");
    std::fs::create_dir(&folder).unwrap();
    let message = r#"{"id":"m1","acknowledge_within_ms":1,"state":"delivered","text":"in French"}"#;
    std::fs::write(folder.join("0001.json"), message).unwrap();
    let recorder = Recorder::default();
    let outcome = play(&setting, "turns", &recorder);
    assert_eq!(outcome.reason, done("I did one thing."));
    let told = recorder.output(Stream::Err);
    assert!(
        told.starts_with("prompt Mend the greeting.\nprompt While you worked"),
        "{told}"
    );
    assert!(told.contains("in French"), "{told}");
}

/// Stops a part once it has begun its turn, and returns what it told.
fn stopped(part: &str) -> String {
    let begun = |report: &Report| {
        matches!(report, Report::Output(Stream::Out, piece)
            if String::from_utf8_lossy(piece).contains("I begin."))
    };
    let recorder = Recorder::stopping_at(begun);
    let outcome = play(&greeting("Tell a long story."), part, &recorder);
    assert_eq!(outcome.reason, EndReason::Stopped);
    recorder.output(Stream::Err)
}

#[test]
fn a_stop_is_asked_for_by_the_protocol_before_it_is_made() {
    assert!(stopped("obeys").starts_with("was cancelled\n"));
    // Then by a signal, and only then by the end of its cell.
    assert_eq!(stopped("ignores"), "was told to end\n");
}
