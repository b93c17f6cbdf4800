//! What is taken is counted, and what is over a budget is stopped, also in its middle.

use domain::usage::{Cap, Money};
use ports::models::Halt;
use testkit::models::contract::grant;

use crate::scene::{Scene, always, begin_stream, piece};

const ASK: &str = r#"{"model":"claude-sonnet-4-5","stream":true}"#;

fn tokens(count: u64) -> Cap {
    Cap {
        tokens: Some(count),
        money: None,
    }
}

/// A stream that goes on until nobody takes it any more.
fn endless() -> crate::scene::Act {
    Box::new(|_: &_, stream: &mut _| {
        begin_stream(stream);
        piece(
            stream,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}}\n\n",
        );
        let text = "word ".repeat(60);
        let event = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"text\":\"{text}\"}}}}\n\n"
        );
        while piece(stream, &event) {}
    })
}

#[test]
fn usage_and_money_are_counted_by_model() {
    let body =
        r#"{"usage":{"input_tokens":1000,"cache_read_input_tokens":10000,"output_tokens":100}}"#;
    let scene = Scene::with(always("200 OK", "application/json", body), "");
    let agent = scene.open(&grant(1, 1));
    for _ in 0..2 {
        assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    }
    let free = r#"{"model":"llama"}"#;
    assert_eq!(
        agent
            .post("/compatible/local/v1/chat/completions", free)
            .status,
        200
    );
    let account = scene.close(&grant(1, 1));
    let [claude, llama] = account.used.as_slice() else {
        panic!("{:?}", account.used);
    };
    assert_eq!(
        (claude.provider.as_str(), claude.model.as_str()),
        ("anthropic", "claude-sonnet-4-5")
    );
    assert_eq!((claude.usage.calls, claude.usage.estimated), (2, 0));
    assert_eq!(claude.usage.tokens.total(), 2 * 11_100);
    // 1,000 at $6, 10,000 at $0.60 and 100 at $22.50 for a million, twice.
    assert_eq!(claude.usage.money, Money(2 * (6_000 + 6_000 + 2_250)));
    assert_eq!((llama.usage.money, llama.usage.unpriced), (Money(0), 0));
    assert!(account.sent_bytes > 0);
}

#[test]
fn a_stream_over_budget_is_cut_between_two_events_with_the_reason() {
    let scene = Scene::with(endless(), "");
    let mut small = grant(1, 1);
    small.caps.session = tokens(2_000);
    let agent = scene.open(&small);
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert!(
        got.is_whole,
        "the stream ends properly, with an event of its own"
    );
    let events: Vec<_> = got.body.split_terminator("\n\n").collect();
    for event in &events {
        let data = event.split_once("data: ").unwrap().1;
        assert!(
            serde_json::from_str::<serde_json::Value>(data).is_ok(),
            "{event}"
        );
    }
    let last = events.last().unwrap();
    assert!(
        last.starts_with("event: error\n") && last.contains("billing_error"),
        "{last}"
    );
    assert!(last.contains("2000 tokens"), "{last}");
    let account = scene.account(&small);
    assert!(
        matches!(&account.halt, Some(Halt::OverBudget { .. })),
        "{account:?}"
    );
    // Nothing more goes through, and why is said.
    let again = agent.post("/openai/v1/responses", r#"{"model":"gpt-5"}"#);
    assert_eq!(
        (again.status, again.json()["error"]["code"].as_str()),
        (403, Some("insufficient_quota"))
    );
    let taken = scene.close(&small).total();
    assert_eq!(taken.estimated, 1);
    assert!((2_000..3_000).contains(&taken.tokens.total()), "{taken:?}");
}

#[test]
fn one_sessions_end_does_not_end_another() {
    let scene = Scene::with(endless(), "");
    let mut small = grant(1, 1);
    small.caps.session = tokens(1_000);
    let mut other = grant(2, 2);
    other.caps.session = tokens(3_000);
    let (one, two) = (scene.open(&small), scene.open(&other));
    assert!(
        one.post("/anthropic/v1/messages", ASK)
            .body
            .contains("1000 tokens")
    );
    assert!(scene.account(&other).halt.is_none());
    assert!(
        two.post("/anthropic/v1/messages", ASK)
            .body
            .contains("3000 tokens")
    );
}

#[test]
fn what_a_work_has_taken_bounds_its_next_session() {
    let body = r#"{"usage":{"input_tokens":900,"output_tokens":100}}"#;
    let scene = Scene::with(always("200 OK", "application/json", body), "");
    let bounded = |session| {
        let mut grant = grant(session, 1);
        grant.caps.work = tokens(1_500);
        grant
    };
    let agent = scene.open(&bounded(1));
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    scene.close(&bounded(1));
    let agent = scene.open(&bounded(2));
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    assert!(
        agent
            .post("/anthropic/v1/messages", ASK)
            .body
            .contains("the work's")
    );
    scene.close(&bounded(2));
    let refused = ports::models::Models::open(&scene.client, &bounded(3));
    assert!(
        matches!(refused, Err(ports::models::Error::OverBudget(_))),
        "{refused:?}"
    );
    // Raised, it goes on.
    let mut raised = bounded(3);
    raised.caps.work = tokens(10_000);
    let agent = scene.open(&raised);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
}

#[test]
fn where_money_is_bounded_a_model_without_a_price_is_not_asked() {
    let money = Cap {
        tokens: None,
        money: Some(Money(1_000_000)),
    };
    let ask = r#"{"model":"claude-of-the-future"}"#;
    let scene = Scene::new();
    let mut bounded = grant(1, 1);
    bounded.caps.goal = money;
    let agent = scene.open(&bounded);
    let got = agent.post("/anthropic/v1/messages", ask);
    assert_eq!(got.status, 403, "{}", got.body);
    assert!(got.body.contains("price"), "{}", got.body);
    assert_eq!(scene.provider.asked().len(), 0);
    // Unbounded, it is asked, and counted as unpriced.
    let agent = scene.open(&grant(2, 2));
    assert_eq!(agent.post("/anthropic/v1/messages", ask).status, 200);
    assert_eq!(scene.close(&grant(2, 2)).total().unpriced, 1);
    // With a ceiling, it is counted by it.
    let body = r#"{"usage":{"input_tokens":1000,"output_tokens":1000}}"#;
    let ceiling = "unknown_price = { input = \"20\", output = \"100\" }";
    let scene = Scene::with(always("200 OK", "application/json", body), ceiling);
    let agent = scene.open(&bounded);
    assert_eq!(agent.post("/anthropic/v1/messages", ask).status, 200);
    let account = scene.close(&bounded);
    assert_eq!(account.total().money, Money(120_000));
    assert_eq!(account.notes.len(), 1, "{:?}", account.notes);
}

#[test]
fn bytes_that_leave_are_bounded() {
    let scene = Scene::new();
    let mut small = grant(1, 1);
    small.sent_bytes_max = 100;
    let agent = scene.open(&small);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    let long = format!(r#"{{"model":"claude-a","x":"{}"}}"#, "x".repeat(100));
    assert_eq!(agent.post("/anthropic/v1/messages", &long).status, 403);
    assert!(matches!(
        scene.account(&small).halt,
        Some(Halt::OverBudget { .. })
    ));
}
