//! What passes, how it passes, and what does not.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};

use testkit::models::contract::grant;

use crate::scene::{PATIENCE, Scene, always, begin_stream, next_chunk, piece, read_reply};

const ASK: &str =
    r#"{"model":"claude-sonnet-4-5","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}"#;

#[test]
fn each_provider_gets_its_own_key_and_its_own_path() {
    let scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    for (path, body, line, header) in [
        (
            "/anthropic/v1/messages?beta=true&key=x",
            ASK,
            "POST /v1/messages?beta=true HTTP/1.1",
            "x-api-key",
        ),
        (
            "/openai/v1/responses",
            r#"{"model":"gpt-5","input":"hi"}"#,
            "POST /v1/responses HTTP/1.1",
            "authorization",
        ),
        (
            "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse&key=dummy",
            "{}",
            "POST /v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse HTTP/1.1",
            "x-goog-api-key",
        ),
        (
            "/compatible/local/v1/chat/completions",
            r#"{"model":"llama"}"#,
            "POST /v1/chat/completions HTTP/1.1",
            "authorization",
        ),
    ] {
        let got = agent.post(path, body);
        assert_eq!((got.status, got.body.as_str()), (200, "{}"), "{path}");
        assert!(got.head.contains("request-id: req_abc123"), "{}", got.head);
        assert!(!got.head.contains("set-cookie"), "{}", got.head);
        let asked = scene.provider.asked().pop().unwrap();
        assert_eq!(asked.line, line);
        assert_eq!(asked.body, body, "the request is passed on as it is");
        assert!(asked.header(header).unwrap().ends_with(crate::scene::KEY));
        let dummies = asked.headers.iter().filter(|(_, it)| it.contains("dummy"));
        assert_eq!(dummies.count(), 0, "{:?}", asked.headers);
    }
}

#[test]
fn what_is_not_listed_is_refused_in_the_providers_shape() {
    let scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    for (path, body, status, word) in [
        ("/anthropic/v1/files", ASK, 404, "not_found_error"),
        ("/api/hello", ASK, 404, "not_found_error"),
        ("/openai/v1/files", ASK, 404, "not_found"),
        (
            "/compatible/nobody/v1/chat/completions",
            r#"{"model":"m"}"#,
            404,
            "not_found",
        ),
        ("/anthropic/v1/models", ASK, 405, "invalid_request_error"),
        (
            "/anthropic/v1/messages",
            r#"{"model":"other"}"#,
            403,
            "permission_error",
        ),
        (
            "/openai/v1/responses",
            r#"{"model":"gpt-4"}"#,
            403,
            "model_not_found",
        ),
        (
            "/gemini/v1beta/models/palm:generateContent",
            "{}",
            403,
            "PERMISSION_DENIED",
        ),
        (
            "/anthropic/v1/messages",
            r#"{"model":"claude-a","model":"other"}"#,
            400,
            "invalid_request_error",
        ),
        ("/anthropic/v1/messages", "{}", 400, "invalid_request_error"),
        (
            "/anthropic/v1/messages",
            "not json",
            400,
            "invalid_request_error",
        ),
    ] {
        let got = agent.post(path, body);
        assert_eq!(got.status, status, "{path} {}", got.body);
        let error = &got.json()["error"];
        let kind = error["type"].as_str().or(error["status"].as_str());
        assert_eq!(kind, Some(word), "{path} {}", got.body);
    }
    assert!(scene.provider.asked().is_empty());
    let account = scene.account(&grant(1, 1));
    assert_eq!((account.refused, account.total().calls), (11, 0));
}

#[test]
fn a_grant_narrows_what_the_broker_allows() {
    let scene = Scene::new();
    let mut narrow = grant(1, 1);
    narrow.models = vec!["anthropic/claude-haiku-*".to_owned()];
    let agent = scene.open(&narrow);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 403);
    let haiku = r#"{"model":"claude-haiku-4-5"}"#;
    assert_eq!(agent.post("/anthropic/v1/messages", haiku).status, 200);
}

#[test]
fn a_stream_passes_piece_by_piece_as_it_comes() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let act = Box::new(move |_: &_, stream: &mut _| {
        begin_stream(stream);
        piece(stream, "event: a\ndata: {\"x\":1}\n\n");
        // The second piece is not written before the first was read at the other end.
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        piece(stream, "event: b\ndata: {\"y\":\"\\u00e4\"}\n\n");
        piece(stream, "");
    });
    let scene = Scene::with(act, "");
    let agent = scene.open(&grant(1, 1));
    let mut stream = agent.connect();
    let length = ASK.len();
    write!(
        stream,
        "POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{ASK}"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        head.push(byte[0]);
    }
    assert_eq!(
        next_chunk(&mut stream).unwrap(),
        b"event: a\ndata: {\"x\":1}\n\n"
    );
    go.send(()).unwrap();
    assert_eq!(
        next_chunk(&mut stream).unwrap(),
        b"event: b\ndata: {\"y\":\"\\u00e4\"}\n\n"
    );
    assert_eq!(next_chunk(&mut stream).unwrap(), b"");
}

#[test]
fn a_stream_that_its_provider_cuts_is_cut_here_too() {
    let act = Box::new(|_: &_, stream: &mut _| {
        begin_stream(stream);
        piece(stream, "data: {}\n\n");
    });
    let scene = Scene::with(act, "");
    let agent = scene.open(&grant(1, 1));
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert!(!got.is_whole);
    assert_eq!(got.body, "data: {}\n\n");
    let account = scene.close(&grant(1, 1));
    assert_eq!((account.total().calls, account.total().estimated), (1, 1));
}

#[test]
fn the_errors_of_a_provider_pass_and_cost_nothing() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
    let scene = Scene::with(always("529 Overloaded", "application/json", error), "");
    let agent = scene.open(&grant(1, 1));
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert_eq!((got.status, got.body.as_str()), (529, error));
    assert_eq!(scene.close(&grant(1, 1)).total().calls, 0);
}

#[test]
fn a_provider_that_points_elsewhere_or_compresses_is_not_followed() {
    for head in [
        "302 Found\r\nlocation: http://127.0.0.1:1/",
        "200 OK\r\ncontent-encoding: gzip",
    ] {
        let act = Box::new(move |_: &_, stream: &mut std::net::TcpStream| {
            let reply = format!("HTTP/1.1 {head}\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(reply.as_bytes()).unwrap();
        });
        let scene = Scene::with(act, "");
        let agent = scene.open(&grant(1, 1));
        let got = agent.post("/anthropic/v1/messages", ASK);
        assert_eq!(got.status, 502, "{}", got.body);
        assert!(!got.head.contains("location"));
    }
}

#[test]
fn what_is_too_large_or_too_fast_is_refused() {
    let scene = Scene::with(
        always("200 OK", "application/json", "{}"),
        "[limits]\nrequest_mib = 1\nrequests_per_minute = 2",
    );
    let agent = scene.open(&grant(1, 1));
    let large = format!(r#"{{"model":"claude-a","x":"{}"}}"#, "x".repeat(2 << 20));
    let length = large.len();
    let mut stream = agent.connect();
    write!(
        stream,
        "POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    let got = read_reply(&mut stream);
    assert_eq!(got.status, 413, "{}", got.body);
    assert_eq!(agent.post("/anthropic/v1/messages", ASK).status, 200);
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert_eq!(got.status, 429);
    assert!(got.head.contains("retry-after: 1"));
}

#[test]
fn what_cannot_be_reached_is_told() {
    let mut scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    // Its port is closed from here on.
    let port = scene.provider.port;
    scene.provider = crate::scene::Provider::new(always("200 OK", "application/json", "{}"));
    drop(std::net::TcpStream::connect(("127.0.0.1", port)));
    let refused = || std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    while !refused() {
        std::thread::yield_now();
    }
    let got = agent.post("/anthropic/v1/messages", ASK);
    assert_eq!(
        (got.status, got.json()["error"]["type"].as_str()),
        (502, Some("api_error"))
    );
}

#[test]
fn nobody_else_may_be_reached_from_a_session() {
    let scene = Scene::new();
    let agent = scene.open(&grant(1, 1));
    for request in [
        "CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n",
        "GET http://example.org/ HTTP/1.1\r\nhost: example.org\r\n\r\n",
        "POST http://example.org/anthropic/v1/files HTTP/1.1\r\nhost: example.org\r\ncontent-length: 0\r\n\r\n",
    ] {
        assert_eq!(agent.raw(request).status, 403, "{request}");
    }
    assert!(scene.provider.asked().is_empty());
}
