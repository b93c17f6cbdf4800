//! Secrets do not leave in a request, and sockets are not open to others.

use std::os::unix::fs::PermissionsExt as _;

use ports::models::{Halt, Watched};
use testkit::models::contract::grant;

use crate::scene::Scene;

const CANARY: &str = "q7Zr0vTn2KxWm5Lp";

fn watching() -> ports::models::Grant {
    let mut grant = grant(1, 1);
    grant.watched = vec![Watched {
        of: "the canary `ssh`".to_owned(),
        value: CANARY.as_bytes().to_vec(),
    }];
    grant
}

#[test]
fn a_canary_in_a_prompt_stops_the_session_and_reaches_nobody() {
    let escaped: String = CANARY.bytes().map(|it| format!("\\u{it:04x}")).collect();
    let spaced: String = CANARY.chars().flat_map(|it| [it, '-']).collect();
    for text in [CANARY, &escaped, &spaced] {
        let scene = Scene::new();
        let agent = scene.open(&watching());
        let body = format!(r#"{{"model":"claude-a","messages":[{{"content":"see {text}"}}]}}"#);
        let got = agent.post("/anthropic/v1/messages", &body);
        assert_eq!(got.status, 403, "{}", got.body);
        assert!(got.body.contains("the canary `ssh`") && !got.body.contains("q7Zr"));
        assert!(scene.provider.asked().is_empty());
        let account = scene.account(&watching());
        assert!(
            matches!(account.halt, Some(Halt::Leak { .. })),
            "{account:?}"
        );
        assert!(!format!("{account:?}").contains("q7Zr"));
        let plain = r#"{"model":"claude-a"}"#;
        assert_eq!(agent.post("/anthropic/v1/messages", plain).status, 403);
    }
}

#[test]
fn a_canary_as_a_model_or_a_broken_request_is_kept_nowhere() {
    for body in [
        format!(r#"{{"model":"{CANARY}"}}"#),
        format!(r#"{{"model":"claude-a","stream":"{CANARY}"}}"#),
        format!(r#"{{"model":"claude-a","{CANARY}"#),
    ] {
        let scene = Scene::new();
        let agent = scene.open(&watching());
        let got = agent.post("/anthropic/v1/messages", &body);
        assert!(
            got.status >= 400 && !got.body.contains("q7Zr"),
            "{}",
            got.body
        );
        assert!(!format!("{:?}", scene.account(&watching())).contains("q7Zr"));
    }
}

#[test]
fn a_credential_in_a_prompt_stops_the_session_unless_it_was_accepted() {
    let token = format!("{}{}", "ghp_", "Zx4kTq9LmN2vBc7RwY5sHd8PfG3jAe1KuQ0o");
    let text = format!("AKIA{} {token}", "Z7Q2M4X6P5R3T2WV");
    let body = format!(r#"{{"model":"claude-a","messages":[{{"content":"{text}"}}]}}"#);
    let scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    let got = agent.post("/anthropic/v1/messages", &body);
    assert_eq!(got.status, 403);
    assert!(!got.body.contains("Z7Q2M4X6"), "{}", got.body);
    let scanner = secrets::Scanner::standard().unwrap();
    let mut accepting = grant(2, 1);
    accepting.accepted = scanner
        .scan(text.as_bytes())
        .into_iter()
        .map(|it| it.fingerprint)
        .collect();
    assert!(!accepting.accepted.is_empty());
    let agent = scene.open(&accepting);
    assert_eq!(agent.post("/anthropic/v1/messages", &body).status, 200);
}

#[test]
fn sockets_are_for_their_owner_alone() {
    let scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&agent.socket), 0o600);
    assert_eq!(mode(scene.broker.run()), 0o700);
    assert_eq!(
        mode(&scene.broker.run().join(wire::message::CONTROL)),
        0o600
    );
}

#[test]
fn a_session_cannot_ask_the_control_socket_through_its_own() {
    let scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    let mut stream = agent.connect();
    let line = format!(
        "{{\"ask\":\"close\",\"session\":\"{}\"}}\n\r\n\r\n",
        grant(1, 1).session
    );
    std::io::Write::write_all(&mut stream, line.as_bytes()).unwrap();
    let mut reply = String::new();
    drop(std::io::Read::read_to_string(&mut stream, &mut reply));
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 400"),
        "{reply}"
    );
    assert!(agent.socket.exists());
}
