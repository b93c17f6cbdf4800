//! Sessions with a way to models: what they may take, what they took, and what follows when no more
//! goes through.

use std::sync::Arc;
use std::time::Duration;

use domain::agent::EndReason;
use domain::ambiguity::Answer;
use domain::due::Wait;
use domain::egress::{Connection, Verdict};
use domain::event::Event;
use domain::model::{FellBack, Model, Outage};
use domain::usage::{Cap, ModelUsage, Money, Tokens, Usage};
use domain::work::Ending;
use domain::{WorkId, session};
use palisade_engine::views::{cost, outside};
use ports::clock::Clock as _;
use ports::log::EventLog as _;
use ports::models::{Account, Egress, Halt, Models as _};
use testkit::models::FakeModels;

use super::house::{House, good};

/// Patience of an agent that waits for its end: far over what any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

const SPEC: &str = "# Make it new\n\nReplace the old.\n";

fn took(tokens: u64) -> Vec<ModelUsage> {
    vec![ModelUsage {
        provider: "anthropic".to_owned(),
        model: "claude-a".to_owned(),
        usage: Usage {
            calls: 1,
            tokens: Tokens {
                output: tokens,
                ..Tokens::default()
            },
            money: Money(tokens * 10),
            ..Usage::default()
        },
    }]
}

fn house() -> (House, Arc<FakeModels>) {
    let models = Arc::new(FakeModels::new());
    let mut house = House::new(good);
    house.models = Some(Arc::clone(&models) as Arc<_>);
    house.settings.models.for_every_agent = true;
    (house, models)
}

fn ends(house: &House, work: WorkId) -> Vec<EndReason> {
    let events = house
        .log
        .read_correlated(&work.to_string(), ports::log::Position::default());
    let events = events.unwrap().into_iter();
    let decoded = events.map(|it| palisade_engine::recorder::decoded(&it).unwrap());
    let ends = decoded.filter_map(|it| match it {
        Event::Session(_, session::Event::Ended(end)) => Some(end.reason),
        _ => None,
    });
    ends.collect()
}

#[test]
fn what_sessions_took_is_in_the_log_and_in_the_next_grant() {
    let (mut house, models) = house();
    house.settings.models.caps.work = Cap {
        tokens: Some(1_000),
        money: None,
    };
    models.script(vec![(took(100), None), (took(20), None), (took(3), None)]);
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    let cost = cost::read(&house.log, house.clock.now()).unwrap();
    assert_eq!((cost.total.calls, cost.total.tokens.total()), (3, 123));
    assert_eq!(cost.total.money, Money(1_230));
    assert_eq!(cost.today, cost.total);
    let roles: Vec<_> = cost.lines.iter().map(|it| it.role.as_str()).collect();
    assert_eq!(roles.len(), 3, "{roles:?}");
    let mut before: Vec<_> = models
        .grants()
        .iter()
        .map(|it| it.before.work.tokens)
        .collect();
    before.sort_unstable();
    assert_eq!(before, [0, 100, 120, 123]);
    for grant in models.grants() {
        assert!(!grant.watched.is_empty(), "canaries are watched for");
        assert!(models.close(grant.session).is_ok());
    }
}

#[test]
fn a_used_up_budget_keeps_the_work_and_goes_on_when_it_is_raised() {
    let (house, models) = house();
    let detail = "the work's: 100 of 100 tokens are used".to_owned();
    let halt = Some(Halt::OverBudget { detail });
    let house = house.agent(super::house::AGENT, |stage| {
        if stage.role() == "builder" && stage.round() == 1 && stage.read("src/half.txt").is_none() {
            stage.write("src/half.txt", "half\n");
            stage.hang(PATIENCE);
        }
        good(stage);
    });
    models.script(vec![(took(100), halt)]);
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(
        matches!(&rest.waits[&work], Wait::Answers(it) if it.len() == 1),
        "{:?}",
        rest.waits
    );
    assert!(matches!(
        &ends(&house, work)[..],
        [EndReason::OverBudget { .. }]
    ));
    house.answer(work, Answer::Default);
    let rest = house.run();
    assert!(
        matches!(rest.waits[&work], Wait::Decision(_)),
        "{:?}",
        rest.waits
    );
    let files = house.promote(work);
    assert_eq!(
        files["src/half.txt"], "half\n",
        "what the first session did is kept"
    );
}

#[test]
fn a_leak_ends_the_session_as_an_incident_and_nothing_of_it_is_kept() {
    let (house, models) = house();
    let detail = "a value of the canary `x` was seen as it is in a request to a model".to_owned();
    models.script(vec![(
        took(1),
        Some(Halt::Leak {
            detail: detail.clone(),
        }),
    )]);
    let work = house.submit(SPEC);
    house.run();
    assert_eq!(ends(&house, work), [EndReason::Incident { detail }]);
    assert!(matches!(house.ending(work), Some(Ending::Failed { .. })));
    assert!(house.reason(work).contains("canary"));
}

#[test]
fn a_budget_without_anything_left_starts_no_agent() {
    let (mut house, _models) = house();
    house.settings.models.caps.goal = Cap {
        tokens: Some(0),
        money: None,
    };
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(&rest.waits[&work], Wait::Answers(_)));
    assert!(matches!(
        &ends(&house, work)[..],
        [EndReason::OverBudget { .. }]
    ));
}

#[test]
fn an_agent_that_needs_no_model_has_no_way_to_one() {
    let (mut house, models) = house();
    house.settings.models.for_every_agent = false;
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    assert!(models.grants().is_empty());
}

#[test]
fn without_a_broker_an_agent_that_needs_one_is_told_so() {
    let (mut house, _models) = house();
    house.models = None;
    let work = house.submit(SPEC);
    house.run();
    assert!(
        house.reason(work).contains("broker.toml"),
        "{}",
        house.reason(work)
    );
}

fn model(text: &str) -> Model {
    Model::parse(text).unwrap()
}

#[test]
fn what_stood_in_and_what_left_is_in_the_log_and_the_dossier() {
    let (mut house, models) = house();
    house.classes = [(
        "default".to_owned(),
        vec![model("anthropic/a"), model("anthropic/b")],
    )]
    .into();
    house.settings.models.egress = Some(Egress {
        hosts: vec!["static.crates.io:443".to_owned()],
        sent_bytes_max: 1,
        received_bytes_max: 1,
    });
    let fell = FellBack {
        from: model("anthropic/a"),
        to: model("anthropic/b"),
        why: Outage::Failing,
        count: 2,
    };
    let connection = Connection {
        host: "static.crates.io".to_owned(),
        port: 443,
        sent_bytes: 10,
        received_bytes: 20,
        millis: 30,
        verdict: Verdict::Carried,
    };
    models.script_accounts(vec![Account {
        fell_back: vec![fell.clone()],
        connections: vec![connection.clone(), connection],
        ..Account::default()
    }]);
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    let outside = outside::of_work(&house.log, work).unwrap();
    assert_eq!(outside.fell_back, [fell]);
    assert_eq!(outside.connections.len(), 1);
    let (sum, count) = &outside.connections[0];
    assert_eq!((sum.sent_bytes, *count), (20, 2), "each is noted once");
    for grant in models.grants() {
        assert_eq!(grant.classes.len(), 1);
        assert_eq!(grant.egress, None, "no shipped role may fetch packages");
    }
}

#[test]
fn a_role_of_the_base_gets_its_class_and_no_more_hosts_than_the_operator_lists() {
    let role = "name = \"builder\"\ndescription = \"d\"\nlane = \"dry_run\"\nwrite = [\"**\"]\n\
                model = \"strong\"\nmay_fetch_packages = true\n";
    let mut files = super::house::FILES.to_vec();
    files.push((".palisade/roles/builder.toml", role));
    let models = Arc::new(FakeModels::new());
    let mut house = House::of(&files).agent(super::house::AGENT, good);
    house.models = Some(Arc::clone(&models) as Arc<_>);
    let egress = Egress {
        hosts: vec!["static.crates.io:443".to_owned()],
        sent_bytes_max: 1,
        received_bytes_max: 1,
    };
    house.settings.models.egress = Some(egress.clone());
    let class = |it: &str| (it.to_owned(), vec![model(&format!("anthropic/{it}"))]);
    house.settings.models.classes = [class("default"), class("strong")].into();
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    // Others need no model, and have no way out: nothing was opened for them.
    let grants = models.grants();
    assert!(!grants.is_empty() && grants.iter().all(|it| it.role == "builder"));
    for grant in grants {
        assert_eq!(grant.egress, Some(egress.clone()));
        // A way to registries is no way to models.
        assert!(!grant.asks_models && grant.classes.is_empty(), "{grant:?}");
    }
}
