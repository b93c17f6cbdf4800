//! `palisade init`: what real builds need on this machine, written down for review.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use engine::catalog::{FOLDER, GATES};
use serde::Serialize;

use self::family::Family;
use self::probe::Probe;
use super::{Common, doctor};
use crate::config::ground::{Ground, refuses_target};
use crate::config::{Config, FILE};
use crate::context::Place;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

mod agents;
pub(crate) mod credentials;
mod family;
mod gates;
mod go;
mod java;
mod node;
pub(crate) mod probe;
mod python;
mod render;
mod ruby;
mod rust;

/// Write down what cells need on this machine, for your review
///
/// Looks for the toolchains and caches that this repository uses, and writes `palisade.toml`: what
/// cells see of this machine, with credential files covered; and `.palisade/gates.toml`: the checks
/// that every change must pass, as guessed from the repository. Nothing is installed, and nothing
/// that is there is overwritten.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Overwrite the files that are there.
    #[arg(long)]
    force: bool,
    /// Print the files instead of writing them.
    #[arg(long)]
    print: bool,
}

/// What is to be written.
#[derive(Debug, Serialize)]
struct Draft {
    files: Vec<File>,
    #[serde(skip)]
    talk: Vec<String>,
}

/// One file.
#[derive(Debug, Serialize)]
struct File {
    path: &'static str,
    text: String,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let place = common.place()?;
    if place.root == place.git {
        return Err(Failure::usage(
            "this repository is bare: there is no working tree to write palisade.toml into; call \
             `palisade init --print` in a clone and read what it says",
        ));
    }
    let probe = Probe::new(&place.root, &place.environment);
    let draft = draft(&probe, &place.ground())?;
    if args.print {
        return print(common, &draft);
    }
    let mut written = Vec::new();
    for file in &draft.files {
        if write(&place.root, file, args.force)? {
            written.push(file.path);
        }
    }
    if common.json {
        terminal::json(&written)?;
    }
    for file in &draft.files {
        let path = file.path;
        if written.contains(&path) {
            terminal::say(format_args!("wrote {path}"));
        } else {
            terminal::say(format_args!(
                "kept {path}, which is there already; --force overwrites it"
            ));
        }
    }
    tell_leaks(&place);
    if written.is_empty() {
        return Ok(Exit::Refused);
    }
    for line in &draft.talk {
        terminal::say(line);
    }
    terminal::say("Read what was written, then run `palisade doctor`: it tries all of it.");
    Ok(Exit::Done)
}

/// Tells of credentials in the last commit: no work would start on it.
fn tell_leaks(place: &Place) {
    let Ok(config) = Config::read(&place.ground()) else {
        // What is wrong with the file is for `palisade doctor` to say.
        return;
    };
    let found = doctor::leaks::examine(place, &config.secrets);
    for finding in found.iter().filter(|it| it.state != doctor::State::Good) {
        let told = terminal::printable(&finding.told);
        terminal::say(format_args!("{}: {told}", finding.subject));
    }
}

fn print(common: &Common, draft: &Draft) -> Outcome {
    if common.json {
        terminal::json(draft)?;
        return Ok(Exit::Done);
    }
    for file in &draft.files {
        terminal::data(format_args!("# ---- {} ----\n{}", file.path, file.text));
    }
    Ok(Exit::Done)
}

fn draft(probe: &Probe, ground: &Ground) -> Result<Draft, Failure> {
    let (families, remarks) = families(probe, ground);
    let masks = masks(&families);
    let settings = render::render(&families, &masks, &remarks);
    // What is written must hold; anything else is a mistake here, not the operator's.
    Config::parse(settings.clone(), true, ground).map_err(|faults| {
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Failure::new(
            Exit::Failed,
            format!(
                "what was found makes no valid {FILE}:\n{}",
                lines.join("\n")
            ),
        )
    })?;
    let guesses = gates::guess(probe);
    let talk = talk(probe, &families, &guesses);
    let files = vec![
        File {
            path: FILE,
            text: settings,
        },
        File {
            path: GATES,
            text: gates::render(&guesses),
        },
    ];
    Ok(Draft { files, talk })
}

/// Returns every family that was found, those that are used first, and what could not be shown.
fn families(probe: &Probe, ground: &Ground) -> (Vec<Family>, Vec<String>) {
    let looks = [
        rust::look,
        node::look,
        python::look,
        go::look,
        java::look,
        ruby::look,
    ];
    let mut families: Vec<_> = looks.iter().map(|look| look(probe)).collect();
    families.extend(agents::look(probe));
    families.retain(|it| !it.is_empty());
    families.sort_by_key(|it| it.used_for.is_none());
    let (mut remarks, mut taken) = (Vec::new(), Vec::new());
    for family in &mut families {
        let used = family.used_for.is_some();
        family.mounts.retain(|shown| {
            let refused = ground
                .refuses(&shown.source)
                .or_else(|| refuses_target(&shown.target));
            if let Some(why) = &refused {
                let source = shown.source.display();
                remarks.push(format!("{source} ({}) is not shown: {why}.", shown.what));
            }
            let again = used && taken.contains(&shown.target);
            if used {
                taken.push(shown.target.clone());
            }
            refused.is_none() && !again
        });
    }
    (families, remarks)
}

/// Returns the places to cover: those known for each family, and those that were found.
fn masks(families: &[Family]) -> Vec<String> {
    let mut masks: Vec<PathBuf> = Vec::new();
    for family in families {
        masks.extend(family.masks.iter().cloned());
        for shown in &family.mounts {
            let found = credentials::scan(&shown.source).found;
            masks.extend(
                found
                    .iter()
                    .map(|it| in_cell(it, &shown.source, &shown.target)),
            );
        }
    }
    masks.sort();
    masks.dedup();
    masks.iter().map(|it| it.display().to_string()).collect()
}

/// Returns where a file beneath a mount's source is in the cell.
pub(crate) fn in_cell(file: &Path, source: &Path, target: &Path) -> PathBuf {
    match file.strip_prefix(source) {
        Ok(rest) if rest.as_os_str().is_empty() => target.to_path_buf(),
        Ok(rest) => target.join(rest),
        Err(_) => target.to_path_buf(),
    }
}

fn talk(probe: &Probe, families: &[Family], guesses: &[gates::Guess]) -> Vec<String> {
    let mut talk = Vec::new();
    let named = |used: bool| {
        let names = families
            .iter()
            .filter(|it| it.is_found() && it.used_for.is_some() == used);
        names.map(|it| it.name).collect::<Vec<_>>().join(", ")
    };
    let (used, rest) = (named(true), named(false));
    if used.is_empty() {
        talk.push(
            "cells see the system only: no toolchain for this repository was found".to_string(),
        );
    } else {
        talk.push(format!("cells see: {used}"));
    }
    if !rest.is_empty() {
        talk.push(format!("found, but commented out: {rest}"));
    }
    let absent = families.iter().filter(|it| !it.is_found());
    talk.extend(absent.flat_map(|it| it.notes.iter().cloned()));
    if guesses.is_empty() {
        talk.push(format!(
            "no check was recognised: nothing can be promoted until {GATES} names one"
        ));
    }
    let missing = guesses
        .iter()
        .filter_map(|it| gates::missing_program(probe, it));
    talk.extend(
        missing
            .map(|it| format!("the gates call `{it}`, which was not found on this machine's PATH")),
    );
    talk
}

/// Writes a file unless it is there. A link in a cloned repository leads nowhere.
fn write(root: &Path, file: &File, force: bool) -> Result<bool, Failure> {
    let path = root.join(file.path);
    let folder = path.parent().unwrap_or(root);
    if folder != root {
        if folder.is_symlink() {
            let text = format!("{FOLDER} is a link; make it a folder of this repository");
            return Err(Failure::usage(text));
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let doing = || format!("{} cannot be written", path.display());
    if force {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(anyhow::Error::from(error).context(doing()).into());
            }
            Ok(()) | Err(_) => {}
        }
    }
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut made) => {
            made.write_all(file.text.as_bytes()).with_context(doing)?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(anyhow::Error::from(error).context(doing()).into()),
    }
}

#[cfg(test)]
mod tests;
