//! Catalog files on disk: where formulas, roles and gates are found, and how their faults are told.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use domain::formula::{Gate, Role};
use engine::catalog::{FOLDER, FileFault, GATES, SHIPPED_ROLES, Source, gates, roles};
use serde::Serialize;

use super::Common;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::counted;
use crate::reading;
use crate::terminal::{self, BAD, GOOD};

/// What can be done with formulas and with roles.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check files, or all of the working tree and all that are shipped; names every fault
    Check {
        /// Files to check.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List those of the working tree and those that are shipped
    List,
    /// Print one
    Show {
        /// Its name, or a file.
        #[arg(value_name = "NAME|FILE")]
        name: String,
    },
}

/// A catalog file and the name it is called by.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name: of the file, without its extension.
    pub(crate) name: String,
    /// Its content and where it came from.
    pub(crate) source: Source,
}

#[derive(Serialize)]
struct Shown<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
}

/// Returns the entries of a folder of the catalog: the working tree's, then those shipped ones that
/// none of them replaces.
pub(crate) fn entries(
    common: &Common,
    folder: &str,
    shipped: &[(&str, &str)],
) -> Result<Vec<Entry>, Failure> {
    entries_of(common, folder, "toml", shipped)
}

/// Returns the same of files with another ending.
pub(crate) fn entries_of(
    common: &Common,
    folder: &str,
    ending: &str,
    shipped: &[(&str, &str)],
) -> Result<Vec<Entry>, Failure> {
    let mut found = Vec::new();
    // Outside a repository there is only what is shipped.
    if let Ok(place) = common.place() {
        let folder = place.root.join(FOLDER).join(folder);
        for path in listed(&folder, ending)? {
            found.push(entry(&path)?);
        }
    }
    for (name, text) in shipped {
        if !found.iter().any(|it| it.name == *name) {
            found.push(Entry {
                name: (*name).to_string(),
                source: Source {
                    name: format!("shipped:{folder}/{name}"),
                    text: (*text).to_string(),
                },
            });
        }
    }
    Ok(found)
}

fn listed(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Failure> {
    let unreadable =
        |it: std::io::Error| Failure::usage(format!("{} cannot be read: {it}", folder.display()));
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for file in files {
        let path = file.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == ending) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads a file of the operator's.
pub(crate) fn entry(path: &Path) -> Result<Entry, Failure> {
    let shown = shown_path(path);
    let wrong = |why: String| Failure::usage(format!("{shown}: {why}"));
    let text = reading::named(path).map_err(|it| wrong(it.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Entry {
        name: name.into_owned(),
        source: Source { name: shown, text },
    })
}

/// A path as it is reached from here.
fn shown_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Returns the one that a name or path stands for.
pub(crate) fn find(entries: Vec<Entry>, name: &str, what: &str) -> Result<Entry, Failure> {
    let names: Vec<_> = entries.iter().map(|it| it.name.clone()).collect();
    if let Some(found) = entries.into_iter().find(|it| it.name == name) {
        return Ok(found);
    }
    let path = Path::new(name);
    if path.exists() {
        return entry(path);
    }
    let names = names.join(", ");
    Err(Failure::usage(format!(
        "there is no {what} `{name}` and no such file; there are {names}"
    )))
}

/// Returns what a check of formulas leans on: the roles at hand.
pub(crate) fn roles_at_hand(common: &Common) -> Result<Vec<Role>, Failure> {
    let entries = entries(common, "roles", SHIPPED_ROLES)?;
    Ok(entries.iter().map(|it| roles::read(&it.source).0).collect())
}

/// Returns the same: the gates at hand.
pub(crate) fn gates_at_hand(common: &Common) -> Result<Vec<Gate>, Failure> {
    let Ok(place) = common.place() else {
        return Ok(Vec::new());
    };
    let path = place.root.join(GATES);
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(gates::read(&entry(&path)?.source).0)
}

/// Tells the faults of files, and whether there are any.
pub(crate) fn report(common: &Common, checked: &[(Entry, Vec<FileFault>)], noun: &str) -> Outcome {
    let all = || checked.iter().flat_map(|(_, faults)| faults);
    if common.json {
        let shown: Vec<_> = all()
            .map(|it| Shown {
                file: &it.file,
                line: it.line,
                column: it.column,
                message: &it.message,
            })
            .collect();
        terminal::json(&shown)?;
    } else {
        for (entry, faults) in checked {
            if !faults.is_empty() {
                terminal::data(told(faults, &entry.source.text));
            }
        }
    }
    let (files, faults) = (counted(checked.len(), noun), all().count());
    if faults == 0 {
        terminal::say(terminal::styled(&format!("{files}, no faults"), GOOD));
        return Ok(Exit::Done);
    }
    let text = format!("{files}, {}", counted(faults, "fault"));
    terminal::say(terminal::styled(&text, BAD));
    Ok(Exit::Usage)
}

/// Returns faults of one file, each with its line and a mark beneath the place.
pub(crate) fn told(faults: &[FileFault], text: &str) -> String {
    let told = faults.iter().map(|fault| {
        let line = text.lines().nth(fault.line.saturating_sub(1)).unwrap_or("");
        let shown = terminal::printable(line);
        let number = fault.line.to_string();
        let margin = " ".repeat(number.len());
        let before: String = shown
            .chars()
            .take(fault.column.saturating_sub(1))
            // A tab stays one, so that the mark stands where the terminal puts the place.
            .map(|it| if it == '\t' { '\t' } else { ' ' })
            .collect();
        let mark = terminal::styled("^", BAD);
        format!("{fault}\n  {number} | {shown}\n  {margin} | {before}{mark}")
    });
    told.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shown_beneath_its_line() {
        let text = "name = \"x\"\n\tlane = \"up\"\n";
        let fault = FileFault {
            file: "x.toml".to_string(),
            line: 2,
            column: 9,
            message: "`up` is no lane".to_string(),
        };
        let told = anstream::adapter::strip_str(&told(&[fault], text)).to_string();
        assert_eq!(
            told,
            "x.toml:2:9: `up` is no lane\n  2 | \tlane = \"up\"\n    | \t       ^"
        );
    }

    #[test]
    fn a_fault_past_the_end_is_still_told() {
        let fault = FileFault {
            file: "x.toml".to_string(),
            line: 9,
            column: 4,
            message: "ends too early".to_string(),
        };
        assert!(told(&[fault], "").starts_with("x.toml:9:4: ends too early\n"));
    }
}
