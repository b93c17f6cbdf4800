//! Housekeeping: what nothing needs goes, and what a promotion stands on stays.

use std::sync::Arc;

use domain::Timestamp;
use ports::artifacts::Artifacts as _;
use ports::clock::Clock;
use serde_json::Value;
use store::artifacts::{DiskArtifacts, Options};

use crate::house::{GOOD, House};

/// A clock that stands still, long ago.
struct LongAgo;

impl Clock for LongAgo {
    fn now(&self) -> Timestamp {
        Timestamp(1_000)
    }

    fn fresh_bits(&self) -> u128 {
        1
    }
}

#[test]
fn a_sweep_removes_what_a_dead_engine_left_of_caches() {
    use ports::workspaces::Workspaces as _;
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    assert_eq!(house.approve(&[]).code, 0);
    let state = house.path("repo/.git/palisade");
    let artifacts = Arc::new(DiskArtifacts::open(&state.join("artifacts")).unwrap());
    let trees = state.join("trees");
    let workspaces =
        workspace::GitWorkspaces::open(&house.path("repo"), &trees, artifacts).unwrap();
    let work = house.line("spec")["work"].as_str().unwrap().to_owned();
    let unknown = domain::WorkId::from_bits(7).to_string();
    for owner in [&work, &unknown] {
        workspaces.cache_layer(owner, "cargo").unwrap();
    }
    let swept = |arguments: &[&str]| -> Value {
        let said = house.run(arguments);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str::<Value>(&said.out).unwrap()["sessions"].take()
    };
    let fates = |found: &Value| -> Vec<(String, bool)> {
        let found = found.as_array().unwrap().iter();
        let caches = found.filter(|it| it["kind"] == "caches");
        caches
            .map(|it| {
                let owner = it["owner"].as_str().unwrap().to_owned();
                (owner, it["is_stale"].as_bool().unwrap())
            })
            .collect()
    };
    let told = swept(&["admin", "sweep", "--dry-run", "--json"]);
    let mut wanted = vec![(work, true), (unknown.clone(), false)];
    wanted.sort();
    assert_eq!(fates(&told), wanted);
    assert_eq!(workspaces.cached().unwrap().len(), 2, "a dry run");
    swept(&["admin", "sweep", "--json"]);
    assert_eq!(workspaces.cached().unwrap(), [unknown], "nobody knows it");
}

#[test]
fn a_sweep_tells_and_removes_what_no_event_names() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    assert_eq!(house.approve(&[]).code, 0);
    let options = Options {
        clock: Arc::new(LongAgo),
        ..Options::default()
    };
    let folder = house.path("repo/.git/palisade/artifacts");
    let store = DiskArtifacts::open_with(&folder, options).unwrap();
    let before = store.list().unwrap();
    let (small, large) = (vec![1; 100], vec![2; 1 << 20]);
    let forgotten = store.put_all(&[&small, &large]).unwrap();
    let swept = |arguments: &[&str]| -> Value {
        let said = house.run(arguments);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str::<Value>(&said.out).unwrap()["artifacts"].take()
    };
    let told = swept(&["admin", "sweep", "--dry-run", "--json"]);
    assert_eq!(
        (&told["artifacts"], &told["bytes"]),
        (&2.into(), &1_048_676.into())
    );
    assert_eq!(told["dry_run"], true);
    assert!(store.contains(&forgotten[0]).unwrap());
    let said = house.run(&["admin", "sweep"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains("2 artifacts of 1.0 MiB removed"),
        "{said:?}"
    );
    assert_eq!(store.list().unwrap(), before);
    assert_eq!(swept(&["admin", "sweep", "--json"])["artifacts"], 0);
    let said = house.run(&["audit", "verify", "spec"]);
    assert_eq!(said.code, 0, "{said:?}");
}
