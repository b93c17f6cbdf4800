//! The real thing killed: `kill -9` of the engine while agents and gates run, and resuming.

use std::fs;
use std::io::{BufRead as _, BufReader};

use crate::house::{GOOD, House};

/// Kills the engine when its talk first contains `sign`, and takes the work to its end.
fn killed_at(story: &str, sign: &str) {
    let house = House::with(story);
    let mut engine = house.start(&["run", "../spec.md", "--agent", "scripted:../story.toml"]);
    let lines = BufReader::new(engine.stderr.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).any(|line| line.contains(sign));
    assert!(seen, "`{sign}` never came");
    engine.kill().unwrap();
    engine.wait().unwrap();
    // Whatever hung before the kill does so no more.
    house.put("story.toml", GOOD);
    let said = house.run(&["resume"]);
    assert_eq!(said.code, 4, "after `{sign}`: {said:?}");
    let said = house.approve(&[]);
    assert_eq!(said.code, 0, "after `{sign}`: {said:?}");
    let log = house.git(&["log", "--format=%s", "palisade/main"]);
    assert_eq!(log, "Say goodbye\nbase\n", "after `{sign}`");
    let said = house.run(&["audit", "verify"]);
    assert_eq!(said.code, 0, "after `{sign}`: {said:?}");
    let briefs = fs::read_dir(house.path("repo/.git/palisade/briefs"))
        .unwrap()
        .count();
    assert_eq!(briefs, 0, "a dead session's brief is left");
}

#[test]
fn an_engine_killed_while_an_agent_works_goes_on() {
    let hanging = GOOD.replacen(
        "{ done = \"wrote src/bye\" }",
        "{ progress = \"kilroy\" }, { hang = true }",
        1,
    );
    killed_at(&hanging, "kilroy");
}

#[test]
fn an_engine_killed_while_a_gate_runs_goes_on() {
    killed_at(GOOD, "check-build: gates run");
}

#[test]
fn an_engine_killed_between_steps_goes_on() {
    killed_at(GOOD, "test: passed");
}

#[test]
fn an_engine_killed_when_it_proposes_goes_on() {
    killed_at(GOOD, "proposed for main");
}

#[test]
fn a_dead_engine_leaves_no_agent_behind() {
    let story = GOOD.replacen(
        "{ done = \"wrote src/bye\" }",
        "{ background = true }, { progress = \"kilroy\" }, { hang = true }",
        1,
    );
    let house = House::with(&story);
    let mut engine = house.start(&["run", "../spec.md", "--agent", "scripted:../story.toml"]);
    let lines = BufReader::new(engine.stderr.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("kilroy"))
    );
    let children = descendants(engine.id());
    assert!(!children.is_empty(), "the control: the agent runs");
    engine.kill().unwrap();
    engine.wait().unwrap();
    for _ in 0..500 {
        if children.iter().all(|it| is_gone(*it)) {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    panic!("these outlived the engine: {children:?}");
}

fn descendants(root: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let tasks = fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|it| it.parse().ok()) {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

/// A zombie has ended; who reaps it is not our business.
fn is_gone(process: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
        return true;
    };
    stat.rsplit(')')
        .next()
        .is_some_and(|it| it.trim_start().starts_with('Z'))
}
