//! S9, liveness: agents that never end, never agree or never stop talking. Every history comes to
//! its end, with one reason for each session, within its budget.

use std::time::Duration;

use domain::agent::{EndReason, RefusalReason, Signal};
use domain::ambiguity;
use domain::event::Event;
use domain::session;
use palisade_engine::settings::Fallback;
use ports::agents::Report;
use testkit::agents::Stage;

use super::house::{good, question};
use super::powers::retelling;
use super::scene::{Scene, must};
use super::suite::{Attempt, Seen, Wall, held};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "S9-always-silent",
        tries: "every session falls silent",
        breach: "sessions: 7",
        play: |wall| never_ends(wall, || EndReason::Silent),
    },
    Attempt {
        id: "S9-always-late",
        tries: "every session uses up its time",
        breach: "sessions: 7",
        play: |wall| never_ends(wall, || EndReason::WallClock),
    },
    Attempt {
        id: "S9-exit-zero",
        tries: "every session exits with 0 and says nothing",
        breach: "sessions: 7",
        play: |wall| {
            never_ends(wall, || EndReason::NoSignal {
                code: Some(0),
                killed_by: None,
            })
        },
    },
    Attempt {
        id: "S9-exit-137",
        tries: "every session exits with 137",
        breach: "sessions: 7",
        play: |wall| {
            never_ends(wall, || EndReason::NoSignal {
                code: Some(137),
                killed_by: None,
            })
        },
    },
    Attempt {
        id: "S9-killed",
        tries: "every session kills itself",
        breach: "sessions: 7",
        play: |wall| {
            never_ends(wall, || EndReason::NoSignal {
                code: None,
                killed_by: Some(9),
            })
        },
    },
    Attempt {
        id: "S9-always-floods",
        tries: "every session prints more than is allowed",
        breach: "sessions: 7",
        play: |wall| never_ends(wall, || EndReason::Flood),
    },
    Attempt {
        id: "S9-always-garbage",
        tries: "every session speaks garbage",
        breach: "sessions: 7",
        play: |wall| never_ends(wall, || EndReason::Garbage),
    },
    Attempt {
        id: "S9-over-quota",
        tries: "every session writes more than its disk quota",
        breach: "sessions: 7",
        play: |wall| {
            never_ends(wall, || EndReason::OverQuota {
                detail: "2 GiB".to_owned(),
            })
        },
    },
    Attempt {
        id: "S9-always-fails",
        tries: "every session gives up",
        breach: "sessions: 7",
        play: |wall| {
            never_ends(wall, || EndReason::Failed {
                detail: "no".to_owned(),
            })
        },
    },
    Attempt {
        id: "S9-violates-for-ever",
        tries: "every session leaves the same forbidden file",
        breach: "sessions: 7",
        play: |wall| {
            endless(wall, |stage| {
                stage.write("gate.sh", "true\n");
                stage.done("again");
            })
        },
    },
    Attempt {
        id: "S9-changes-nothing",
        tries: "every session is done and has changed nothing",
        breach: "sessions: 7",
        play: |wall| {
            endless(wall, |stage| {
                stage.done("again");
            })
        },
    },
    Attempt {
        id: "S9-refuses",
        tries: "the agent refuses as too large, for ever",
        breach: "sessions: 7",
        play: refuses,
    },
    Attempt {
        id: "S9-reviews-for-ever",
        tries: "the reviewer finds something new in every round",
        breach: "rounds: 5",
        play: |wall| {
            rounds(wall, |stage| {
                if stage.role() == "reviewer" {
                    let rule = format!("rule-{}", stage.round());
                    stage.finding("src/lib.txt", 1, &rule, "be kind");
                }
                good(stage);
            })
        },
    },
    Attempt {
        id: "S9-red-for-ever",
        tries: "the gate is red in every round",
        breach: "rounds: 5",
        play: |wall| {
            rounds(wall, |stage| {
                if stage.role() == "builder" {
                    stage.write("src/red", "");
                    stage.write("src/round", &stage.round().to_string());
                }
                good(stage);
            })
        },
    },
    Attempt {
        id: "S9-asks-and-waits",
        tries: "asks a P0 question and waits for its answer",
        breach: "nobody ended the waiting session",
        play: asks_and_waits,
    },
    Attempt {
        id: "S7-question-flood",
        tries: "files 500 questions at once",
        breach: "questions were lost",
        play: |wall| flood(wall, 500, 1, 100),
    },
    Attempt {
        id: "S7-question-flood-of-all",
        tries: "all roles together file 400 questions",
        breach: "questions were lost",
        play: |wall| flood(wall, 100, 4, 300),
    },
    Attempt {
        id: "S7-finding-flood",
        tries: "reports 1200 findings at once",
        breach: "findings were lost",
        play: finding_flood,
    },
    Attempt {
        id: "S9-progress-flood",
        tries: "shows 2000 signs of life",
        breach: "the record grew by every sign of life",
        play: progress_flood,
    },
];

#[test]
fn every_history_comes_to_its_end() {
    held(ATTEMPTS);
}

/// The shipped formula with other numbers.
fn formula(attempts: u32) -> Fallback {
    let shipped = include_str!("../../../../formulas/work-cycle.toml");
    Fallback {
        path: ".palisade/formulas/work-cycle.toml".to_owned(),
        source: "control".to_owned(),
        text: shipped.replace("attempts = 3", &format!("attempts = {attempts}")),
    }
}

fn never_ends(wall: Wall, reason: fn() -> EndReason) -> Seen {
    endless_in(wall, move |stage| stage.end(reason()), Some(reason()))
}

fn endless(wall: Wall, part: fn(&mut Stage<'_>)) -> Seen {
    endless_in(wall, part, None)
}

/// The formula gives three attempts; the control one gives seven.
fn endless_in(
    wall: Wall,
    part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static,
    reason: Option<EndReason>,
) -> Seen {
    let mut scene = Scene::of(part);
    if wall == Wall::Down {
        scene.house.settings.fallbacks.push(formula(7));
    }
    let work = scene.submit();
    scene.run();
    scene.failed(work)?;
    let ends = scene.ends(work);
    must(ends.len() <= 3, &format!("sessions: {}", ends.len()))?;
    let same = reason.is_none_or(|it| ends.iter().all(|end| *end == it));
    must(same, &format!("other reasons: {ends:?}"))?;
    scene.nothing_landed()?;
    scene.judged(work)
}

/// A refusal is an answer: it ends the work at once. Taken for a failure, it would be tried again.
fn refuses(wall: Wall) -> Seen {
    let part = |stage: &mut Stage<'_>| {
        let (reason, detail) = (RefusalReason::TooLarge, "no".to_owned());
        stage.signal(Signal::Refuse { reason, detail });
    };
    let scene = Scene::of(part);
    let mut scene = scene.with(
        wall,
        |_| {},
        |world| {
            super::altered::retold(
                world,
                |_, report| Some(report),
                |mut outcome| {
                    outcome.reason = EndReason::Failed {
                        detail: "no".to_owned(),
                    };
                    outcome
                },
            )
        },
    );
    if wall == Wall::Down {
        scene.house.settings.fallbacks.push(formula(7));
    }
    let work = scene.submit();
    scene.run();
    let told = scene.failed(work)?;
    let ends = scene.ends(work);
    must(ends.len() == 1, &format!("sessions: {}", ends.len()))?;
    must(told.contains("too large"), &told)?;
    scene.judged(work)
}

/// The operator gives two rounds; in the control, five.
fn rounds(wall: Wall, part: fn(&mut Stage<'_>)) -> Seen {
    let scene = Scene::of(part);
    let budget = if wall == Wall::Up { 2 } else { 5 };
    let spec =
        format!("---\nbudget:\n  rounds: {budget}\n  sessions: 90\n---\n# Never\n\nEnough.\n");
    let work = scene.house.submit(&spec);
    scene.run();
    let case = scene.house.case(work);
    let (_, state) = case.work().unwrap();
    let spent = state.record().unwrap().spent.rounds;
    scene.failed(work)?;
    must(spent <= 2, &format!("rounds: {spent}"))?;
    scene.nothing_landed()?;
    scene.judged(work)
}

/// Nothing answers while a session runs; when the operator calls the work off, it ends.
fn asks_and_waits(wall: Wall) -> Seen {
    let scene = Scene::of(|stage| {
        stage.ask("P0", &question("Which colour?"));
        // A bound for the control alone: there nobody ever ends it.
        for _ in 0..40 {
            if !stage.wait_until(Duration::from_secs(60), || true) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        stage.end(EndReason::Silent);
    });
    let work = scene.submit();
    let rest = scene.house.run_looking(|_| {
        let asked = !scene.house.case(work).ambiguities.is_empty();
        if asked && wall == Wall::Up && scene.house.ending(work).is_none() {
            let recorder = scene.house.recorder();
            palisade_engine::answers::stop(&recorder, work, "it waits").unwrap();
        }
    });
    rest.unwrap();
    let ends = scene.ends(work);
    must(
        ends == [EndReason::Stopped],
        "nobody ended the waiting session",
    )?;
    scene.judged(work)
}

/// So many roles file so many questions each: what is over a cap is refused, and on record.
fn flood(wall: Wall, each: usize, roles: usize, filed: usize) -> Seen {
    let part = move |stage: &mut Stage<'_>| {
        let order = ["builder", "tester", "reviewer", "docs"];
        let at = order.iter().position(|it| *it == stage.role()).unwrap();
        if at < roles {
            for number in 0..each {
                let text = question(&format!("Question {number} of {}?", stage.role()));
                stage.ask("P3", &text);
            }
        }
        good(stage);
    };
    let scene = retelling(part, wall, |_, report| match &report {
        // A driver that keeps every other question to itself.
        Report::Signal(_, Signal::Ask { report: text, .. }) if text.len() % 2 == 0 => None,
        _ => Some(report),
    });
    let work = scene.submit();
    scene.run();
    let case = scene.house.case(work);
    let refused = scene.refused(work);
    let kept = case.ambiguities.len() + refused.len();
    must(kept == each * roles, "questions were lost")?;
    must(
        case.ambiguities.len() == filed,
        "more were filed than may be",
    )?;
    let raw = scene.house.events(work).into_iter().all(|it| match it {
        Event::Session(_, session::Event::SignalRefused { raw, .. }) => raw.contains("Question "),
        Event::Ambiguity(_, ambiguity::Event::Filed(it)) => it.malformed.is_empty(),
        _ => true,
    });
    must(raw, "a refused question is not kept")?;
    scene.promote(work);
    scene.judged(work)
}

fn finding_flood(wall: Wall) -> Seen {
    let part = |stage: &mut Stage<'_>| {
        match (stage.role(), stage.round()) {
            ("reviewer", 1) => {
                for line in 0..1_200 {
                    stage.finding("src/lib.txt", line, &format!("rule-{line}"), "wrong");
                }
            }
            ("builder", 2) => stage.write("src/lib.txt", "better\n"),
            _ => return good(stage),
        }
        stage.done("much");
    };
    let scene = retelling(part, wall, |_, report| match &report {
        Report::Signal(_, Signal::Finding { line, .. }) if line % 2 == 0 => None,
        _ => Some(report),
    });
    let work = scene.submit();
    scene.run();
    let found = scene.house.case(work).findings.len();
    must(
        found + scene.refused(work).len() == 1_200,
        "findings were lost",
    )?;
    must(found == 300, "more are open than may be")?;
    scene.promote(work);
    scene.judged(work)
}

fn progress_flood(wall: Wall) -> Seen {
    let part = |stage: &mut Stage<'_>| {
        if stage.role() == "builder" {
            for number in 0..2_000 {
                stage.progress(&format!("step {number}"));
            }
        }
        good(stage);
    };
    // Told as questions that are refused, every one would be kept: what the cap is good for.
    let scene = retelling(part, wall, |_, report| {
        Some(match report {
            Report::Signal(_, Signal::Progress { text }) => Report::Malformed(text.clone(), text),
            other => other,
        })
    });
    let work = scene.submit();
    scene.run();
    let grew = scene.house.events(work).len();
    must(grew < 1_000, "the record grew by every sign of life")?;
    scene.promote(work);
    scene.judged(work)
}
