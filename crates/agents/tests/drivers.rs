//! Drivers with real processes: every misbehaviour is a recorded outcome within its deadline.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::agent::{EndReason, RefusalReason, Signal};
use palisade_agents::{CommandDriver, ScriptedDriver, Story, command};
use ports::agents::{Driver as _, Outcome, Report, Stream};
use testkit::agents::{Recorder, Setting};
use testkit::cells::HostCells;

/// A deadline that a test means to reach.
const SHORT: Duration = Duration::from_millis(150);

fn client() -> PathBuf {
    env!("CARGO_BIN_EXE_palisade-agent").into()
}

fn act_in(setting: &Setting, steps: &str, recorder: &Recorder) -> Outcome {
    let story = Story::parse(&format!("[[turn]]\nsteps = [\n{steps}\n]\n")).unwrap();
    ScriptedDriver::new(story, Arc::new(HostCells), client()).run(setting.task.clone(), recorder)
}

/// Plays a story to its end in a setting of its own.
fn act(steps: &str) -> (Outcome, Recorder) {
    let recorder = Recorder::default();
    (act_in(&Setting::new(), steps, &recorder), recorder)
}

fn script_in(setting: &Setting, text: &str, recorder: &Recorder) -> Outcome {
    let path = setting.folder().join("agent.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let argv = command::parse("./agent.sh 'one word' --flag", &setting.folder()).unwrap();
    CommandDriver::new(argv, Arc::new(HostCells), client()).run(setting.task.clone(), recorder)
}

fn script(text: &str) -> (Outcome, Recorder) {
    let recorder = Recorder::default();
    (script_in(&Setting::new(), text, &recorder), recorder)
}

fn done(summary: &str) -> EndReason {
    EndReason::Done {
        summary: summary.to_owned(),
    }
}

fn exited(code: i32) -> EndReason {
    EndReason::NoSignal {
        code: Some(code),
        killed_by: None,
    }
}

/// Returns the processes that work in a folder: those a session would have left behind.
fn at_work_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| {
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}

mod stories {
    use super::*;

    #[test]
    fn a_story_changes_the_tree_speaks_and_ends() {
        let setting = Setting::new();
        fs::write(setting.tree().join("old.txt"), "old\n").unwrap();
        fs::write(setting.tree().join("moved.txt"), "moved\n").unwrap();
        let recorder = Recorder::default();
        let outcome = act_in(
            &setting,
            r#"
  { progress = "starting" },
  { write = "src/lib.rs", text = "one\n", executable = true },
  { append = "src/lib.rs", text = "two\n" },
  { replace = "src/lib.rs", old = "one", new = "1" },
  { delete = "old.txt" },
  { rename = "moved.txt", to = "to/here.txt" },
  { symlink = "link", to = "src/lib.rs" },
  { require = "src/lib.rs", contains = "1\ntwo" },
  { run = ["sh", "-c", "echo ran; exit 3"], expect = 3 },
  { print = "to err", stream = "err" },
  { finding = { file = "src/lib.rs", line = 2, rule = "naming", text = "two is no name" } },
  { done = "it is built" },"#,
            &recorder,
        );
        assert_eq!(outcome.reason, done("it is built"));
        assert_eq!((outcome.malformed, outcome.late), (0, 0));
        assert_eq!(setting.text("src/lib.rs"), "1\ntwo\n");
        assert_eq!(setting.text("to/here.txt"), "moved\n");
        assert!(!setting.tree().join("old.txt").exists());
        assert!(setting.tree().join("link").is_symlink());
        let mode = fs::metadata(setting.tree().join("src/lib.rs")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o111, 0o111);
        assert_eq!(recorder.output(Stream::Out), "ran\n");
        assert_eq!(recorder.output(Stream::Err), "to err\n");
        assert_eq!(recorder.reports()[0], Report::Started);
        let signals = recorder.signals();
        assert_eq!(signals.len(), 3);
        let text = "starting".to_owned();
        assert_eq!(signals[0], Signal::Progress { text });
        assert!(matches!(&signals[1], Signal::Finding { line: 2, .. }));
        let epochs = recorder.reports().into_iter().filter_map(|it| match it {
            Report::Signal(epoch, _) => Some(epoch),
            Report::Started
            | Report::Output(..)
            | Report::Malformed(..)
            | Report::Late(_)
            | Report::Called(_) => None,
        });
        assert!(epochs.eq([3, 3, 3]));
        assert!(recorder.running().is_some());
        assert!(!setting.task.drop.join("signals").exists());
    }

    #[test]
    fn refusal_and_failure_are_answers() {
        let (outcome, _) = act(r#"{ refuse = "already_done", detail = "nothing to do" }"#);
        let detail = "nothing to do".to_owned();
        let refusal = RefusalReason::AlreadyDone;
        assert_eq!(outcome.reason, EndReason::Refused { refusal, detail });
        let (outcome, _) = act(r#"{ fail = "I give up" }"#);
        let detail = "I give up".to_owned();
        assert_eq!(outcome.reason, EndReason::Failed { detail });
    }

    #[test]
    fn an_exit_without_a_signal_is_told_with_its_code() {
        assert_eq!(act("").0.reason, exited(0));
        assert_eq!(act("{ exit = 137 }").0.reason, exited(137));
        let killed = EndReason::NoSignal {
            code: None,
            killed_by: Some(9),
        };
        assert_eq!(act("{ kill_self = 9 }").0.reason, killed);
        let (outcome, recorder) = act(r#"{ progress = "p" }, { exit = 0 }"#);
        assert_eq!(outcome.reason, exited(0));
        assert_eq!(recorder.signals().len(), 1);
    }

    #[test]
    fn a_signal_right_before_the_exit_is_never_lost() {
        for _ in 0..20 {
            assert_eq!(act(r#"{ done = "d" }, { exit = 1 }"#).0.reason, done("d"));
        }
    }

    #[test]
    fn silence_is_ended() {
        let mut setting = Setting::new();
        setting.task.limits.idle = SHORT;
        let outcome = act_in(
            &setting,
            "{ print = \"here\" }, { hang = true }",
            &Recorder::default(),
        );
        assert_eq!(outcome.reason, EndReason::Silent);
        assert_eq!(at_work_in(&setting.tree()), Vec::<PathBuf>::new());
    }

    #[test]
    fn who_never_says_anything_is_ended_for_that() {
        let mut setting = Setting::new();
        setting.task.limits.first_word = SHORT;
        let outcome = act_in(&setting, "{ hang = true }", &Recorder::default());
        assert_eq!(outcome.reason, EndReason::NeverSpoke);
        assert_eq!(at_work_in(&setting.tree()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_hang_is_ended_at_the_wall() {
        let mut setting = Setting::new();
        setting.task.limits.wall = SHORT;
        let outcome = act_in(&setting, "{ hang = true }", &Recorder::default());
        assert_eq!(outcome.reason, EndReason::WallClock);
    }

    #[test]
    fn a_hang_after_done_is_ended_and_stays_done() {
        let mut setting = Setting::new();
        setting.task.limits.grace = SHORT;
        let steps = r#"{ done = "d" }, { hang = true }"#;
        let outcome = act_in(&setting, steps, &Recorder::default());
        assert_eq!(outcome.reason, done("d"));
        assert_eq!(at_work_in(&setting.tree()), Vec::<PathBuf>::new());
    }

    #[test]
    fn garbage_is_ended_at_its_cap() {
        let mut setting = Setting::new();
        setting.task.limits.malformed_max = 5;
        let recorder = Recorder::default();
        let outcome = act_in(&setting, "{ garbage = 50 }, { hang = true }", &recorder);
        assert_eq!(outcome.reason, EndReason::Garbage);
        assert!(outcome.malformed > 5);
        assert_eq!(recorder.malformed().len(), 6);
    }

    #[test]
    fn a_flood_is_ended_at_its_cap_and_little_of_it_kept() {
        for stream in ["out", "err"] {
            let mut setting = Setting::new();
            setting.task.limits.output_bytes_kept = 1_000;
            setting.task.limits.output_bytes_max = 100_000;
            let recorder = Recorder::default();
            let steps = format!("{{ flood = 1_000_000_000, stream = \"{stream}\" }}");
            let outcome = act_in(&setting, &steps, &recorder);
            assert_eq!(outcome.reason, EndReason::Flood);
            assert!(outcome.output_bytes > 100_000);
            let kept = recorder.output(Stream::Out) + &recorder.output(Stream::Err);
            assert_eq!(kept.len(), 1_000);
        }
    }

    #[test]
    fn a_signal_after_the_end_is_late_and_changes_nothing() {
        let steps = r#"{ done = "a" }, { done = "b" }, { fail = "c" }, { progress = "d" }"#;
        let (outcome, recorder) = act(steps);
        assert_eq!(outcome.reason, done("a"));
        assert_eq!((outcome.late, recorder.late().len()), (3, 3));
        assert_eq!(recorder.signals().len(), 1);
    }

    #[test]
    fn a_signal_of_another_epoch_is_refused() {
        let (outcome, recorder) = act(r#"{ done = "old", epoch = 2 }, { exit = 0 }"#);
        assert_eq!(outcome.reason, exited(0));
        assert_eq!(
            recorder.malformed(),
            ["stale epoch 2: this session has epoch 3"]
        );
    }

    #[test]
    fn a_child_in_a_session_of_its_own_is_gone_with_the_cell() {
        let setting = Setting::new();
        let steps = r#"{ background = true }, { done = "d" }"#;
        let outcome = act_in(&setting, steps, &Recorder::default());
        assert_eq!(outcome.reason, done("d"));
        assert_eq!(at_work_in(&setting.tree()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_stop_ends_the_session() {
        let recorder = Recorder::stopping_at(|report| matches!(report, Report::Signal(..)));
        let steps = r#"{ progress = "p" }, { hang = true }"#;
        let outcome = act_in(&Setting::new(), steps, &recorder);
        assert_eq!(outcome.reason, EndReason::Stopped);
        let recorder = Recorder::default();
        recorder.stop();
        let outcome = act_in(&Setting::new(), "{ hang = true }", &recorder);
        assert_eq!(outcome.reason, EndReason::Stopped);
    }

    #[test]
    fn a_paused_session_stands_and_goes_on() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let steps = r#"{ progress = "p" }, { wait_for = "go" }, { done = "d" }"#;
        let reason = std::thread::scope(|scope| {
            let session = scope.spawn(|| act_in(&setting, steps, &recorder).reason);
            while recorder.signals().is_empty() {
                std::thread::yield_now();
            }
            let cell = recorder.running().unwrap();
            cell.pause().unwrap();
            fs::write(setting.tree().join("go"), "").unwrap();
            assert_eq!(cell.wait(Duration::ZERO).unwrap(), None);
            cell.resume().unwrap();
            session.join().unwrap()
        });
        assert_eq!(reason, done("d"));
    }

    #[test]
    fn a_paused_session_can_be_stopped() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let steps = r#"{ progress = "p" }, { hang = true }"#;
        let reason = std::thread::scope(|scope| {
            let session = scope.spawn(|| act_in(&setting, steps, &recorder).reason);
            while recorder.signals().is_empty() {
                std::thread::yield_now();
            }
            recorder.running().unwrap().pause().unwrap();
            recorder.stop();
            session.join().unwrap()
        });
        assert_eq!(reason, EndReason::Stopped);
    }

    #[test]
    fn what_goes_wrong_in_a_story_fails_the_session_and_says_where() {
        let (outcome, recorder) = act(r#"{ require = "none", contains = "x" }"#);
        let EndReason::Failed { detail } = outcome.reason else {
            panic!("{outcome:?}");
        };
        assert!(
            detail.starts_with("line 3 of the story, step `require`"),
            "{detail}"
        );
        assert!(recorder.output(Stream::Err).contains("line 3"));
        let (outcome, recorder) =
            act(r#"{ write = "/proc/x", text = "", may_fail = true }, { done = "d" }"#);
        assert_eq!(outcome.reason, done("d"));
        assert!(recorder.output(Stream::Out).contains("did not work"));
        let (outcome, _) = act(r#"{ run = ["false"] }"#);
        assert_eq!(outcome.reason.name(), "failed");
    }

    #[test]
    fn the_turn_is_chosen_by_role_round_and_what_the_brief_brings() {
        let mut setting = Setting::new();
        setting.task.round = 2;
        let context = r#"{"findings":[{"id":"find_1"}],"violations":[],"spec":"x"}"#;
        fs::write(setting.task.brief.join("context.json"), context).unwrap();
        let story = Story::parse(
            "[[turn]]\nrole = \"builder\"\nwhen = \"findings\"\nsteps = [{ done = \"mended\" }]\n\
             [[turn]]\nrole = \"builder\"\nsteps = [{ done = \"built\" }]\n",
        )
        .unwrap();
        let driver = ScriptedDriver::new(story, Arc::new(HostCells), client());
        let run = |setting: &Setting| {
            driver
                .run(setting.task.clone(), &Recorder::default())
                .reason
        };
        assert_eq!(run(&setting), done("mended"));
        assert_eq!(run(&Setting::new()), done("built"));
        setting.task.role = "docs".to_owned();
        let EndReason::Failed { detail } = run(&setting) else {
            panic!("a turn was found");
        };
        assert!(
            detail.contains("no turn for role `docs` in round 2"),
            "{detail}"
        );
        assert!(detail.contains("findings"), "{detail}");
    }

    #[test]
    fn hostile_drops_are_told_and_never_followed() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let drop = setting.task.drop.join("ambiguities");
        let drop = drop.display();
        let outcome = act_in(
            &setting,
            &format!(
                r###"
  {{ symlink = "{drop}/a.md", to = "/etc/passwd" }},
  {{ fifo = "{drop}/b.md" }},
  {{ sparse = "{drop}/c.md", bytes = 1_000_000_000_000 }},
  {{ write = "{drop}/d.md", text = "Priority: P1\n## Question\n\nq\n" }},
  {{ done = "d" }},"###
            ),
            &recorder,
        );
        assert_eq!(outcome.reason, done("d"));
        assert_eq!(outcome.malformed, 3);
        let ask = Signal::Ask {
            report: "## Question\n\nq\n".to_owned(),
            priority: "P1".to_owned(),
        };
        assert_eq!(recorder.signals()[0], ask);
    }
}

mod commands {
    use super::*;

    #[test]
    fn a_shell_script_is_an_agent() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let outcome = script_in(
            &setting,
            r#"
set -eu
read -r line
echo "$line / $1 / $2 / $(cat "$PALISADE_BRIEF/prompt.md")"
echo "$PALISADE_ROLE $PALISADE_ROUND $PALISADE_EPOCH"
echo work > file
echo '{"signal":"progress","text":"half"}' > "$PALISADE_SIGNALS"
echo '{"epoch":3,"signal":"done","summary":"all"}' > "$PALISADE_SIGNALS"
"#,
            &recorder,
        );
        assert_eq!(outcome.reason, done("all"), "{recorder:?}");
        assert_eq!(
            recorder.output(Stream::Out),
            "Make it work. / one word / --flag / Make it work.\nbuilder 1 3\n"
        );
        assert_eq!(setting.text("file"), "work\n");
        assert_eq!(recorder.signals().len(), 2);
    }

    #[test]
    fn the_client_speaks_for_a_script() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let outcome = script_in(
            &setting,
            r#"
set -eu
palisade-agent brief
palisade-agent progress "half way"
palisade-agent ask --priority p1 --question "Which port?" --why "two fit" --option 80 \
  --option 8080 --recommend 8080 --impact "one line" --default 8080
cat > report.md <<END
## Question

a
## Why It Blocks Progress

b
## Options Considered

1. c
2. d
## Recommended Option

c
## Impact

e
## Default Held

c
END
palisade-agent ask report.md
palisade-agent ask --priority P0 - < report.md
palisade-agent finding --file a.rs --line 7 --rule naming "say it better"
palisade-agent refuse too_large "split it"
"#,
            &recorder,
        );
        assert_eq!(recorder.output(Stream::Err), "");
        assert_eq!(outcome.reason.name(), "refused", "{recorder:?}");
        assert_eq!(recorder.output(Stream::Out), "Make it work.\n");
        let priorities: Vec<String> = recorder
            .signals()
            .into_iter()
            .filter_map(|signal| match signal {
                Signal::Ask { priority, report } => {
                    assert!(report.starts_with("## Question\n"));
                    Some(priority)
                }
                Signal::Progress { .. }
                | Signal::Finding { .. }
                | Signal::Acknowledge { .. }
                | Signal::ProposeAction { .. }
                | Signal::Done { .. }
                | Signal::Refuse { .. }
                | Signal::Fail { .. } => None,
            })
            .collect();
        assert_eq!(priorities, ["P1", "P2", "P0"]);
        assert_eq!(recorder.signals().len(), 6);
    }

    #[test]
    fn the_client_tells_mistakes_by_its_exit_code() {
        let (outcome, recorder) = script(
            r###"
palisade-agent dance; echo $?
palisade-agent; echo $?
palisade-agent refuse bored x; echo $?
palisade-agent ask --question "only this"; echo $?
echo "## Question" > half.md; palisade-agent ask half.md; echo $?
palisade-agent ask none.md; echo $?
PALISADE_SIGNALS= palisade-agent done x; echo $?
PALISADE_SIGNAL_BYTES_MAX=10 palisade-agent done "longer than ten"; echo $?
env -u PALISADE_SIGNALS palisade-agent done x; echo $?
palisade-agent --help > help.txt; echo $?
"###,
        );
        assert_eq!(outcome.reason, exited(0));
        let codes = recorder.output(Stream::Out);
        assert_eq!(codes.replace('\n', " "), "2 2 2 2 2 1 1 1 1 0 ");
        let said = recorder.output(Stream::Err);
        for expected in [
            "unrecognized subcommand",
            "too_large",
            "--default",
            "`Question` is empty",
            "`none.md` cannot be read",
            "at most 10 are taken",
            "speaks only inside a cell",
        ] {
            assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
        }
    }

    #[test]
    fn a_prompt_that_is_never_read_stops_nothing() {
        let mut setting = Setting::new();
        setting.task.prompt = "x".repeat(4 << 20);
        let text = r#"echo '{"signal":"done","summary":"d"}' > "$PALISADE_SIGNALS""#;
        let outcome = script_in(&setting, text, &Recorder::default());
        assert_eq!(outcome.reason, done("d"));
    }

    #[test]
    fn questions_dropped_as_files_are_filed_even_without_a_signal() {
        let setting = Setting::new();
        let recorder = Recorder::default();
        let text = r#"echo "which one?" > "${PALISADE_SIGNALS%/*}/ambiguities/q.md""#;
        let outcome = script_in(&setting, text, &recorder);
        assert_eq!(outcome.reason, exited(0));
        let ask = Signal::Ask {
            report: "which one?\n".to_owned(),
            priority: "P2".to_owned(),
        };
        assert_eq!(recorder.signals(), [ask]);
    }

    #[test]
    fn half_a_line_is_malformed_and_a_whole_one_without_newline_is_heard() {
        let (outcome, recorder) = script(r#"printf '{"signal":"do' > "$PALISADE_SIGNALS""#);
        assert_eq!((outcome.reason, outcome.malformed), (exited(0), 1));
        assert!(recorder.malformed()[0].contains("not a signal"));
        let text = r#"printf '{"signal":"done","summary":"d"}' > "$PALISADE_SIGNALS""#;
        assert_eq!(script(text).0.reason, done("d"));
    }

    #[test]
    fn a_line_over_the_cap_costs_only_itself() {
        let mut setting = Setting::new();
        setting.task.limits.signal_bytes_max = 100;
        let recorder = Recorder::default();
        let text = r#"
head -c 100000 /dev/zero | tr '\0' x > "$PALISADE_SIGNALS"
echo > "$PALISADE_SIGNALS"
echo '{"signal":"done","summary":"d"}' > "$PALISADE_SIGNALS"
"#;
        let outcome = script_in(&setting, text, &recorder);
        assert_eq!((outcome.reason, outcome.malformed), (done("d"), 1));
    }

    #[test]
    fn what_is_printed_is_output_and_never_a_signal() {
        let text = r#"printf '\033[31m{"signal":"done","summary":"d"}\n{"signal":"done"}\n'"#;
        let (outcome, recorder) = script(text);
        assert_eq!(outcome.reason, exited(0));
        assert!(recorder.signals().is_empty());
        assert!(recorder.output(Stream::Out).contains("\u{1b}[31m"));
    }

    #[test]
    fn a_pipe_taken_away_is_the_agents_own_loss() {
        let (outcome, recorder) = script(
            r#"
rm "$PALISADE_SIGNALS"; echo x > "$PALISADE_SIGNALS"
palisade-agent done d || exit 9
"#,
        );
        assert_eq!(outcome.reason, exited(9));
        assert!(
            recorder
                .output(Stream::Err)
                .contains("something replaced it")
        );
    }

    #[test]
    fn a_program_that_cannot_be_started_is_told() {
        let setting = Setting::new();
        let argv = vec!["/nonexistent/agent".to_owned()];
        let driver = CommandDriver::new(argv, Arc::new(HostCells), client());
        let recorder = Recorder::default();
        let outcome = driver.run(Setting::new().task, &recorder);
        let EndReason::LaunchFailed { detail } = outcome.reason else {
            panic!("{outcome:?}");
        };
        assert!(detail.contains("/nonexistent/agent"), "{detail}");
        assert!(recorder.reports().is_empty());
        let outcome = script_in(&setting, "", &recorder);
        assert_eq!(outcome.reason, exited(0));
        fs::write(setting.folder().join("agent.sh"), "#!/nonexistent/shell\n").unwrap();
        let argv = command::parse("./agent.sh", &setting.folder()).unwrap();
        let driver = CommandDriver::new(argv, Arc::new(HostCells), client());
        let outcome = driver.run(Setting::new().task, &recorder);
        assert_eq!(outcome.reason.name(), "launch_failed");
    }

    #[test]
    fn a_driver_has_the_name_of_its_program() {
        let argv = command::parse("sh -c true", Path::new("/")).unwrap();
        let driver = CommandDriver::new(argv, Arc::new(HostCells), client());
        assert_eq!(driver.name(), "command:sh");
        assert!(driver.guarantees().governed);
    }
}
