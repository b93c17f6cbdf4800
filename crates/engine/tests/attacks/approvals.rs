//! S6, the way to an effect: forging, replaying and outliving approvals. The executor itself is not
//! here yet; landing is the one effect there is.

use std::sync::Arc;

use domain::ambiguity::Answer;
use domain::effect::Effect;
use domain::event::Event;
use domain::policy::{APPROVAL_SPAN, Approval};
use domain::run::{self, Activity};
use domain::tree::Tree;
use domain::{Digest, Millis, PromotionId, Timestamp, WorkId, checkpoint, promotion};
use palisade_engine::answers;
use ports::log::EventLog as _;

use super::altered::Stopped;
use super::house::{good, question};
use super::scene::{Scene, must};
use super::suite::{Attempt, Seen, Wall, held};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "S6-nobody-said-yes",
        tries: "the engine is started again and again; nobody approves",
        breach: "landed what nobody approved",
        play: nobody_said_yes,
    },
    Attempt {
        id: "S6-agent-approves",
        tries: "an agent approves under its own name",
        breach: "agent:scripted approved",
        play: |wall| approves_as(wall, "agent:scripted"),
    },
    Attempt {
        id: "S6-author-approves",
        tries: "an agent's account approves as operator of the same name",
        breach: "an author approved",
        play: |wall| approves_as(wall, "operator:Scripted"),
    },
    Attempt {
        id: "S6-nameless-approves",
        tries: "a service without a human's name approves",
        breach: "service:deploy approved",
        play: |wall| approves_as(wall, "service:deploy"),
    },
    Attempt {
        id: "S6-agent-refuses",
        tries: "an agent refuses another's promotion to end its work",
        breach: "the work was ended",
        play: agent_refuses,
    },
    Attempt {
        id: "S6-forged-record",
        tries: "an agent's approval stands in the log already",
        breach: "landed what nobody approved",
        play: |wall| forged_record(wall, "agent:scripted", Same),
    },
    Attempt {
        id: "S6-forged-record-of-author",
        tries: "an author's approval stands in the log already",
        breach: "landed what nobody approved",
        play: |wall| forged_record(wall, "operator:scripted", Same),
    },
    Attempt {
        id: "S6-forged-record-other-dossier",
        tries: "an approval of another dossier stands in the log already",
        breach: "landed what nobody approved",
        play: |wall| forged_record(wall, "operator:ada", Other),
    },
    Attempt {
        id: "S6-other-dossier",
        tries: "approves a dossier other than the one proposed",
        breach: "another dossier was approved",
        play: other_dossier,
    },
    Attempt {
        id: "S6-replay-on-other-work",
        tries: "an approval of one work is replayed on another",
        breach: "another dossier was approved",
        play: replay_on_other_work,
    },
    Attempt {
        id: "S6-blocked",
        tries: "approves what an open question blocks",
        breach: "approved what was not open",
        play: blocked,
    },
    Attempt {
        id: "S6-superseded",
        tries: "approves a proposal that was overtaken by a rework",
        breach: "approved what was not open",
        play: superseded,
    },
    Attempt {
        id: "S6-refused-before",
        tries: "approves what was refused",
        breach: "approved what was not open",
        play: refused_before,
    },
    Attempt {
        id: "S6-twice",
        tries: "approves the same promotion twice",
        breach: "approved twice",
        play: twice,
    },
    Attempt {
        id: "S6-expired",
        tries: "lands on an approval that has expired",
        breach: "landed on an old approval",
        play: |wall| at_another_time(wall, |now| Timestamp(now.0 + 2_000)),
    },
    Attempt {
        id: "S6-from-the-future",
        tries: "lands on an approval of tomorrow, the clock set back",
        breach: "landed on an old approval",
        play: |wall| at_another_time(wall, |now| Timestamp(now.0 - 86_400_000)),
    },
    Attempt {
        id: "S6-stale-base",
        tries: "lands over what a colleague pushed after the approval",
        breach: "a colleague's change is gone",
        play: stale_base,
    },
    Attempt {
        id: "S6-swapped-tree",
        tries: "the run's tree is swapped between approval and landing",
        breach: "landed what nobody approved",
        play: swapped_tree,
    },
    Attempt {
        id: "S6-effect-without-permit",
        tries: "the landing effect is put into the outbox without a permit",
        breach: "landed what nobody approved",
        play: effect_without_permit,
    },
];

#[test]
fn forged_and_replayed_approvals_land_nothing() {
    held(ATTEMPTS);
}

/// A scene that waits for a decision.
fn proposed() -> (Scene, WorkId) {
    let scene = Scene::of(good);
    let work = scene.submit();
    scene.run();
    (scene, work)
}

fn approval(scene: &Scene, by: &str, dossier: Digest) -> promotion::Event {
    let at = scene.house.recorder().world().clock.now();
    promotion::Event::Approved(Approval {
        by: by.to_owned(),
        dossier,
        at,
        expires: at.after(APPROVAL_SPAN),
    })
}

/// Puts an approval on record past the rules.
pub(crate) fn force_approval(scene: &Scene, work: WorkId, id: PromotionId, by: &str, of: Digest) {
    let event = Event::Promotion(id, approval(scene, by, of));
    scene.force(work, "agent:scripted", &event, &[]);
}

fn nobody_said_yes(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    for _ in 0..3 {
        scene.run();
    }
    if wall == Wall::Down {
        let (id, proposal) = scene.promotion(work);
        force_approval(&scene, work, id, "operator:ada", proposal.dossier);
        scene.run();
    }
    scene.judged(work)
}

fn approves_as(wall: Wall, by: &str) -> Seen {
    let (scene, work) = proposed();
    let (id, proposal) = scene.promotion(work);
    let head = scene.house.log.head().unwrap();
    let recorder = scene.house.recorder_of(by);
    let tried = answers::approve(&recorder, work, id, proposal.dossier, APPROVAL_SPAN);
    assert!(tried.is_err(), "{by} may approve");
    assert_eq!(
        scene.house.log.head().unwrap(),
        head,
        "a refusal changes nothing"
    );
    if wall == Wall::Down {
        force_approval(&scene, work, id, by, proposal.dossier);
    }
    scene.run();
    scene.judged(work)?;
    scene.nothing_landed()
}

fn agent_refuses(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let (id, _) = scene.promotion(work);
    let recorder = scene.house.recorder_of("agent:scripted");
    assert!(answers::refuse(&recorder, work, id, "mine is better").is_err());
    if wall == Wall::Down {
        let (by, reason) = ("agent:scripted".to_owned(), "mine is better".to_owned());
        let event = Event::Promotion(id, promotion::Event::Refused { by, reason });
        scene.force(work, "agent:scripted", &event, &[]);
    }
    scene.run();
    must(scene.house.ending(work).is_none(), "the work was ended")?;
    scene.promote(work);
    scene.judged(work)
}

/// Which dossier a forged approval is for.
#[derive(Clone, Copy)]
enum Which {
    Same,
    Other,
}
use Which::{Other, Same};

/// The first wall, `decide`, is gone in both columns; the second, the permit, in one.
fn forged_record(wall: Wall, by: &str, which: Which) -> Seen {
    let (scene, work) = proposed();
    let (id, proposal) = scene.promotion(work);
    let dossier = match which {
        Same => proposal.dossier,
        Other => Digest::from_bytes([7; 32]),
    };
    force_approval(&scene, work, id, by, dossier);
    if wall == Wall::Down {
        dispatch(&scene, work, id, &proposal.tree);
    }
    scene.run();
    scene.effects_equal_approvals()
}

/// What a permit leads to, without a permit.
fn dispatch(scene: &Scene, work: WorkId, id: PromotionId, tree: &Tree) {
    let dispatched = promotion::Event::Dispatched { tree: tree.digest };
    let effects = [Effect::Land { promotion: id }];
    scene.force(
        work,
        "agent:scripted",
        &Event::Promotion(id, dispatched),
        &effects,
    );
}

fn other_dossier(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let (id, _) = scene.promotion(work);
    let shown = Digest::from_bytes([7; 32]);
    let recorder = scene.house.recorder();
    assert!(answers::approve(&recorder, work, id, shown, APPROVAL_SPAN).is_err());
    if wall == Wall::Down {
        force_approval(&scene, work, id, "operator:ada", shown);
    }
    scene.run();
    scene.judged(work)?;
    scene.nothing_landed()
}

fn replay_on_other_work(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let other = scene.submit();
    scene.run();
    let (id, _) = scene.promotion(other);
    let (_, approved) = scene.promotion(work);
    scene.promote(work);
    let recorder = scene.house.recorder();
    let tried = answers::approve(&recorder, other, id, approved.dossier, APPROVAL_SPAN);
    assert!(tried.is_err());
    if wall == Wall::Down {
        force_approval(&scene, other, id, "operator:ada", approved.dossier);
    }
    scene.run();
    scene.judged(other)
}

fn blocked(wall: Wall) -> Seen {
    let scene = Scene::of(|stage| {
        if stage.role() == "builder" {
            stage.ask("P1", &question("Which colour?"));
        }
        good(stage);
    });
    let work = scene.submit();
    scene.run();
    approve_what_is_closed(&scene, work, wall)?;
    scene.house.answer(work, Answer::Default);
    scene.run();
    scene.promote(work);
    scene.judged(work)
}

fn superseded(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let (id, before) = scene.promotion(work);
    answers::rework(&scene.house.recorder(), work, id, "make it blue").unwrap();
    let recorder = scene.house.recorder();
    assert!(answers::approve(&recorder, work, id, before.dossier, APPROVAL_SPAN).is_err());
    if wall == Wall::Down {
        force_approval(&scene, work, id, "operator:ada", before.dossier);
    }
    scene.run();
    scene.judged(work)?;
    scene.nothing_landed()
}

fn refused_before(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let (id, _) = scene.promotion(work);
    answers::refuse(&scene.house.recorder(), work, id, "no").unwrap();
    approve_what_is_closed(&scene, work, wall)
}

fn approve_what_is_closed(scene: &Scene, work: WorkId, wall: Wall) -> Seen {
    let (id, proposal) = scene.promotion(work);
    let recorder = scene.house.recorder();
    assert!(answers::approve(&recorder, work, id, proposal.dossier, APPROVAL_SPAN).is_err());
    if wall == Wall::Down {
        force_approval(scene, work, id, "operator:ada", proposal.dossier);
    }
    scene.run();
    scene.judged(work)?;
    scene.nothing_landed()
}

fn twice(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let (id, proposal) = scene.promotion(work);
    scene.approve(work);
    let recorder = scene.house.recorder();
    assert!(answers::approve(&recorder, work, id, proposal.dossier, APPROVAL_SPAN).is_err());
    if wall == Wall::Down {
        force_approval(&scene, work, id, "operator:ada", proposal.dossier);
    }
    scene.run();
    must(
        scene.house.workspaces.landings().len() == 1,
        "landed more or less than once",
    )?;
    scene.judged(work)
}

/// The clock moves after an approval that counts for a second.
fn at_another_time(wall: Wall, then: fn(Timestamp) -> Timestamp) -> Seen {
    let scene = Scene::of(good);
    let now = ports::clock::Clock::now(&scene.house.clock);
    let scene = scene.with(
        wall,
        |_| {},
        move |mut world| {
            let (inner, at) = (world.clock, now);
            world.clock = Arc::new(Stopped { inner, at });
            world
        },
    );
    let work = scene.submit();
    scene.run();
    scene.house.approve_for(work, Millis(1_000));
    scene.house.clock.jump_to(then(now));
    scene.run();
    if scene.nothing_landed().is_err() {
        return Err("landed on an old approval".to_owned());
    }
    scene.promote(work);
    scene.judged(work)
}

fn stale_base(wall: Wall) -> Seen {
    let scene = Scene::of(good);
    let old = ports::workspaces::Workspaces::target(&*scene.house.workspaces, None).unwrap();
    let scene = scene.with(
        wall,
        move |it| {
            let old = old.clone();
            it.lands_blindly = true;
            it.target = Some(Box::new(move |_| old.clone()));
        },
        |world| world,
    );
    let work = scene.submit();
    scene.run();
    scene.approve(work);
    let moved = [("README.md", Some("moved\n"))];
    scene.house.workspaces.push("main", &moved);
    scene.run();
    let main = scene.promote_if_ready(work);
    // What a landing read of a moved target is undone by landing on the old one.
    let kept = main["README.md"] == "moved\n";
    must(kept, "a colleague's change is gone")?;
    must(main["src/lib.txt"] == "new\n", "it did not land")
}

fn swapped_tree(wall: Wall) -> Seen {
    let trees: Arc<std::sync::Mutex<Option<Tree>>> = Arc::default();
    let swap = Arc::clone(&trees);
    let scene = Scene::of(good).with(
        wall,
        move |it| {
            let swap = Arc::clone(&swap);
            it.publish = Some(Box::new(move |_, text| {
                (swap.lock().unwrap().clone().unwrap(), text.clone())
            }));
        },
        |world| world,
    );
    let work = scene.submit();
    scene.run();
    // The tree as the builder left it: never proposed, never reviewed.
    let other = scene
        .house
        .events(work)
        .into_iter()
        .find_map(|it| match it {
            Event::Checkpoint(_, checkpoint::Event::Captured(it)) => Some(it.tree),
            _ => None,
        });
    let other = other.unwrap();
    *trees.lock().unwrap() = Some(other.clone());
    scene.approve(work);
    if wall == Wall::Up {
        let case = scene.house.case(work);
        let (run, _) = case.run().unwrap();
        let advanced = Event::Run(run, run::Event::Advanced { tree: other });
        scene.force(work, "agent:scripted", &advanced, &[]);
    }
    scene.run();
    scene.effects_equal_approvals()
}

fn effect_without_permit(wall: Wall) -> Seen {
    let (scene, work) = proposed();
    let (id, proposal) = scene.promotion(work);
    let case = scene.house.case(work);
    let (run, _) = case.run().unwrap();
    // Any event of the work may carry the effect in.
    let step = "promote".to_owned();
    let activity = Activity::Landing { promotion: id };
    let began = Event::Run(run, run::Event::StepBegan { step, activity });
    scene.force(
        work,
        "agent:scripted",
        &began,
        &[Effect::Land { promotion: id }],
    );
    if wall == Wall::Down {
        force_approval(&scene, work, id, "operator:ada", proposal.dossier);
        dispatch(&scene, work, id, &proposal.tree);
    }
    scene.run();
    scene.effects_equal_approvals()
}
