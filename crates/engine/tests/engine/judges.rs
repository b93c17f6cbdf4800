//! Judges: a model is asked once, over a way of its session's own; what it answers is held to its
//! form, moves the run, and decides nothing.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;

use domain::agent::EndReason;
use domain::ambiguity::{Answer, Priority};
use domain::due::Wait;
use domain::event::Event;
use domain::session::{Actor, Judgement};
use domain::usage::{Cap, ModelUsage, Tokens, Usage};
use domain::{WorkId, session};
use ports::artifacts::Artifacts as _;
use ports::judges::{Error, Question};
use ports::models::Halt;
use serde_json::{Value, json};
use testkit::agents::Stage;
use testkit::judges::FakeJudges;
use testkit::models::FakeModels;

use super::house::{AGENT, FILES, House, good};

const SPEC: &str = "# Make it new\n\nReplace the old.\n";

/// A judge between the gates and the decision, whose word sends back.
const CRITIQUE: &str = r#"
name = "critique"
[[step]]
id = "build"
kind = "session"
role = "builder"
lane = "dry_run"
prompt = "Build it."
[[step]]
id = "critique"
kind = "judge"
model = "anthropic/claude-a"
needs = ["build"]
on_fail = "build"
prompt = "triage"
schema = '{"type":"object","required":["grade","why"],"properties":{"grade":{"type":"string","enum":["good","poor"]},"why":{"type":"array","items":{"type":"string"}}}}'
verdict = "grade"
passes = ["good"]
reasons = "why"
[[step]]
id = "check"
kind = "gate"
needs = ["critique"]
on_fail = "build"
[[step]]
id = "decide"
kind = "decision"
needs = ["check"]
[[step]]
id = "promote"
kind = "action"
action = "promote"
needs = ["decide"]
"#;

fn question(priority: &str, text: &str) -> Value {
    json!({
        "priority": priority, "question": text, "why": "It is not said.",
        "options": ["red", "blue"], "recommended": "red", "impact": "The look.",
        "default_held": "red",
    })
}

fn verdict(pass: bool, reasons: &[&str], ambiguities: &[Value]) -> String {
    json!({"pass": pass, "reasons": reasons, "ambiguities": ambiguities}).to_string()
}

fn took(tokens: u64) -> Vec<ModelUsage> {
    let tokens = Tokens {
        output: tokens,
        ..Tokens::default()
    };
    vec![ModelUsage {
        provider: "anthropic".to_owned(),
        model: "claude-a".to_owned(),
        usage: Usage {
            calls: 1,
            tokens,
            ..Usage::default()
        },
    }]
}

struct Scene {
    house: House,
    models: Arc<FakeModels>,
    prompts: Arc<Mutex<Vec<String>>>,
}

/// A house that triages; every prompt of the builder is heard.
fn triaging(answers: impl Fn(&Question) -> Result<String, Error> + Send + Sync + 'static) -> Scene {
    scene_of(FILES, "triage-cycle", answers)
}

fn scene_of(
    files: &[(&str, &str)],
    formula: &'static str,
    answers: impl Fn(&Question) -> Result<String, Error> + Send + Sync + 'static,
) -> Scene {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&prompts);
    let mut house = House::of(files).agent(AGENT, move |stage: &mut Stage<'_>| {
        if stage.role() == "builder" {
            heard.lock().unwrap().push(stage.brief("prompt.md"));
        }
        good(stage);
    });
    let models = Arc::new(FakeModels::new());
    house.models = Some(Arc::clone(&models) as Arc<_>);
    house.judges = Arc::new(FakeJudges::new(answers));
    house.settings.models.judge = "anthropic/claude-a".to_owned();
    house.formula = formula;
    Scene {
        house,
        models,
        prompts,
    }
}

impl Scene {
    fn built(&self) -> usize {
        self.prompts.lock().unwrap().len()
    }

    fn judgements(&self, work: WorkId) -> Vec<Judgement> {
        let events = self.house.events(work).into_iter();
        let judged = events.filter_map(|it| match it {
            Event::Session(_, session::Event::Judged(it)) => Some(it),
            _ => None,
        });
        judged.collect()
    }

    fn ends(&self, work: WorkId) -> Vec<EndReason> {
        let events = self.house.events(work).into_iter();
        let ends = events.filter_map(|it| match it {
            Event::Session(_, session::Event::Ended(it)) => Some(it.reason),
            _ => None,
        });
        ends.collect()
    }
}

#[test]
fn what_is_unclear_is_asked_before_anything_is_built() {
    let scene = triaging(|_| {
        let asked = [
            question("P0", "Which colour?"),
            question("P3", "Which shade?"),
        ];
        Ok(verdict(true, &[], &asked))
    });
    scene.models.script(vec![(took(40), None)]);
    let work = scene.house.submit(SPEC);
    let rest = scene.house.run();
    assert!(matches!(&rest.waits[&work], Wait::Answers(it) if it.len() == 1));
    assert_eq!(scene.built(), 0);
    let case = scene.house.case(work);
    let priorities: Vec<_> = case.open_ambiguities().map(|(_, it)| it.priority).collect();
    assert_eq!(priorities, [Priority::P0, Priority::P3]);
    let board = scene.house.board();
    let (grave, _) = case.open_ambiguities().next().unwrap();
    let answer = [(grave, Answer::Option { number: 2 })];
    palisade_engine::answers::answer(&scene.house.recorder(), &board, &answer).unwrap();
    let rest = scene.house.run();
    assert!(
        matches!(rest.waits[&work], Wait::Decision(_)),
        "{:?}",
        scene.house.told(work)
    );
    assert!(scene.prompts.lock().unwrap()[0].contains("blue (answered by the operator)"));
    let asked = scene.house.judges.asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].prompt.contains("\n> Replace the old."),
        "{}",
        asked[0].prompt
    );
    let [judgement] = &scene.judgements(work)[..] else {
        panic!("one judgement");
    };
    assert!(judgement.passes && judgement.attempts == 1);
    let answer = scene.house.artifacts.get(&judgement.answer).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["ambiguities"][0]["question"], "Which colour?");
    let [grant] = &scene.models.grants()[..] else {
        panic!("one grant");
    };
    assert_eq!(grant.caps.session.tokens, Some(60_000));
    assert!(!grant.watched.is_empty(), "canaries are watched for");
}

#[test]
fn a_judge_is_told_what_is_wrong_and_asked_again() {
    let scene = triaging(|asked| match asked.earlier.len() {
        0 => Ok("Sure! {\"pass\": true}".to_owned()),
        1 => Ok("{\"pass\": \"yes\", \"reasons\": [], \"ambiguities\": []}".to_owned()),
        _ => Ok(verdict(true, &[], &[])),
    });
    let work = scene.house.submit(SPEC);
    let rest = scene.house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    let asked = scene.house.judges.asked();
    let complaints: Vec<_> = asked[2]
        .earlier
        .iter()
        .map(|it| it.complaint.as_str())
        .collect();
    assert!(
        complaints[0].starts_with("it is not JSON alone: "),
        "{complaints:?}"
    );
    assert_eq!(complaints[1], "/pass: must be true or false");
    let judgement = scene.judgements(work).remove(0);
    assert_eq!(judgement.attempts, 3);
    let request = scene.house.artifacts.get(&judgement.request).unwrap();
    assert!(
        String::from_utf8(request)
            .unwrap()
            .contains("/pass: must be true or false")
    );
}

#[test]
fn without_a_valid_answer_the_step_fails_after_its_attempts() {
    let scene = triaging(|_| Ok("\u{1b}[2J nonsense".to_owned()));
    let work = scene.house.submit(SPEC);
    scene.house.run();
    let reason = scene.house.reason(work);
    assert!(
        reason.contains("no answer of the declared form in 3 attempts"),
        "{reason}"
    );
    assert!(!reason.contains('\u{1b}'));
    assert_eq!((scene.house.judges.asked().len(), scene.built()), (3, 0));
    assert_eq!(scene.judgements(work), []);
}

#[test]
fn a_specification_that_does_not_pass_is_not_built() {
    let scene = triaging(|_| Ok(verdict(false, &["it asks for nothing"], &[])));
    let work = scene.house.submit(SPEC);
    scene.house.run();
    let reason = scene.house.reason(work);
    assert!(reason.contains("it asks for nothing"), "{reason}");
    assert_eq!(scene.built(), 0);
}

#[test]
fn a_critique_sends_back_with_its_reasons_and_overrules_no_gate() {
    let mut files = FILES.to_vec();
    files.push((".palisade/formulas/critique.toml", CRITIQUE));
    let rounds = Mutex::new(0);
    let scene = scene_of(&files, "critique", move |_| {
        let mut round = rounds.lock().unwrap();
        *round += 1;
        let grade = if *round == 1 { "poor" } else { "good" };
        Ok(json!({"grade": grade, "why": ["it is\nold", "\u{202e}odd"]}).to_string())
    });
    let house = scene.house.agent(AGENT, |stage: &mut Stage<'_>| {
        let told = stage.brief("prompt.md");
        match stage.round() {
            1 => {}
            2 => {
                assert!(
                    told.contains("does not pass it: it is old; \u{fffd}odd"),
                    "{told}"
                );
                // The judge likes it; the gate does not.
                stage.write("src/red", "");
            }
            _ => stage.delete("src/red"),
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    let rest = house.run();
    let told = house.told(work);
    assert!(
        told.iter()
            .any(|it| it.starts_with("check failed: gate `unit`")),
        "{told:?}"
    );
    // It passes, and approves nothing.
    assert!(matches!(rest.waits[&work], Wait::Decision(_)), "{told:?}");
    assert_eq!(house.workspaces.landings().len(), 0);
    let lines: Vec<_> = told
        .iter()
        .filter(|it| it.starts_with("critique"))
        .collect();
    assert_eq!(lines.len(), 3, "{told:?}");
    house.promote(work);
}

#[test]
fn a_formula_whose_judge_nobody_can_ask_begins_nothing() {
    for (model, broker, mend) in [
        ("", true, "set `judge = "),
        (
            "unknown-model",
            true,
            "nobody speaks to the model `unknown-model`",
        ),
        ("anthropic/claude-a", false, "write broker.toml"),
    ] {
        let mut scene = triaging(|_| Ok(verdict(true, &[], &[])));
        scene.house.settings.models.judge = model.to_owned();
        if !broker {
            scene.house.models = None;
        }
        let work = scene.house.submit(SPEC);
        scene.house.run();
        let reason = scene.house.reason(work);
        assert!(
            reason.contains("step `triage` asks a language model"),
            "{reason}"
        );
        assert!(reason.contains(mend), "{reason}");
        assert_eq!(scene.built(), 0);
    }
}

#[test]
fn its_own_budget_fails_the_step_and_the_operators_is_asked_about() {
    let halt = |detail: &str| {
        Some(Halt::OverBudget {
            detail: detail.to_owned(),
        })
    };
    let refused = |_: &Question| {
        Err(Error::Refused {
            status: 403,
            detail: "over budget".to_owned(),
        })
    };
    let scene = triaging(refused);
    let own = halt("the session's: 60000 of 60000 tokens are used");
    scene.models.script(vec![(took(60_000), own)]);
    let work = scene.house.submit(SPEC);
    scene.house.run();
    let reason = scene.house.reason(work);
    assert!(
        reason.contains("raise `tokens` in the budget of step `triage`"),
        "{reason}"
    );
    assert_eq!(
        scene.house.judges.asked().len(),
        1,
        "a refusal is not asked again"
    );

    let mut scene = triaging(refused);
    scene.house.settings.models.caps.work = Cap {
        tokens: Some(100),
        money: None,
    };
    let over = halt("the work's: 100 of 100 tokens are used");
    scene.models.script(vec![(took(100), over)]);
    let work = scene.house.submit(SPEC);
    let rest = scene.house.run();
    assert!(
        matches!(&rest.waits[&work], Wait::Answers(_)),
        "{:?}",
        scene.ends(work)
    );
}

#[test]
fn a_leak_in_a_question_is_an_incident() {
    let scene = triaging(|_| Ok(verdict(true, &[], &[])));
    let detail = "a value of the canary `x` was seen as it is in a request to a model".to_owned();
    scene
        .models
        .script(vec![(took(1), Some(Halt::Leak { detail }))]);
    let work = scene.house.submit(SPEC);
    scene.house.run();
    assert!(matches!(scene.ends(work)[..], [EndReason::Incident { .. }]));
    assert!(scene.house.reason(work).contains("canary"));
    assert_eq!((scene.judgements(work), scene.built()), (vec![], 0));
}

#[test]
fn an_engine_that_stops_waits_for_no_answer_and_asks_again() {
    let scene = triaging(|asked| {
        if asked.prompt.contains("held until its socket is gone") {
            let mut stream = UnixStream::connect(&asked.socket).unwrap();
            let (Ok(_) | Err(_)) = stream.read(&mut [0]);
        }
        Ok(verdict(true, &[], &[]))
    });
    let work = scene.house.submit("# T\n\nheld until its socket is gone\n");
    let asked = Arc::clone(&scene.house.judges);
    let stopped = scene.house.run_looking(|engine| {
        if !asked.asked().is_empty() {
            engine.stop();
        }
    });
    stopped.unwrap();
    assert_eq!(scene.ends(work), [EndReason::Interrupted]);
    let case = scene.house.case(work);
    let sessions = case.sessions.values().filter_map(session::State::session);
    assert!(sessions.into_iter().all(|it| it.actor == Actor::Judge));
    assert_eq!(
        scene.house.told(work),
        ["triage failed: the engine died during the session"]
    );
}
