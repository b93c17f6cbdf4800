//! The state machine of sessions, by tables and by random histories.

use super::*;
use domain::agent::RefusalReason;
use proptest::prelude::*;

const EPOCH: u64 = 7;

fn limits() -> Limits {
    Limits {
        wall: ms(1_000),
        first_word: ms(70),
        idle: ms(100),
        stall: ms(1_000),
        grace: ms(50),
        output_bytes_kept: 10,
        output_bytes_max: 100,
        signal_bytes_max: 64,
        signals_max: 4,
        malformed_max: 2,
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn line(text: &str) -> Input {
    Input::Line(Line::Whole(text.into()))
}

fn done(summary: &str) -> Input {
    line(&format!(r#"{{"signal":"done","summary":"{summary}"}}"#))
}

fn progress() -> Input {
    line(r#"{"signal":"progress","text":"p"}"#)
}

fn print(count: usize) -> Input {
    Input::Output(Stream::Out, vec![b'x'; count])
}

fn exit(code: i32) -> Input {
    Input::Exited(Exit::Code(code))
}

/// The inputs by which a session comes to its end once its process is gone.
fn drained() -> [Input; 3] {
    [
        Input::StreamEnded(Stream::Out),
        Input::StreamEnded(Stream::Err),
        Input::SignalsEnded,
    ]
}

struct Played {
    outputs: Vec<Output>,
    outcome: Option<Outcome>,
}

impl Played {
    fn reason(&self) -> &EndReason {
        &self
            .outcome
            .as_ref()
            .expect("the session is not over")
            .reason
    }

    fn count(&self, wanted: fn(&Output) -> bool) -> usize {
        self.outputs.iter().filter(|it| wanted(it)).count()
    }

    fn kills(&self) -> usize {
        self.count(|it| *it == Output::Kill)
    }

    fn late(&self) -> usize {
        self.count(|it| matches!(it, Output::Report(Report::Late(_))))
    }

    fn signals(&self) -> usize {
        self.count(|it| matches!(it, Output::Report(Report::Signal(..))))
    }

    fn malformed(&self) -> usize {
        self.count(|it| matches!(it, Output::Report(Report::Malformed(..))))
    }

    fn kept(&self) -> usize {
        let outputs = self.outputs.iter();
        outputs
            .map(|output| match output {
                Output::Report(Report::Output(_, bytes)) => bytes.len(),
                Output::Report(_)
                | Output::Cancel
                | Output::Kill
                | Output::CloseSignals
                | Output::Finished(_) => 0,
            })
            .sum()
    }
}

fn play(inputs: impl IntoIterator<Item = (u64, Input)>) -> Played {
    let mut state = State::new(EPOCH, limits(), cells::Limits::default());
    let mut outputs = Vec::new();
    for (at, input) in inputs {
        outputs.extend(step(&mut state, input, ms(at)));
    }
    let outcome = outputs.iter().find_map(|it| match it {
        Output::Finished(outcome) => Some(outcome.clone()),
        Output::Report(_) | Output::Cancel | Output::Kill | Output::CloseSignals => None,
    });
    Played { outputs, outcome }
}

/// Plays inputs at zero, then the end of the process and of its streams.
fn play_out(inputs: Vec<Input>, code: i32) -> Played {
    let inputs = inputs.into_iter().chain([exit(code)]).chain(drained());
    play(inputs.map(|input| (0, input)))
}

fn said(summary: &str) -> EndReason {
    EndReason::Done {
        summary: summary.to_owned(),
    }
}

fn no_signal(code: i32) -> EndReason {
    EndReason::NoSignal {
        code: Some(code),
        killed_by: None,
    }
}

#[test]
fn each_end_has_its_reason() {
    let refuse = r#"{"signal":"refuse","reason":"too_large","detail":"d"}"#;
    let refused = EndReason::Refused {
        refusal: RefusalReason::TooLarge,
        detail: "d".to_owned(),
    };
    let failed = EndReason::Failed {
        detail: "r".to_owned(),
    };
    let garbage = || vec![line("x"), line("x"), line("x")];
    for (inputs, code, reason) in [
        (vec![], 0, no_signal(0)),
        (vec![print(5)], 137, no_signal(137)),
        (vec![progress()], 0, no_signal(0)),
        (vec![done("a")], 0, said("a")),
        (vec![done("a")], 1, said("a")),
        (vec![line(refuse)], 0, refused),
        (vec![line(r#"{"signal":"fail","reason":"r"}"#)], 0, failed),
        (vec![done("a"), done("b")], 0, said("a")),
        (vec![done("a"), line(refuse)], 0, said("a")),
        (vec![print(101)], 0, EndReason::Flood),
        (vec![print(60), print(41)], 0, EndReason::Flood),
        (vec![print(100)], 0, no_signal(0)),
        (vec![done("a"), print(500)], 0, said("a")),
        (garbage(), 0, EndReason::Garbage),
        (vec![line("x"), line("x")], 0, no_signal(0)),
        ([vec![done("a")], garbage()].concat(), 0, said("a")),
        (vec![Input::Stop], 0, EndReason::Stopped),
        (vec![done("a"), Input::Stop], 0, said("a")),
        (vec![Input::Stop, done("a")], 0, EndReason::Stopped),
    ] {
        let played = play_out(inputs.clone(), code);
        assert_eq!(*played.reason(), reason, "{inputs:?}");
    }
}

#[test]
fn a_death_by_signal_is_told_apart() {
    let inputs = [Input::Exited(Exit::Signal(9))]
        .into_iter()
        .chain(drained());
    let played = play(inputs.map(|input| (0, input)));
    let reason = EndReason::NoSignal {
        code: None,
        killed_by: Some(9),
    };
    assert_eq!(*played.reason(), reason);
}

#[test]
fn what_was_said_before_the_exit_is_heard_after_it() {
    let [out, err, signals] = drained();
    let played = play([
        (0, exit(0)),
        (1, out),
        (2, err),
        (3, done("a")),
        (4, signals),
    ]);
    assert_eq!(*played.reason(), said("a"));
    assert_eq!(played.late(), 0);
}

#[test]
fn the_signals_are_closed_at_the_exit_and_once() {
    let played = play([(0, exit(0)), (0, exit(1)), (0, Input::Lost("x".to_owned()))]);
    assert_eq!(played.count(|it| *it == Output::CloseSignals), 1);
    assert!(played.outcome.is_none());
}

#[test]
fn silence_is_ended_at_its_deadline_and_a_word_moves_it() {
    let ends = |inputs: Vec<(u64, Input)>| {
        let inputs = inputs.into_iter().chain([(999, exit(0))]);
        let drained = drained().map(|input| (999, input));
        play(inputs.chain(drained))
    };
    let mute = ends(vec![(69, Input::Tick), (70, Input::Tick)]);
    assert_eq!((mute.reason(), mute.kills()), (&EndReason::NeverSpoke, 1));
    assert_eq!(*ends(vec![(69, Input::Tick)]).reason(), no_signal(0));
    for word in [
        print(1),
        progress(),
        line("x"),
        Input::File(Err(Default::default())),
    ] {
        let moved = [(60, word), (159, Input::Tick)];
        assert_eq!(*ends(moved.to_vec()).reason(), no_signal(0));
        let late = [moved.to_vec(), vec![(160, Input::Tick)]].concat();
        assert_eq!(*ends(late).reason(), EndReason::Silent);
    }
}

#[test]
fn the_wall_ends_a_busy_session() {
    let busy = (0..=20).map(|at| (at * 50, print(1)));
    let played = play(
        busy.chain([(1_001, exit(0))])
            .chain(drained().map(|it| (1_001, it))),
    );
    assert_eq!(
        (played.reason(), played.kills()),
        (&EndReason::WallClock, 1)
    );
}

#[test]
fn after_a_terminal_signal_the_grace_runs_and_then_the_kill_comes() {
    let before = play([(10, done("a")), (59, Input::Tick)]);
    assert_eq!(before.kills(), 0);
    let after = play([(10, done("a")), (60, Input::Tick), (61, Input::Tick)]);
    assert_eq!(after.kills(), 1);
    let chatty = play([(10, done("a")), (40, print(1)), (60, print(1))]);
    assert_eq!(chatty.kills(), 1);
    let at_the_wall = play(
        (0..=19)
            .map(|at| (at * 50, print(1)))
            .chain([(990, done("a")), (1_000, Input::Tick), (1_001, exit(0))])
            .chain(drained().map(|input| (1_001, input))),
    );
    assert_eq!((at_the_wall.reason(), at_the_wall.kills()), (&said("a"), 1));
}

#[test]
fn output_is_kept_to_the_byte_and_counted_beyond() {
    let played = play_out(vec![print(7), print(7), print(7)], 0);
    assert_eq!(played.kept(), 10);
    assert_eq!(played.outcome.unwrap().output_bytes, 21);
}

#[test]
fn a_wrong_epoch_is_malformed_and_never_acted_upon() {
    let stale = line(r#"{"epoch":6,"signal":"done","summary":"old"}"#);
    let played = play_out(vec![stale], 0);
    assert_eq!(*played.reason(), no_signal(0));
    let Output::Report(Report::Malformed(why, raw)) = &played.outputs[0] else {
        panic!("{:?}", played.outputs);
    };
    assert!(why.contains("stale epoch 6"), "{why}");
    assert!(raw.contains("old"), "{raw}");
}

#[test]
fn an_overlong_line_is_malformed() {
    let played = play_out(vec![Input::Line(Line::Overlong(vec![b'a'; 9_999]))], 0);
    let Output::Report(Report::Malformed(why, raw)) = &played.outputs[0] else {
        panic!("{:?}", played.outputs);
    };
    assert!(why.contains("over 64 bytes"), "{why}");
    assert_eq!(raw.len(), HEAD_BYTES_MAX);
}

#[test]
fn chatter_over_the_cap_is_refused_but_the_last_word_counts() {
    let chatter = std::iter::repeat_n(progress(), 5);
    let played = play_out(chatter.chain([done("a")]).collect(), 0);
    assert_eq!(*played.reason(), said("a"));
    assert_eq!((played.signals(), played.malformed()), (5, 1));
}

#[test]
fn a_session_whose_streams_never_end_is_given_up() {
    let patience = u64::try_from(DRAIN_MAX.as_millis()).unwrap();
    let waiting = play([(10, exit(0)), (9 + patience, Input::Tick)]);
    assert!(waiting.outcome.is_none());
    let given_up = play([(10, exit(0)), (10 + patience, Input::Tick)]);
    assert_eq!(*given_up.reason(), no_signal(0));
}

#[test]
fn a_cell_that_is_lost_is_killed_and_told() {
    let inputs = [Input::Lost("gone".to_owned())]
        .into_iter()
        .chain(drained());
    let played = play(inputs.map(|input| (0, input)));
    assert_eq!(played.kills(), 1);
    assert!(
        matches!(played.reason(), EndReason::LaunchFailed { detail } if detail.contains("gone"))
    );
}

#[test]
fn the_deadline_is_the_next_thing_that_time_alone_brings() {
    let mut state = State::new(EPOCH, limits(), cells::Limits::default());
    assert_eq!(state.deadline(), Some(ms(70)));
    step(&mut state, print(1), ms(60));
    assert_eq!(state.deadline(), Some(ms(160)));
    step(&mut state, print(1), ms(950));
    assert_eq!(state.deadline(), Some(ms(1_000)));
    step(&mut state, done("a"), ms(960));
    assert_eq!(state.deadline(), Some(ms(1_000)));
    step(&mut state, Input::Tick, ms(1_000));
    assert_eq!(state.deadline(), None);
    step(&mut state, exit(0), ms(1_010));
    assert_eq!(state.deadline(), Some(ms(1_010) + DRAIN_MAX));
}

fn ended(summary: &str) -> Input {
    Input::Ended(Signal::Done {
        summary: summary.to_owned(),
    })
}

#[test]
fn what_the_agent_said_outranks_how_its_program_ended() {
    let refuse = || line(r#"{"signal":"refuse","reason":"too_large","detail":"d"}"#);
    for (inputs, expected) in [
        (vec![ended("words")], said("words")),
        (vec![ended("first"), ended("second")], said("first")),
        (vec![ended("words"), done("signal")], said("signal")),
        (vec![done("signal"), ended("words")], said("signal")),
        (vec![ended("words"), Input::Stop], EndReason::Stopped),
        (
            vec![ended("words"), refuse()],
            EndReason::Refused {
                refusal: RefusalReason::TooLarge,
                detail: "d".to_owned(),
            },
        ),
    ] {
        let inputs = inputs.into_iter().chain([exit(1)]).chain(drained());
        let played = play(inputs.map(|input| (1, input)));
        assert_eq!(*played.reason(), expected);
        assert!(played.signals() <= 1);
    }
}

#[test]
fn a_program_whose_work_has_ended_has_the_grace_to_go() {
    let played = play([(10, ended("words")), (59, Input::Tick)]);
    assert_eq!(played.kills(), 0);
    let last = [Input::Tick, exit(0)].into_iter().chain(drained());
    let played = play(
        [(10, ended("words"))]
            .into_iter()
            .chain(last.map(|input| (60, input))),
    );
    assert_eq!(played.kills(), 1);
    assert_eq!(*played.reason(), said("words"));
}

#[test]
fn who_can_be_asked_to_stop_is_asked_once_and_killed_when_it_does_not() {
    let mut limits = limits();
    (limits.grace, limits.idle) = (ms(50), ms(900));
    let new = || State::new(EPOCH, limits, cells::Limits::default()).asking_first(true);
    let mut state = new();
    assert_eq!(step(&mut state, Input::Stop, ms(10)), [Output::Cancel]);
    assert_eq!(step(&mut state, Input::Stop, ms(20)), []);
    assert_eq!(state.deadline(), Some(ms(60)));
    assert_eq!(step(&mut state, Input::Stop, ms(60)), [Output::Kill]);
    assert_eq!(step(&mut state, Input::Stop, ms(61)), []);
    // What is over its limits is not asked.
    let mut state = new();
    let flood = step(&mut state, print(200), ms(10));
    assert!(flood.contains(&Output::Kill) && !flood.contains(&Output::Cancel));
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => (0..40_usize).prop_map(print),
        3 => Just(progress()),
        1 => "[a-c]".prop_map(|summary| done(&summary)),
        1 => Just(line(r#"{"signal":"fail","reason":"r"}"#)),
        1 => Just(line(r#"{"signal":"done","summary":"s","epoch":1}"#)),
        1 => Just(line("garbage")),
        1 => Just(Input::Line(Line::Overlong(vec![b'x']))),
        1 => Just(Input::File(Err(("bad".to_owned(), String::new())))),
        1 => Just(Input::File(Ok(Signal::Ask {
            report: "r".to_owned(),
            priority: "P1".to_owned(),
        }))),
        1 => Just(Input::Stop),
        1 => Just(Input::Ended(Signal::Done { summary: "i".to_owned() })),
        1 => (0..3_i32).prop_map(exit),
        1 => Just(Input::Exited(Exit::Signal(9))),
        1 => Just(Input::StreamEnded(Stream::Out)),
        1 => Just(Input::StreamEnded(Stream::Err)),
        1 => Just(Input::SignalsEnded),
        4 => Just(Input::Tick),
    ]
}

/// Histories in any order, which end as every session does: the process gone and all read.
fn histories() -> impl Strategy<Value = Vec<(u64, Input)>> {
    prop::collection::vec((0..60_u64, inputs()), 0..60).prop_map(|steps| {
        let ending = [exit(0)]
            .into_iter()
            .chain(drained())
            .map(|input| (0, input));
        let mut at = 0;
        steps
            .into_iter()
            .chain(ending)
            .map(|(after, input)| {
                at += after;
                (at, input)
            })
            .collect()
    })
}

/// What decided the end, told from the outputs alone and in a simpler way than the machine does.
fn expected_reasons(played: &Played) -> Vec<EndReason> {
    played
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Report(Report::Signal(_, signal)) => end_reason(signal),
            Output::Report(_)
            | Output::Cancel
            | Output::Kill
            | Output::CloseSignals
            | Output::Finished(_) => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_history_has_exactly_one_end_and_nothing_after_it(history in histories()) {
        let played = play(history);
        let ends = played.count(|it| matches!(it, Output::Finished(_)));
        prop_assert_eq!(ends, 1);
        prop_assert!(matches!(played.outputs.last(), Some(Output::Finished(_))));
        prop_assert!(played.kills() <= 1);
        let closed = played.count(|it| *it == Output::CloseSignals);
        prop_assert_eq!(closed, 1);
    }

    #[test]
    fn at_most_one_terminal_signal_is_acted_upon_and_it_is_the_reason(history in histories()) {
        let played = play(history);
        let terminal = expected_reasons(&played);
        prop_assert!(terminal.len() <= 1);
        match terminal.first() {
            Some(reason) => prop_assert_eq!(played.reason(), reason),
            None => {
                let name = played.reason().name();
                prop_assert!(!["done", "refused", "failed"].contains(&name));
            }
        }
    }

    #[test]
    fn after_the_end_is_decided_no_signal_is_acted_upon(history in histories()) {
        let mut state = State::new(EPOCH, limits(), cells::Limits::default());
        for (at, input) in history {
            let decided = state.end.as_ref().map(|end| end.reason.clone());
            let outputs = step(&mut state, input, ms(at));
            if let Some(reason) = decided {
                let acted = outputs.iter().any(|it| matches!(it, Output::Report(Report::Signal(..))));
                prop_assert!(!acted);
                prop_assert_eq!(&state.end.as_ref().unwrap().reason, &reason);
            }
        }
    }

    #[test]
    fn every_cap_holds(history in histories()) {
        let played = play(history);
        let limits = limits();
        prop_assert!(played.kept() <= 10);
        // One terminal signal may come on top.
        prop_assert!(played.signals() <= usize::try_from(limits.signals_max).unwrap() + 1);
        prop_assert!(played.malformed() <= usize::try_from(limits.malformed_max).unwrap() + 1);
        prop_assert!(played.late() <= usize::try_from(limits.signals_max).unwrap());
    }

    #[test]
    fn a_running_session_always_has_a_deadline_or_was_killed(history in histories()) {
        let mut state = State::new(EPOCH, limits(), cells::Limits::default());
        for (at, input) in history {
            step(&mut state, input, ms(at));
            if !state.finished {
                prop_assert!(state.killed || state.deadline().is_some());
                prop_assert!(state.deadline().is_none_or(|deadline| deadline > ms(at)));
            }
        }
    }
}

#[test]
fn an_end_by_quota_says_how_much_there_may_be() {
    let cell = cells::Limits {
        disk_bytes: 3 << 20,
        disk_files: 7,
        ..cells::Limits::default()
    };
    let mut state = State::new(EPOCH, limits(), cell);
    let exit = Exit::OverQuota {
        bytes: (4 << 20) + 1,
        files: 2,
    };
    let inputs = [
        Input::Exited(exit),
        Input::StreamEnded(Stream::Out),
        Input::StreamEnded(Stream::Err),
        Input::SignalsEnded,
    ];
    let outputs: Vec<_> = inputs
        .into_iter()
        .flat_map(|it| step(&mut state, it, Duration::ZERO))
        .collect();
    let Some(Output::Finished(outcome)) = outputs.last() else {
        panic!("{outputs:?}");
    };
    let EndReason::OverQuota { detail } = &outcome.reason else {
        panic!("{outcome:?}");
    };
    let told = "5 MiB and 2 files were written, at most 3 MiB and 7 files may be";
    assert!(detail.starts_with(told), "{detail}");
}
