//! What no cell may know, coming out of one by every way there is: the session ends as an incident,
//! and neither the log nor the store holds it. Each way is also gone with a value that nobody
//! watches for, which is then found where it was looked for.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use domain::agent::EndReason;
use domain::event::Event;
use domain::{case::Case, session};
use ports::artifacts::Artifacts as _;
use ports::log::{EventLog as _, Position};
use testkit::agents::Stage;

use super::house::{AGENT, FILES, House, good};

const SPEC: &str = "# Make it new\n\nReplace the old.\n";

/// A value that nobody watches for.
const OTHER: &str = "Zk3x9Qm1Tn7bL0wAYk3x9Qm1";

/// A way out of a session: what an agent does with a value.
type Way = fn(&mut Stage<'_>, &str);

const WAYS: [(&str, Way); 12] = [
    ("output", |stage, value| {
        stage.print(&format!("it says {value}\n"));
    }),
    ("output in pieces", |stage, value| {
        for piece in value.as_bytes().chunks(5) {
            stage.print(&String::from_utf8_lossy(piece));
        }
        stage.print("\n");
    }),
    ("progress", |stage, value| {
        stage.progress(&format!("found {value}"));
    }),
    ("question", |stage, value| {
        stage.ask("P2", &super::house::question(&format!("Is {value} right?")));
    }),
    ("malformed signal", |stage, value| {
        stage.malformed("no JSON", value);
    }),
    ("summary", |stage, value| {
        stage.done(&format!("used {value}"));
    }),
    ("reason", |stage, value| {
        stage.end(EndReason::Failed {
            detail: format!("stuck at {value}"),
        });
    }),
    ("late signal", |stage, value| {
        stage.done("it is done");
        stage.progress(value);
    }),
    ("changed file", |stage, value| {
        stage.write("src/lib.txt", &format!("key {value}\n"));
        stage.done("it is done");
    }),
    ("new file", |stage, value| {
        stage.write("src/new/er.txt", &format!("{value}\n"));
        stage.done("it is done");
    }),
    ("name of a file", |stage, value| {
        stage.write(&format!("src/{value}.txt"), "nothing\n");
        stage.done("it is done");
    }),
    ("file after a failure", |stage, value| {
        stage.write("src/lib.txt", value);
        stage.end(EndReason::Silent);
    }),
];

/// A house whose builder goes this way with what is at the end of a path; the rest are good.
fn house(way: Way, path: impl Fn(&House) -> PathBuf) -> House {
    let house = House::of(FILES);
    let path = path(&house);
    house.agent(AGENT, move |stage| {
        if stage.role() == "builder" {
            let text = fs::read_to_string(&path).unwrap();
            way(stage, text.trim());
            stage.write("src/extra.txt", "new\n");
            stage.done("built it");
        } else {
            good(stage);
        }
    })
}

fn canary(house: &House) -> PathBuf {
    house.settings.state.join("canary/token")
}

fn other(house: &House) -> PathBuf {
    let path = house.folder().join("other");
    fs::write(&path, OTHER).unwrap();
    path
}

/// Returns everything that was stored: the log, and all artifacts.
fn stored(house: &House) -> String {
    let mut all = String::new();
    for recorded in house.log.read_all(Position(0), 100_000).unwrap() {
        writeln!(all, "{recorded:?}").unwrap();
    }
    for digest in house.artifacts.list().unwrap() {
        all.push_str(&String::from_utf8_lossy(
            &house.artifacts.get(&digest).unwrap(),
        ));
        all.push('\n');
    }
    all
}

fn incidents(case: &Case) -> Vec<String> {
    case.sessions
        .values()
        .filter_map(|state| match &state.end()?.reason {
            EndReason::Incident { detail } => Some(detail.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn whatever_way_a_canary_takes_nothing_of_it_is_kept() {
    for (name, way) in WAYS {
        let house = house(way, canary);
        let work = house.submit(SPEC);
        house.run();
        let value = fs::read_to_string(canary(&house)).unwrap();
        let value = value.trim();
        let found = incidents(&house.case(work));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].contains("canary `token`"), "{name}: {found:?}");
        assert!(house.reason(work).contains("incident: "), "{name}");
        let stored = stored(&house);
        assert!(
            stored.contains("Replace the old."),
            "the search finds what is stored"
        );
        assert!(!stored.contains(value), "{name}");
        assert!(!stored.contains(&value[4..24]), "{name}: a part of it");
        let checkpoints = house.case(work).checkpoints;
        assert!(checkpoints.is_empty(), "{name}: nothing is taken in");
        assert!(house.workspaces.open_sessions().is_empty(), "{name}");
    }
}

#[test]
fn without_a_tripwire_each_way_leads_into_the_store() {
    for (name, way) in WAYS {
        let house = house(way, other);
        let work = house.submit(SPEC);
        house.run();
        assert!(incidents(&house.case(work)).is_empty(), "{name}");
        assert!(stored(&house).contains(OTHER), "{name}");
    }
}

#[test]
fn what_is_withheld_of_the_base_is_watched_for() {
    let value = "q7Zr0vTn2KxWm5Lp";
    let env = format!("LEVEL=info\nTOKEN={value}\n");
    let mut files = FILES.to_vec();
    files.push((".env", &env));
    let house = House::of(&files).agent(AGENT, move |stage| {
        let reversed: String = value.chars().rev().collect();
        stage.progress(&format!("it is {reversed}"));
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    let found = incidents(&house.case(work));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("withheld file `.env`"), "{found:?}");
    assert!(found[0].contains("backwards"), "{found:?}");
}

#[test]
fn a_gate_that_tells_a_canary_ends_the_work() {
    for is_canary in [true, false] {
        let house = House::of(FILES);
        let path = if is_canary {
            canary(&house)
        } else {
            other(&house)
        };
        let house = house.agent(AGENT, move |stage| {
            if stage.role() == "builder" {
                let path = path.display();
                stage.write(
                    "tests/new.t",
                    &format!("echo \"# $(cat {path})\"\necho 'ok 2 - x'\n"),
                );
                stage.write("src/lib.txt", "new\n");
                stage.done("built it");
            } else {
                good(stage);
            }
        });
        let work = house.submit("---\nallow: ['**']\n---\n# Make it new\n");
        house.run();
        let told = house.told(work).join("\n");
        if is_canary {
            let value = fs::read_to_string(canary(&house)).unwrap();
            assert!(told.contains("check-build failed: "), "{told}");
            assert!(house.reason(work).contains("incident: "), "{told}");
            assert!(!stored(&house).contains(value.trim()));
        } else {
            assert!(told.contains("check-build passed"), "{told}");
            assert!(stored(&house).contains(OTHER));
        }
    }
}

#[test]
fn a_session_that_an_engine_left_behind_is_looked_through_as_well() {
    // The first engine is stopped while the agent has written, and the second takes up what is left.
    let house = House::of(FILES);
    let path = canary(&house);
    let house = house.agent(AGENT, move |stage| {
        if stage.role() == "builder" {
            let value = fs::read_to_string(&path).unwrap();
            stage.write("src/lib.txt", value.trim());
            stage.end(EndReason::Interrupted);
        } else {
            good(stage);
        }
    });
    let work = house.submit(SPEC);
    house.run();
    assert_eq!(incidents(&house.case(work)).len(), 1);
    let value = fs::read_to_string(canary(&house)).unwrap();
    assert!(!stored(&house).contains(value.trim()));
}

#[test]
fn canaries_are_private_and_stay() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    let read = |name: &str| fs::read_to_string(house.settings.state.join("canary").join(name));
    let first: Vec<_> = [".env", "credentials", "id_ed25519", "token"]
        .iter()
        .map(|it| read(it).unwrap())
        .collect();
    for name in ["", ".env", "token"] {
        let place = house.settings.state.join("canary").join(name);
        let mode = fs::metadata(place).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if name.is_empty() { 0o700 } else { 0o600 }, "{name}");
    }
    house.promote(work);
    assert_eq!(read("token").unwrap(), first[3], "planted once");
    let all = first.join("\n");
    for (at, line) in all.lines().filter(|it| it.len() >= 40).enumerate() {
        assert!(all.matches(line).count() == 1, "line {at} is drawn once");
    }
    let ended = |it: &Event| matches!(it, Event::Session(_, session::Event::Ended(_)));
    assert_eq!(house.events(work).iter().filter(|it| ended(it)).count(), 4);
}

#[test]
fn a_checkpoint_of_a_running_session_is_looked_through_first() {
    let mut house = House::of(FILES);
    house.settings.checkpoints.interval = Duration::from_millis(1);
    let path = canary(&house);
    let house = house.agent(AGENT, move |stage| {
        if stage.role() == "builder" {
            let value = fs::read_to_string(&path).unwrap();
            stage.write("src/lib.txt", value.trim());
            // It goes on working until it is stopped, and never says that it is done.
            for round in 0..2_000 {
                stage.write("src/rounds.txt", &format!("{round}\n"));
                let until = Instant::now() + Duration::from_millis(20);
                if !stage.wait_until(Duration::from_secs(60), || until <= Instant::now()) {
                    return;
                }
            }
            panic!("nobody looked");
        } else {
            good(stage);
        }
    });
    let work = house.submit(SPEC);
    house.run();
    let found = incidents(&house.case(work));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(house.case(work).checkpoints.is_empty());
    let value = fs::read_to_string(canary(&house)).unwrap();
    assert!(!stored(&house).contains(value.trim()));
}
