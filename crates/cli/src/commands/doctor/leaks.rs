//! Credentials in the files that agents would see: a work does not start on a commit with one.

use ports::workspaces::{Error, LEAKS_TOLD_MAX, Secrets};

use super::{Finding, State};
use crate::config::FILE;
use crate::context::{self, Place};

const SUBJECT: &str = "credentials";

/// Looks through the last commit as every work does before it starts.
pub(crate) fn examine(place: &Place, secrets: &Secrets) -> Vec<Finding> {
    if context::git(&place.root, "HEAD").is_err() {
        return Vec::new();
    }
    let state = place.state.join("trees");
    let leaks = match workspace::credentials_at(&place.root, "HEAD", secrets, Some(&state)) {
        Ok(leaks) => leaks,
        Err(Error::NotFound(_)) => return Vec::new(),
        Err(error) => {
            let told = format!("the last commit cannot be searched: {error}");
            return vec![Finding::new(SUBJECT, State::Wrong, told).required()];
        }
    };
    if leaks.is_empty() {
        let told = "none in what agents would see of the last commit";
        return vec![Finding::new(SUBJECT, State::Good, told).required()];
    }
    let more = leaks.len().saturating_sub(LEAKS_TOLD_MAX);
    let told = leaks.iter().take(LEAKS_TOLD_MAX).map(|it| {
        format!(
            "{it}: no work starts with it; remove it in a commit, or name the file in `secrets` of \
             {FILE}, or accept the fingerprint there with [[accepted_secret]]"
        )
    });
    let mut told: Vec<String> = told.collect();
    if more > 0 {
        told.push(format!("and more of them: {more}"));
    }
    told.into_iter()
        .map(|it| Finding::new(SUBJECT, State::Wrong, it).required())
        .collect()
}
