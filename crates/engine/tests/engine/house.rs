//! A house for stories: the engine among fakes of all its ports, and an operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ambiguity::{self, Answer, Report};
use domain::case::Case;
use domain::event::Event;
use domain::policy::APPROVAL_SPAN;
use domain::work::{Ending, State};
use domain::{Digest, Millis, PromotionId, WorkId, promotion, run};
use palisade_engine::collection::{self, Intent};
use palisade_engine::coordinator::{Coordinator, Rest};
use palisade_engine::intake::Request;
use palisade_engine::recorder::{Error, Recorder, decoded};
use palisade_engine::settings::{Fallback, Settings};
use palisade_engine::views::board::Board;
use palisade_engine::{World, answers, intake};
use ports::artifacts::{self, Artifacts, Collected, Collector};
use ports::cells::Cells;
use ports::log::{EventLog as _, Position};
use testkit::agents::{FakeDriver, Stage};
use testkit::artifacts::MemoryArtifacts;
use testkit::cells::HostCells;
use testkit::clock::FakeClock;
use testkit::judges::FakeJudges;
use testkit::log::MemoryLog;
use testkit::machine::FakeMachine;
use testkit::workspaces::MemoryWorkspaces;

/// The agent's name in specifications that name none.
pub(crate) const AGENT: &str = "scripted";

/// What the repository holds at first: its gate sources every test, and each prints a TAP line.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("README.md", "a house\n"),
    ("src/lib.txt", "old\n"),
    ("tests/base.t", "echo 'ok 1 - base'\n"),
    (
        "gate.sh",
        "echo 'TAP version 14'\nfor t in tests/*.t; do . \"./$t\"; done\n[ ! -e src/red ]\n",
    ),
];

pub(crate) const GATES: &str = "[[gate]]\nname = \"unit\"\nargv = [\"/bin/sh\", \"gate.sh\"]\n";

pub(crate) struct House {
    pub(crate) log: MemoryLog,
    pub(crate) artifacts: MemoryArtifacts,
    pub(crate) clock: FakeClock,
    pub(crate) machine: FakeMachine,
    pub(crate) workspaces: Arc<MemoryWorkspaces>,
    pub(crate) cells: Arc<dyn Cells>,
    pub(crate) settings: Settings,
    agents: BTreeMap<String, Arc<FakeDriver>>,
    pub(crate) models: Option<Arc<dyn ports::models::Models>>,
    pub(crate) judges: Arc<FakeJudges>,
    pub(crate) executor: Option<Arc<dyn ports::executor::Executor>>,
    pub(crate) formula: &'static str,
    pub(crate) classes: BTreeMap<String, Vec<domain::model::Model>>,
    between: Option<Arc<Between>>,
    folder: tempfile::TempDir,
    /// What the repository holds: the fake keeps it in the store, and no log names it.
    spared: Vec<Digest>,
}

/// What stands between the engine and its ports.
pub(crate) type Between = dyn Fn(World) -> World + Send + Sync;

impl House {
    /// A house whose agents play this part.
    pub(crate) fn new(part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static) -> Self {
        Self::of(FILES).agent(AGENT, part)
    }

    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let artifacts = MemoryArtifacts::default();
        let store = Arc::new(artifacts.clone());
        let workspaces = MemoryWorkspaces::within(folder(), store, files);
        let folder = folder();
        let settings = settings(folder.path());
        let spared = artifacts.list().unwrap();
        Self {
            log: MemoryLog::default(),
            artifacts,
            clock: FakeClock::default(),
            machine: FakeMachine::default(),
            workspaces: Arc::new(workspaces),
            cells: Arc::new(HostCells),
            settings,
            agents: BTreeMap::new(),
            models: None,
            judges: Arc::default(),
            executor: None,
            formula: "work-cycle",
            classes: BTreeMap::new(),
            between: None,
            folder,
            spared,
        }
    }

    pub(crate) fn agent(
        mut self,
        name: &str,
        part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static,
    ) -> Self {
        let driver = Arc::new(FakeDriver::new(name, part));
        self.agents.insert(name.to_owned(), driver);
        self
    }

    /// Puts something between the engine and its ports.
    pub(crate) fn put_between(&mut self, between: impl Fn(World) -> World + Send + Sync + 'static) {
        self.between = Some(Arc::new(between));
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A freshly started process on what is there.
    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder_of("operator:ada")
    }

    /// The same, in somebody else's name.
    pub(crate) fn recorder_of(&self, actor: &str) -> Recorder {
        let agents = self.agents.clone();
        let world = World {
            models: self.models.clone(),
            judges: Arc::clone(&self.judges) as Arc<_>,
            log: Arc::new(self.log.clone()),
            artifacts: Arc::new(self.artifacts.clone()),
            clock: Arc::new(self.clock.clone()),
            machine: Arc::new(self.machine.clone()),
            workspaces: Arc::clone(&self.workspaces) as Arc<_>,
            cells: Arc::clone(&self.cells),
            executor: self.executor.clone(),
            drivers: Arc::new(move |name: &str| match agents.get(name) {
                Some(driver) => Ok(Arc::clone(driver) as Arc<_>),
                None => Err(format!("there is no agent `{name}`")),
            }),
        };
        let world = match &self.between {
            Some(between) => between(world),
            None => world,
        };
        Recorder::new(world, actor)
    }

    /// Removes every artifact that the log does not reach, however young.
    pub(crate) fn collect(&self) {
        let store = Sparing(&self.artifacts, &self.spared);
        collection::collect(&self.log, &store, Duration::ZERO, Intent::Remove).unwrap();
    }

    /// Submits a specification, given with its front matter.
    pub(crate) fn submit(&self, spec: &str) -> WorkId {
        self.submit_to(AGENT, spec, &[]).unwrap()
    }

    pub(crate) fn submit_to(
        &self,
        agent: &str,
        spec: &str,
        depends_on: &[WorkId],
    ) -> Result<WorkId, Error> {
        let request = Request {
            spec: palisade_engine::catalog::spec::read(spec.as_bytes(), "work").unwrap(),
            raw: spec.as_bytes().to_vec(),
            source: "work.md".to_owned(),
            target: "main".to_owned(),
            formula: self.formula.to_owned(),
            agent: agent.to_owned(),
            depends_on: depends_on.to_vec(),
            models: self.classes.clone(),
        };
        intake::submit(&self.recorder(), &request)
    }

    /// Runs the engine until all works rest; nothing may go wrong.
    pub(crate) fn run(&self) -> Rest {
        let rest = self.try_run().unwrap();
        assert!(rest.errors.is_empty(), "{:?}", rest.errors);
        rest
    }

    pub(crate) fn try_run(&self) -> Result<Rest, Error> {
        self.run_looking(|_| {})
    }

    /// Runs the engine and lets someone look on, who may act as another process.
    pub(crate) fn run_looking(
        &self,
        mut look: impl FnMut(&Coordinator<'_>),
    ) -> Result<Rest, Error> {
        let recorder = self.recorder();
        let coordinator = Coordinator::new(&recorder, &self.settings);
        coordinator.run(|| look(&coordinator))
    }

    pub(crate) fn board(&self) -> Board {
        Board::read(&self.log).unwrap()
    }

    pub(crate) fn case(&self, work: WorkId) -> Case {
        self.board().cases.remove(&work).unwrap()
    }

    pub(crate) fn ending(&self, work: WorkId) -> Option<Ending> {
        match self.case(work).work() {
            Some((_, State::Closed(_, ending))) => Some(ending.clone()),
            Some((_, State::Open(_) | State::Absent)) | None => None,
        }
    }

    /// Why a work failed or was called off.
    pub(crate) fn reason(&self, work: WorkId) -> String {
        match self.ending(work) {
            Some(Ending::Failed { reason } | Ending::Canceled { reason }) => reason,
            other @ (Some(Ending::Completed { .. }) | None) => panic!("it ended with {other:?}"),
        }
    }

    /// The promotion that is proposed or under way, and its state's name.
    pub(crate) fn promotion(&self, work: WorkId) -> (PromotionId, promotion::State) {
        let case = self.case(work);
        let mut live: Vec<_> = case
            .promotions
            .into_iter()
            .filter(|(_, it)| !matches!(it, promotion::State::Stale(..)))
            .collect();
        assert_eq!(live.len(), 1, "{live:?}");
        live.remove(0)
    }

    pub(crate) fn approve(&self, work: WorkId) {
        self.approve_for(work, APPROVAL_SPAN);
    }

    pub(crate) fn approve_for(&self, work: WorkId, span: Millis) {
        let (id, state) = self.promotion(work);
        let promotion::State::Ready(proposal) = state else {
            panic!("the promotion is {}", state.name());
        };
        answers::approve(&self.recorder(), work, id, proposal.dossier, span).unwrap();
    }

    /// Answers the one open question of a work, and returns how many it reached.
    pub(crate) fn answer(&self, work: WorkId, answer: Answer) -> usize {
        let board = self.board();
        let open: Vec<_> = board.cases[&work]
            .open_ambiguities()
            .map(|it| it.0)
            .collect();
        let [id] = open[..] else {
            panic!("open are {open:?}");
        };
        answers::answer(&self.recorder(), &board, &[(id, answer)]).unwrap()
    }

    /// Approves a proposal and lets it land; returns what `main` then holds.
    pub(crate) fn promote(&self, work: WorkId) -> BTreeMap<String, String> {
        self.approve(work);
        self.run();
        let ending = self.ending(work);
        let Some(Ending::Completed {
            commit: Some(commit),
        }) = ending
        else {
            panic!("it ended with {ending:?}: {:#?}", self.told(work));
        };
        assert_eq!(self.workspaces.landings()[&commit], 1);
        self.workspaces.texts(&commit)
    }

    /// All that has happened to a work, in order.
    pub(crate) fn events(&self, work: WorkId) -> Vec<Event> {
        let all = self.log.read_correlated(&work.to_string(), Position(0));
        all.unwrap().iter().map(|it| decoded(it).unwrap()).collect()
    }

    /// All that is on record, as text.
    pub(crate) fn log_text(&self) -> String {
        let all = self.log.read_all(Position(0), usize::MAX).unwrap();
        let pages = all.iter().map(|it| it.event.data.clone() + "\n");
        pages.collect()
    }

    /// All that is in the artifact store, as text.
    pub(crate) fn artifacts_text(&self) -> String {
        let digests = self.artifacts.list().unwrap();
        let texts = digests.iter().map(|it| self.artifacts.get(it).unwrap());
        let texts = texts.map(|it| String::from_utf8_lossy(&it).into_owned() + "\n");
        texts.collect()
    }

    /// The steps as they began, passed and failed.
    pub(crate) fn told(&self, work: WorkId) -> Vec<String> {
        let told = |event: &Event| match event {
            Event::Run(_, run::Event::StepPassed { step }) => Some(format!("{step} passed")),
            Event::Run(_, run::Event::StepFailed { step, why, .. }) => {
                Some(format!("{step} failed: {why}"))
            }
            Event::Run(_, run::Event::SentBack { to, .. }) => Some(format!("back to {to}")),
            Event::Run(_, run::Event::Reopened { .. }) => Some("reopened".to_owned()),
            Event::Run(_, run::Event::Ended(outcome)) => Some(format!("ended {outcome:?}")),
            _ => None,
        };
        self.events(work).iter().filter_map(told).collect()
    }
}

/// A folder in memory where there is one: the crash matrix makes and removes many thousands.
/// A collector that spares some artifacts.
struct Sparing<'a>(&'a MemoryArtifacts, &'a [Digest]);

impl Artifacts for Sparing<'_> {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, artifacts::Error> {
        self.0.put_all(blobs)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, artifacts::Error> {
        self.0.get(digest)
    }

    fn contains(&self, digest: &Digest) -> Result<bool, artifacts::Error> {
        self.0.contains(digest)
    }

    fn list(&self) -> Result<Vec<Digest>, artifacts::Error> {
        self.0.list()
    }

    fn remove(&self, digests: &[Digest]) -> Result<(), artifacts::Error> {
        self.0.remove(digests)
    }
}

impl Collector for Sparing<'_> {
    fn collectable(
        &self,
        keep: &dyn Fn(&Digest) -> bool,
        grace: Duration,
    ) -> Result<Collected, artifacts::Error> {
        let keep = |it: &Digest| self.1.contains(it) || keep(it);
        self.0.collectable(&keep, grace)
    }

    fn collect(
        &self,
        keep: &dyn Fn(&Digest) -> bool,
        grace: Duration,
    ) -> Result<Collected, artifacts::Error> {
        let keep = |it: &Digest| self.1.contains(it) || keep(it);
        self.0.collect(&keep, grace)
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn settings(state: &std::path::Path) -> Settings {
    let path = ("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    Settings {
        state: state.to_owned(),
        operator: "operator:ada".to_owned(),
        slots: 4,
        mounts: Vec::new(),
        masks: Vec::new(),
        env: BTreeMap::from([path]),
        protected: vec![".palisade/**".to_owned(), "gate.sh".to_owned()],
        secrets: ports::workspaces::Secrets {
            globs: vec![".env*".to_owned()],
            accepted: Vec::new(),
        },
        accepted_downgrades: Vec::new(),
        attack_record: None,
        cell_limits: ports::cells::Limits::default(),
        room: palisade_engine::settings::Room {
            patience: Duration::ZERO,
            ..palisade_engine::settings::Room::of(8 << 30)
        },
        allowance: domain::allowance::Allowance::default(),
        agent_limits: ports::agents::Limits::default(),
        fallbacks: vec![Fallback {
            path: ".palisade/gates.toml".to_owned(),
            source: "operator:gates.toml".to_owned(),
            text: GATES.to_owned(),
        }],
        file_bytes_max: 1 << 20,
        total_bytes_max: 8 << 20,
        files_max: 50,
        checkpoints: palisade_engine::settings::Checkpoints::default(),
        models: palisade_engine::settings::Models::default(),
    }
}

/// An agent that does what every role should.
pub(crate) fn good(stage: &mut Stage<'_>) {
    match stage.role() {
        "builder" => {
            stage.write("src/lib.txt", "new\n");
            stage.done("built it");
        }
        "tester" => {
            stage.write("tests/new.t", "echo 'ok 2 - new'\n");
            stage.done("tested it");
        }
        "docs" => {
            stage.write("docs/new.md", "it is new\n");
            stage.done("documented it");
        }
        _ => {
            stage.done("looked at it");
        }
    }
}

/// A question in its six sections.
pub(crate) fn question(text: &str) -> String {
    ambiguity::report::written(&Report {
        question: text.to_owned(),
        why: "The specification says nothing about it.".to_owned(),
        options: vec!["red".to_owned(), "blue".to_owned()],
        recommended: "red".to_owned(),
        impact: "The look of it.".to_owned(),
        default_held: "red".to_owned(),
    })
}
