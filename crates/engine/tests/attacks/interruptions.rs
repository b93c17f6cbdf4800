//! S11, interruptions: agents killed, disks full, clocks that jump, effects delivered twice, an
//! engine that lost its lease. A death of the engine at every edge is walked in the crash matrix
//! (`crates/engine/tests/engine/crash.rs`), where both columns are the same history told twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::agent::EndReason;
use domain::event::Event;
use domain::formula::Lane;
use domain::{Millis, lease};
use palisade_engine::recorder::ENGINE;
use ports::log::EventLog as _;
use testkit::agents::Stage;

use super::altered::{OddLog, Stopped, retold};
use super::house::good;
use super::scene::{Scene, must};
use super::suite::{Attempt, Seen, Wall, held};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "S11-killed-mid-write",
        tries: "an agent is killed when it has written half a file",
        breach: "half a file landed",
        play: killed_mid_write,
    },
    Attempt {
        id: "S11-full-disk-in-capture",
        tries: "the disk is full when a session's work is captured",
        breach: "a finished session left no checkpoint",
        play: full_disk_in_capture,
    },
    Attempt {
        id: "S11-effect-twice",
        tries: "every effect is delivered a second time",
        breach: "landed what nobody approved",
        play: effect_twice,
    },
    Attempt {
        id: "S11-landing-untold",
        tries: "the ref moved, and nobody was told",
        breach: "landed what nobody approved",
        play: landing_untold,
    },
    Attempt {
        id: "S11-lost-lease",
        tries: "an engine that lost its lease goes on",
        breach: "a fenced engine went on",
        play: lost_lease,
    },
    Attempt {
        id: "S11-outlived-lease",
        tries: "a session lasts longer than the engine's lease",
        breach: "the lease had expired while it was held",
        play: outlived_lease,
    },
    Attempt {
        id: "S11-clock-over-lease",
        tries: "the clock jumps back and forth across the lease and all deadlines",
        breach: "time was counted that was never reserved",
        play: clock_over_lease,
    },
];

#[test]
fn no_interruption_changes_what_is_true() {
    held(ATTEMPTS);
}

fn killed_mid_write(wall: Wall) -> Seen {
    let killed = AtomicBool::new(false);
    let part = move |stage: &mut Stage<'_>| {
        if stage.role() == "builder" && !killed.swap(true, Ordering::SeqCst) {
            stage.write("src/half.txt", "half a li");
            let reason = EndReason::NoSignal {
                code: None,
                killed_by: Some(9),
            };
            return stage.end(reason);
        }
        good(stage);
    };
    // A driver that takes a death for an end.
    let scene = Scene::of(part).with(
        wall,
        |_| {},
        |world| {
            retold(
                world,
                |_, report| Some(report),
                |mut outcome| {
                    if outcome.reason.summary().is_none() {
                        outcome.reason = EndReason::Done {
                            summary: "done".to_owned(),
                        };
                    }
                    outcome
                },
            )
        },
    );
    let work = scene.submit();
    scene.run();
    let main = scene.promote(work);
    must(!main.contains_key("src/half.txt"), "half a file landed")?;
    scene.judged(work)
}

fn full_disk_in_capture(wall: Wall) -> Seen {
    let scene = Scene::of(|stage| {
        if stage.role() == "builder" {
            stage.write("src/kept.txt", "kept\n");
        }
        good(stage);
    });
    let scene = scene.with(wall, |it| it.swallows = true, |world| world);
    let work = scene.submit();
    scene.house.workspaces.fail_next("capturing a session");
    let first = scene.house.try_run().unwrap();
    if wall == Wall::Up {
        assert_eq!(first.errors.len(), 1, "the disk was not full");
    }
    scene.run();
    every_finished_session_was_captured(&scene, work)?;
    let main = scene.promote_if_ready(work);
    must(main.contains_key("src/kept.txt"), "the work was lost")?;
    scene.judged(work)
}

fn every_finished_session_was_captured(scene: &Scene, work: domain::WorkId) -> Seen {
    let case = scene.house.case(work);
    let captured: Vec<_> = case
        .checkpoints
        .values()
        .filter_map(|it| it.checkpoint()?.session)
        .collect();
    let finished = case.sessions.iter().filter(|(_, it)| {
        let writes = it.session().is_some_and(|it| it.lane != Lane::ReadOnly);
        writes && it.end().is_some_and(|it| it.reason.summary().is_some())
    });
    let all = finished.into_iter().all(|(id, _)| captured.contains(id));
    must(all, "a finished session left no checkpoint")
}

/// The control: in the second delivery, what has landed is not recognised, and lands again.
fn effect_twice(wall: Wall) -> Seen {
    let scene = Scene::of(good);
    let odd = |mut world: palisade_engine::World| {
        let (inner, twice) = (world.log, Some(std::sync::Mutex::default()));
        world.log = Arc::new(OddLog {
            inner,
            blind_to: None,
            stands_in: false,
            twice,
        });
        world
    };
    let mut scene = scene;
    let published = Arc::clone(&scene.published);
    scene.house.put_between(move |mut world| {
        let altered = super::altered::Altered::over(world.workspaces, &published);
        world.workspaces = Arc::new(altered);
        odd(world)
    });
    let work = scene.submit();
    scene.run();
    scene.approve(work);
    scene.run();
    if wall == Wall::Down {
        land_again(&scene, work);
    }
    let landed = scene.house.workspaces.landings().len();
    scene.judged(work)?;
    must(landed == 1, &format!("landed {landed} times"))
}

/// What a delivery would do that neither looks at the promotion's state nor at the ref.
fn land_again(scene: &Scene, work: domain::WorkId) {
    let (_, proposal) = scene.promotion(work);
    let recorder = scene.house.recorder();
    let workspaces = &recorder.world().workspaces;
    let text = ports::workspaces::CommitText {
        name: "Palisade".to_owned(),
        email: "palisade@localhost".to_owned(),
        seconds: 7,
        message: "the same again".to_owned(),
    };
    let commit = workspaces.publish(&proposal.tree, &text).unwrap();
    let target = workspaces.target(None).unwrap();
    workspaces.land(&target, &commit).unwrap();
}

fn landing_untold(wall: Wall) -> Seen {
    let scene = Scene::of(good);
    let work = scene.submit();
    scene.run();
    scene.approve(work);
    scene.house.workspaces.fail_next_after("moving a ref");
    assert_eq!(scene.house.try_run().unwrap().errors.len(), 1);
    if wall == Wall::Down {
        land_again(&scene, work);
    }
    scene.run();
    scene.judged(work)?;
    let name = scene.house.promotion(work).1.name();
    must(name == "promoted", "it is not known as promoted")
}

/// Another engine takes the lease while the builder is at work; the first one notices.
fn lost_lease(wall: Wall) -> Seen {
    let lost = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&lost);
    let scene = Scene::of(move |stage| {
        if stage.role() == "builder" {
            let lost = Arc::clone(&seen);
            let patience = std::time::Duration::from_secs(60);
            if !stage.wait_until(patience, move || lost.load(Ordering::SeqCst)) {
                return;
            }
        }
        good(stage);
    });
    // An engine that never looks whether the lease is still its own.
    let scene = scene.with(
        wall,
        |_| {},
        |mut world| {
            world.log = Arc::new(OddLog {
                inner: world.log,
                blind_to: Some("lease/"),
                stands_in: false,
                twice: None,
            });
            world
        },
    );
    let work = scene.submit();
    let rest = scene.house.run_looking(|_| {
        let runs = !scene.house.case(work).sessions.is_empty();
        if runs && !lost.load(Ordering::SeqCst) {
            let owner = "operator:eve".to_owned();
            let expires = ports::clock::Clock::now(&scene.house.clock).after(Millis::from_mins(10));
            let event = lease::Event::Acquired {
                owner,
                epoch: 99,
                expires,
            };
            let event = Event::Lease(ENGINE.to_owned(), event);
            scene.force(work, "operator:eve", &event, &[]);
            lost.store(true, Ordering::SeqCst);
        }
    });
    assert!(lost.load(Ordering::SeqCst), "nobody took the lease");
    super::witness::record_is_lawful(&scene.house.log)?;
    let told = rest.unwrap_err().to_string();
    must(told.contains("epoch 1 is not the current one, 99"), &told)
}

/// The clock moves on by more than the lease while a session works, in steps shorter than it.
fn outlived_lease(wall: Wall) -> Seen {
    let now = ports::clock::Clock::now(&testkit::clock::FakeClock::default());
    let (ready, seen) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let done = Arc::clone(&ready);
    let began = Arc::clone(&seen);
    let mut scene = Scene::of(move |stage| {
        if stage.role() == "builder" {
            began.store(true, Ordering::SeqCst);
            let done = Arc::clone(&done);
            let patience = std::time::Duration::from_secs(60);
            assert!(stage.wait_until(patience, move || done.load(Ordering::SeqCst)));
        }
        good(stage);
    });
    scene = scene.with(
        wall,
        |_| {},
        move |mut world| {
            let (inner, at) = (world.clock, now);
            world.clock = Arc::new(Stopped { inner, at });
            world
        },
    );
    let work = scene.submit();
    let (mut steps, mut expired) = (0, false);
    let rest = scene.house.run_looking(|_| {
        if seen.load(Ordering::SeqCst) && steps < 4 {
            let now = ports::clock::Clock::now(&scene.house.clock);
            expired |= steps > 0 && lease_expires(&scene) <= now;
            scene.house.clock.advance(Millis::from_mins(6));
            steps += 1;
        } else if steps == 4 {
            ready.store(true, Ordering::SeqCst);
        }
    });
    assert!(rest.unwrap().errors.is_empty());
    must(!expired, "the lease had expired while it was held")?;
    scene.judged(work)
}

fn lease_expires(scene: &Scene) -> domain::Timestamp {
    let mut state = lease::State::default();
    for recorded in scene.house.log.read_stream("lease/engine", 0).unwrap() {
        if let Event::Lease(_, event) = palisade_engine::recorder::decoded(&recorded).unwrap() {
            state = lease::evolve(state, &event);
        }
    }
    state
        .holder
        .map_or(domain::Timestamp(0), |(_, expires)| expires)
}

fn clock_over_lease(wall: Wall) -> Seen {
    let clocks: Arc<std::sync::OnceLock<testkit::clock::FakeClock>> = Arc::default();
    let clock = Arc::clone(&clocks);
    let scene = Scene::of(move |stage| {
        const YEAR: i64 = 86_400_000 * 365;
        let jumps = [YEAR, -2 * YEAR, 660_000, -660_000];
        let order = ["builder", "tester", "reviewer", "docs"];
        let at = order.iter().position(|it| *it == stage.role()).unwrap();
        let clock = clock.get().unwrap();
        let now = ports::clock::Clock::now(clock).0;
        clock.jump_to(domain::Timestamp(now.saturating_add_signed(jumps[at])));
        good(stage);
    });
    clocks.set(scene.house.clock.clone()).unwrap();
    let work = scene.submit();
    scene.run();
    let case = scene.house.case(work);
    if wall == Wall::Down {
        let (id, state) = case.sessions.first_key_value().unwrap();
        let end = domain::session::End {
            wall: Millis(86_400_000 * 365),
            ..state.end().unwrap().clone()
        };
        let event = Event::Session(*id, domain::session::Event::Ended(end));
        scene.force(work, "agent:scripted", &event, &[]);
    }
    let counted = scene.house.events(work).into_iter().all(|it| match it {
        Event::Session(id, domain::session::Event::Ended(end)) => {
            end.wall <= case.sessions[&id].session().unwrap().wall
        }
        _ => true,
    });
    must(counted, "time was counted that was never reserved")?;
    scene.promote_if_ready(work);
    must(
        scene.house.promotion(work).1.name() == "promoted",
        "it did not land",
    )?;
    scene.judged(work)
}
