//! `kill -9` in every stage of a rollback and of a checkpoint, through the built program: whoever is
//! killed once a certain event is on record, `resume` goes on, the next session finds the tree as it
//! was kept (bytes, modes, links), and nothing is done twice.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::time::Duration;

use ports::log::{EventLog as _, Position};
use serde_json::Value;
use store::log::SqliteLog;

use crate::house::{GOOD, House};

/// How many looks at the log are taken for an event, a millisecond each at the least.
const LOOKS_MAX: usize = 60_000;

/// Writes a tree, has it kept, and turns it upside down.
const RESTLESS: &str = r#"
[[turn]]
role = "builder"
steps = [
  { write = "src/bye", text = "bye\n" },
  { symlink = "src/link", to = "bye" },
  { write = "src/deep/ünïcode", text = "deep\n" },
  { write = "src/run", text = "run\n", executable = true },
  { progress = "kilroy" },
  { acknowledge = "understood" },
  { delete = "src/bye" },
  { write = "src/bye/now/a/folder", text = "odd\n" },
  { delete = "src/link" },
  { write = "src/link", text = "no link\n" },
  { delete = "src/deep" },
  { delete = "src/hello" },
  { delete = "src/run" },
  { write = "src/run", text = "run\n" },
  { write = "src/odd", text = "odd\n" },
  { progress = "upside down" },
  { hang = true },
]
"#;

/// Does its work only on the tree as it was kept.
const STRICT: &str = r#"
steps = [
  { run = ["/bin/sh", "-c", "test \"$(cat src/bye)\" = bye"] },
  { run = ["/bin/sh", "-c", "test \"$(readlink src/link)\" = bye"] },
  { run = ["/bin/sh", "-c", "test \"$(cat src/deep/ünïcode)\" = deep"] },
  { run = ["/bin/sh", "-c", "test \"$(cat src/hello)\" = hello"] },
  { run = ["/bin/sh", "-c", "test \"$(stat -c %a src/hello src/bye | sort -u)\" = 644"] },
  { run = ["/bin/sh", "-c", "test \"$(stat -c %a src/run)\" = 755"] },
  { run = ["/bin/sh", "-c", "test \"$(find src | wc -l)\" = 7"] },
  { done = "found it as it was" },
]
"#;

/// The shipped turns, with a builder who looks first.
fn strict() -> String {
    let others = GOOD.split("[[turn]]").filter(|it| !it.contains("builder"));
    let others: Vec<_> = others.collect();
    format!(
        "[[turn]]\nrole = \"builder\"\n{STRICT}{}",
        others.join("[[turn]]")
    )
}

/// A work that is under way, with a checkpoint of the tree that is to come back.
struct Scene {
    house: House,
    engine: Child,
    log: SqliteLog,
    kept: String,
}

/// Waits until a line of the engine's talk contains `sign`.
fn await_line(lines: &mut impl Iterator<Item = String>, sign: &str) {
    assert!(lines.any(|it| it.contains(sign)), "`{sign}` never came");
}

impl Scene {
    fn set() -> Self {
        let house = House::with(RESTLESS);
        let mut engine = house.start(&["run", "../spec.md", "--agent", "scripted:../story.toml"]);
        let lines = BufReader::new(engine.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        await_line(&mut lines, "kilroy");
        let said = house.run(&["checkpoint", "spec", "--json"]);
        let kept: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        let kept = kept[0]["id"].as_str().unwrap().to_owned();
        let told = house.run(&["send", "spec", "go on", "--ack"]);
        assert_eq!(told.code, 0, "{told:?}");
        await_line(&mut lines, "upside down");
        // What the engine goes on to say must not fill the pipe.
        std::thread::spawn(move || lines.count());
        let log = SqliteLog::open(&house.path("repo/.git/palisade/events.sqlite")).unwrap();
        Self {
            house,
            engine,
            log,
            kept,
        }
    }

    /// Kills a process as soon as an event of this kind is on record after `since`, or lets it end.
    fn kill_at(&self, victim: &mut Child, kind: &str, since: Position) {
        for _ in 0..LOOKS_MAX {
            if self.count(kind, since) > 0 {
                victim.kill().unwrap();
            }
            if victim.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("`{kind}` never came");
    }

    fn count(&self, kind: &str, since: Position) -> usize {
        let all = self.log.read_all(since, 10_000).unwrap();
        let kind = format!("io.palisade.{kind}.v1");
        all.iter().filter(|it| it.event.kind == kind).count()
    }

    /// Takes the work to its end, and looks whether all is as it must be.
    fn goes_on(&self, after: &str) {
        let Self { house, .. } = self;
        let said = house.run(&["resume"]);
        assert_eq!(said.code, 4, "after {after}: {said:?}");
        assert!(
            self.count("run.rolled_back", Position(0)) == 1,
            "after {after}: it was put back once"
        );
        let requested = self.count("session.requested", Position(0));
        let ended = self.count("session.ended", Position(0));
        assert_eq!(requested, ended, "after {after}: each session ends once");
        // The tree that is proposed is the one that was kept, and what others added.
        let chain = house.run(&["checkpoints", "spec", "--json"]).out;
        let chain: Value = serde_json::from_str(&chain).unwrap();
        let last = chain.as_array().unwrap().last().unwrap()["id"]
            .as_str()
            .unwrap();
        for (id, branch) in [(self.kept.as_str(), "look/kept"), (last, "look/last")] {
            let way = ["export", "spec", "--checkpoint", id, "--branch", branch];
            let said = house.run(&way);
            assert_eq!(said.code, 0, "after {after}: {said:?}");
        }
        let tree = |branch: &str| house.git(&["ls-tree", "-r", branch, "src"]);
        assert_eq!(tree("look/last"), tree("look/kept"), "after {after}");
        let said = house.approve(&[]);
        assert_eq!(said.code, 0, "after {after}: {said:?}");
        let log = house.git(&["log", "--format=%s", "palisade/main"]);
        assert_eq!(log, "Say goodbye\nbase\n", "after {after}");
        let said = house.run(&["audit", "verify"]);
        assert_eq!(said.code, 0, "after {after}: {said:?}");
    }
}

/// The engine carries out a rollback and is killed once this is on record.
fn engine_killed_at(kind: &str) {
    let mut scene = Scene::set();
    scene.house.put("story.toml", &strict());
    let since = scene.log.head().unwrap();
    let way = ["rollback", "spec", "--to", &scene.kept, "--why", "too odd"];
    let mut asking = scene.house.start(&way);
    let mut engine = std::mem::replace(&mut scene.engine, scene.house.start(&["--version"]));
    scene.kill_at(&mut engine, kind, since);
    asking.wait().unwrap();
    scene.engine.wait().unwrap();
    scene.goes_on(&format!("{kind}, by the engine"));
}

/// Nobody is at work, so the command itself puts the tree back; it is killed once this is on record.
fn command_killed_at(kind: &str) {
    let mut scene = Scene::set();
    scene.house.put("story.toml", &strict());
    scene.engine.kill().unwrap();
    scene.engine.wait().unwrap();
    let way = ["rollback", "spec", "--to", &scene.kept, "--why", "too odd"];
    let since = scene.log.head().unwrap();
    let mut command = scene.house.start(&way);
    scene.kill_at(&mut command, kind, since);
    if scene.count("run.rollback_requested", since) == 0 {
        // It died before it was asked for: then nothing was, and it is asked for again.
        let said = scene.house.run(&way);
        assert_eq!(said.code, 0, "after {kind}: {said:?}");
    }
    scene.goes_on(&format!("{kind}, by the command"));
}

#[test]
fn an_engine_killed_when_a_rollback_is_asked_for_goes_on() {
    engine_killed_at("run.rollback_requested");
}

#[test]
fn an_engine_killed_when_the_session_has_ended_for_a_rollback_goes_on() {
    engine_killed_at("session.ended");
}

#[test]
fn an_engine_killed_when_the_tree_was_put_back_goes_on() {
    engine_killed_at("run.rolled_back");
}

#[test]
fn an_engine_killed_when_the_next_session_is_asked_for_goes_on() {
    engine_killed_at("session.requested");
}

#[test]
fn an_engine_killed_when_the_next_session_has_its_restored_tree_goes_on() {
    engine_killed_at("session.prepared");
}

#[test]
fn a_rollback_killed_at_its_first_record_goes_on() {
    command_killed_at("lease.acquired");
}

#[test]
fn a_rollback_killed_when_it_is_asked_for_goes_on() {
    command_killed_at("run.rollback_requested");
}

#[test]
fn a_rollback_killed_when_the_dead_session_is_settled_goes_on() {
    command_killed_at("session.ended");
}

#[test]
fn a_rollback_killed_when_the_tree_was_put_back_goes_on() {
    command_killed_at("run.rolled_back");
}

/// A checkpoint is asked for, and the engine is killed once this is on record.
fn checkpoint_killed_at(kind: &str) {
    let story = GOOD.replacen(
        "{ done = \"wrote src/bye\" }",
        "{ progress = \"kilroy\" }, { hang = true }",
        1,
    );
    let house = House::with(&story);
    let mut engine = house.start(&["run", "../spec.md", "--agent", "scripted:../story.toml"]);
    let lines = BufReader::new(engine.stderr.take().unwrap()).lines();
    await_line(&mut lines.map_while(Result::ok), "kilroy");
    let log = SqliteLog::open(&house.path("repo/.git/palisade/events.sqlite")).unwrap();
    let scene = Scene {
        engine: house.start(&["--version"]),
        house,
        log,
        kept: String::new(),
    };
    let since = scene.log.head().unwrap();
    let mut asking = scene.house.start(&["checkpoint", "spec"]);
    scene.kill_at(&mut engine, kind, since);
    asking.wait().unwrap();
    let Scene {
        mut engine, house, ..
    } = scene;
    engine.wait().unwrap();
    house.put("story.toml", GOOD);
    let said = house.run(&["resume"]);
    assert_eq!(said.code, 4, "after {kind}: {said:?}");
    let chain = house.run(&["checkpoints", "spec", "--json"]).out;
    let chain: Value = serde_json::from_str(&chain).unwrap();
    let recovered = chain.as_array().unwrap().iter();
    let recovered = recovered.filter(|it| it["trigger"] == "recovery");
    assert_eq!(recovered.count(), 1, "what was left is kept once: {chain}");
    assert_eq!(house.approve(&[]).code, 0, "after {kind}");
    assert_eq!(house.git(&["show", "palisade/main:src/bye"]), "bye\n");
    assert_eq!(house.run(&["audit", "verify"]).code, 0, "after {kind}");
}

#[test]
fn an_engine_killed_when_a_checkpoint_is_asked_for_goes_on() {
    checkpoint_killed_at("checkpoint.requested");
}

#[test]
fn an_engine_killed_when_a_checkpoint_was_captured_goes_on() {
    checkpoint_killed_at("checkpoint.captured");
}

#[test]
fn an_engine_killed_when_a_checkpoint_was_judged_goes_on() {
    checkpoint_killed_at("checkpoint.validated");
}
