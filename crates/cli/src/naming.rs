//! Naming: what an identifier, the end of one, or a work's name on the command line stands for.

use std::fmt::Display;

use domain::{SessionId, WorkId};
use engine::views::board::Board;

use crate::exit::Failure;

/// The shortest end of an identifier that names it.
const ENDING_MIN: usize = 4;

/// Names the session that was asked for last, unless a work is called so.
const LATEST: &str = "latest";

/// What a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A work.
    Work(WorkId),
    /// A session of a work.
    Session(WorkId, SessionId),
}

/// Finds the work or session that a text names.
pub(crate) fn work_or_session(board: &Board, text: &str) -> Result<Named, Failure> {
    if !text.starts_with(SessionId::PREFIX)
        && let Ok(work) = board.find(text)
    {
        return Ok(Named::Work(work));
    }
    let all = board
        .cases
        .iter()
        .flat_map(|(work, case)| case.sessions.keys().map(|id| (*id, *work)));
    let all: Vec<_> = all.collect();
    if text == LATEST
        && let Some((id, work)) = all.iter().max()
    {
        return Ok(Named::Session(*work, *id));
    }
    let found = one(all.iter().map(|(id, _)| *id), text).map_err(|fault| match fault {
        Fault::Several => {
            Failure::usage(format!("`{text}` fits several sessions; give more of it"))
        }
        Fault::None => Failure::usage(format!(
            "there is no work or session `{text}`; see `palisade status` and `palisade show WORK`"
        )),
    })?;
    let work = all.iter().find(|(id, _)| *id == found).map(|(_, it)| *it);
    match work {
        Some(work) => Ok(Named::Session(work, found)),
        None => Err(Failure::usage(format!("there is no session `{text}`"))),
    }
}

/// Finds the one identifier of several that a text names: all of it, or its end.
pub(crate) fn find<Id: Display + Copy>(
    ids: impl Iterator<Item = Id>,
    text: &str,
    what: &str,
    see: &str,
) -> Result<Id, Failure> {
    one(ids, text).map_err(|fault| match fault {
        Fault::Several => Failure::usage(format!("`{text}` fits several {what}s; give more of it")),
        Fault::None => Failure::usage(format!("there is no {what} `{text}`; see `{see}`")),
    })
}

enum Fault {
    None,
    Several,
}

fn one<Id: Display + Copy>(ids: impl Iterator<Item = Id>, text: &str) -> Result<Id, Fault> {
    let mut fits = ids.filter(|it| {
        let id = it.to_string();
        id == text || (text.len() >= ENDING_MIN && id.ends_with(text))
    });
    match (fits.next(), fits.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Fault::None),
        (Some(_), Some(_)) => Err(Fault::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_names_an_identifier_if_it_fits_one_only() {
        let ids = [1, 2, 0x200_0002].map(SessionId::from_bits);
        let found = |text: &str| find(ids.into_iter(), text, "session", "palisade show").ok();
        assert_eq!(found(&ids[0].to_string()), Some(ids[0]));
        assert_eq!(found("0001"), Some(ids[0]));
        assert_eq!(found("1"), None, "too short");
        assert_eq!(found("00002"), None, "it fits two");
        assert_eq!(found("000002"), Some(ids[1]), "{ids:?}");
    }
}
