//! A running session in the operator's hand: checkpoints, pauses, messages, rollbacks, and what is
//! told of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;

use serde_json::Value;

use crate::house::{GOOD, House};

/// A builder that writes two files, and then waits to be told to go on.
fn waiting() -> String {
    GOOD.replacen(
        "steps = [{ write = \"src/bye\", text = \"bye\\n\" }",
        "steps = [{ write = \"src/bye\", text = \"bye\\n\" }, { write = \"src/odd\", text = \"odd\\n\" }, \
         { print = \"here I am\" }, { progress = \"kilroy\" }, { acknowledge = \"understood\" }",
        1,
    )
}

/// Starts the engine and waits until it says so.
fn started(house: &House, sign: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut engine = house.start(&["run", "../spec.md", "--agent", "scripted:../story.toml"]);
    let lines = BufReader::new(engine.stderr.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let seen = lines.any(|line| line.contains(sign));
    assert!(seen, "`{sign}` never came");
    (engine, lines)
}

fn json(house: &House, arguments: &[&str]) -> Value {
    let said = house.run(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{arguments:?}: {said:?}"))
}

fn done(house: &House, arguments: &[&str]) -> String {
    let said = house.run(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    said.out + &said.err
}

#[test]
fn a_session_is_kept_paused_told_and_let_go_on() {
    let house = House::with(&waiting());
    let nothing = house.run(&["pause", "spec"]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    let (mut engine, lines) = started(&house, "kilroy");
    let kept = json(&house, &["checkpoint", "spec", "--json"]);
    assert_eq!(kept[0]["trigger"], "manual");
    assert_eq!(kept[0]["state"], "validated");
    assert_eq!(kept[0]["files"], 2, "{kept}");
    let told = done(&house, &["pause", "spec", "--why", "lunch"]);
    assert!(told.contains("stands still"), "{told}");
    assert_eq!(
        house.line("spec")["troubles"][0],
        "paused by operator:ada: lunch"
    );
    let status = house.run(&["status"]);
    assert!(
        status.err.contains("paused by operator:ada: lunch"),
        "{status:?}"
    );
    let attached = house.start_with_output(&["attach", "spec"]);
    assert_eq!(house.run(&["pause", "spec"]).code, 2);
    done(&house, &["resume", "spec"]);
    let word = ["--severity=warning", "--topic=gate-result", "--within=20"];
    done(
        &house,
        &[&["send", "spec", "mind the gap"], &word[..]].concat(),
    );
    assert!(lines.count() > 0);
    assert_eq!(engine.wait().unwrap().code(), Some(4));
    let seen = attached.wait_with_output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&seen.stdout),
        String::from_utf8_lossy(&seen.stderr),
    );
    assert!(
        seen.status.success() && out.contains("here I am"),
        "{out} {err}"
    );
    assert!(
        err.contains("mind the gap") && err.contains("understood"),
        "{err}"
    );
    assert_eq!(house.run(&["attach", "spec"]).code, 2, "it is over");
    let timeline = json(&house, &["timeline", "spec", "--json"]);
    let events: Vec<_> = timeline.as_array().unwrap().iter().collect();
    let place = |event: &str| {
        let found = events.iter().position(|it| it["event"] == event);
        found.unwrap_or_else(|| panic!("{event}: {timeline}"))
    };
    let order = [
        "work.submitted",
        "checkpoint.requested",
        "checkpoint.captured",
        "session.pause_requested",
        "session.paused",
        "session.resumed",
        "message.acknowledged",
        "promotion.proposed",
    ]
    .map(place);
    assert!(order.is_sorted(), "{order:?}: {timeline}");
    assert!(done(&house, &["timeline", "spec"]).contains("mind the gap"));
}

#[test]
fn a_tree_is_put_back_shown_and_taken_out() {
    let house = House::with(&waiting());
    let (mut engine, lines) = started(&house, "kilroy");
    let id = json(&house, &["checkpoint", "spec", "--json"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // The next session finds no message that it could wait for.
    house.put("story.toml", GOOD);
    let way = ["rollback", "spec", "--to", "start", "--path", "src/odd"];
    let dry = done(&house, &[&way[..], &["--dry-run"]].concat());
    assert!(dry.contains("would be put back    src/odd"), "{dry}");
    assert!(dry.contains("kept                 src/bye"), "{dry}");
    let real = done(&house, &[&way[..], &["--why", "too odd"]].concat());
    assert!(real.contains("put back             src/odd"), "{real}");
    let said: Vec<_> = lines.collect();
    assert!(said.iter().any(|it| it.contains("too odd")), "{said:?}");
    assert_eq!(engine.wait().unwrap().code(), Some(4));
    let chain = json(&house, &["checkpoints", "spec", "--json"]);
    let chain = chain.as_array().unwrap();
    let before = chain
        .iter()
        .find(|it| it["trigger"] == "before_rollback")
        .unwrap();
    let before = before["id"].as_str().unwrap();
    assert!(done(&house, &["checkpoints", "spec"]).contains("before_rollback"));
    let last = chain.last().unwrap()["id"].as_str().unwrap();
    let diff = done(&house, &["diff", "spec", "--from", before, "--to", last]);
    assert!(diff.contains("-odd"), "{diff}");
    // Nobody is at work: the tree as it was before comes back, and no session starts.
    let sessions = house.line("spec")["sessions"].clone();
    let undone = done(&house, &["rollback", "spec", "--to", before]);
    assert!(undone.contains("put back"), "{undone}");
    assert_eq!(house.line("spec")["sessions"], sessions);
    let tree = done(&house, &["diff", "spec", "--stat"]);
    assert!(tree.contains("src/odd"), "{tree}");
    done(
        &house,
        &[
            "export",
            "spec",
            "--checkpoint",
            &id,
            "--branch",
            "look/at-it",
        ],
    );
    let odd = house.git(&["show", "look/at-it:src/odd"]);
    assert_eq!(odd, "odd\n");
    // Nobody's approval would have put it where works begin.
    for wrong in ["palisade/main", "refs/heads/zz"] {
        let taken = house.run(&["export", "spec", "--checkpoint", last, "--branch", wrong]);
        assert_eq!(taken.code, 2, "{taken:?}");
    }
    assert!(
        !house
            .git(&["branch", "--list", "--all"])
            .contains("palisade/")
    );
    let taken = house.run(&["export", "spec", "--checkpoint", last, "--branch", "main"]);
    assert_ne!(taken.code, 0, "{taken:?}");
    assert_eq!(house.git(&["log", "--format=%s", "main"]), "base\n");
    done(
        &house,
        &[
            "export",
            "spec",
            "--checkpoint",
            &id,
            "--patch",
            "../odd.patch",
        ],
    );
    house.git(&["apply", "--check", "../odd.patch"]);
}

#[test]
fn stats_are_counted_and_served_on_loopback_alone() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    let stats = json(&house, &["stats", "--json"]);
    assert!(stats["capture"]["count"].as_u64().unwrap() >= 3, "{stats}");
    assert!(stats["capture"]["p50"].as_u64() <= stats["capture"]["p99"].as_u64());
    assert_eq!(stats["queue"], 0);
    assert!(stats["read"].as_u64().unwrap() > 0, "{stats}");
    assert!(stats["remembered"].as_u64().is_some(), "{stats}");
    let used = &stats["works"][0]["used"];
    assert!(used["disk_bytes"].as_u64().unwrap() > 0, "{stats}");
    assert!(used["files"].as_u64().unwrap() >= 2, "{stats}");
    assert_eq!(stats["reserve"]["held"], stats["reserve"]["wanted"]);
    assert!(house.run(&["stats"]).out.contains("capture"));
    let page = house.run(&["stats", "--prometheus"]).out;
    assert!(
        page.contains("palisade_checkpoint_capture_seconds{quantile=\"0.99\"}"),
        "{page}"
    );
    for name in [
        "palisade_checkpoint_judge_seconds{quantile=\"0.5\"}",
        "palisade_checkpoint_held_seconds_count",
        "palisade_judging_remembered_total",
        "palisade_judging_read_total",
        "palisade_queue_depth 0",
        "palisade_checkpoint_bytes_total",
        "palisade_work_disk_bytes{work=",
        "palisade_work_disk_bytes_max{work=",
        "palisade_work_files{work=",
        "palisade_work_output_bytes{work=",
        "palisade_reserve_bytes 16777216",
        "palisade_disk_free_bytes",
    ] {
        assert!(page.contains(name), "{name}: {page}");
    }
    let refused = house.run(&["stats", "--serve", "0.0.0.0:0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let mut server = house.start(&["stats", "--serve", "127.0.0.1:0"]);
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    let address = said
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (metrics, nothing) = (ask("/metrics"), ask("/"));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(
        metrics.contains("palisade_sessions_ended_total{reason=\"done\"}"),
        "{metrics}"
    );
    assert!(nothing.starts_with("HTTP/1.1 404"), "{nothing}");
}
