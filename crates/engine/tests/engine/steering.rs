//! The operator's hand and the watchdog's eye on a running session: checkpoints, pauses, messages
//! and rollbacks, and a death in each stage of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::agent::Signal;
use domain::case::Case;
use domain::checkpoint::{self, Trigger};
use domain::event::Event;
use domain::rollback::{Rollback, Strategy};
use domain::severity::Severity;
use domain::work::{Ending, State};
use domain::{CheckpointId, MessageId, Millis, WorkId, message, promotion, run, session};
use palisade_engine::coordinator::Coordinator;
use palisade_engine::recorder::Error;
use palisade_engine::settings::Checkpoints;
use palisade_engine::views::{detail, health, stats};
use palisade_engine::{answers, steering};
use ports::log::EventLog as _;
use testkit::agents::Stage;
use testkit::log::Fault;

use super::house::{House, good};

/// Patience of agents: far over what any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// So far away that it never comes.
const NEVER: Duration = Duration::from_secs(1 << 20);

/// What agents wait for, and tests bring about.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_up(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// No checkpoint comes but on request; nothing is put back.
const STILL: Checkpoints = Checkpoints {
    quiet: NEVER,
    interval: NEVER,
    bytes: u64::MAX,
    judging: NEVER,
    on_violation: None,
    pause: NEVER,
    escalation: NEVER,
};

/// A checkpoint as soon as the agent stops writing.
const QUICK: Checkpoints = Checkpoints {
    quiet: Duration::from_millis(5),
    on_violation: Some(Strategy::Paths),
    ..STILL
};

fn house(checkpoints: Checkpoints, part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static) -> House {
    let mut house = House::new(part);
    house.settings.checkpoints = checkpoints;
    house
}

/// A house whose builder writes, waits for the flag, and is done.
fn waiting(checkpoints: Checkpoints, flag: &Flag) -> House {
    let flag = flag.clone();
    house(checkpoints, move |stage| {
        if stage.role() == "builder" {
            stage.write("src/early.txt", "early\n");
            let up = flag.clone();
            stage.wait_until(PATIENCE, move || up.is_up());
        }
        good(stage);
    })
}

fn run_with(house: &House, work: WorkId, mut look: impl FnMut(&Case)) {
    let rest = house.run_looking(|_| look(&house.case(work))).unwrap();
    assert!(rest.errors.is_empty(), "{:?}", rest.errors);
}

/// The builder's session, once its agent runs.
fn runs(case: &Case) -> bool {
    matches!(
        case.live_session(),
        Some((_, session::State::Running(about))) if about.role == "builder"
    )
}

fn taken(case: &Case, trigger: Trigger) -> Vec<CheckpointId> {
    let all = case.checkpoints.iter();
    all.filter(|(_, it)| it.checkpoint().is_some_and(|it| it.trigger == trigger))
        .map(|(id, _)| *id)
        .collect()
}

/// Runs until a checkpoint of this kind was taken while the builder worked.
fn is_taken(checkpoints: Checkpoints, trigger: Trigger) {
    let flag = Flag::default();
    let house = waiting(checkpoints, &flag);
    let work = house.submit("# T\n");
    run_with(&house, work, |case| {
        if !taken(case, trigger).is_empty() {
            flag.raise();
        }
    });
    let case = house.case(work);
    let id = taken(&case, trigger)[0];
    let state = &case.checkpoints[&id];
    assert_eq!(state.name(), "validated");
    let it = state.checkpoint().unwrap();
    assert_eq!((it.files, it.bytes), (1, 6), "{it:?}");
}

#[test]
fn a_checkpoint_is_taken_when_the_agent_grows_quiet() {
    is_taken(QUICK, Trigger::Quiet);
}

#[test]
fn a_checkpoint_is_taken_when_much_was_written() {
    is_taken(Checkpoints { bytes: 6, ..STILL }, Trigger::Size);
}

#[test]
fn a_checkpoint_is_taken_after_an_interval() {
    let interval = Duration::from_millis(5);
    is_taken(Checkpoints { interval, ..STILL }, Trigger::Interval);
}

#[test]
fn a_checkpoint_is_taken_on_request_and_nothing_is_where_nothing_runs() {
    let flag = Flag::default();
    let house = waiting(STILL, &flag);
    let work = house.submit("# T\n");
    let refused = steering::request_checkpoint(&house.recorder(), work);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let mut asked = None;
    run_with(&house, work, |case| match asked {
        None if runs(case) => {
            asked = Some(steering::request_checkpoint(&house.recorder(), work).unwrap());
        }
        Some(id) if case.checkpoints[&id].checkpoint().is_some() => flag.raise(),
        _ => {}
    });
    let case = house.case(work);
    assert_eq!(taken(&case, Trigger::Manual), [asked.unwrap()]);
    let counted = stats::read(&house.log).unwrap();
    assert_eq!(counted.checkpoints["manual"], 1);
    assert_eq!(counted.held.count, 1);
    assert_eq!(counted.queue, 0);
}

#[test]
fn a_pause_holds_though_the_agent_ignores_it() {
    let (stands, resumed) = (Flag::default(), Flag::default());
    let (until, after) = (stands.clone(), resumed.clone());
    let house = house(STILL, move |stage| {
        if stage.role() == "builder" {
            let until = until.clone();
            stage.wait_until(PATIENCE, move || until.is_up());
            stage.progress("on and on");
            assert!(after.is_up(), "it went on while it was paused");
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    let mut looks = 0;
    let mut asked = false;
    run_with(&house, work, |case| {
        if runs(case) && !asked {
            asked = true;
            steering::pause(&house.recorder(), work, "lunch").unwrap();
        }
        let Some((_, session::State::Paused(_, pause))) = case.live_session() else {
            return;
        };
        assert_eq!(health::troubles(case), ["paused by operator:ada: lunch"]);
        let line = house.board().lines().remove(0);
        assert_eq!(line.detail, "at `build`, paused: lunch");
        assert_eq!(pause.why, "lunch");
        stands.raise();
        looks += 1;
        if looks == 3 {
            let again = steering::pause(&house.recorder(), work, "dinner");
            assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
            resumed.raise();
            steering::resume(&house.recorder(), work).unwrap();
        }
    });
    assert!(resumed.is_up());
    let topics: Vec<_> = house
        .case(work)
        .messages
        .values()
        .map(|it| it.message().unwrap().topic.name())
        .collect();
    assert_eq!(topics, ["pause", "resume"]);
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

/// A word that needs an acknowledgement.
fn word(severity: Severity, text: &str) -> steering::Word<'_> {
    steering::Word {
        topic: message::Topic::Notice,
        severity,
        text,
        acknowledge_within: Some(steering::ACKNOWLEDGE_WITHIN),
    }
}

#[test]
fn a_message_without_an_answer_is_told_three_times_and_then_the_operator_is() {
    let flag = Flag::default();
    let house = waiting(STILL, &flag);
    let work = house.submit("# T\n");
    let mut sent: Option<MessageId> = None;
    let mut told = 0;
    run_with(&house, work, |case| match sent {
        None if runs(case) => {
            let recorder = house.recorder();
            let id = steering::send(&recorder, work, &word(Severity::Critical, "mind the gap"));
            sent = Some(id.unwrap());
        }
        Some(id) => match &case.messages[&id] {
            message::State::Delivered { attempts, .. } if *attempts > told => {
                told = *attempts;
                // Longer than any of the three waits.
                house.clock.advance(Millis::from_mins(10));
            }
            message::State::Escalated(_) if !flag.is_up() => {
                let stands = case.live_session().unwrap().1.pause().cloned();
                if stands.is_some_and(|it| it.by == "engine") {
                    flag.raise();
                    steering::resume(&house.recorder(), work).unwrap();
                }
            }
            _ => {}
        },
        None => {}
    });
    assert_eq!(told, 3);
    let case = house.case(work);
    assert_eq!(
        health::lasting(&case),
        ["never acknowledged by the agent: mind the gap"]
    );
    assert_eq!(stats::read(&house.log).unwrap().messages["escalated"], 1);
}

#[test]
fn a_message_that_is_acknowledged_is_told_once() {
    let house = house(STILL, |stage| {
        if stage.role() == "builder" {
            let folder = stage.task().brief.join("messages");
            let first = || {
                let mut names = std::fs::read_dir(&folder)
                    .ok()?
                    .map(|it| it.unwrap().path());
                let path = names.find(|it| it.extension().is_some_and(|it| it == "json"))?;
                Some(std::fs::read_to_string(path).unwrap())
            };
            stage.wait_until(PATIENCE, || first().is_some());
            let letter: serde_json::Value = serde_json::from_str(&first().unwrap()).unwrap();
            assert_eq!(letter["severity"], "warning");
            let message = letter["id"].as_str().unwrap().parse().unwrap();
            let text = "I shall".to_owned();
            stage.signal(Signal::Acknowledge { message, text });
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    let mut sent = None;
    run_with(&house, work, |case| {
        if sent.is_none() && runs(case) {
            let recorder = house.recorder();
            sent = steering::send(&recorder, work, &word(Severity::Warning, "be brief")).ok();
        }
    });
    let case = house.case(work);
    let state = &case.messages[&sent.unwrap()];
    assert!(
        matches!(state, message::State::Acknowledged(_, text) if text == "I shall"),
        "{state:?}"
    );
    assert_eq!(health::lasting(&case), [""; 0]);
    let long = "x".repeat(steering::MESSAGE_BYTES_MAX + 1);
    let refused = steering::send(&house.recorder(), work, &word(Severity::Info, &long));
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

/// It opens the gates once, next to what it was asked for, and goes on when it is told off.
fn strays(stage: &mut Stage<'_>) {
    if stage.role() == "builder" && !stage.brief("prompt.md").contains("put back") {
        stage.write("src/lib.txt", "new\n");
        stage.write("gate.sh", "true\n");
        stage.hang(PATIENCE);
        return;
    }
    if stage.role() == "builder" {
        assert!(stage.read("gate.sh").unwrap().contains("TAP version 14"));
        assert_eq!(stage.read("src/lib.txt").as_deref(), Some("new\n"));
        stage.write("src/more.txt", "more\n");
        stage.done("went on");
        return;
    }
    good(stage);
}

#[test]
fn what_is_grave_is_put_back_at_once_and_the_rest_goes_on() {
    let house = house(QUICK, strays);
    let work = house.submit("# T\n");
    house.run();
    let case = house.case(work);
    let events = house.events(work);
    let done: Vec<_> = events
        .iter()
        .filter_map(|it| match it {
            Event::Run(_, run::Event::RolledBack(done)) => Some(done),
            _ => None,
        })
        .collect();
    let [done] = &done[..] else {
        panic!("{done:?}");
    };
    assert_eq!(done.reverted, ["gate.sh"]);
    assert_eq!(done.rollback.by, "engine");
    let place = |wanted: &str| events.iter().position(|it| it.kind() == wanted).unwrap();
    let order = [
        "io.palisade.checkpoint.violated.v1",
        "io.palisade.message.queued.v1",
        "io.palisade.session.pause_requested.v1",
        "io.palisade.run.rollback_requested.v1",
        "io.palisade.run.rolled_back.v1",
    ]
    .map(place);
    assert!(order.is_sorted(), "{order:?}");
    let ends: Vec<_> = case
        .sessions
        .values()
        .filter_map(|it| it.end())
        .map(|it| it.reason.name())
        .collect();
    assert_eq!(ends[..2], ["rolled_back", "done"], "{ends:?}");
    let files = house.promote(work);
    assert!(files["gate.sh"].contains("TAP version 14"));
    assert_eq!(files["src/more.txt"], "more\n");
}

#[test]
fn three_violations_in_a_row_are_the_operators_business() {
    let (flags, looked) = ([Flag::default(), Flag::default()], Flag::default());
    let (steps, seen) = (flags.clone(), looked);
    let told_only = Checkpoints {
        on_violation: None,
        escalation: Duration::from_millis(5),
        ..QUICK
    };
    let house = house(told_only, move |stage| {
        if stage.role() == "builder" && !seen.is_up() {
            for (index, flag) in steps.iter().enumerate() {
                stage.write("gate.sh", &format!("true # {index}\n"));
                let flag = flag.clone();
                stage.wait_until(PATIENCE, move || flag.is_up());
            }
            stage.write("gate.sh", "true # once more\n");
            seen.raise();
            stage.hang(PATIENCE);
            return;
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    run_with(&house, work, |case| {
        for (flag, _) in flags.iter().zip(0..case.violations_in_a_row()) {
            flag.raise();
        }
    });
    let case = house.case(work);
    let first = case.sessions.values().next().unwrap();
    assert_eq!(first.end().unwrap().reason.name(), "escalated");
    let paused = house.events(work).into_iter().find_map(|it| match it {
        Event::Session(_, session::Event::PauseRequested(it)) => Some(it),
        _ => None,
    });
    assert_eq!(paused.unwrap().why, "3 checkpoints in a row broke rules");
}

fn full(to: Option<CheckpointId>) -> Rollback {
    Rollback {
        to,
        strategy: Strategy::Full,
        paths: vec![],
        by: "operator:ada".to_owned(),
        why: "it was better".to_owned(),
    }
}

/// Rolls back without an engine at work, as `palisade rollback` does then.
fn roll_back(house: &House, work: WorkId, wanted: &Rollback) -> bool {
    let recorder = house.recorder();
    steering::request_rollback(&recorder, work, wanted).unwrap();
    Coordinator::new(&recorder, &house.settings)
        .roll_back(work)
        .unwrap()
}

#[test]
fn a_rollback_can_be_undone_and_starts_nothing_else() {
    let house = house(STILL, good);
    let work = house.submit("# T\n");
    house.run();
    let before = house.case(work);
    let was = before.active().unwrap().tree.clone();
    let first = taken(&before, Trigger::TurnEnd)[0];
    let recorder = house.recorder();
    let planned = steering::foresee(&recorder, &house.settings, work, &full(Some(first))).unwrap();
    assert_eq!(planned.reverted, ["docs/new.md", "tests/new.t"]);
    assert_eq!(house.case(work), before, "a dry run changes nothing");
    assert!(roll_back(&house, work, &full(Some(first))));
    let back = house.case(work);
    let wanted = back.checkpoints[&first].checkpoint().unwrap().tree.digest;
    assert_eq!(back.active().unwrap().tree.digest, wanted);
    assert_eq!(back.sessions.len(), before.sessions.len());
    let undo = house
        .events(work)
        .into_iter()
        .rev()
        .find_map(|it| match it {
            Event::Run(_, run::Event::RolledBack(done)) => Some(done.before),
            _ => None,
        });
    assert!(roll_back(&house, work, &full(undo)));
    assert_eq!(house.case(work).active().unwrap().tree, was);
    // What was proposed before is overtaken, and the work goes on to another proposal.
    let states = house.case(work).promotions.into_values();
    assert!(
        states
            .into_iter()
            .all(|it| matches!(it, promotion::State::Stale(..)))
    );
    house.run();
    assert_eq!(house.promote(work)["docs/new.md"], "it is new\n");
}

#[test]
fn a_rollback_that_makes_no_sense_is_given_up() {
    let house = house(STILL, good);
    let work = house.submit("# T\n");
    house.run();
    let before = house.case(work);
    let first = taken(&before, Trigger::TurnEnd)[0];
    let nowhere = Rollback {
        strategy: Strategy::Paths,
        paths: vec!["src/nowhere".to_owned()],
        ..full(Some(first))
    };
    assert!(
        roll_back(&house, work, &nowhere),
        "it is settled all the same"
    );
    let case = house.case(work);
    assert_eq!(case.active().unwrap().tree, before.active().unwrap().tree);
    let why = house.events(work).into_iter().find_map(|it| match it {
        Event::Run(_, run::Event::RollbackAbandoned { why }) => Some(why),
        _ => None,
    });
    assert!(why.unwrap().contains("src/nowhere"));
    let unknown = full(Some(CheckpointId::from_bits(7)));
    let refused = steering::request_rollback(&house.recorder(), work, &unknown);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    house.promote(work);
    let refused = steering::request_rollback(&house.recorder(), work, &full(Some(first)));
    assert!(refused.is_err(), "what is landed is not rolled back");
}

#[test]
fn what_could_not_be_judged_is_told_and_is_not_promotable() {
    let flag = Flag::default();
    let house = waiting(STILL, &flag);
    let work = house.submit("# T\n");
    let (mut asked, mut seen) = (None, false);
    run_with(&house, work, |case| match asked {
        None if runs(case) => {
            house.workspaces.fail_next("judging changes");
            asked = Some(steering::request_checkpoint(&house.recorder(), work).unwrap());
        }
        Some(id) => match &case.checkpoints[&id] {
            state @ checkpoint::State::Captured(_) => {
                seen = true;
                let promoted = checkpoint::decide(state, checkpoint::Command::Promote);
                assert!(promoted.is_err(), "{promoted:?}");
                assert_eq!(health::lasting(case), ["1 checkpoints could not be judged"]);
            }
            // The validator works again, and judges what it owes.
            checkpoint::State::Validated(_) => flag.raise(),
            _ => {}
        },
        _ => {}
    });
    assert_eq!(health::lasting(&house.case(work)), [""; 0]);
    assert_eq!(stats::read(&house.log).unwrap().judgements["deferred"], 1);
    let kinds: Vec<_> = house.events(work).iter().map(Event::kind).collect();
    let deferred = kinds.iter().position(|it| it.ends_with("deferred.v1"));
    assert!(deferred.is_some() || seen, "{kinds:?}");
}

#[test]
fn a_service_that_fails_again_and_again_is_left_alone_tried_once_and_the_session_goes_on() {
    for (doing, service) in [
        ("judging changes", "validator"),
        ("looking at a session", "watchdog"),
        ("capturing a session", "store"),
    ] {
        let flag = Flag::default();
        let house = waiting(QUICK, &flag);
        let work = house.submit("# T\n");
        let (mut ill, mut held) = (service != "watchdog", false);
        if ill {
            house.workspaces.fail_always(doing);
        }
        run_with(&house, work, |case| {
            if !ill && runs(case) {
                ill = true;
                house.workspaces.fail_always(doing);
            }
            let open = health::open_breakers(&house.log).unwrap();
            let Some((_, state)) = case.live_session() else {
                return;
            };
            if !held && let Some(pause) = state.pause() {
                held = true;
                assert_eq!(pause.by, "engine");
                assert!(pause.why.contains(service), "{pause:?}");
                assert!(open.iter().any(|it| it.contains(service)), "{open:?}");
                house.workspaces.fail_no_more();
                // Longer than the breaker rests.
                house.clock.advance(Millis::from_mins(1));
            }
            if held && runs(case) && open.is_empty() {
                flag.raise();
            }
        });
        assert!(held, "{service}");
        let stats = stats::read(&house.log).unwrap();
        assert_eq!(stats.breakers[service], "closed", "{stats:?}");
        assert!(stats.failures[service] >= 3, "{stats:?}");
        assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
    }
}

#[test]
fn a_try_that_an_engines_death_cut_off_does_not_bar_the_service_for_ever() {
    use domain::breaker::{Command, State};
    use ports::clock::Clock as _;
    let house = house(STILL, good);
    let recorder = house.recorder();
    let breaker = |command: &Command| recorder.breaker("validator", command).unwrap();
    for _ in 0..3 {
        let (why, now) = ("it is ill".to_owned(), house.clock.now());
        breaker(&Command::Fail { why, now });
    }
    house.clock.advance(Millis::from_mins(1));
    let now = house.clock.now();
    let tried = breaker(&Command::Try { now });
    assert!(matches!(tried, State::HalfOpen { .. }), "{tried:?}");
    let work = house.submit("# T\n");
    let mut has_rested = false;
    run_with(&house, work, |case| {
        let state = health::breaker_of(&house.log, "validator").unwrap();
        if !has_rested && matches!(state, State::Open { .. }) {
            let begun = case.sessions.values().filter(|it| it.name() != "requested");
            assert_eq!(begun.count(), 0, "nothing leans on what is left alone");
            if !case.sessions.is_empty() {
                has_rested = true;
                house.clock.advance(Millis::from_mins(5));
            }
        }
    });
    assert!(has_rested);
    let state = health::breaker_of(&house.log, "validator").unwrap();
    assert!(state.is_closed(), "{state:?}");
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn while_a_service_is_left_alone_no_session_starts_and_then_one_goes_first() {
    use domain::breaker::Command;
    use ports::clock::Clock as _;
    let at_work = Arc::new(std::sync::Mutex::new((0_usize, 0_usize)));
    let seen = Arc::clone(&at_work);
    let mut house = house(STILL, move |stage| {
        if stage.role() == "builder" {
            let mut seen = seen.lock().unwrap();
            seen.0 += 1;
            seen.1 = seen.1.max(seen.0);
            drop(seen);
        }
        good(stage);
    });
    house.settings.slots = 8;
    let recorder = house.recorder();
    for _ in 0..3 {
        let (why, now) = ("it is ill".to_owned(), house.clock.now());
        recorder
            .breaker("store", &Command::Fail { why, now })
            .unwrap();
    }
    let works: Vec<_> = (0..3)
        .map(|it| house.submit(&format!("# T{it}\n")))
        .collect();
    let mut has_rested = false;
    house
        .run_looking(|_| {
            let board = house.board();
            let all = || board.cases.values().flat_map(|it| it.sessions.values());
            let begun = all().filter(|it| it.name() != "requested").count();
            let is_open = !health::open_breakers(&house.log).unwrap().is_empty();
            if !has_rested {
                assert_eq!(begun, 0, "nothing leans on what is left alone");
                let asked = all().count() == works.len();
                if asked {
                    has_rested = true;
                    house.clock.advance(Millis::from_mins(5));
                }
            } else if is_open {
                assert!(begun <= 1, "one goes first: {begun}");
            }
        })
        .unwrap();
    assert!(has_rested);
    for work in works {
        house.promotion(work);
    }
}

#[test]
fn what_takes_longer_to_judge_than_it_may_is_judged_later_and_until_then_not_promotable() {
    let flag = Flag::default();
    let slow = Checkpoints {
        judging: Duration::ZERO,
        ..QUICK
    };
    let house = waiting(slow, &flag);
    house.workspaces.hold("judging changes");
    let work = house.submit("# T\n");
    run_with(&house, work, |case| {
        for id in taken(case, Trigger::Quiet) {
            match &case.checkpoints[&id] {
                checkpoint::State::Captured(_) => {
                    assert_eq!(health::lasting(case), ["1 checkpoints could not be judged"]);
                    house.workspaces.let_go();
                }
                checkpoint::State::Validated(_) => flag.raise(),
                other => panic!("{other:?}"),
            }
        }
    });
    let why = house.events(work).into_iter().find_map(|it| match it {
        Event::Checkpoint(_, checkpoint::Event::Deferred { why }) => Some(why),
        _ => None,
    });
    assert_eq!(why.unwrap(), "judging takes longer than 0.0s");
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn nothing_is_proposed_that_the_validator_has_not_seen() {
    let house = house(STILL, good);
    let work = house.submit("# T\n");
    house.workspaces.fail_always("judging changes");
    for _ in 0..2 {
        let rest = house.try_run().unwrap();
        assert_eq!(rest.errors.len(), 1, "{rest:?}");
        let case = house.case(work);
        assert!(case.promotions.is_empty(), "{:?}", case.promotions);
        let tree = &case.active().unwrap().tree;
        assert_eq!(tree.manifest, None, "nothing was taken in");
    }
    house.workspaces.fail_no_more();
    house.run();
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn an_agent_that_only_prints_is_told_and_then_ended_as_stalled() {
    let mut house = house(STILL, |stage| {
        if stage.role() == "builder" && !stage.brief("prompt.md").contains("got nowhere") {
            stage.print("still thinking\n");
            return stage.hang(PATIENCE);
        }
        good(stage);
    });
    house.settings.agent_limits.stall = Duration::from_millis(500);
    let work = house.submit("# T\n");
    house.run();
    let case = house.case(work);
    let first = case.sessions.values().next().unwrap();
    assert_eq!(first.end().unwrap().reason.name(), "stalled");
    let told = case.messages.values().filter_map(message::State::message);
    assert!(told.into_iter().any(|it| it.text.contains("progress")));
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn calls_of_something_new_are_a_sign_of_life_and_the_same_call_again_is_none() {
    let stall = Duration::from_millis(400);
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let never = std::sync::Mutex::new(never);
    let lived = Flag::default();
    let up = lived.clone();
    let mut house = house(STILL, move |stage| {
        let is_builder = stage.role() == "builder" && stage.round() == 1;
        if is_builder && !stage.brief("prompt.md").contains("got nowhere") {
            let never = never.lock().unwrap();
            let mut number = 0;
            let began = std::time::Instant::now();
            while began.elapsed() < stall * 3 {
                stage.call("Bash", &format!("make part-{number}"), None);
                number += 1;
                assert!(never.recv_timeout(stall / 20).is_err());
            }
            if !stage.is_over() {
                up.raise();
            }
            stage.call("Write", "/etc/passwd", Some("write beneath /workspace"));
            stage.write("src/lib.txt", "turning\n");
            // From here on it turns in a circle.
            let began = std::time::Instant::now();
            while !stage.is_over() {
                stage.call("Bash", "make part-0", None);
                assert!(never.recv_timeout(stall / 20).is_err());
                assert!(began.elapsed() < PATIENCE, "it was not ended");
            }
            return;
        }
        good(stage);
    });
    house.settings.agent_limits.stall = stall;
    let work = house.submit("# T\n");
    house.run();
    let case = house.case(work);
    let (id, first) = case.sessions.iter().next().unwrap();
    assert_eq!(first.end().unwrap().reason.name(), "stalled");
    assert!(
        lived.is_up(),
        "it was ended while it called for something new"
    );
    let told = detail::read(&house.log, &house.board(), work).unwrap();
    let line = told.sessions.iter().find(|it| it.id == *id).unwrap();
    assert!(line.calls.counts["Bash"] > 3, "{:?}", line.calls);
    let [refused] = &line.calls.refused[..] else {
        panic!("{:?}", line.calls);
    };
    assert_eq!(refused.subject, "/etc/passwd");
}

#[test]
fn an_answer_reaches_the_agent_that_works() {
    use domain::ambiguity::Answer;
    let flag = Flag::default();
    let up = flag.clone();
    let house = house(STILL, move |stage| {
        if stage.role() == "builder" && stage.round() == 1 {
            let report = super::house::question("Which colour?");
            stage.signal(Signal::Ask {
                report,
                priority: "P1".to_owned(),
            });
            let folder = stage.task().brief.join("messages");
            stage.wait_until(PATIENCE, || {
                let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                let mut texts = names.filter_map(|it| std::fs::read_to_string(it.path()).ok());
                texts.any(|it| it.contains("\"topic\":\"answer\"") && it.contains("blue"))
            });
            up.raise();
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    let mut answered = false;
    run_with(&house, work, |case| {
        if !answered && runs(case) && case.open_ambiguities().next().is_some() {
            answered = true;
            house.answer(work, Answer::Option { number: 2 });
        }
    });
    assert!(flag.is_up());
    let case = house.case(work);
    let mut told = case.messages.values().filter_map(message::State::message);
    let answer = told.find(|it| it.topic == message::Topic::Answer).unwrap();
    assert_eq!(answer.severity, Severity::Warning);
}

#[test]
fn a_storm_of_writes_neither_stalls_nor_loses_the_last_one() {
    const STORM: usize = 10_000;
    const FILES: usize = 40;
    let flag = Flag::default();
    let up = flag.clone();
    let house = house(QUICK, move |stage| {
        if stage.role() == "builder" {
            for number in 0..STORM {
                stage.write(&format!("src/{}.txt", number % FILES), &number.to_string());
            }
            stage.write("src/0.txt", "the last\n");
            let up = up.clone();
            stage.wait_until(PATIENCE, move || up.is_up());
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    let last = u64::try_from((FILES - 1) * 4 + 9).unwrap();
    run_with(&house, work, |case| {
        let sees_all = |id: &CheckpointId| {
            let it = case.checkpoints[id].checkpoint().unwrap();
            it.bytes_total == last
        };
        if taken(case, Trigger::Quiet).iter().any(sees_all) {
            flag.raise();
        }
    });
    assert!(flag.is_up());
    let batches = |event| match event {
        Event::Session(_, session::Event::Wrote(batch)) => Some(batch),
        _ => None,
    };
    let wrote: Vec<_> = house.events(work).into_iter().filter_map(batches).collect();
    assert!(!wrote.is_empty() && wrote.len() < 1_000, "{}", wrote.len());
    let seen = |it: &session::Batch| it.bytes - wrote[0].bytes_before == last;
    assert!(wrote.iter().any(seen), "{wrote:?}");
}

/// What happens to an agent that writes a good file, one that leans on a bad one, and the bad one.
fn restored_by(strategy: Strategy) -> (Vec<String>, BTreeMap<String, String>) {
    let policy = Checkpoints {
        on_violation: Some(strategy),
        ..QUICK
    };
    let house = house(policy, |stage| {
        if stage.role() == "builder" && !stage.brief("prompt.md").contains("put back") {
            stage.write("src/good.txt", "good\n");
            stage.write("src/leans.txt", "see gate\n");
            stage.write("gate.sh", "true\n");
            stage.hang(PATIENCE);
            return;
        }
        if stage.role() == "builder" {
            assert!(stage.read("gate.sh").unwrap().contains("TAP version 14"));
            let mut kept = Vec::new();
            for name in ["src/good.txt", "src/leans.txt"] {
                kept.extend(stage.read(name).map(|_| name));
            }
            stage.write("src/kept.txt", &kept.join(" "));
            stage.done("went on");
            return;
        }
        good(stage);
    });
    let work = house.submit("# T\n");
    house.run();
    let told = house.case(work);
    let told = told.messages.values().filter_map(message::State::message);
    assert!(
        told.into_iter()
            .any(|it| it.topic == message::Topic::Violation
                && it.text.contains("another goes on from the restored tree"))
    );
    let done = house.events(work).into_iter().find_map(|it| match it {
        Event::Run(_, run::Event::RolledBack(done)) => Some(done),
        _ => None,
    });
    (done.unwrap().reverted, house.promote(work))
}

#[test]
fn the_policy_full_puts_everything_back_and_the_work_goes_on() {
    let (reverted, files) = restored_by(Strategy::Full);
    assert_eq!(reverted, ["gate.sh", "src/good.txt", "src/leans.txt"]);
    assert_eq!(files["src/kept.txt"], "");
    assert!(!files.contains_key("src/good.txt"));
}

#[test]
fn the_policy_smart_puts_back_what_leans_on_it_too_and_the_work_goes_on() {
    let (reverted, files) = restored_by(Strategy::Smart);
    assert_eq!(reverted, ["gate.sh", "src/leans.txt"]);
    assert_eq!(files["src/kept.txt"], "src/good.txt");
    assert_eq!(files["src/good.txt"], "good\n");
}

/// One life of a work with a violation, a rollback and a landing, with a death planned in it.
fn survives(at: Option<(usize, Fault)>) -> (BTreeMap<String, String>, usize) {
    let mut house = house(QUICK, strays);
    if let Some((at, fault)) = at {
        house.log.fail_after(at, fault);
    }
    let mut deaths = 0;
    for _ in 0..20 {
        let done = turn(&house);
        if house.log.is_dead() {
            house.log = house.log.reopen();
            deaths += 1;
        }
        if let Ok(Some(files)) = done {
            assert_eq!(house.log.pending().unwrap(), []);
            assert_eq!(house.workspaces.open_sessions(), []);
            return (files, deaths);
        }
    }
    panic!("it never ends: {at:?}");
}

/// What a person does in one sitting; the files that landed, once they have.
fn turn(house: &House) -> Result<Option<BTreeMap<String, String>>, Error> {
    let work = match house.board().cases.keys().next() {
        Some(work) => *work,
        None => house.submit_to(super::house::AGENT, "# T\n", &[])?,
    };
    house.try_run()?;
    let board = house.board();
    for open in board.decisions() {
        assert_eq!(open.blocks, [""; 0]);
        let (recorder, dossier) = (house.recorder(), open.proposal.dossier);
        answers::approve(
            &recorder,
            work,
            open.id,
            dossier,
            domain::policy::APPROVAL_SPAN,
        )?;
    }
    Ok(match board.cases[&work].work() {
        Some((_, State::Closed(_, Ending::Completed { commit: Some(it) }))) => {
            Some(house.workspaces.texts(it))
        }
        Some((_, State::Closed(_, other))) => panic!("{other:?}"),
        _ => None,
    })
}

#[test]
fn a_death_in_any_stage_of_a_checkpoint_or_a_rollback_changes_nothing() {
    let (expected, _) = survives(None);
    let (mut at, mut walked, mut quiet) = (0, 0, 0);
    // How many appends a life takes depends on when the watchdog looks.
    while quiet < 4 {
        let fault = [Fault::CrashBeforeCommit, Fault::CrashAfterCommit][at % 2];
        let (files, deaths) = survives(Some((at, fault)));
        assert_eq!(files, expected, "after a death at {at}");
        if deaths == 0 {
            quiet += 1;
        } else {
            (walked, quiet) = (walked + 1, 0);
        }
        at += 1;
    }
    assert!(walked > 40, "only {walked} places");
}
