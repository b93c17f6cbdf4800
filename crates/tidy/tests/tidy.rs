//! The walls of the house. Each test names the rule it keeps; a breach says how to mend it.

#![expect(
    clippy::unwrap_used,
    reason = "a test says what it assumes by unwrapping"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_tidy::{File, documents, edges, links, promises, rooms, threats, trials};
use serde_json::Value;

/// Documents whose backticked paths must be there.
const NAMES_FILES: &[&str] = &[
    "AGENTS.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/GLOSSARY.md",
    "docs/STYLE.md",
];

/// What those documents already name though it is still to be built. A row goes when it arrives.
const NOT_YET: &[&str] = &[];

struct House {
    /// Every file that is, or could be, committed.
    paths: BTreeSet<String>,
    /// Those of them that are text.
    files: Vec<File>,
}

impl House {
    fn read() -> Self {
        let listing = git(&[
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let mut house = Self {
            paths: BTreeSet::new(),
            files: Vec::new(),
        };
        for path in listing.split_terminator('\0') {
            // A listed file may be gone from the working tree, and a link is read where it leads.
            let Ok(metadata) = fs::symlink_metadata(root().join(path)) else {
                continue;
            };
            house.paths.insert(path.to_owned());
            if metadata.is_file()
                && let Ok(text) = String::from_utf8(fs::read(root().join(path)).unwrap())
            {
                house.files.push(File::new(path, &text));
            }
        }
        assert!(
            house.paths.contains("Cargo.toml"),
            "the listing does not hold the house: {listing:?}"
        );
        house
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|it| it.path == path)
            .map(|it| it.text.as_str())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn git(arguments: &[&str]) -> String {
    // The clone may belong to another user than the one who runs the tests, and a hook may have
    // set the variables that point git elsewhere.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(root())
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn holds(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n  {}\n", breaches.join("\n  "));
}

#[test]
fn crates_lean_only_downwards() {
    holds(&edges::wrong_edges(&metadata()));
}

#[test]
fn crates_are_named_after_their_folders() {
    holds(&edges::wrong_names(&metadata()));
}

#[test]
fn pure_crates_stay_pure() {
    holds(&edges::impurities(&metadata()));
}

#[test]
fn domain_is_no_std() {
    holds(&rooms::domain_with_std(&House::read().files));
}

#[test]
fn every_crate_but_cell_forbids_unsafe() {
    holds(&rooms::unsafe_rooms(&House::read().files));
}

#[test]
fn every_crate_inherits_lints() {
    holds(&rooms::lintless_rooms(&House::read().files));
}

#[test]
fn every_file_says_what_it_is_for() {
    holds(&rooms::silent_files(&House::read().files));
}

#[test]
fn no_room_is_called_utils() {
    holds(&rooms::vague_names(&House::read().files));
}

#[test]
fn files_grow_only_on_purpose() {
    holds(&rooms::overgrown_files(&House::read().files, rooms::LONG));
}

#[test]
fn no_file_is_forgotten() {
    holds(&rooms::forgotten_files(&House::read().files));
}

#[test]
fn only_some_rooms_start_processes() {
    holds(&rooms::process_starters(&House::read().files));
}

#[test]
fn only_tests_leave_walls_out() {
    holds(&rooms::weak_launchers(&House::read().files));
}

#[test]
fn docs_links_resolve() {
    let house = House::read();
    holds(&links::broken_links(&house.files, &house.paths));
}

#[test]
fn documents_name_files_that_are_there() {
    let house = House::read();
    let mut breaches = links::arrived(&house.paths, NOT_YET);
    for file in &house.files {
        if NAMES_FILES.contains(&file.path.as_str()) {
            breaches.extend(links::wrong_paths(file, &house.paths, NOT_YET));
        }
    }
    holds(&breaches);
}

/// Bites as soon as ARCHITECTURE.md is there: until then there is nothing to hold it against.
#[test]
fn every_invariant_has_a_test() {
    let house = House::read();
    if let Some(architecture) = house.text("ARCHITECTURE.md") {
        holds(&documents::untested_invariants(architecture, &house.files));
    }
}

#[test]
fn the_threat_model_matches_tests_and_attempts() {
    let house = House::read();
    let threats = house.text(threats::THREATS).unwrap_or_default();
    holds(&threats::misleading_threats(threats, &house.files));
}

#[test]
fn readme_and_architecture_stay_short() {
    holds(&documents::long_documents(&House::read().files));
}

#[test]
fn decision_records_keep_their_form() {
    holds(&documents::malformed_records(&House::read().files));
}

#[test]
fn no_paths_of_a_machine() {
    holds(&documents::machine_paths(
        &House::read().files,
        documents::MAY_NAME_MACHINE_FOLDERS,
    ));
}

#[test]
fn every_env_var_is_listed() {
    let house = House::read();
    holds(&promises::stray_environment_reads(&house.files));
    holds(&promises::unlisted_variables(&house.files));
}

#[test]
fn every_end_of_a_session_is_told() {
    holds(&promises::untold_end_reasons(&House::read().files));
}

#[test]
fn every_event_has_a_golden_file() {
    let house = House::read();
    holds(&promises::events_without_golden_file(&house.files));
    holds(&promises::unreadable_golden_files(&house.files));
}

#[test]
fn no_test_is_ignored_in_silence() {
    holds(&trials::ignored_in_silence(&House::read().files));
}

#[test]
fn nobody_waits_by_sleeping() {
    holds(&trials::sleeps(&House::read().files, trials::MAY_SLEEP));
}
