//! The dossier: everything the operator decides on, computed by code from the log and the tree.

use std::collections::BTreeMap;

use domain::ambiguity;
use domain::case::Case;
use domain::event::Event;
use domain::finding;
use domain::gate::{self, Evidence};
use domain::policy::Facts;
use domain::run::Pin;
use domain::session;
use domain::tree::Entry;
use domain::work::Spent;
use domain::{Digest, SessionId, WorkId};
use serde::{Deserialize, Serialize};

use super::health;
use super::outside::{self, Outside};
use crate::recorder::{Error, Recorder, decoded};
use crate::room;
use crate::settings::Settings;
use crate::world::digest_of;

/// What is written under `format`.
pub const FORMAT: &str = "palisade.dossier.v1";

/// What is said where the walls were not tried.
pub const NO_ATTACK_RECORD: &str =
    "no attack record for this kernel and version: run palisade doctor --attack";

/// A dossier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dossier {
    /// Always [`FORMAT`].
    pub format: String,
    /// The work.
    pub work: WorkId,
    /// Its name.
    pub name: String,
    /// What was asked: the goal's title.
    pub title: String,
    /// The specification, in the artifact store.
    pub spec: Digest,
    /// What the rules look at.
    pub facts: Facts,
    /// All changes on the base, in the artifact store.
    pub manifest: Option<Digest>,
    /// The same, in a line each.
    pub changes: Vec<ChangeLine>,
    /// Why: what each session said it did.
    pub sessions: Vec<SessionLine>,
    /// What gates saw.
    pub evidence: Vec<Evidence>,
    /// All findings.
    pub findings: Vec<FindingLine>,
    /// All questions.
    pub questions: Vec<QuestionLine>,
    /// What was degraded while it was made: what could not be judged, what an agent never
    /// acknowledged, services that were left alone when this was put together.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// What left the cells for package registries, a line for each host and verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<String>,
    /// The record of the attack suite that it relies on: every attempt was stopped on this kernel
    /// by this version.
    #[serde(default)]
    pub attack_record: Option<Digest>,
    /// What was spent.
    pub spent: Spent,
    /// The rounds it took.
    pub rounds: u32,
    /// What the run executed.
    pub pinned: Vec<Pin>,
    /// How to undo it once it is landed.
    pub rollback: String,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLine {
    /// The path.
    pub path: String,
    /// `file`, `link`, `deleted` or `foreign`.
    pub kind: String,
    /// Its new length in bytes.
    pub bytes: u64,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLine {
    /// The role.
    pub role: String,
    /// The round.
    pub round: u32,
    /// The reason for its end.
    pub end: String,
    /// Its own words.
    pub summary: String,
    /// What the kernel refused to it, and how often.
    #[serde(default)]
    pub denied: Vec<String>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingLine {
    /// File and line.
    pub place: String,
    /// The rule.
    pub rule: String,
    /// What is wrong.
    pub text: String,
    /// `open`, `rechecked` or `resolved by …`.
    pub state: String,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionLine {
    /// How much it blocks.
    pub priority: String,
    /// The question.
    pub question: String,
    /// What is assumed or answered.
    pub held: String,
    /// Whether the operator has answered.
    pub is_answered: bool,
}

/// Puts a dossier together.
///
/// # Errors
/// When the log or the store cannot be read.
pub fn assemble(
    recorder: &Recorder,
    case: &Case,
    work: WorkId,
    facts: &Facts,
    settings: &Settings,
) -> Result<Dossier, Error> {
    let missing = || Error::Fault(format!("work {work} has nothing to put into a dossier"));
    let active = case.active().ok_or_else(missing)?;
    let record = case
        .work()
        .and_then(|(_, state)| state.record())
        .ok_or_else(missing)?;
    let goal = case
        .goal()
        .and_then(|(_, state)| state.goal())
        .ok_or_else(missing)?;
    let workspaces = &recorder.world().workspaces;
    let base = workspaces.prepare(&active.tree.base, &settings.secrets)?;
    let changes = workspaces.changes(&base, &active.tree)?;
    let outside = outside::of_work(recorder.world().log.as_ref(), work)?;
    Ok(Dossier {
        format: FORMAT.to_string(),
        work,
        name: record.work.name.clone(),
        title: goal.title.clone(),
        spec: goal.spec,
        facts: facts.clone(),
        manifest: active.tree.manifest,
        changes: changes
            .into_iter()
            .map(|it| change(it.path, &it.entry))
            .collect(),
        sessions: sessions(recorder, case)?,
        evidence: evidence(recorder, case)?,
        findings: findings(case),
        questions: case.ambiguities.values().filter_map(question).collect(),
        degraded: degraded(recorder, case, settings, &outside)?,
        egress: outside.reached(),
        attack_record: settings.attack_record,
        spent: record.spent,
        rounds: active.round,
        pinned: active.run.pinned.clone(),
        rollback: "revert the promoted commit; nothing else is touched".to_string(),
    })
}

fn degraded(
    recorder: &Recorder,
    case: &Case,
    settings: &Settings,
    outside: &Outside,
) -> Result<Vec<String>, Error> {
    let mut told = health::lasting(case);
    told.extend(health::strained(case, &settings.allowance));
    told.extend(outside.stand_ins());
    if !settings.accepted_downgrades.is_empty() {
        let accepted = recorder.machine()?.downgrade;
        told.extend(accepted.map(|it| it.to_string()));
    }
    if settings.attack_record.is_none() {
        told.push(NO_ATTACK_RECORD.to_string());
    }
    let world = recorder.world();
    told.extend(health::open_breakers(world.log.as_ref())?);
    if !room::short_of(world, settings)?.is_empty() {
        // Without numbers: the same dossier has the same digest a moment later.
        told.push("the machine has too little disk or memory left for a session".to_string());
    }
    Ok(told)
}

fn change(path: String, entry: &Entry) -> ChangeLine {
    let (kind, bytes) = match entry {
        Entry::File { bytes, .. } => ("file", *bytes),
        Entry::Symlink { .. } => ("link", 0),
        Entry::Deleted => ("deleted", 0),
        Entry::Foreign { .. } => ("foreign", 0),
    };
    ChangeLine {
        path,
        kind: kind.to_string(),
        bytes,
    }
}

fn sessions(recorder: &Recorder, case: &Case) -> Result<Vec<SessionLine>, Error> {
    let mut lines = Vec::new();
    for (id, state) in &case.sessions {
        let (Some(about), Some(end)) = (state.session(), state.end()) else {
            continue;
        };
        lines.push(SessionLine {
            role: about.role.clone(),
            round: about.round,
            end: end.reason.name().to_string(),
            summary: domain::conclude::sentence(&end.reason),
            denied: denied(recorder, *id)?,
        });
    }
    Ok(lines)
}

/// Returns what the kernel refused to a session, a line for each kind.
fn denied(recorder: &Recorder, id: SessionId) -> Result<Vec<String>, Error> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let stream = format!("session/{id}");
    for recorded in recorder.world().log.read_stream(&stream, 0)? {
        if let Event::Session(_, session::Event::AttemptDenied { what, count }) =
            decoded(&recorded)?
        {
            let so_far = counts.entry(what).or_default();
            *so_far = so_far.saturating_add(count);
        }
    }
    let lines = counts.into_iter();
    Ok(lines
        .map(|(what, count)| format!("{what} ({count} times)"))
        .collect())
}

fn evidence(recorder: &Recorder, case: &Case) -> Result<Vec<Evidence>, Error> {
    let Some(active) = case.active() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for gate in &active.run.gates {
        let definition = serde_json::to_vec(gate)
            .map_err(|it| Error::Fault(format!("gate `{}`: {it}", gate.name)))?;
        let key = evidence_key(digest_of(&definition), active.tree.digest);
        if let gate::State::Recorded(evidence) = recorder.evidence(key)? {
            found.push(evidence);
        }
    }
    Ok(found)
}

/// Returns the name under which evidence of a gate, by its definition, on a tree is kept.
#[must_use]
pub fn evidence_key(definition: Digest, tree: Digest) -> Digest {
    digest_of(format!("{definition}\n{tree}").as_bytes())
}

fn findings(case: &Case) -> Vec<FindingLine> {
    let lines = case.findings.values().filter_map(|state| {
        let it = state.finding()?;
        let word = match state {
            finding::State::Resolved(_, finding::Resolver::Recheck { .. }) => {
                "mended, re-checked by another session".to_string()
            }
            finding::State::Resolved(_, finding::Resolver::Operator { name, reason }) => {
                format!("resolved by {name}: {reason}")
            }
            finding::State::Open(..) | finding::State::Absent => "open".to_string(),
        };
        Some(FindingLine {
            place: format!("{}:{}", it.file, it.line),
            rule: it.rule.clone(),
            text: it.text.clone(),
            state: word,
        })
    });
    lines.collect()
}

fn question(state: &ambiguity::State) -> Option<QuestionLine> {
    let asked = state.ambiguity()?;
    let answer = state.answer();
    Some(QuestionLine {
        priority: asked.priority.name().to_string(),
        question: asked.report.question.clone(),
        held: answer.map_or_else(|| asked.report.default_held.clone(), |it| asked.told(it)),
        is_answered: answer.is_some(),
    })
}
