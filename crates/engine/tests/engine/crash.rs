//! The crash matrix: a scripted history is run to its end once, and then again for every place
//! where the process may die or the disk may be full. Whatever happens, the operator does what a
//! person would: starts the engine again and repeats what is not done. Every history must end the
//! same.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::ambiguity::{Answer, Priority};
use domain::event::Event;
use domain::output;
use domain::policy::APPROVAL_SPAN;
use domain::usage::{ModelUsage, Tokens, Usage};
use domain::work::{Ending, State};
use domain::{Digest, SessionId, WorkId, ambiguity, finding, promotion, session};
use palisade_engine::recorder::{Error, decoded};
use palisade_engine::views::board::{Board, name_of};
use palisade_engine::{Settings, answers};
use ports::cells::{self, Cell, CellSpec, Cells, Denied, Exit, Launched, Layers, Streams, Wall};
use ports::judges::Question;
use ports::log::{EventLog as _, Position};
use ports::models::Models as _;
use testkit::agents::Stage;
use testkit::judges::FakeJudges;
use testkit::log::Fault;
use testkit::models::FakeModels;
use testkit::workspaces;

use super::house::{FILES, House, question};

/// What a person tries before giving up.
const TURNS_MAX: usize = 20;

/// Gates without a process: they print what the tests of the tree say.
#[derive(Debug)]
struct PrintingCells;

#[derive(Debug)]
struct Ended(Exit);

impl Cells for PrintingCells {
    fn probe(&self) -> Vec<Wall> {
        Vec::new()
    }

    fn launch(&self, spec: &CellSpec) -> Result<Launched, cells::Error> {
        let Some(Layers::Plain { dir }) = spec.workspace.as_ref().map(|it| &it.layers) else {
            panic!("a gate gets a tree of its own");
        };
        let mut printed = String::from("TAP version 14\n");
        for test in fs::read_dir(dir.join("tests")).unwrap() {
            let script = fs::read_to_string(test.unwrap().path()).unwrap();
            printed.extend(script.split('\'').nth(1));
            printed.push('\n');
        }
        let streams = Streams {
            stdin: Box::new(Vec::new()),
            stdout: Box::new(Cursor::new(printed)),
            stderr: Box::new(Cursor::new("")),
        };
        let cell = Arc::new(Ended(Exit::Code(0)));
        Ok(Launched { streams, cell })
    }
}

impl Cell for Ended {
    fn wait(&self, _patience: Duration) -> Result<Option<Exit>, cells::Error> {
        Ok(Some(self.0))
    }

    fn kill(&self) -> Result<(), cells::Error> {
        Ok(())
    }

    fn pause(&self) -> Result<(), cells::Error> {
        Ok(())
    }

    fn resume(&self) -> Result<(), cells::Error> {
        Ok(())
    }

    fn walls(&self) -> Vec<Wall> {
        Vec::new()
    }

    fn denied(&self) -> Vec<Denied> {
        Vec::new()
    }
}

/// The first work's agent: it breaks a rule, asks, is found fault with, and is overruled.
fn one(stage: &mut Stage<'_>) {
    stage.progress("at it");
    stage.print("some output\n");
    let told = stage.brief("prompt.md");
    match (stage.role(), stage.round()) {
        ("builder", 1) if !told.contains("turned away and taken out") => {
            stage.write("gate.sh", "true\n");
            stage.write("src/lib.txt", "new\n");
        }
        ("builder", 1) => {
            stage.ask("P1", &question("Which colour?"));
            stage.write("src/lib.txt", "new\n");
        }
        ("builder", 2) => stage.write("src/lib.txt", "new and kind\n"),
        ("builder", _) => {
            assert!(
                stage
                    .brief("answers.md")
                    .contains("blue (answered by the operator)")
            );
            stage.write("src/colour", "blue\n");
        }
        ("tester", _) => stage.write("tests/new.t", "echo 'ok 2 - new'\n"),
        ("reviewer", 1) => {
            stage.finding("src/lib.txt", 1, "tone", "be kind");
        }
        ("docs", _) => stage.write("docs/new.md", "it is new\n"),
        _ => {}
    }
    stage.done("did it");
}

/// The second work's agent: it has a small question that nobody answers.
fn two(stage: &mut Stage<'_>) {
    if stage.role() == "builder" {
        stage.ask("P3", &question("Which shade?"));
        stage.write("src/other.txt", "other\n");
    }
    stage.done("did it");
}

/// How the works stand to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The second waits for the first: every history is the same.
    Waits,
    /// Both at once, on the same branch: whoever lands second is rebased and approved again.
    Races,
    /// The second waits for the first, and a judge is asked before each is built.
    Judged,
}

/// A formula with a judge, kept short: what follows is walked elsewhere.
const JUDGED: &str = r#"
name = "triage-cycle"
[[step]]
id = "triage"
kind = "judge"
model = "anthropic/claude-a"
prompt = "triage"
schema = "triage"
verdict = "pass"
reasons = "reasons"
files = "ambiguities"
[[step]]
id = "build"
kind = "session"
role = "builder"
lane = "dry_run"
needs = ["triage"]
prompt = "Build it."
[[step]]
id = "check"
kind = "gate"
needs = ["build"]
on_fail = "build"
[[step]]
id = "decide"
kind = "decision"
needs = ["check"]
[[step]]
id = "promote"
kind = "action"
action = "promote"
needs = ["decide"]
"#;

/// A judge that is told what is wrong with its first answer, and then has a small question.
fn judge(asked: &Question) -> String {
    if asked.earlier.is_empty() {
        return "{\"pass\": \"perhaps\"}".to_owned();
    }
    serde_json::json!({
        "pass": true, "reasons": [],
        "ambiguities": [{
            "priority": "P3", "question": "Which shade of it?", "why": "It is not said.",
            "options": ["dark", "light"], "recommended": "dark", "impact": "The look of it.",
            "default_held": "dark",
        }],
    })
    .to_string()
}

/// What must be the same at the end of every history.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    files: BTreeMap<String, String>,
    manifests: BTreeMap<String, Option<Digest>>,
}

/// One history: what goes wrong in it is planned before it begins.
struct History {
    house: House,
    models: Arc<FakeModels>,
    order: Order,
    troubles: usize,
    watched: Board,
}

impl History {
    fn new(order: Order) -> Self {
        let mut files = FILES.to_vec();
        if order == Order::Judged {
            files.push((".palisade/formulas/triage-cycle.toml", JUDGED));
        }
        let mut house = House::of(&files).agent("one", one).agent("two", two);
        let models = Arc::new(FakeModels::new());
        if order == Order::Judged {
            models.script(vec![(vec![took()], None); 100]);
            house.models = Some(Arc::clone(&models) as Arc<_>);
            house.judges = Arc::new(FakeJudges::new(|it| Ok(judge(it))));
            house.formula = "triage-cycle";
        }
        house.cells = Arc::new(PrintingCells);
        house.settings = Settings {
            slots: 2,
            ..house.settings
        };
        Self {
            house,
            models,
            order,
            troubles: 0,
            watched: Board::default(),
        }
    }

    /// Lives it to its end.
    fn live(&mut self) {
        for _ in 0..TURNS_MAX {
            let turn = self.turn();
            if self.house.log.is_dead() {
                self.house.log = self.house.log.reopen();
                self.troubles += 1;
            } else if !matches!(turn, Ok(Some(_))) {
                self.house.log.heal();
                self.house.artifacts.full_after(None);
                self.troubles += 1;
            }
            // With nobody at work, nothing that is not named yet is needed any more.
            self.house.collect();
            // Somebody looks on all the time, through every death.
            self.watched.catch_up(&self.house.log).unwrap();
            if let Ok(Some(true)) = turn {
                return;
            }
        }
        panic!("it never ends: {}", self.watched.stored().unwrap());
    }

    /// What a person does in one sitting: returns whether all is done, or nothing when some work
    /// could not be tended.
    fn turn(&mut self) -> Result<Option<bool>, Error> {
        let (house, board) = (&self.house, &mut self.watched);
        board.catch_up(&house.log)?;
        for (name, agent) in [("one", "one"), ("two", "two")] {
            if find(board, name).is_none() {
                let first = find(board, "one").filter(|_| self.order != Order::Races);
                let first: Vec<_> = first.into_iter().collect();
                let spec = format!("---\nname: {name}\n---\n# Work {name}\n\nDo it.\n");
                house.submit_to(agent, &spec, &first)?;
                board.catch_up(&house.log)?;
            }
        }
        let rest = house.try_run()?;
        if !rest.errors.is_empty() {
            return Ok(None);
        }
        board.catch_up(&house.log)?;
        if board.open().is_empty() {
            return Ok(Some(house.log.pending()?.is_empty()));
        }
        for asked in board.questions() {
            if asked.ambiguity.priority <= Priority::P1 {
                let answer = Answer::Option { number: 2 };
                answers::answer(&house.recorder(), board, &[(asked.id, answer)])?;
            }
        }
        for open in board.decisions() {
            if open.blocks.is_empty() {
                let (recorder, dossier) = (house.recorder(), open.proposal.dossier);
                answers::approve(&recorder, open.work, open.id, dossier, APPROVAL_SPAN)?;
            }
        }
        Ok(Some(false))
    }

    /// Checks all that must hold whatever happened, and returns what the history came to.
    fn judged(&self) -> Meaning {
        let house = &self.house;
        let board = Board::read(&house.log).unwrap();
        assert_eq!(board.stored().unwrap(), self.watched.stored().unwrap());
        assert_eq!(house.log.verify().unwrap().broken, []);
        assert_eq!(house.log.pending().unwrap(), []);
        let landings = house.workspaces.landings();
        assert_eq!(landings.len(), 2, "{landings:?}");
        assert!(landings.values().all(|it| *it == 1), "{landings:?}");
        self.judge_events();
        let mut manifests = BTreeMap::new();
        for case in board.cases.values() {
            let Some((_, State::Closed(_, Ending::Completed { commit }))) = case.work() else {
                panic!("{} is not completed", name_of(case));
            };
            assert!(landings.contains_key(commit.as_ref().unwrap()));
            let promoted = case.promotions.values().filter_map(|it| match it {
                promotion::State::Promoted(proposal, ..) => Some(proposal.tree.manifest),
                _ => None,
            });
            let promoted: Vec<_> = promoted.collect();
            assert_eq!(promoted.len(), 1);
            manifests.insert(name_of(case), promoted[0]);
            assert!(case.ambiguities.values().all(|it| it.name() == "closed"));
            assert!(case.findings.values().all(|it| it.name() == "resolved"));
        }
        let target = ports::workspaces::Workspaces::target(&*house.workspaces, None);
        let files = house.workspaces.texts(&target.unwrap().head);
        Meaning { files, manifests }
    }

    /// Nothing happened twice that must happen once.
    fn judge_events(&self) {
        let mut ends: BTreeMap<SessionId, usize> = BTreeMap::new();
        let (mut filed, mut reported, mut promoted, mut judged) = (0, 0, 0, 0);
        let mut billed: BTreeMap<SessionId, u64> = BTreeMap::new();
        let mut printed: BTreeMap<SessionId, u64> = BTreeMap::new();
        let all = self.house.log.read_all(Position(0), usize::MAX).unwrap();
        for recorded in all {
            match decoded(&recorded).unwrap() {
                Event::Session(id, session::Event::Requested(_)) => {
                    assert_eq!(ends.insert(id, 0), None, "{id} was requested twice");
                }
                Event::Session(id, session::Event::Ended(end)) => {
                    *ends.entry(id).or_default() += 1;
                    let told = printed.remove(&id).unwrap_or_default();
                    assert!(end.output_bytes >= told, "{id} had printed {told} bytes");
                }
                Event::Output(id, output::Event::Written { text, .. }) => {
                    *printed.entry(id).or_default() += u64::try_from(text.len()).unwrap();
                }
                Event::Session(id, session::Event::ModelBilled(it)) => {
                    *billed.entry(id).or_default() += it.usage.tokens.total();
                }
                Event::Session(_, session::Event::Judged(_)) => judged += 1,
                Event::Ambiguity(_, ambiguity::Event::Filed(_)) => filed += 1,
                Event::Finding(_, finding::Event::Reported(_)) => reported += 1,
                Event::Promotion(_, promotion::Event::Promoted { .. }) => promoted += 1,
                _ => {}
            }
        }
        assert!(ends.values().all(|it| *it == 1), "{ends:?}");
        let expected = match self.order {
            Order::Waits | Order::Races => (2, 1, 2, 0),
            // The judge's question is each work's own.
            Order::Judged => (4, 0, 2, 2),
        };
        assert_eq!((filed, reported, promoted, judged), expected);
        // What the broker counted is in the log, once.
        for grant in self.models.grants() {
            let taken = self.models.account(grant.session).unwrap().total();
            let told = billed.remove(&grant.session).unwrap_or_default();
            assert_eq!(told, taken.tokens.total(), "{}", grant.session);
        }
        assert_eq!(billed, BTreeMap::new());
    }

    fn no_folder_is_left(&self) {
        assert_eq!(self.house.workspaces.open_sessions(), []);
        for kind in ["briefs", "drops"] {
            let folder = self.house.folder().join(kind);
            assert_eq!(entries(&folder), 0, "{}", folder.display());
        }
    }
}

fn took() -> ModelUsage {
    let tokens = Tokens {
        output: 7,
        ..Tokens::default()
    };
    ModelUsage {
        provider: "anthropic".to_owned(),
        model: "claude-a".to_owned(),
        usage: Usage {
            calls: 1,
            tokens,
            ..Usage::default()
        },
    }
}

fn find(board: &Board, name: &str) -> Option<WorkId> {
    let mut cases = board.cases.iter();
    cases.find(|(_, it)| name_of(it) == name).map(|(id, _)| *id)
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The history in which nothing goes wrong.
fn undisturbed(order: Order) -> Meaning {
    let mut history = History::new(order);
    history.live();
    assert_eq!(history.troubles, 0);
    history.no_folder_is_left();
    history.judged()
}

/// Lives a history for each place that something can be planned to go wrong at, until there is none
/// left, and returns how many there were.
fn walk(order: Order, plan: impl Fn(&House, usize), tidy: bool) -> usize {
    let expected = undisturbed(order);
    // A race takes more or fewer appends each time, and a look that fails is no trouble, since the
    // next one sees the same: it is over when several met none.
    let quiet_max = match order {
        Order::Waits | Order::Judged => 4,
        Order::Races => 8,
    };
    let (mut place, mut walked, mut quiet) = (0, 0, 0);
    while quiet < quiet_max {
        let mut history = History::new(order);
        plan(&history.house, place);
        history.live();
        assert_eq!(history.judged(), expected, "after trouble at place {place}");
        if tidy {
            history.no_folder_is_left();
        }
        if history.troubles == 0 {
            quiet += 1;
        } else {
            (walked, quiet) = (walked + 1, 0);
        }
        place += 1;
    }
    walked
}

fn told(what: &str, walked: usize, floor: usize) {
    // Not through `println!`, which the test runner keeps to itself when all is well.
    let mut out = std::io::stdout().lock();
    writeln!(out, "crash edges walked: {walked} ({what})").unwrap();
    assert!(walked >= floor, "only {walked} places of {what}");
}

#[test]
fn a_death_before_any_append_changes_nothing() {
    let plan = |house: &House, at| house.log.fail_after(at, Fault::CrashBeforeCommit);
    told(
        "death before an append",
        walk(Order::Waits, plan, true),
        150,
    );
}

#[test]
fn a_death_after_any_append_changes_nothing() {
    let plan = |house: &House, at| house.log.fail_after(at, Fault::CrashAfterCommit);
    told("death after an append", walk(Order::Waits, plan, true), 150);
}

#[test]
fn a_death_around_a_judge_asks_again_at_most() {
    let plan = |house: &House, at: usize| {
        let faults = [Fault::CrashBeforeCommit, Fault::CrashAfterCommit];
        house.log.fail_after(at / 2, faults[at % 2]);
    };
    told("death around a judge", walk(Order::Judged, plan, true), 60);
}

#[test]
fn a_full_disk_around_a_judge_changes_nothing() {
    let plan = |house: &House, at| house.artifacts.full_after(Some(at));
    let walked = walk(Order::Judged, plan, false);
    told("full disk around a judge", walked, 10);
}

#[test]
fn a_disk_that_is_full_at_any_append_changes_nothing() {
    let plan = |house: &House, at| house.log.fail_after(at, Fault::DiskFull);
    told(
        "full disk at an append",
        walk(Order::Waits, plan, true),
        150,
    );
}

#[test]
fn a_disk_that_is_full_at_any_artifact_changes_nothing() {
    let plan = |house: &House, at| house.artifacts.full_after(Some(at));
    told(
        "full disk at an artifact",
        walk(Order::Waits, plan, false),
        20,
    );
}

#[test]
fn a_disk_that_is_full_before_any_call_of_the_workspace_changes_nothing() {
    let plan = |house: &House, at| house.workspaces.fail_after(at, workspaces::Fault::Before);
    let walked = walk(Order::Waits, plan, false);
    told("full disk before a call of the workspace", walked, 100);
}

#[test]
fn a_disk_that_is_full_after_any_call_of_the_workspace_changes_nothing() {
    let plan = |house: &House, at| house.workspaces.fail_after(at, workspaces::Fault::After);
    let walked = walk(Order::Waits, plan, false);
    told("full disk after a call of the workspace", walked, 100);
}

#[test]
fn a_death_among_works_that_race_changes_nothing() {
    let plan = |house: &House, at: usize| {
        let faults = [Fault::CrashBeforeCommit, Fault::CrashAfterCommit];
        house.log.fail_after(at, faults[at % 2]);
    };
    told(
        "death among racing works",
        walk(Order::Races, plan, true),
        150,
    );
}
