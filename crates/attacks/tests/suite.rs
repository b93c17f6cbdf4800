//! Every attempt of every group, in real cells: with every wall it is stopped, and without those
//! that are said to stop it what was looked at must show it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cell::{Launcher, LinuxCells};
use palisade_attacks::suite::{Ground, LeftOpen, Missing, Place, Row, random_word, template};
use palisade_attacks::{Engine, list};
use ports::artifacts::Artifacts;
use ports::cells::Cells;
use store::artifacts::DiskArtifacts;
use workspace::GitWorkspaces;

/// The variable in which the engine's own canary is.
const CANARY: &str = "CANARY";
/// Trials at once.
const AT_ONCE: usize = 4;

#[test]
fn every_attempt_is_stopped_and_every_oracle_can_fail() {
    // In a process of its own: the canary is in its environment and on its command line.
    let canary = format!("canary-of-the-engine-{}", random_word().unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "run_the_suite"])
        .arg(&canary)
        .env(CANARY, &canary)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{printed}");
    assert!(output.status.success(), "{printed}\n{errors}");
    assert!(printed.contains("1 passed"), "{printed}");
}

#[test]
#[ignore = "run by `every_attempt_is_stopped_and_every_oracle_can_fail`, in a process with a canary"]
fn run_the_suite() {
    let own_canary = own_canary();
    let dir = tempfile::tempdir().unwrap();
    let canary = format!("canary-of-the-host-{}", random_word().unwrap());
    let host = template(&dir.path().join("t"), &canary).unwrap();
    let left_open = LeftOpen::open(&host.join(".env")).unwrap();
    let artifacts = Arc::new(DiskArtifacts::open(&dir.path().join("a")).unwrap());
    let workspaces =
        GitWorkspaces::open(&host.join("repo"), &dir.path().join("w"), artifacts.clone()).unwrap();
    let engine = Engine {
        workspaces: &workspaces,
        artifacts: artifacts.as_ref() as &(dyn Artifacts + Sync),
        questions,
    };
    let strong = cells("__cell");
    let place = Place {
        hostile: program(env!("CARGO_BIN_EXE_palisade-hostile")),
        scratch: dir.path().join("s"),
        sockets: dir.path().join("k"),
        template: host,
        canary,
        own_canary,
        left_open,
        accepted: Vec::new(),
    };
    let ground = Ground::prepare(&strong, engine, place).unwrap();
    for (oracle, shown) in ground.prove() {
        assert_eq!(shown, Ok(()), "{oracle:?}");
    }
    let wanted = std::env::args()
        .next_back()
        .filter(|it| it.starts_with("only="));
    let wanted = wanted.as_deref().map(|it| it.trim_start_matches("only="));
    let attempts: Vec<_> = list::all()
        .into_iter()
        .filter(|it| wanted.is_none_or(|wanted| it.id.starts_with(wanted)))
        .collect();
    let weak = |parts: &str| -> Box<dyn Cells> { Box::new(cells(parts)) };
    let rows = ground.run(&attempts, Some(&weak), AT_ONCE, &|_| {});
    println!("{}", table(&rows));
    let wrong: Vec<_> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn own_canary() -> String {
    let environment = std::fs::read_to_string("/proc/self/environ").unwrap();
    environment
        .split('\0')
        .find_map(|it| it.strip_prefix(CANARY)?.strip_prefix('='))
        .unwrap()
        .to_owned()
}

fn cells(argument: &str) -> LinuxCells {
    LinuxCells::new(Launcher {
        program: program(env!("CARGO_BIN_EXE_palisade-attack-launcher")),
        argument: argument.into(),
    })
}

fn program(path: &str) -> PathBuf {
    Path::new(path).to_path_buf()
}

fn questions(drop: &Path) -> Vec<String> {
    match agents::question_files::left_in(drop) {
        Ok(found) => found
            .into_iter()
            .map(|it| it.unwrap_or_else(|why| why))
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec!["attempt | held | control failed as it must".to_owned()];
    for row in rows {
        let held = match &row.held {
            Ok(outcome) if outcome.held() => format!("yes ({})", outcome.said),
            Ok(outcome) => format!("NO {:?}", outcome.breaches),
            Err(missing) => missing.to_string(),
        };
        let control = match &row.control {
            Some(Ok(outcome)) if outcome.fails(row.attempt.oracle) => {
                format!("yes ({})", outcome.said)
            }
            Some(Ok(outcome)) => format!("NO ({}) {:?}", outcome.said, outcome.breaches),
            Some(Err(missing)) => missing.to_string(),
            None => "-".to_owned(),
        };
        lines.push(format!("{} | {held} | {control}", row.attempt.id));
    }
    lines.join("\n")
}

fn wrong(row: &Row) -> Option<String> {
    let held = match &row.held {
        Ok(outcome) => format!("{:?}", outcome.breaches),
        Err(missing) => missing.to_string(),
    };
    if !row.is_held() {
        return Some(format!("{}: not held: {held}", row.attempt.id));
    }
    let control = match &row.control {
        Some(Ok(outcome)) => format!("{} {:?}", outcome.said, outcome.breaches),
        Some(Err(Missing::Failed(why))) => why.clone(),
        Some(Err(_)) | None => String::new(),
    };
    (!row.is_controlled()).then(|| {
        format!(
            "{}: the control did not fail at `{}`: {control}",
            row.attempt.id,
            row.attempt.oracle.told()
        )
    })
}
