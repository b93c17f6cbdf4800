//! Sweeping: what is proved to be kept elsewhere goes, all else stays.

use std::fs;

use domain::SessionId;
use domain::checkpoint::State;
use palisade_engine::sweep;
use ports::workspaces::{Mode, Workspaces as _};

use super::house::{House, good};

#[test]
fn only_what_is_proved_to_be_kept_is_removed() {
    let house = House::new(good);
    let work = house.submit("# T\n");
    house.run();
    let case = house.case(work);
    let tree = case.active().unwrap().tree.clone();
    // What a death between the record of a session's end and its clearing away leaves.
    let kept = case.checkpoints.values().filter_map(State::checkpoint);
    let over = kept.filter_map(|it| it.session).next().unwrap();
    let (gate, unknown) = (SessionId::from_bits(7), SessionId::from_bits(8));
    for (session, mode) in [
        (over, Mode::Writable),
        (gate, Mode::Scratch),
        (unknown, Mode::Writable),
    ] {
        house.workspaces.open(session, &tree, mode).unwrap();
    }
    let brief = house.settings.state.join("briefs");
    for name in [over.to_string(), unknown.to_string(), "mine".to_owned()] {
        fs::create_dir_all(brief.join(name)).unwrap();
    }
    let recorder = house.recorder();
    let seen = sweep::look(&recorder, &house.settings).unwrap();
    assert_eq!(house.workspaces.open_sessions().len(), 3, "a dry run");
    assert!(brief.join(over.to_string()).exists(), "a dry run");
    assert_eq!(sweep::sweep(&recorder, &house.settings).unwrap(), seen);
    let stale: Vec<_> = seen.iter().filter(|it| it.is_stale).collect();
    assert_eq!(stale.len(), 3, "{seen:?}");
    assert_eq!(house.workspaces.open_sessions(), [unknown]);
    let mut names: Vec<_> = fs::read_dir(&brief)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["mine".to_owned(), unknown.to_string()]);
}
