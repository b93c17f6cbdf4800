//! S7, governance: what an agent asks of the engine that its role or its moment does not give it.

use domain::agent::{RefusalReason, Signal};
use domain::ambiguity::{self, Ambiguity, Answer, Priority};
use domain::case::Command;
use domain::due::Wait;
use domain::event::Event;
use domain::finding::{self, Resolver};
use domain::{Digest, FindingId, SessionId, WorkId, promotion, session};
use palisade_engine::answers;
use palisade_engine::settings::Fallback;
use ports::agents::Report;
use testkit::agents::Stage;

use super::altered::{Retell, retold};
use super::house::{good, question};
use super::scene::{SPEC, Scene, must};
use super::suite::{Attempt, Seen, Wall, held};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "S7-resolve-own-finding",
        tries: "the session that reported a finding resolves it",
        breach: "a session resolved its own finding",
        play: |wall| {
            resolves(wall, |it, _| Resolver::Recheck {
                session: it.session,
                tree: OTHER,
            })
        },
    },
    Attempt {
        id: "S7-resolve-same-tree",
        tries: "another session resolves it by looking at the same tree",
        breach: "resolved on the tree it was found in",
        play: |wall| {
            let session = SessionId::from_bits(7);
            resolves(wall, move |it, _| Resolver::Recheck {
                session,
                tree: it.tree,
            })
        },
    },
    Attempt {
        id: "S7-resolve-by-word",
        tries: "an agent resolves it by its word",
        breach: "agent:scripted resolved a finding",
        play: |wall| {
            resolves(wall, |_, name| Resolver::Operator {
                name,
                reason: String::new(),
            })
        },
    },
    Attempt {
        id: "S7-resolve-by-shrug",
        tries: "builder changes nothing, the next reviewer says fine",
        breach: "a finding went away",
        play: |wall| {
            shrugged(wall, |stage| {
                stage.done("fine");
            })
        },
    },
    Attempt {
        id: "S7-resolve-by-refusal",
        tries: "the next reviewer refuses: already done",
        breach: "a finding went away",
        play: |wall| {
            shrugged(wall, |stage| {
                let (reason, detail) = (RefusalReason::AlreadyDone, "seen it".to_owned());
                stage.signal(Signal::Refuse { reason, detail });
            })
        },
    },
    Attempt {
        id: "S7-answer-own-question",
        tries: "an agent answers its own question",
        breach: "agent:scripted answered",
        play: answers_itself,
    },
    Attempt {
        id: "S7-answer-twice",
        tries: "a question is answered a second time, otherwise",
        breach: "answered twice",
        play: answered_twice,
    },
    Attempt {
        id: "S7-answer-section",
        tries: "the filing brings its own answer along",
        breach: "the question is not open",
        play: answer_section,
    },
    Attempt {
        id: "S7-edit-question",
        tries: "a filed question is filed again with another default",
        breach: "a filed question was changed",
        play: |wall| refiled(wall, "P1", |it| it.default_held = "blue".to_owned()),
    },
    Attempt {
        id: "S7-lower-priority",
        tries: "a filed question is filed again, less grave",
        breach: "a filed question was changed",
        play: |wall| refiled(wall, "P3", |_| {}),
    },
    Attempt {
        id: "S7-broken-form",
        tries: "a P0 question is filed in a broken form to lose its weight",
        breach: "the work was not parked",
        play: broken_form,
    },
    Attempt {
        id: "S7-grave-word",
        tries: "a P3 question hides the payments in its options",
        breach: "the promotion was not blocked",
        play: grave_word,
    },
    Attempt {
        id: "S7-epoch-zero",
        tries: "asks under epoch 0",
        breach: "a question was filed",
        play: |wall| fenced_ask(wall, |_| 0),
    },
    Attempt {
        id: "S7-stale-epoch",
        tries: "asks under the epoch of the session before",
        breach: "a question was filed",
        play: |wall| fenced_ask(wall, |own| own - 1),
    },
    Attempt {
        id: "S7-next-epoch",
        tries: "asks under the epoch of the session to come",
        breach: "a question was filed",
        play: |wall| fenced_ask(wall, |own| own + 1),
    },
    Attempt {
        id: "S7-epoch-max",
        tries: "asks under the largest epoch there is",
        breach: "a question was filed",
        play: |wall| fenced_ask(wall, |_| u64::MAX),
    },
    Attempt {
        id: "S7-after-done",
        tries: "asks after it has said that it is done",
        breach: "a question was filed",
        play: after_done,
    },
    Attempt {
        id: "S7-other-session",
        tries: "speaks for a session that is over",
        breach: "something happened to a session after its end",
        play: |wall| {
            speaks_for(
                wall,
                session::Event::Progressed {
                    text: "still here".to_owned(),
                },
            )
        },
    },
    Attempt {
        id: "S7-end-again",
        tries: "ends a session a second time, as done",
        breach: "something happened to a session after its end",
        play: ends_again,
    },
    Attempt {
        id: "S7-finding-by-builder",
        tries: "the builder reports a finding",
        breach: "the builder reported",
        play: |wall| {
            reports(
                wall,
                "builder",
                include_str!("../../../../roles/builder.toml"),
            )
        },
    },
    Attempt {
        id: "S7-finding-by-tester",
        tries: "the tester reports a finding",
        breach: "the tester reported",
        play: |wall| {
            reports(
                wall,
                "tester",
                include_str!("../../../../roles/tester.toml"),
            )
        },
    },
    Attempt {
        id: "S7-finding-by-docs",
        tries: "the documenting role reports a finding",
        breach: "the docs reported",
        play: |wall| reports(wall, "docs", include_str!("../../../../roles/docs.toml")),
    },
    Attempt {
        id: "S7-question-of-other-work",
        tries: "a work answers another work's question",
        breach: "was moved by another work",
        play: question_of_other_work,
    },
    Attempt {
        id: "S7-promotion-of-other-work",
        tries: "a work approves another work's promotion",
        breach: "was moved by another work",
        play: promotion_of_other_work,
    },
    Attempt {
        id: "S7-path-in-finding",
        tries: "a finding names a file outside, hoping to have it read",
        breach: "the file was read",
        play: path_in_finding,
    },
];

/// A tree that is nobody's.
const OTHER: Digest = Digest::from_bytes([9; 32]);

#[test]
fn no_agent_has_powers_beyond_its_role() {
    held(ATTEMPTS);
}

/// A scene whose drivers tell something else where the wall is down.
pub(crate) fn retelling(
    part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static,
    wall: Wall,
    retell: Retell,
) -> Scene {
    Scene::of(part).with(wall, |_| {}, move |world| retold(world, retell, |it| it))
}

fn found(stage: &mut Stage<'_>) {
    if stage.role() == "reviewer" && stage.round() == 1 {
        stage.finding("src/lib.txt", 1, "tone", "be kind");
    }
    if stage.role() == "builder" && stage.round() > 1 {
        stage.hang(std::time::Duration::from_secs(60));
        return;
    }
    good(stage);
}

/// The builder of the second round stays at work; meanwhile somebody resolves the finding.
fn resolves(wall: Wall, by: impl Fn(&finding::Finding, String) -> Resolver) -> Seen {
    let scene = Scene::of(found);
    let work = scene.submit();
    let mut tried = false;
    let rest = scene.house.run_looking(|engine| {
        let board = scene.house.board();
        let case = &board.cases[&work];
        let open: Vec<_> = case.open_findings().collect();
        let [(id, it)] = open[..] else { return };
        if tried {
            return;
        }
        tried = true;
        let by = by(it, "agent:scripted".to_owned());
        resolve(&scene, wall, work, id, by);
        engine.stop();
    });
    rest.unwrap();
    assert!(tried, "there was no finding");
    let open = scene.house.case(work).open_findings().count();
    scene.judged(work)?;
    must(open == 1, "a finding went away")
}

fn resolve(scene: &Scene, wall: Wall, work: WorkId, id: FindingId, by: Resolver) {
    let recorder = scene.house.recorder_of("agent:scripted");
    let refused = recorder.submit(work, None, |_| {
        Ok(vec![Command::Finding(
            id,
            finding::Command::Resolve(by.clone()),
        )])
    });
    assert!(refused.is_err(), "{by:?} resolves");
    if wall == Wall::Down {
        let event = Event::Finding(id, finding::Event::Resolved(by));
        scene.force(work, "agent:scripted", &event, &[]);
    }
}

/// A builder that mends nothing and a reviewer who no longer wants to see it.
fn shrugged(wall: Wall, says: fn(&mut Stage<'_>)) -> Seen {
    let scene = Scene::of(move |stage| match (stage.role(), stage.round()) {
        ("reviewer", 1) => {
            stage.finding("src/lib.txt", 1, "tone", "be kind");
            stage.done("one finding");
        }
        ("reviewer", _) => says(stage),
        ("builder" | "tester" | "docs", 2..) => {
            let (reason, detail) = (RefusalReason::AlreadyDone, "nothing to do".to_owned());
            stage.signal(Signal::Refuse { reason, detail });
        }
        _ => good(stage),
    });
    let work = scene
        .house
        .submit("---\nbudget:\n  rounds: 2\n---\n# Never\n\nEnough.\n");
    scene.run();
    scene.failed(work)?;
    if wall == Wall::Down {
        let (id, _) = scene.house.case(work).findings.into_iter().next().unwrap();
        let (session, tree) = (SessionId::from_bits(7), OTHER);
        let by = Resolver::Recheck { session, tree };
        let event = Event::Finding(id, finding::Event::Resolved(by));
        scene.force(work, "agent:scripted", &event, &[]);
    }
    let open = scene.house.case(work).open_findings().count();
    must(open == 1, "a finding went away")?;
    scene.judged(work)?;
    scene.nothing_landed()
}

/// A scene with one question of the builder's, and the question.
fn asking(priority: &'static str) -> (Scene, WorkId, (domain::AmbiguityId, Ambiguity)) {
    let scene = Scene::of(move |stage| {
        if stage.role() == "builder" {
            stage.ask(priority, &question("Which colour?"));
        }
        good(stage);
    });
    let work = scene.submit();
    scene.run();
    let case = scene.house.case(work);
    let (id, asked) = case.open_ambiguities().next().unwrap();
    (scene, work, (id, asked.clone()))
}

fn answers_itself(wall: Wall) -> Seen {
    let (scene, work, (id, _)) = asking("P1");
    let (board, recorder) = (
        scene.house.board(),
        scene.house.recorder_of("agent:scripted"),
    );
    assert!(answers::answer(&recorder, &board, &[(id, Answer::Default)]).is_err());
    if wall == Wall::Down {
        let (answer, by) = (Answer::Default, "agent:scripted".to_owned());
        let event = Event::Ambiguity(id, ambiguity::Event::Answered { answer, by });
        scene.force(work, "agent:scripted", &event, &[]);
    }
    scene.run();
    scene.judged(work)?;
    must(
        scene.house.promotion(work).1.name() == "blocked",
        "it is not blocked",
    )
}

fn answered_twice(wall: Wall) -> Seen {
    let (scene, work, (id, _)) = asking("P1");
    scene.house.answer(work, Answer::Default);
    let (board, recorder) = (scene.house.board(), scene.house.recorder());
    let again = Answer::Option { number: 2 };
    assert!(answers::answer(&recorder, &board, &[(id, again.clone())]).is_err());
    if wall == Wall::Down {
        let by = "operator:ada".to_owned();
        let event = Event::Ambiguity(id, ambiguity::Event::Answered { answer: again, by });
        scene.force(work, "operator:ada", &event, &[]);
    }
    scene.run();
    scene.judged(work)
}

fn answer_section(wall: Wall) -> Seen {
    let scene = Scene::of(|stage| {
        if stage.role() == "builder" {
            let text = format!("{}\n## Answer\nred\n", question("Which colour?"));
            stage.ask("P1", &text);
        }
        good(stage);
    });
    let work = scene.submit();
    scene.run();
    let (id, _) = scene
        .house
        .case(work)
        .ambiguities
        .into_iter()
        .next()
        .unwrap();
    if wall == Wall::Down {
        let (answer, by) = (Answer::Default, "operator:ada".to_owned());
        let event = Event::Ambiguity(id, ambiguity::Event::Answered { answer, by });
        scene.force(work, "agent:scripted", &event, &[]);
    }
    let case = scene.house.case(work);
    must(
        case.ambiguities[&id].name() == "open",
        "the question is not open",
    )?;
    scene.judged(work)
}

fn refiled(wall: Wall, priority: &'static str, edit: fn(&mut ambiguity::Report)) -> Seen {
    let scene = Scene::of(move |stage| {
        if stage.role() == "builder" {
            let text = question("Which colour?");
            stage.ask("P1", &text);
            let mut report = ambiguity::report::read(&text, "P1").report;
            edit(&mut report);
            stage.ask(priority, &ambiguity::report::written(&report));
        }
        good(stage);
    });
    let work = scene.submit();
    scene.run();
    let case = scene.house.case(work);
    let (id, asked) = case.open_ambiguities().next().unwrap();
    if wall == Wall::Down {
        let mut edited = asked.clone();
        edit(&mut edited.report);
        edited.priority = Priority::named(priority).unwrap();
        let event = Event::Ambiguity(id, ambiguity::Event::Filed(edited));
        scene.force(work, "agent:scripted", &event, &[]);
    }
    scene.judged(work)?;
    must(case.ambiguities.len() == 1, "it was filed twice")?;
    let kept = (asked.priority, asked.report.default_held.as_str());
    must(kept == (Priority::P1, "red"), "the question was changed")
}

fn broken_form(wall: Wall) -> Seen {
    let part = |stage: &mut Stage<'_>| {
        if stage.role() == "builder" {
            stage.ask("P0", "may I drop the table?");
        }
        good(stage);
    };
    // The rule as it might be: a broken form is worth P2, whatever was meant.
    let scene = retelling(part, wall, |_, report| {
        Some(match report {
            Report::Signal(epoch, Signal::Ask { report, .. }) => {
                let priority = "P2".to_owned();
                Report::Signal(epoch, Signal::Ask { report, priority })
            }
            other => other,
        })
    });
    let work = scene.submit();
    let rest = scene.run();
    let parked = matches!(rest.waits[&work], Wait::Answers(_));
    must(
        parked && scene.house.case(work).promotions.is_empty(),
        "the work was not parked",
    )?;
    scene.judged(work)
}

fn grave_word(wall: Wall) -> Seen {
    let part = |stage: &mut Stage<'_>| {
        if stage.role() == "builder" {
            let text = question("Which table?").replace("- blue", "- the Payment table");
            stage.ask("P3", &text);
        }
        good(stage);
    };
    let scene = retelling(part, wall, |_, report| {
        Some(match report {
            Report::Signal(epoch, Signal::Ask { report, priority }) => {
                let report = report.replace("Payment", "other");
                Report::Signal(epoch, Signal::Ask { report, priority })
            }
            other => other,
        })
    });
    let work = scene.submit();
    scene.run();
    let name = scene.house.promotion(work).1.name();
    must(name == "blocked", "the promotion was not blocked")?;
    scene.judged(work)
}

/// The tester asks under another epoch than its own.
fn fenced_ask(wall: Wall, epoch: fn(u64) -> u64) -> Seen {
    let part = move |stage: &mut Stage<'_>| {
        if stage.role() == "tester" {
            let (report, priority) = (question("Which colour?"), "P0".to_owned());
            let epoch = epoch(stage.task().epoch);
            stage.signal_with(epoch, Signal::Ask { report, priority });
        }
        good(stage);
    };
    let scene = retelling(part, wall, |task, report| {
        Some(match report {
            Report::Signal(_, signal) => Report::Signal(task.epoch, signal),
            other => other,
        })
    });
    let work = scene.submit();
    scene.run();
    nothing_filed(&scene, work, "the signal carries epoch")
}

fn nothing_filed(scene: &Scene, work: WorkId, told: &str) -> Seen {
    must(
        scene.house.case(work).ambiguities.is_empty(),
        "a question was filed",
    )?;
    let refused = scene.refused(work);
    let once = refused.len() == 1 && refused[0].contains(told);
    must(once, "not one refusal for one attempt")?;
    scene.promote(work);
    scene.judged(work)
}

fn after_done(wall: Wall) -> Seen {
    let part = |stage: &mut Stage<'_>| {
        good(stage);
        if stage.role() == "tester" {
            stage.ask("P0", &question("Which colour?"));
        }
    };
    let scene = retelling(part, wall, |task, report| {
        Some(match report {
            Report::Late(signal) => Report::Signal(task.epoch, signal),
            other => other,
        })
    });
    let work = scene.submit();
    scene.run();
    nothing_filed(&scene, work, "a signal after the end")
}

/// Somebody speaks for the builder's session, which is over.
fn speaks_for(wall: Wall, event: session::Event) -> Seen {
    let scene = Scene::of(good);
    let work = scene.submit();
    scene.run();
    let (id, state) = scene.house.case(work).sessions.into_iter().next().unwrap();
    let epoch = state.session().unwrap().epoch;
    let text = "still here".to_owned();
    let refused = scene.house.recorder().submit(work, None, |_| {
        let (text, epoch) = (text.clone(), epoch);
        Ok(vec![Command::Session(
            id,
            session::Command::Progress { epoch, text },
        )])
    });
    assert!(refused.is_err());
    if wall == Wall::Down {
        scene.force(work, "agent:scripted", &Event::Session(id, event), &[]);
    }
    scene.judged(work)
}

fn ends_again(wall: Wall) -> Seen {
    let scene = Scene::of(|stage| match stage.role() {
        "builder" => stage.end(domain::agent::EndReason::Silent),
        _ => good(stage),
    });
    let work = scene.submit();
    scene.run();
    let (id, state) = scene.house.case(work).sessions.into_iter().next().unwrap();
    let summary = "it was done after all".to_owned();
    let end = session::End {
        reason: domain::agent::EndReason::Done { summary },
        ..state.end().unwrap().clone()
    };
    let refused = scene.house.recorder().submit(work, None, |_| {
        Ok(vec![Command::Session(
            id,
            session::Command::End(end.clone()),
        )])
    });
    assert!(refused.is_err());
    if wall == Wall::Down {
        let event = Event::Session(id, session::Event::Ended(end));
        scene.force(work, "agent:scripted", &event, &[]);
    }
    scene.judged(work)
}

fn reports(wall: Wall, role: &'static str, shipped: &'static str) -> Seen {
    let mut scene = Scene::of(move |stage| {
        if stage.role() == role && stage.round() == 1 {
            stage.finding("src/lib.txt", 1, "tone", "be kind");
        }
        good(stage);
    });
    if wall == Wall::Down {
        scene.house.settings.fallbacks.push(Fallback {
            path: format!(".palisade/roles/{role}.toml"),
            source: "control".to_owned(),
            text: format!("may_report_findings = true\n{shipped}"),
        });
    }
    let work = scene
        .house
        .submit("---\nbudget:\n  rounds: 1\n---\n# New\n\nNew.\n");
    scene.run();
    let case = scene.house.case(work);
    must(case.findings.is_empty(), &format!("the {role} reported"))?;
    let told = format!("the role `{role}` does not report findings");
    must(
        scene.refused(work) == [told],
        "not one refusal for one attempt",
    )?;
    scene.promote(work);
    scene.judged(work)
}

fn question_of_other_work(wall: Wall) -> Seen {
    let (scene, _, (id, _)) = asking("P1");
    let other = scene.submit();
    let (answer, by) = (Answer::Default, "operator:ada".to_owned());
    let refused = scene.house.recorder().submit(other, None, |_| {
        let (answer, by) = (answer.clone(), by.clone());
        Ok(vec![Command::Ambiguity(
            id,
            ambiguity::Command::Answer { answer, by },
        )])
    });
    assert!(refused.is_err());
    if wall == Wall::Down {
        let event = Event::Ambiguity(id, ambiguity::Event::Answered { answer, by });
        scene.force(other, "agent:scripted", &event, &[]);
    }
    super::witness::record_is_lawful(&scene.house.log)
}

fn promotion_of_other_work(wall: Wall) -> Seen {
    let scene = Scene::of(good);
    let work = scene.submit();
    scene.run();
    let other = scene.submit();
    let (id, proposal) = scene.promotion(work);
    let recorder = scene.house.recorder();
    let span = domain::policy::APPROVAL_SPAN;
    assert!(answers::approve(&recorder, other, id, proposal.dossier, span).is_err());
    if wall == Wall::Down {
        let event = Event::Promotion(id, promotion::Event::Overtaken { why: String::new() });
        scene.force(other, "agent:scripted", &event, &[]);
    }
    super::witness::record_is_lawful(&scene.house.log)
}

/// What stands in the file outside.
const CANARY: &str = "canary-5d6e7f";

fn path_in_finding(wall: Wall) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, CANARY).unwrap();
    let name = path.to_string_lossy().into_owned();
    let part = move |stage: &mut Stage<'_>| {
        if stage.role() == "reviewer" && stage.round() == 1 {
            stage.finding(&name, 1, "tone", "see there");
            stage.finding("../../../../etc/passwd", 1, "tone", "see there");
        }
        if stage.role() == "builder" && stage.round() == 2 {
            stage.write("src/lib.txt", "newer\n");
            // Whatever it is shown, it prints.
            let shown = stage.brief("findings.md");
            stage.print(&shown);
        }
        good(stage);
    };
    // A reader who follows what a finding names.
    let scene = retelling(part, wall, |_, report| {
        Some(match report {
            Report::Signal(
                epoch,
                Signal::Finding {
                    file, line, rule, ..
                },
            ) => {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                Report::Signal(
                    epoch,
                    Signal::Finding {
                        file,
                        line,
                        rule,
                        text,
                    },
                )
            }
            other => other,
        })
    });
    let work = scene.house.submit(SPEC);
    scene.run();
    let all = scene.house.log_text() + &scene.house.artifacts_text();
    must(
        !all.contains(CANARY) && !all.contains("root:x:"),
        "the file was read",
    )?;
    scene.judged(work)
}
