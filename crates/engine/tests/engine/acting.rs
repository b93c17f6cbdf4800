//! Actions from proposal to receipt: beside the works, once, and through every death.

use std::sync::Arc;

use domain::action::{Approval, Needs, Paper, State, Status};
use domain::tree::Commit;
use domain::{ActionId, Digest, GrantId, Millis, PermitId, Timestamp, WorkId, grant};
use palisade_engine::actions::{self, Wanted};
use palisade_engine::recorder::Error;
use ports::artifacts::Artifacts as _;
use ports::executor::Executor as _;
use ports::log::EventLog as _;
use testkit::executor::{FakeExecutor, Mood};
use testkit::log::Fault;

use super::house::{House, good, question};

const HOUR: Millis = Millis::from_mins(60);

struct Scene {
    house: House,
    executor: Arc<FakeExecutor>,
}

impl Scene {
    fn new() -> Self {
        let executor = Arc::new(FakeExecutor::new());
        let mut house = House::new(good);
        house.executor = Some(Arc::clone(&executor) as Arc<_>);
        Self { house, executor }
    }

    fn wanted(name: &str, arguments: &str, work: Option<WorkId>) -> Wanted {
        Wanted {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            work,
            session: None,
            by: "agent:scripted".to_owned(),
            author: None,
            why: "it is wanted".to_owned(),
        }
    }

    fn propose(&self, name: &str, arguments: &str, work: Option<WorkId>) -> ActionId {
        let wanted = Self::wanted(name, arguments, work);
        actions::propose(&self.house.recorder(), &wanted).unwrap()
    }

    fn approval(&self, id: ActionId) -> Result<Approval, Error> {
        let told = self.executor.describe()?;
        let now = self.house.recorder().world().clock.now();
        Ok(Approval {
            by: "operator:ada".to_owned(),
            paper: Paper::Permit(PermitId::from_bits(id.bits())),
            envelope: self.house.artifacts.put(b"{\"signed\": true}")?,
            policy: told.policy,
            target: told.target,
            requester: told.requester,
            at: now,
            expires: now.after(HOUR),
        })
    }

    fn approve(&self, id: ActionId) -> Result<State, Error> {
        actions::approve(&self.house.recorder(), id, &self.approval(id)?)
    }

    fn state(&self, id: ActionId) -> State {
        self.house.recorder().action(id).unwrap()
    }

    fn grant(&self, uses_max: u32) -> GrantId {
        self.try_grant(uses_max).unwrap()
    }

    fn try_grant(&self, uses_max: u32) -> Result<GrantId, Error> {
        let recorder = self.house.recorder();
        let id = GrantId::from_bits(recorder.fresh());
        let told = self.executor.describe()?;
        let at = recorder.world().clock.now();
        let given = grant::Grant {
            actions: vec!["test".to_owned()],
            target: told.target,
            requester: told.requester,
            policy: told.policy,
            envelope: self.house.artifacts.put(b"{\"granted\": true}")?,
            by: "operator:ada".to_owned(),
            at,
            expires: at.after(HOUR),
            uses_max,
        };
        recorder.on_grant(id, &grant::Command::Give(given))?;
        Ok(id)
    }
}

fn landed(house: &House) -> (WorkId, Commit) {
    let work = house.submit("# Work\n\nDo it.\n");
    house.run();
    house.promote(work);
    (work, house.case(work).landed().unwrap())
}

#[test]
fn what_a_work_has_landed_is_published_once_and_the_receipt_is_kept() {
    let scene = Scene::new();
    let (work, commit) = landed(&scene.house);
    let arguments = format!(r#"{{"to": "forge", "commit": "{commit}"}}"#);
    let id = scene.propose("publish", &arguments, Some(work));
    assert_eq!(scene.propose("publish", &arguments, Some(work)), id);
    scene.house.run();
    assert_eq!(scene.executor.asked(), 0, "nobody has approved it");
    scene.approve(id).unwrap();
    scene.house.run();
    let State::Settled(proposal, _, settled) = scene.state(id) else {
        panic!("it is {}", scene.state(id).name());
    };
    assert_eq!(settled.status, Status::Succeeded);
    assert_eq!(proposal.authors, ["agent:scripted"]);
    let receipt = scene.house.artifacts.get(&settled.receipt.unwrap());
    let receipt = String::from_utf8(receipt.unwrap()).unwrap();
    assert!(receipt.contains("succeeded"), "{receipt}");
    let done = scene.executor.effects();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].id.bits(), id.bits());
    assert_eq!(
        done[0].arguments,
        format!(r#"{{"commit":"{commit}","to":"forge"}}"#)
    );
    // It is told among what happened to the work, and its case knows it.
    let case = scene.house.case(work);
    assert_eq!(case.actions[&id].name(), "succeeded");
    assert!(scene.house.log.pending().unwrap().is_empty());
}

#[test]
fn what_a_work_has_not_landed_is_not_published() {
    let scene = Scene::new();
    let (work, _) = landed(&scene.house);
    let other = "9999999999999999999999999999999999999999";
    let id = scene.propose(
        "publish",
        &format!(r#"{{"commit": "{other}"}}"#),
        Some(work),
    );
    let refused = scene.approve(id).unwrap_err().to_string();
    assert!(refused.contains("propose it anew"), "{refused}");
}

#[test]
fn what_is_opened_after_the_approval_holds_it_back() {
    let mut scene = Scene::new();
    scene.house = House::new(|stage| {
        if stage.role() == "builder" {
            stage.ask("P0", &question("Which colour?"));
        }
        good(stage);
    });
    scene.house.executor = Some(Arc::clone(&scene.executor) as Arc<_>);
    let work = scene.house.submit("# Work\n\nDo it.\n");
    let id = scene.propose("deploy", "{}", Some(work));
    // Approved while nothing is open; the question comes before anybody asks the executor.
    scene.approve(id).unwrap();
    scene.house.executor = None;
    scene.house.run();
    scene.house.executor = Some(Arc::clone(&scene.executor) as Arc<_>);
    scene.house.run();
    let State::Withdrawn(_, verdict) = scene.state(id) else {
        panic!("it is {}", scene.state(id).name());
    };
    assert!(verdict.reason.contains("1 open P0"), "{}", verdict.reason);
    assert_eq!(scene.executor.effects(), []);
    let refused = scene.approve(scene.propose("deploy", "{\"again\": 1}", Some(work)));
    assert!(refused.unwrap_err().to_string().contains("1 open P0"));
}

#[test]
fn an_executor_that_is_away_holds_up_nothing_and_is_asked_again() {
    let scene = Scene::new();
    scene.executor.meet(&[]);
    let id = scene.propose("deploy", "{}", None);
    scene.approve(id).unwrap();
    scene.executor.meet(&[Mood::Absent, Mood::Busy]);
    let work = scene.house.submit("# Work\n\nDo it.\n");
    scene.house.run();
    assert_eq!(scene.house.promotion(work).1.name(), "ready");
    let State::Dispatched(_, _, attempt) = scene.state(id) else {
        panic!("it is {}", scene.state(id).name());
    };
    assert_eq!((attempt.failed, attempt.is_unclear), (1, false));
    assert_eq!(attempt.why, "nobody is there");
    // Not before it is time.
    scene.house.run();
    assert_eq!(scene.state(id), scene.state(id));
    scene.house.clock.advance(Millis::from_secs(1));
    scene.house.run();
    scene.house.clock.advance(Millis::from_secs(1));
    scene.house.run();
    assert_eq!(
        scene.state(id).name(),
        "dispatched",
        "it waits twice as long"
    );
    scene.house.clock.advance(Millis::from_secs(1));
    scene.house.run();
    assert_eq!(scene.state(id).name(), "succeeded");
    assert_eq!(scene.executor.effects().len(), 1);
}

#[test]
fn an_approval_that_runs_out_before_anybody_was_reached_is_over_and_nothing_was_done() {
    let scene = Scene::new();
    let id = scene.propose("deploy", "{}", None);
    scene.approve(id).unwrap();
    scene.executor.meet(&[Mood::Absent]);
    scene.house.run();
    scene.house.clock.advance(HOUR);
    scene.house.run();
    assert_eq!(scene.state(id).name(), "expired");
    assert_eq!(scene.executor.asked(), 0);
    assert!(scene.house.log.pending().unwrap().is_empty());
}

#[test]
fn what_nobody_can_say_is_told_never_repeated_and_settled_by_a_later_look() {
    let scene = Scene::new();
    let id = scene.propose("deploy", "{}", None);
    scene.approve(id).unwrap();
    scene.executor.meet(&[Mood::Silent, Mood::Absent]);
    scene.house.run();
    assert_eq!(scene.state(id).name(), "dispatched");
    scene.house.clock.advance(HOUR);
    scene.house.run();
    assert_eq!(scene.state(id).name(), "unknown");
    for _ in 0..3 {
        scene.house.clock.advance(HOUR);
        scene.house.run();
    }
    assert_eq!(scene.executor.asked(), 1);
    let state = actions::look_again(&scene.house.recorder(), id).unwrap();
    assert_eq!(state.name(), "succeeded");
    assert_eq!(scene.executor.effects().len(), 1);
}

#[test]
fn at_a_loss_and_refused_are_told_as_they_are() {
    let scene = Scene::new();
    for (mood, name) in [(Mood::AtALoss, "unknown"), (Mood::Refusing, "failed")] {
        let id = scene.propose("deploy", &format!(r#"{{"for": "{name}"}}"#), None);
        scene.approve(id).unwrap();
        scene.executor.meet(&[mood]);
        scene.house.run();
        assert_eq!(scene.state(id).name(), name);
        let state = actions::look_again(&scene.house.recorder(), id).unwrap();
        assert_eq!(
            state.name(),
            name,
            "a look that tells nothing changes nothing"
        );
        let again = scene.approve(id).unwrap_err().to_string();
        assert!(again.contains("does not admit this"), "{again}");
    }
}

#[test]
fn a_standing_grant_is_used_as_often_as_it_says_and_then_an_operator_is_asked() {
    let scene = Scene::new();
    let early = scene.propose("test", r#"{"suite": "a"}"#, None);
    scene.house.run();
    assert_eq!(scene.state(early).name(), "proposed");
    let by = scene.grant(2);
    let others =
        ["b", "c"].map(|it| scene.propose("test", &format!(r#"{{"suite": "{it}"}}"#), None));
    let deploy = scene.propose("deploy", "{}", None);
    scene.house.run();
    let names = [early, others[0], others[1], deploy].map(|it| scene.state(it).name());
    let done = names.iter().filter(|it| **it == "succeeded").count();
    assert_eq!((done, names[3]), (2, "proposed"), "{names:?}");
    let board = scene.house.board();
    assert!(matches!(board.grants[&by], grant::State::Given(_, 2)));
    let settled = board.actions.values().filter_map(State::approval);
    assert!(
        settled.clone().count() == 2 && settled.into_iter().all(|it| it.paper == Paper::Grant(by))
    );
}

#[test]
fn a_grant_under_another_policy_is_not_used() {
    let scene = Scene::new();
    scene.grant(5);
    scene.executor.change_policy(Digest::from_bytes([1; 32]));
    let id = scene.propose("test", "{}", None);
    scene.house.run();
    assert_eq!(scene.state(id).name(), "proposed");
    assert_eq!(scene.executor.asked(), 0);
    assert_eq!(scene.state(id).proposal().unwrap().needs, Needs::Grant);
}

#[test]
fn what_is_no_action_is_not_filed_and_not_too_many_wait() {
    let scene = Scene::new();
    let recorder = scene.house.recorder();
    let wrong = actions::propose(&recorder, &Scene::wanted("sh", "{}", None));
    assert!(matches!(wrong, Err(Error::Executor(_))));
    for number in 0..actions::WAITING_MAX {
        scene.propose("deploy", &format!(r#"{{"number": {number}}}"#), None);
    }
    let one_more = actions::propose(&recorder, &Scene::wanted("deploy", "{}", None));
    assert!(matches!(one_more, Err(Error::Invalid(_))));
    assert_eq!(scene.house.board().actions.len(), actions::WAITING_MAX);
}

/// One history through which an action and one on a grant go; somebody starts the engine again after
/// every trouble, and repeats what is not done.
struct History {
    scene: Scene,
    troubles: usize,
}

impl History {
    fn live(&mut self) {
        for _ in 0..30 {
            let turn = self.turn();
            let house = &mut self.scene.house;
            if house.log.is_dead() {
                house.log = house.log.reopen();
                self.troubles += 1;
            } else if !matches!(turn, Ok(Some(_))) {
                house.log.heal();
                house.artifacts.full_after(None);
                self.troubles += 1;
            }
            house.collect();
            house.clock.advance(Millis::from_secs(5));
            if let Ok(Some(true)) = turn {
                return;
            }
        }
        panic!("it never ends");
    }

    /// Returns whether all is done, or nothing when something could not be tended.
    fn turn(&self) -> Result<Option<bool>, Error> {
        let (scene, recorder) = (&self.scene, self.scene.house.recorder());
        let board = scene.house.board();
        if board.actions.is_empty() {
            actions::propose(&recorder, &Scene::wanted("deploy", "{}", None))?;
        }
        if board.grants.is_empty() {
            scene.try_grant(1)?;
        }
        if board.actions.len() < 2 {
            actions::propose(&recorder, &Scene::wanted("test", "{}", None))?;
        }
        let board = scene.house.board();
        for (id, state) in &board.actions {
            let is_ours = state.proposal().is_some_and(|it| it.needs == Needs::Permit);
            if is_ours && matches!(state, State::Proposed(_)) {
                scene.approve(*id)?;
            }
        }
        let rest = scene.house.try_run()?;
        if !rest.errors.is_empty() || !rest.action_errors.is_empty() {
            return Ok(None);
        }
        let board = scene.house.board();
        let done = board.actions.values().filter(|it| it.name() == "succeeded");
        Ok(Some(
            done.count() == 2 && scene.house.log.pending()?.is_empty(),
        ))
    }
}

fn walk(moods: &[Mood], plan: impl Fn(&House, usize)) -> usize {
    let (mut place, mut walked, mut quiet) = (0, 0, 0);
    while quiet < 3 {
        let scene = Scene::new();
        scene.executor.meet(moods);
        let mut history = History { scene, troubles: 0 };
        plan(&history.scene.house, place);
        history.live();
        let effects = history.scene.executor.effects();
        assert_eq!(effects.len(), 2, "after trouble at {place}: {effects:?}");
        let board = history.scene.house.board();
        assert_eq!(board.actions.len(), 2, "after trouble at {place}");
        assert!(matches!(
            board.grants.values().next(),
            Some(grant::State::Given(_, 1))
        ));
        assert_eq!(history.scene.house.log.verify().unwrap().broken, []);
        if history.troubles == 0 {
            quiet += 1;
        } else {
            (walked, quiet) = (walked + 1, 0);
        }
        place += 1;
    }
    walked
}

#[test]
fn a_death_at_any_moment_repeats_the_same_request_and_does_nothing_twice() {
    for fault in [Fault::CrashBeforeCommit, Fault::CrashAfterCommit] {
        let walked = walk(&[], |house, at| house.log.fail_after(at, fault));
        assert!(walked >= 8, "only {walked} places");
        // The executor does it, and dies before it answers; or answers nothing at all.
        let silent = [Mood::Silent, Mood::Busy, Mood::Silent];
        let walked = walk(&silent, |house, at| house.log.fail_after(at, fault));
        assert!(walked >= 10, "only {walked} places");
    }
}

#[test]
fn a_disk_that_is_full_at_any_moment_does_nothing_twice() {
    let walked = walk(&[], |house, at| house.log.fail_after(at, Fault::DiskFull));
    assert!(walked >= 8, "only {walked} places");
    let walked = walk(&[], |house, at| house.artifacts.full_after(Some(at)));
    assert!(walked >= 3, "only {walked} places");
}

#[test]
fn the_board_is_the_same_for_whoever_reads_it_later() {
    let scene = Scene::new();
    let id = scene.propose("deploy", "{}", None);
    scene.approve(id).unwrap();
    scene.house.run();
    let board = scene.house.board();
    assert_eq!(board.actions[&id], scene.state(id));
    assert!(board.cases.is_empty(), "it is of no work");
    assert!(Timestamp(0) < board.actions[&id].approval().unwrap().expires);
}

/// A house whose builder may propose tests, and says this.
fn proposing(signal: domain::agent::Signal) -> (Scene, WorkId) {
    let executor = Arc::new(FakeExecutor::new());
    let role = "name = \"builder\"\ndescription = \"b\"\nlane = \"dry_run\"\n\
                write = [\"**\"]\nmay_propose = [\"test\"]\n";
    let mut files = super::house::FILES.to_vec();
    files.push((".palisade/roles/builder.toml", role));
    let mut house = House::of(&files).agent(super::house::AGENT, move |stage| {
        if stage.role() == "builder" {
            stage.signal(signal.clone());
        }
        good(stage);
    });
    house.executor = Some(Arc::clone(&executor) as Arc<_>);
    let work = house.submit("# Work\n\nDo it.\n");
    house.run();
    (Scene { house, executor }, work)
}

fn propose(action: &str, arguments: &str) -> domain::agent::Signal {
    domain::agent::Signal::ProposeAction {
        action: action.to_owned(),
        arguments: arguments.to_owned(),
        why: "to be\u{7} sure".to_owned(),
    }
}

#[test]
fn an_agent_whose_role_may_proposes_and_a_human_decides() {
    let (scene, work) = proposing(propose("test", r#"{"suite": "a"}"#));
    let case = scene.house.case(work);
    let (id, state) = case.actions.first_key_value().unwrap();
    let proposal = state.proposal().unwrap();
    assert_eq!(proposal.by, "agent:scripted");
    assert_eq!(proposal.authors, ["agent:scripted"]);
    assert_eq!(proposal.why, "to be sure");
    assert!(
        proposal
            .session
            .is_some_and(|it| case.sessions.contains_key(&it))
    );
    let told = scene.house.log_text();
    assert!(told.contains(&format!("filed as {id}; a human decides")));
    assert_eq!(state.name(), "proposed");
    assert_eq!(scene.executor.asked(), 0);
    // An agent that bears an operator's name does not approve by that.
    let mut forged = scene.approval(*id).unwrap();
    "operator:scripted".clone_into(&mut forged.by);
    assert!(actions::approve(&scene.house.recorder(), *id, &forged).is_err());
    "agent:scripted".clone_into(&mut forged.by);
    assert!(actions::approve(&scene.house.recorder(), *id, &forged).is_err());
    scene.approve(*id).unwrap();
    scene.house.run();
    assert_eq!(scene.state(*id).name(), "succeeded");
}

#[test]
fn an_agent_whose_role_may_not_propose_is_refused_and_told() {
    for (signal, why) in [
        (
            propose("deploy", "{}"),
            "the role `builder` does not propose `deploy`",
        ),
        (propose("sh", "{}"), "does not propose `sh`"),
        (propose("test", "[]"), "is not filed: arguments of `test`"),
    ] {
        let (scene, work) = proposing(signal);
        assert!(scene.house.case(work).actions.is_empty());
        let told = scene.house.log_text();
        assert!(told.contains(why), "{why}");
        assert!(told.contains("is not filed"), "it is told");
        assert!(
            told.contains("\"event\":\"signal_refused\""),
            "it is on record"
        );
        assert_eq!(scene.executor.asked(), 0);
    }
}
