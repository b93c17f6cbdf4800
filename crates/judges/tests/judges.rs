//! Judges over a real socket: what providers are asked, what is taken of what they say, and what is
//! told when they say nothing.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it assumes by unwrapping"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use palisade_judges::ModelJudges;
use ports::judges::{Attempt, Error, Judges};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::judges::contract::question;

mod contract {
    use super::{Arc, Judges, ModelJudges};

    fn real() -> impl Fn() -> Arc<dyn Judges> {
        || Arc::new(ModelJudges)
    }

    testkit::judges_contract!(real);
}

/// A provider that says the same to everybody, and tells what it was asked.
struct Provider {
    _folder: TempDir,
    socket: PathBuf,
    asked: Receiver<(String, Value)>,
}

fn provider(reply: impl Into<Vec<u8>>) -> Provider {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("model.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (says, asked) = mpsc::channel();
    let reply = reply.into();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut from = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut length) = (String::new(), 0);
        from.read_line(&mut line).unwrap();
        loop {
            let mut field = String::new();
            from.read_line(&mut field).unwrap();
            if field.trim().is_empty() {
                break;
            }
            if let Some(it) = field.strip_prefix("content-length: ") {
                length = it.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        says.send((line, serde_json::from_slice(&body).unwrap()))
            .unwrap();
        (&stream).write_all(&reply).unwrap();
    });
    Provider {
        _folder: folder,
        socket,
        asked,
    }
}

fn whole(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn anthropic_is_asked_with_a_tool_that_must_be_called() {
    let input = json!({"pass": true});
    let block = json!({"type": "tool_use", "id": "t", "name": "answer", "input": input});
    let there = provider(whole("200 OK", &json!({"content": [block]})));
    let mut asked = question("claude-haiku-4-5", &there.socket);
    asked.earlier.push(Attempt {
        answer: String::new(),
        complaint: "/pass: must be true or false".to_owned(),
    });
    let answer = ModelJudges.ask(&asked).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), input);
    let (line, body) = there.asked.recv().unwrap();
    assert_eq!(line, "POST /anthropic/v1/messages HTTP/1.1\r\n");
    assert_eq!(
        body["tool_choice"],
        json!({"type": "tool", "name": "answer"})
    );
    assert_eq!(body["tools"][0]["input_schema"]["type"], "object");
    assert_eq!(body["max_tokens"], 1_000);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    assert_eq!(body["messages"][1]["content"], "(nothing)");
    let complaint = body["messages"][2]["content"].as_str().unwrap();
    assert!(complaint.contains("/pass: must be true or false"));
}

#[test]
fn openai_and_compatible_servers_are_asked_for_the_schema() {
    let part = json!({"type": "output_text", "text": "{\"pass\":true}"});
    let said = json!({"output": [
        {"type": "reasoning"}, {"type": "message", "content": [part]},
    ]});
    let there = provider(whole("200 OK", &said));
    let answer = ModelJudges.ask(&question("openai/gpt-5", &there.socket));
    assert_eq!(answer.unwrap(), "{\"pass\":true}");
    let (line, body) = there.asked.recv().unwrap();
    assert_eq!(line, "POST /openai/v1/responses HTTP/1.1\r\n");
    assert_eq!(body["text"]["format"]["type"], "json_schema");
    assert_eq!(body["text"]["format"]["strict"], false);
    assert_eq!(body["store"], false);

    let said = json!({"choices": [{"message": {"content": "{\"pass\":false}"}}]}).to_string();
    let (one, two) = said.split_at(10);
    let pieces = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    let there = provider(pieces);
    let answer = ModelJudges.ask(&question("compatible/ollama/qwen3:8b", &there.socket));
    assert_eq!(answer.unwrap(), "{\"pass\":false}");
    let (line, body) = there.asked.recv().unwrap();
    assert_eq!(
        line,
        "POST /compatible/ollama/v1/chat/completions HTTP/1.1\r\n"
    );
    assert_eq!(
        (&body["model"], &body["response_format"]["type"]),
        (&json!("qwen3:8b"), &json!("json_schema"))
    );
}

#[test]
fn a_refusal_is_told_in_the_providers_words() {
    let body =
        json!({"type": "error", "error": {"type": "x", "message": "no such\u{1b}[2J model"}});
    let there = provider(whole("403 Forbidden", &body));
    let error = ModelJudges
        .ask(&question("claude-x", &there.socket))
        .unwrap_err();
    let Error::Refused { status, detail } = error else {
        panic!("{error}");
    };
    assert_eq!((status, detail.as_str()), (403, "no such[2J model"));
}

#[test]
fn what_is_no_answer_is_told() {
    for (reply, wanted) in [
        (whole("200 OK", &json!({"content": []})), "holds no answer"),
        (
            whole(
                "200 OK",
                &json!({"content": [{"type": "text", "text": "x".repeat(300 << 10)}]}),
            ),
            "are taken",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
            "not JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".to_owned(),
            "its length",
        ),
        ("nonsense\r\n\r\n".to_owned(), "not HTTP"),
    ] {
        let there = provider(reply);
        let error = ModelJudges
            .ask(&question("claude-x", &there.socket))
            .unwrap_err();
        assert!(matches!(error, Error::Odd(_)), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let there = provider("HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\ncut");
    let error = ModelJudges
        .ask(&question("claude-x", &there.socket))
        .unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}
