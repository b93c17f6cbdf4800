//! Abuse: whatever is sent, nothing is executed but what was approved, and each denial is recorded.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::scene::{Scene, answer, posted};

/// Returns what is made of a request that would be executed, each with its code.
#[expect(clippy::too_many_lines, reason = "one row for each abuse")]
fn abuses(whole: &Value) -> Vec<(&'static str, String)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = whole.clone();
        change(&mut value);
        value.to_string()
    };
    let text = whole.to_string();
    vec![
        (
            "unknown_action",
            with(&|it| it["action"] = json!("sh -c 'id > /tmp/x'")),
        ),
        (
            "unknown_action",
            with(&|it| it["action"] = json!("deploy_st\u{430}ging")),
        ),
        (
            "unknown_action",
            with(&|it| it["action"] = json!("deploy_staging\n")),
        ),
        (
            "unknown_action",
            with(&|it| it["action"] = json!("deploy_staging\0")),
        ),
        (
            "invalid_request",
            with(&|it| it["action"] = json!(["deploy_staging"])),
        ),
        (
            "invalid_request",
            with(&|it| it["action"] = json!({"deploy_staging": {}})),
        ),
        (
            "invalid_arguments",
            with(&|it| it["arguments"]["artifact"] = json!("$(id)")),
        ),
        (
            "invalid_arguments",
            with(&|it| it["arguments"]["artifact"] = json!("--help")),
        ),
        (
            "invalid_arguments",
            with(&|it| it["arguments"]["artifact"] = json!("main;id")),
        ),
        (
            "invalid_arguments",
            with(&|it| it["arguments"]["artifact"] = json!("a\nb")),
        ),
        (
            "invalid_arguments",
            with(&|it| it["arguments"]["artifact"] = json!("a\0b")),
        ),
        (
            "invalid_arguments",
            with(&|it| it["arguments"]["extra"] = json!(1)),
        ),
        ("invalid_arguments", with(&|it| it["arguments"] = json!([]))),
        ("invalid_request", with(&|it| it["extra"] = json!(1))),
        (
            "invalid_request",
            with(&|it| it["target"] = json!("staging;id")),
        ),
        (
            "duplicate_key",
            text.replacen('{', "{\"target\":\"production\",", 1),
        ),
        (
            "too_complex",
            format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
        ),
        ("malformed_json", text[1..].to_owned()),
        ("malformed_json", String::new()),
        ("invalid_request", "[]".to_owned()),
    ]
}

#[test]
fn what_is_no_request_is_refused_with_its_code() {
    let scene = Scene::new();
    let running = scene.start();
    let whole = scene.request(scene.deploy("one")).value();
    let cases = abuses(&whole);
    for (wanted, body) in &cases {
        let answer = running.post(body.as_bytes());
        assert_eq!(answer.code(), *wanted, "{body:.80}");
        assert!(answer.status >= 400);
    }
    assert_eq!(running.post(b"\"\xff\xfe\"").code(), "malformed_json");
    assert_eq!(scene.refusals().len(), cases.len() + 1);
    assert_eq!(scene.runs(), 0);
    assert!(running.post(whole.to_string().as_bytes()).receipt().ok);
}

#[test]
fn ten_megabytes_are_not_read() {
    let scene = Scene::new();
    let running = scene.start();
    let body = vec![b' '; 10 << 20];
    let told = running.raw(&posted(&body));
    // It may be told while it still writes, and then not hear it.
    assert!(told.is_none_or(|it| it.code() == "too_large"));
    // And without a length, in pieces.
    let mut stream = running.connect();
    let head = "POST /execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    while stream.write_all(&piece).is_ok() {}
    let mut all = Vec::new();
    drop(stream.read_to_end(&mut all));
    assert!(answer(&all).is_none_or(|it| it.code() == "too_large"));
    assert_eq!(running.get("/healthz").status, 200);
    let large = scene
        .refusals()
        .iter()
        .filter(|it| it.name() == "too_large")
        .count();
    assert_eq!(large, 2);
}

#[test]
fn who_sends_slowly_is_let_go() {
    let scene = Scene::new();
    let running = scene.start();
    // A head that never ends, a body that never comes: each connection is ended by the executor.
    let mut heads: Vec<_> = (0..8).map(|_| running.connect()).collect();
    for stream in &mut heads {
        stream
            .write_all(b"POST /execute HTTP/1.1\r\nhost: x\r\nx-slow: ")
            .unwrap();
    }
    let mut body = running.connect();
    let head = "POST /execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                connection: close\r\ncontent-length: 100\r\n\r\n{";
    body.write_all(head.as_bytes()).unwrap();
    for mut stream in heads {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
    }
    let mut all = Vec::new();
    body.read_to_end(&mut all).unwrap();
    assert_eq!(answer(&all).unwrap().code(), "too_slow");
    assert_eq!(running.get("/healthz").status, 200);
}

#[test]
fn other_paths_methods_and_types_are_refused() {
    let scene = Scene::new();
    let running = scene.start();
    let send = |line: &str, kind: &str| {
        let text = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: 2\r\n\r\n{{}}"
        );
        running.raw(text.as_bytes()).unwrap().code()
    };
    assert_eq!(send("POST /shell", "application/json"), "not_found");
    assert_eq!(
        send("POST /execute/../shell", "application/json"),
        "not_found"
    );
    assert_eq!(send("PUT /execute", "application/json"), "method");
    assert_eq!(send("POST /actions", "application/json"), "method");
    assert_eq!(send("POST /execute", "text/plain"), "media_type");
    assert_eq!(
        send("POST /execute", "application/x-www-form-urlencoded"),
        "media_type"
    );
    assert_eq!(
        send("POST /execute", "application/json; charset=utf-8"),
        "invalid_request"
    );
    assert_eq!(scene.refusals().len(), 7);
}

#[test]
fn a_user_who_is_no_peer_is_not_heard() {
    let mut scene = Scene::new();
    scene.uid += 1;
    let running = scene.start();
    assert_eq!(
        running.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
        None
    );
    assert_eq!(running.raw(&posted(b"{}")), None);
    let refusals = scene.refusals();
    assert!(refusals.iter().all(|it| it.name() == "peer_not_allowed"));
    assert_eq!(refusals.len(), 2);
}

#[test]
fn a_process_of_another_pid_namespace_is_not_heard() {
    let scene = Scene::new();
    let running = scene.start();
    // The control first: the same program from our own namespace is answered.
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  s.sendall(b'GET /healthz HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n')\n\
                  sys.stdout.write(s.recv(999).decode())";
    let python = ["python3", "-I", "-c", script];
    let run = |words: &[&str]| {
        let output = Command::new(words[0])
            .args(&words[1..])
            .arg(&running.socket)
            .stdin(Stdio::null())
            .output();
        output
            .ok()
            .filter(|it| it.status.success())
            .map(|it| String::from_utf8(it.stdout).unwrap())
    };
    let Some(near) = run(&python) else {
        return; // no python3 here
    };
    assert!(near.starts_with("HTTP/1.1 200"), "{near}");
    let unshare = [
        "unshare",
        "--user",
        "--map-current-user",
        "--pid",
        "--fork",
        "--",
    ];
    let Some(far) = run(&[&unshare[..], &python[..]].concat()) else {
        return; // no namespaces of one's own here
    };
    assert_eq!(far, "");
    assert_eq!(scene.refusals().len(), 1);
}

#[test]
fn who_asks_too_often_is_slowed_down_and_does_not_fill_the_audit() {
    let mut scene = Scene::new();
    scene.limits = "requests_per_minute = 5".to_owned();
    let running = scene.start();
    let codes: Vec<_> = (0..40).map(|_| running.post(b"{}").code()).collect();
    let limited = codes.iter().filter(|it| *it == "rate_limited").count();
    // A minute may end in between; then there are five more.
    assert!(limited >= 30, "{codes:?}");
    let on_record = scene.refusals();
    let recorded = on_record
        .iter()
        .filter(|it| it.name() == "rate_limited")
        .count();
    assert!((1..=2).contains(&recorded));
}

#[test]
fn a_changed_configuration_stops_everything_until_the_next_start() {
    let scene = Scene::new();
    let running = scene.start();
    let request = scene.request(scene.deploy("one"));
    let path = scene.path("executor.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n# one line more\n")).unwrap();
    assert_eq!(running.execute(&request).code(), "configuration_changed");
    assert_eq!(running.get("/readyz").status, 503);
    std::fs::write(&path, text).unwrap();
    assert!(running.execute(&request).receipt().ok);
}

#[test]
fn a_program_that_is_not_what_was_pinned_is_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    let running = scene.start();
    let (first, second) = (
        scene.request(scene.deploy("one")),
        scene.request(scene.deploy("two")),
    );
    // The original may change: what runs is a copy of what was looked at.
    std::fs::write(scene.path("deploy"), "#!/bin/sh\nexit 9\n").unwrap();
    assert!(running.execute(&first).receipt().ok);
    let copies = scene.path("state/programs");
    for copy in std::fs::read_dir(&copies).unwrap() {
        let copy = copy.unwrap().path();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(&copy, "#!/bin/sh\nexit 0\n").unwrap();
    }
    assert_eq!(running.execute(&second).code(), "program_changed");
    running.kill();
    // And a start with another program than the pinned one is refused.
    let told = scene.refusal_to_start();
    assert!(told.contains("executor.toml pins another"), "{told}");
}

#[test]
fn a_configuration_that_others_can_write_is_not_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    scene.configure();
    let path = scene.path("executor.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let told = scene.refusal_to_start();
    assert!(told.contains("could be written by others"), "{told}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, wanted) in [
        (
            "[limits]",
            "[limits]\nshell = true",
            "there is no such field",
        ),
        ("service:engine", "service:ada", "asks and approves"),
        ("operator:ada", "agent:ada", "only one approves"),
        (
            "program = \"git\"",
            "program = \"sh\"",
            "none of [programs]",
        ),
        ("groups_min = 2", "groups_min = 1", "at least 2"),
        ("agents/palisade", "../heads", "must be words"),
    ] {
        assert!(text.contains(from));
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let told = scene.refusal_to_start();
        assert!(told.contains(wanted), "{told}");
    }
}
