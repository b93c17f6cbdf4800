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
use palisade_engine::views::{health, stats};
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
            let id = steering::send(&recorder, work, "mind the gap", Severity::Critical, true);
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
            sent = steering::send(&recorder, work, "be brief", Severity::Warning, true).ok();
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
    let refused = steering::send(&house.recorder(), work, &long, Severity::Info, false);
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
    let mut asked = None;
    run_with(&house, work, |case| match asked {
        None if runs(case) => {
            house.workspaces.fail_next("judging changes");
            asked = Some(steering::request_checkpoint(&house.recorder(), work).unwrap());
        }
        Some(id) if case.checkpoints[&id].checkpoint().is_some() => flag.raise(),
        _ => {}
    });
    let case = house.case(work);
    let state = case.checkpoints[&asked.unwrap()].clone();
    assert_eq!(state.name(), "captured");
    let promoted = checkpoint::decide(&state, checkpoint::Command::Promote);
    assert!(promoted.is_err(), "{promoted:?}");
    assert_eq!(
        health::lasting(&case),
        ["1 checkpoints could not be judged"]
    );
    assert_eq!(stats::read(&house.log).unwrap().judgements["deferred"], 1);
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
