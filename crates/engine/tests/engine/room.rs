//! Room: what the machine has too little of is told, and nothing is started for it.

use palisade_engine::recorder::Error;
use palisade_engine::room;

use super::house::{House, good};

/// Runs a house on a machine that has too little of something, and again when it has enough.
fn waits_for_room(take: impl FnOnce(&mut ports::machine::Free), word: &str) {
    let house = House::new(good);
    house.machine.set(take);
    let work = house.submit("# T\n");
    let rest = house.try_run().unwrap();
    let Some(Error::NoRoom(why)) = rest.errors.get(&work) else {
        panic!("{rest:?}");
    };
    assert!(why.contains(word), "{why}");
    let recorder = house.recorder();
    let told = room::short_of(recorder.world(), &house.settings).unwrap();
    assert!(told[0].contains(word), "{told:?}");
    let started = house.case(work).sessions;
    let names: Vec<_> = started.values().map(|it| it.name()).collect();
    assert_eq!(names, ["requested"], "nothing was started");
    house
        .machine
        .set(|free| (free.disk, free.memory) = (1 << 40, 1 << 40));
    house.run();
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn nothing_starts_on_a_disk_that_is_nearly_full() {
    waits_for_room(
        |free| free.disk = 100 << 20,
        "1024 MiB are free on the disk of",
    );
}

#[test]
fn nothing_starts_without_memory() {
    waits_for_room(|free| free.memory = 100 << 20, "2048 MiB of memory");
}

#[test]
fn where_there_is_room_for_one_cell_two_works_follow_each_other() {
    let house = House::new(good);
    house.machine.set(|free| free.memory = 3 << 30);
    let works = [house.submit("# A\n"), house.submit("# B\n")];
    house.run();
    for work in works {
        house.promotion(work);
    }
}
