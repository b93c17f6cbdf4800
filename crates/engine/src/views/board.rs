//! The board: every work and where it stands. Folded from the whole log; `palisade status` and the
//! queue are read off it, and it is stored as a file that `palisade admin rebuild` must reproduce
//! byte for byte.

use std::collections::BTreeMap;

use domain::ambiguity::State as Question;
use domain::case::Case;
use domain::due::{Context, Due, Wait, due};
use domain::event::Event;
use domain::run::{self, Status};
use domain::work::{Ending, State as WorkState};
use domain::{ActionId, AmbiguityId, GrantId, PromotionId, Timestamp, WorkId};
use domain::{action, grant, promotion};
use ports::log::{EventLog, Position, Recorded};
use serde::Serialize;

use super::health;
use crate::recorder::{Error, decoded};

/// How many events are read at once.
const PAGE: usize = 4_096;

/// Every work and where it stands.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The works' cases.
    pub cases: BTreeMap<WorkId, Case>,
    /// When something last happened to each work.
    pub touched: BTreeMap<WorkId, Timestamp>,
    /// When each work was submitted.
    pub submitted: BTreeMap<WorkId, Timestamp>,
    /// What is to be done beyond commits, or was.
    pub actions: BTreeMap<ActionId, action::State>,
    /// The standing grants for that.
    pub grants: BTreeMap<GrantId, grant::State>,
    /// How far the log was read.
    pub position: Position,
}

/// One line of the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The work.
    pub work: WorkId,
    /// Its name.
    pub name: String,
    /// What was asked.
    pub title: String,
    /// `submitted`, `working`, `input_required`, `completed`, `failed` or `canceled`.
    pub state: String,
    /// The step under way or failed, if any.
    pub step: Option<String>,
    /// Steps passed and all steps.
    pub steps: (usize, usize),
    /// The round.
    pub round: u32,
    /// What it waits for, or how it ended.
    pub detail: String,
    /// Open questions.
    pub questions: usize,
    /// Open findings.
    pub findings: usize,
    /// Sessions started, and allowed.
    pub sessions: (u32, u32),
    /// What is not as it should be: a pause, what could not be judged, what was not acknowledged.
    pub troubles: Vec<String>,
    /// Milliseconds since 1970, of the submission.
    pub submitted: Timestamp,
    /// Milliseconds since 1970, of the last event.
    pub touched: Timestamp,
}

/// One open question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenQuestion {
    /// The question.
    pub id: AmbiguityId,
    /// The work that waits for it.
    pub work: WorkId,
    /// Its name.
    pub name: String,
    /// Everything that was filed.
    pub ambiguity: domain::ambiguity::Ambiguity,
}

/// One promotion that the operator must decide on or look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenDecision {
    /// The promotion.
    pub id: PromotionId,
    /// The work.
    pub work: WorkId,
    /// Its name.
    pub name: String,
    /// What is proposed.
    pub proposal: promotion::Proposal,
    /// What blocks it; empty when it can be approved.
    pub blocks: Vec<String>,
}

impl Board {
    /// Reads the whole log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(log: &dyn EventLog) -> Result<Self, Error> {
        let mut board = Self::default();
        board.catch_up(log)?;
        Ok(board)
    }

    /// Reads the log up to a position: the board as it was then.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read_to(log: &dyn EventLog, last: Position) -> Result<Self, Error> {
        let mut board = Self::default();
        loop {
            let page = log.read_all(board.position, PAGE)?;
            for recorded in &page {
                if recorded.position > last {
                    return Ok(board);
                }
                board.apply(recorded)?;
            }
            if page.len() < PAGE {
                return Ok(board);
            }
        }
    }

    /// Takes in what was appended since.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn catch_up(&mut self, log: &dyn EventLog) -> Result<(), Error> {
        loop {
            let page = log.read_all(self.position, PAGE)?;
            for recorded in &page {
                self.apply(recorded)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn apply(&mut self, recorded: &Recorded) -> Result<(), Error> {
        self.position = recorded.position;
        let work = recorded.event.correlation.parse::<WorkId>();
        let is_acting = ["action/", "grant/"]
            .iter()
            .any(|it| recorded.stream.starts_with(it));
        if work.is_err() && !is_acting {
            return Ok(());
        }
        let event = decoded(recorded)?;
        if let Event::Action(id, event) = &event {
            let state = self.actions.remove(id).unwrap_or_default();
            self.actions.insert(*id, action::evolve(state, event));
        }
        if let Event::Grant(id, event) = &event {
            let state = self.grants.remove(id).unwrap_or_default();
            self.grants.insert(*id, grant::evolve(state, event));
        }
        let Ok(work) = work else {
            return Ok(());
        };
        if matches!(event, Event::Work(_, domain::work::Event::Submitted(_))) {
            self.submitted.insert(work, recorded.event.time);
        }
        self.cases.entry(work).or_default().apply(&event);
        self.touched.insert(work, recorded.event.time);
        Ok(())
    }

    /// Returns the works that are not over, in the order of their submission.
    #[must_use]
    pub fn open(&self) -> Vec<WorkId> {
        let open = self
            .cases
            .iter()
            .filter(|(_, case)| matches!(case.work(), Some((_, WorkState::Open(_)))));
        open.map(|(id, _)| *id).collect()
    }

    /// Returns one line for each work, in the order of their submission.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.cases
            .iter()
            .filter_map(|(id, case)| self.line(*id, case))
            .collect()
    }

    /// Returns the open questions, the gravest first.
    #[must_use]
    pub fn questions(&self) -> Vec<OpenQuestion> {
        let mut open = Vec::new();
        for (work, case) in &self.cases {
            for (id, asked) in case.open_ambiguities() {
                let (name, ambiguity) = (name_of(case), asked.clone());
                open.push(OpenQuestion {
                    id,
                    work: *work,
                    name,
                    ambiguity,
                });
            }
        }
        open.sort_by_key(|it| (it.ambiguity.priority, it.id));
        open
    }

    /// Returns what the operator must decide on.
    #[must_use]
    pub fn decisions(&self) -> Vec<OpenDecision> {
        let mut open = Vec::new();
        for (work, case) in &self.cases {
            for (id, state) in &case.promotions {
                let (proposal, blocks) = match state {
                    promotion::State::Ready(proposal) => (proposal, Vec::new()),
                    promotion::State::Blocked(proposal, blocks) => (
                        proposal,
                        blocks.iter().map(domain::policy::Block::sentence).collect(),
                    ),
                    promotion::State::Absent
                    | promotion::State::Approved(..)
                    | promotion::State::Dispatched(..)
                    | promotion::State::Promoted(..)
                    | promotion::State::Refused(..)
                    | promotion::State::Stale(..) => continue,
                };
                let (name, proposal) = (name_of(case), proposal.clone());
                open.push(OpenDecision {
                    id: *id,
                    work: *work,
                    name,
                    proposal,
                    blocks,
                });
            }
        }
        open
    }

    /// Returns the work that a text names: its identifier, the end of it, or its name (the latest
    /// of that name).
    ///
    /// # Errors
    /// When there is none, or the text fits several.
    pub fn find(&self, text: &str) -> Result<WorkId, Error> {
        if let Ok(id) = text.parse::<WorkId>()
            && self.cases.contains_key(&id)
        {
            return Ok(id);
        }
        let named = self
            .cases
            .iter()
            .rev()
            .find(|(_, case)| name_of(case) == text);
        if let Some((id, _)) = named {
            return Ok(*id);
        }
        let ends: Vec<_> = self
            .cases
            .keys()
            .filter(|it| it.to_string().ends_with(text))
            .collect();
        match (ends.as_slice(), text.len() >= 4) {
            ([id], true) => Ok(**id),
            ([], _) | ([_], false) => Err(Error::Invalid(format!(
                "there is no work `{text}`; see `palisade status`"
            ))),
            (_, _) => Err(Error::Invalid(format!(
                "`{text}` fits several works; give more of it"
            ))),
        }
    }

    /// Returns the stored form: pretty JSON, the same bytes for the same log.
    ///
    /// # Errors
    /// When it cannot be written, which would be a mistake of this program.
    pub fn stored(&self) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Stored {
            format: &'static str,
            position: u64,
            works: Vec<Line>,
            questions: Vec<OpenQuestion>,
            decisions: Vec<OpenDecision>,
            actions: Vec<super::actions::Line>,
        }
        let stored = Stored {
            format: "palisade.board.v1",
            position: self.position.0,
            works: self.lines(),
            questions: self.questions(),
            decisions: self.decisions(),
            actions: super::actions::all(self, ""),
        };
        let text = serde_json::to_string_pretty(&stored)
            .map_err(|it| Error::Fault(format!("the board cannot be written: {it}")))?;
        Ok(text + "\n")
    }

    fn line(&self, id: WorkId, case: &Case) -> Option<Line> {
        let (_, state) = case.work()?;
        let record = state.record()?;
        let active = case.active();
        let step = active.and_then(|it| it.current().map(|(step, _)| step.to_string()));
        let passed = active.map_or(0, |it| {
            it.steps
                .values()
                .filter(|it| matches!(it.status, Status::Passed(_)))
                .count()
        });
        let title = case
            .goal()
            .and_then(|(_, it)| it.goal())
            .map(|it| it.title.clone());
        let time = |of: &BTreeMap<WorkId, Timestamp>| of.get(&id).copied().unwrap_or_default();
        Some(Line {
            work: id,
            name: record.work.name.clone(),
            title: title.unwrap_or_default(),
            state: state.name().to_string(),
            step,
            steps: (passed, active.map_or(0, |it| it.steps.len())),
            round: active.map_or(1, |it| it.round),
            detail: self.detail(case, state),
            questions: case
                .ambiguities
                .values()
                .filter(|it| matches!(it, Question::Open(_)))
                .count(),
            findings: case.open_findings().count(),
            sessions: (record.spent.sessions, record.work.budget.sessions),
            troubles: match state {
                WorkState::Open(_) => health::troubles(case),
                WorkState::Absent | WorkState::Closed(..) => Vec::new(),
            },
            submitted: time(&self.submitted),
            touched: time(&self.touched),
        })
    }

    fn detail(&self, case: &Case, state: &WorkState) -> String {
        match state {
            WorkState::Absent => String::new(),
            WorkState::Closed(
                _,
                Ending::Completed {
                    commit: Some(commit),
                },
            ) => {
                format!("promoted as {}", commit.short())
            }
            WorkState::Closed(_, Ending::Completed { commit: None }) => "nothing to do".to_string(),
            WorkState::Closed(_, Ending::Failed { reason } | Ending::Canceled { reason }) => {
                reason.clone()
            }
            WorkState::Open(open) => self.waits_for(case, open),
        }
    }

    fn waits_for(&self, case: &Case, open: &domain::work::Open) -> String {
        let dependencies = self.dependencies(open);
        let context = Context {
            now: Timestamp(0),
            fresh: 0,
            dependencies: &dependencies,
        };
        match due(case, &context) {
            Due::Wait(Wait::Dependency(other)) => {
                let name = self
                    .cases
                    .get(&other)
                    .map_or_else(|| other.to_string(), name_of);
                format!("waits for `{name}`")
            }
            Due::Wait(Wait::Answers(ids)) if ids.len() == 1 => "waits for 1 answer".to_string(),
            Due::Wait(Wait::Answers(ids)) => format!("waits for {} answers", ids.len()),
            Due::Wait(Wait::Decision(_)) => "waits for your decision".to_string(),
            Due::Wait(Wait::Blocked(_)) => "the promotion is blocked".to_string(),
            Due::Wait(Wait::Effect) | Due::Do(_) | Due::Over => match case.run() {
                Some((_, run::State::Active(active))) => active
                    .current()
                    .map_or_else(|| "between steps".to_string(), |(step, _)| at(case, step)),
                Some((_, run::State::Absent | run::State::Ended(..))) | None => {
                    "about to begin".to_string()
                }
            },
        }
    }

    /// Returns the states of the works that one depends on.
    #[must_use]
    pub fn dependencies(&self, open: &domain::work::Open) -> Vec<(WorkId, WorkState)> {
        let state = |id: &WorkId| {
            let case = self.cases.get(id);
            let state = case.and_then(|it| it.work().map(|(_, state)| state.clone()));
            (*id, state.unwrap_or_default())
        };
        open.work.depends_on.iter().map(state).collect()
    }
}

/// Says at which step a work is, and whether its agent stands still there.
fn at(case: &Case, step: &str) -> String {
    let live = case.live_session();
    match live.and_then(|(_, state)| state.pause()) {
        Some(pause) => format!("at `{step}`, paused: {}", pause.why),
        None => format!("at `{step}`"),
    }
}

/// Returns the name of a case's work.
#[must_use]
pub fn name_of(case: &Case) -> String {
    let record = case.work().and_then(|(_, state)| state.record());
    record.map(|it| it.work.name.clone()).unwrap_or_default()
}
