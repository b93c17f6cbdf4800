//! S13: misuses the way to models. Each attempt is what an agent could send through its own socket;
//! its control is the same with the one thing right that the door looks at, and must get through.

use ports::models::{Grant, Halt, Watched};
use testkit::models::contract::grant;

use crate::scene::{Agent, Got, Scene, always};

const CANARY: &str = "q7Zr0vTn2KxWm5Lp";
const REPLY: &str = r#"{"usage":{"input_tokens":5,"output_tokens":7}}"#;

/// One attempt: its name, what is sent, and the same without the misuse.
struct Attempt {
    id: &'static str,
    sent: &'static str,
    control: &'static str,
}

/// What the door refuses, by what a request names.
const REFUSED: [Attempt; 9] = [
    Attempt {
        id: "S13-path",
        sent: "POST /anthropic/v1/files",
        control: "POST /anthropic/v1/messages",
    },
    Attempt {
        id: "S13-path-upwards",
        sent: "POST /anthropic/v1/messages/../files",
        control: "POST /anthropic/v1/messages",
    },
    Attempt {
        id: "S13-path-encoded",
        sent: "POST /anthropic/v1/%66iles",
        control: "POST /anthropic/v1/messages",
    },
    Attempt {
        id: "S13-other-provider",
        sent: "POST /compatible/other/v1/chat/completions",
        control: "POST /compatible/local/v1/chat/completions",
    },
    Attempt {
        id: "S13-method",
        sent: "DELETE /anthropic/v1/messages",
        control: "POST /anthropic/v1/messages",
    },
    Attempt {
        id: "S13-connect",
        sent: "CONNECT {provider}",
        control: "POST /anthropic/v1/messages",
    },
    Attempt {
        id: "S13-whole-address",
        sent: "POST http://{provider}/v1/files",
        control: "POST /anthropic/v1/messages",
    },
    Attempt {
        id: "S13-model",
        sent: "POST /anthropic/v1/messages MODEL=claude-other",
        control: "POST /anthropic/v1/messages MODEL=claude-a",
    },
    Attempt {
        id: "S13-model-in-path",
        sent: "POST /gemini/v1beta/models/claude-other:generateContent",
        control: "POST /gemini/v1beta/models/claude-a:generateContent",
    },
];

fn scene() -> Scene {
    Scene::with(always("200 OK", "application/json", REPLY), "")
}

/// The grant of a session that may ask one model.
fn bounded(session: u128) -> Grant {
    let mut grant = grant(session, session);
    grant.models = vec!["claude-a".to_owned(), "llama".to_owned()];
    grant.watched = vec![Watched {
        of: "the canary `ssh`".to_owned(),
        value: CANARY.as_bytes().to_vec(),
    }];
    grant
}

fn send(scene: &Scene, agent: &Agent, what: &str, headers: &str, text: &str) -> Got {
    let what = what.replace("{provider}", &format!("127.0.0.1:{}", scene.provider.port));
    let (line, model) = what.split_once(" MODEL=").unwrap_or((&what, "claude-a"));
    let body =
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let length = body.len();
    agent.raw(&format!(
        "{line} HTTP/1.1\r\nhost: x\r\n{headers}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

#[test]
fn what_a_session_may_not_ask_reaches_nobody() {
    for Attempt { id, sent, control } in REFUSED {
        let scene = scene();
        let agent = scene.open(&bounded(1));
        let got = send(&scene, &agent, sent, "", "hello");
        assert!(got.status >= 400, "{id}: {got:?}");
        assert!(
            scene.provider.asked().is_empty(),
            "{id} reached the provider"
        );
        assert_eq!(scene.account(&bounded(1)).total().calls, 0, "{id}");
        let got = send(&scene, &agent, control, "", "hello");
        assert_eq!(got.status, 200, "the control of {id}: {got:?}");
        assert_eq!(scene.provider.asked().len(), 1, "the control of {id}");
    }
}

/// `S13-header-identity`: a session is its socket, whatever a header says.
#[test]
fn no_header_makes_a_session_another_one() {
    let _name = "S13-header-identity";
    let scene = scene();
    let (own, other) = (bounded(1), bounded(2));
    let (agent, victim) = (scene.open(&own), scene.open(&other));
    let name = other.session;
    let headers = format!(
        "x-palisade-session: {name}\r\nx-session-id: {name}\r\nsession-id: {name}\r\n\
         authorization: Bearer {name}\r\nforwarded: for={name}\r\ncookie: session={name}\r\n"
    );
    let calls = |grant: &Grant| scene.account(grant).total().calls;
    let got = send(&scene, &agent, "POST /anthropic/v1/messages", &headers, "x");
    assert_eq!(got.status, 200);
    assert_eq!((calls(&own), calls(&other)), (1, 0));
    let told = scene.provider.asked();
    let told = told[0].headers.iter();
    assert!(
        !told
            .into_iter()
            .any(|(_, value)| value.contains(&name.to_string()))
    );
    // The control: by the other's own socket it is the other's.
    send(&scene, &victim, "POST /anthropic/v1/messages", "", "x");
    assert_eq!((calls(&own), calls(&other)), (1, 1));
}

/// `S13-control`: what the engine says to the broker means nothing at a session's socket.
#[test]
fn a_sessions_socket_is_no_control_socket() {
    let _name = "S13-control";
    let scene = scene();
    let (own, other) = (bounded(1), bounded(2));
    let agent = scene.open(&own);
    scene.open(&other);
    let session = other.session;
    let close = wire::message::Request::Close { session };
    let close = format!("{}\n", serde_json::to_string(&close).unwrap());
    let mut stream = agent.connect();
    std::io::Write::write_all(&mut stream, close.as_bytes()).unwrap();
    // It may have hung up by now.
    drop(std::io::Write::write_all(&mut stream, b"\r\n\r\n"));
    let mut answered = String::new();
    // Whatever it answers, it is HTTP's or nothing.
    drop(std::io::Read::read_to_string(&mut stream, &mut answered));
    assert!(
        answered.is_empty() || answered.starts_with("HTTP/1.1 4"),
        "{answered}"
    );
    let socket = scene.folder.path().join("run");
    let sockets = || std::fs::read_dir(&socket).unwrap().count();
    let before = sockets();
    // The control: the same session is closed at the control socket, and its own is gone.
    scene.close(&other);
    assert_eq!(sockets(), before - 1);
}

/// `S13-prompt-canary` and its disguises: what must not leave reaches nobody, and ends the session.
#[test]
fn a_canary_leaves_in_no_disguise() {
    let reversed: String = CANARY.chars().rev().collect();
    let hex: String = CANARY.bytes().map(|it| format!("{it:02x}")).collect();
    let percent: String = CANARY.bytes().map(|it| format!("%{it:02X}")).collect();
    let base64 = "cTdacjB2VG4yS3hXbTVMcA==";
    for (id, text) in [
        ("S13-prompt-canary", CANARY),
        ("S13-prompt-canary-reversed", &reversed),
        ("S13-prompt-canary-hex", &hex),
        ("S13-prompt-canary-percent", &percent),
        ("S13-prompt-canary-base64", base64),
    ] {
        let scene = scene();
        let agent = scene.open(&bounded(1));
        // The control: the same request without it gets through.
        let plain = send(&scene, &agent, "POST /anthropic/v1/messages", "", "hello");
        assert_eq!(
            (plain.status, scene.provider.asked().len()),
            (200, 1),
            "{id}"
        );
        let told = format!("please note {text}, thanks");
        let got = send(&scene, &agent, "POST /anthropic/v1/messages", "", &told);
        assert_eq!(got.status, 403, "{id}: {got:?}");
        assert_eq!(scene.provider.asked().len(), 1, "{id} reached the provider");
        let halt = scene.account(&bounded(1)).halt;
        assert!(matches!(halt, Some(Halt::Leak { .. })), "{id}: {halt:?}");
    }
}
