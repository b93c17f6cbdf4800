//! Sweeping: what engines that died have left of sessions, removed only where the log or the record
//! beside it proves that nobody needs it. Whoever sweeps holds the state's file lock, so no engine is
//! at work meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use domain::SessionId;
use domain::agent::EndReason;
use domain::case::Case;
use domain::formula::Lane;
use domain::session::State;
use domain::work;
use serde::Serialize;

use crate::recorder::{Error, Recorder};
use crate::settings::Settings;
use crate::views::board::Board;

/// Folders of sessions in the engine's state, by the sessions' names.
const FOLDERS: [&str; 2] = ["briefs", "drops"];

/// What holds a session's tree.
const TREE: &str = "tree";

/// What a work or a gate has built and fetched.
const CACHES: &str = "caches";

/// Something that was left, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// What it is: `tree`, `caches`, or the folder it lies in.
    pub kind: String,
    /// The session it was of, if it was of one.
    pub session: Option<SessionId>,
    /// The session or work it was of.
    pub owner: String,
    /// Whether it is to be removed.
    pub is_stale: bool,
    /// Why, or why not.
    pub why: String,
}

/// Returns what was left of sessions that do not go on. Nothing is removed.
///
/// # Errors
/// When the log or the disk cannot be read.
pub fn look(recorder: &Recorder, settings: &Settings) -> Result<Vec<Leftover>, Error> {
    let board = Board::read(recorder.world().log.as_ref())?;
    let mut known: BTreeMap<SessionId, (&Case, &State)> = BTreeMap::new();
    for case in board.cases.values() {
        known.extend(case.sessions.iter().map(|(id, it)| (*id, (case, it))));
    }
    let mut found = Vec::new();
    let leftover = |kind: &str, session: SessionId, (is_stale, why): (bool, &str)| Leftover {
        kind: kind.to_string(),
        session: Some(session),
        owner: session.to_string(),
        is_stale,
        why: why.to_string(),
    };
    for left in recorder.world().workspaces.left_open()? {
        let verdict = match known.get(&left.session) {
            Some((case, state)) => of_tree(case, left.session, state),
            None if left.writable => Some((
                false,
                "the log does not know its session, and there may be work in it",
            )),
            None => Some((true, "a gate's scratch copy, left by an engine that died")),
        };
        found.extend(verdict.map(|it| leftover(TREE, left.session, it)));
    }
    for kind in FOLDERS {
        for session in named(settings.state.join(kind))? {
            let verdict = match known.get(&session) {
                Some((_, State::Ended(..))) => (true, "its session is over"),
                Some(_) => continue,
                None => (false, "the log does not know its session"),
            };
            found.push(leftover(kind, session, verdict));
        }
    }
    for owner in recorder.world().workspaces.cached()? {
        let session = owner.parse::<SessionId>().ok();
        let Some((is_stale, why)) = of_caches(&board, &owner, session) else {
            continue;
        };
        found.push(Leftover {
            kind: CACHES.to_string(),
            session,
            owner,
            is_stale,
            why: why.to_string(),
        });
    }
    Ok(found)
}

/// Says whether caches are stale; nothing when their work goes on.
fn of_caches(board: &Board, owner: &str, gate: Option<SessionId>) -> Option<(bool, &'static str)> {
    if gate.is_some() {
        return Some((true, "a gate's caches, left by an engine that died"));
    }
    let case = owner.parse().ok().and_then(|it| board.cases.get(&it));
    match case.and_then(Case::work) {
        Some((_, work::State::Closed(..))) => Some((true, "their work is over")),
        Some((_, work::State::Open(_))) => None,
        Some((_, work::State::Absent)) | None => Some((false, "the log does not know their work")),
    }
}

/// Removes what is stale, and returns all that was found.
///
/// # Errors
/// As [`look`], and when something cannot be removed.
pub fn sweep(recorder: &Recorder, settings: &Settings) -> Result<Vec<Leftover>, Error> {
    let found = look(recorder, settings)?;
    for left in found.iter().filter(|it| it.is_stale) {
        let workspaces = &recorder.world().workspaces;
        match (left.kind.as_str(), left.session) {
            (TREE, Some(session)) => {
                workspaces.close(session)?;
                continue;
            }
            (CACHES, _) => {
                workspaces.remove_caches(&left.owner)?;
                continue;
            }
            (_, _) => {}
        }
        let folder = settings.state.join(&left.kind);
        match fs::remove_dir_all(folder.join(&left.owner)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                let doing = format!("removing the {} of {}", left.kind, left.owner);
                return Err(Error::Io { doing, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(found)
}

/// Says whether a session's tree is stale; nothing when the session goes on.
fn of_tree(case: &Case, id: SessionId, state: &State) -> Option<(bool, &'static str)> {
    let State::Ended(about, end) = state else {
        return None;
    };
    let is_kept = case
        .checkpoints
        .values()
        .filter_map(|it| it.checkpoint())
        .any(|it| it.session == Some(id));
    Some(match (about.lane, &end.reason) {
        (Lane::ReadOnly, _) => (true, "its session is over, and only read"),
        (_, EndReason::Incident { .. }) => (true, "its session ended in an incident"),
        (Lane::DryRun | Lane::Execute, _) if is_kept => (
            true,
            "its session is over, and a checkpoint holds what it left",
        ),
        (Lane::DryRun | Lane::Execute, _) => (
            false,
            "its session is over, and no checkpoint holds what it left",
        ),
    })
}

/// Returns the sessions that have a folder of their own in this one. Links and other names are
/// nobody's here.
fn named(folder: PathBuf) -> Result<Vec<SessionId>, Error> {
    let failed = |source| Error::Io {
        doing: "looking for what sessions have left".to_string(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut sessions = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        let name = entry.file_name();
        let id = name.to_str().and_then(|it| it.parse::<SessionId>().ok());
        sessions.extend(id.filter(|_| is_folder));
    }
    sessions.sort_unstable();
    Ok(sessions)
}
