//! The tools of a session for agents that speak the Model Context Protocol: JSON-RPC by lines on
//! standard input and output.
//!
//! Only what a server of tools must answer is here, by hand: why, and what was weighed against it,
//! is in `docs/adr/0011-mcp-by-hand.md`. The tools say what the other verbs of this program say, by
//! the same pipe; nothing else can be reached.

use std::io::{self, BufWriter, Read, Write};

use serde_json::{Value, json};

use super::voice::{self, variable};
use crate::lines::{Line, Lines};
use crate::surroundings::ROLE_VARIABLE;

mod tools;

use tools::Desk;

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 256 << 10;

/// Read at once, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// The revisions of the protocol that are spoken, the newest first. Tools are the same in all.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;

/// Serves the tools of this session until standard input ends.
///
/// # Errors
/// When standard input or output fails.
pub(super) fn serve() -> io::Result<()> {
    let role = variable(ROLE_VARIABLE).unwrap_or_default();
    let desk = Desk::new(role, voice::brief());
    converse(&desk, io::stdin().lock(), BufWriter::new(io::stdout()))
}

fn converse(desk: &Desk, mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut lines = Lines::new(REQUEST_BYTES_MAX);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = match from.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let heard = match length {
            0 => lines.finish().into_iter().collect(),
            length => lines.push(&piece[..length]),
        };
        for line in heard {
            if let Some(answer) = answer(desk, &line) {
                writeln!(to, "{answer}")?;
                to.flush()?;
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// Returns the answer to a line; nothing to a notification.
fn answer(desk: &Desk, line: &Line) -> Option<Value> {
    let fault = |id: &Value, code, message: &str| {
        let error = json!({"code": code, "message": message});
        Some(json!({"jsonrpc": "2.0", "id": id, "error": error}))
    };
    let Line::Whole(line) = line else {
        let told = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
        return fault(&Value::Null, INVALID_REQUEST, &told);
    };
    let Ok(request) = serde_json::from_slice::<Value>(line) else {
        return fault(&Value::Null, PARSE_ERROR, "not JSON");
    };
    let id = &request["id"];
    let is_id = id.is_string() || id.is_i64() || id.is_u64();
    let Some(method) = request["method"].as_str() else {
        // An answer to a question that was never asked needs none.
        let is_answer = request.get("result").or(request.get("error")).is_some();
        return if is_answer {
            None
        } else {
            fault(&Value::Null, INVALID_REQUEST, "a request names a method")
        };
    };
    request.get("id")?;
    if request["jsonrpc"] != "2.0" || !is_id {
        return fault(&Value::Null, INVALID_REQUEST, "this is not JSON-RPC 2.0");
    }
    let params = &request["params"];
    let result = match method {
        "initialize" => begin(params),
        "ping" => json!({}),
        "tools/list" => json!({"tools": desk.offered()}),
        "tools/call" => match call(desk, params) {
            Ok(result) => result,
            Err(why) => return fault(id, INVALID_PARAMS, &why),
        },
        other => {
            let told = format!("`{other}` is not served: there are tools, and no more");
            return fault(id, METHOD_NOT_FOUND, &told);
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn begin(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let known = REVISIONS.iter().find(|it| **it == asked);
    json!({
        "protocolVersion": known.unwrap_or(&REVISIONS[0]),
        "capabilities": {"tools": {"listChanged": false}},
        "serverInfo": {"name": "palisade", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "How you speak to your operator. End with `finish` or `refuse`.",
    })
}

/// Calls a tool. What the tool refuses is its answer, marked as an error, for the agent to read.
fn call(desk: &Desk, params: &Value) -> Result<Value, String> {
    let name = params["name"]
        .as_str()
        .ok_or("a call names its tool in `name`")?;
    let empty = json!({});
    let arguments = params.get("arguments").unwrap_or(&empty);
    let (text, is_error) = match desk.call(name, arguments) {
        None => return Err(format!("there is no tool `{name}` for this role")),
        Some(Ok(text)) => (text, false),
        Some(Err(why)) => (why, true),
    };
    let content = json!([{"type": "text", "text": text}]);
    Ok(json!({"content": content, "isError": is_error}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(role: &str) -> Desk {
        Desk::new(role.to_owned(), "/nonexistent".into())
    }

    fn said(role: &str, lines: &str) -> Vec<Value> {
        let mut out = Vec::new();
        converse(&desk(role), lines.as_bytes(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    }

    fn names(role: &str) -> Vec<String> {
        let list = said(role, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        let tools = list[0]["result"]["tools"].as_array().unwrap();
        let name = |it: &Value| it["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect()
    }

    #[test]
    fn a_client_is_met_in_its_own_revision_or_in_the_newest() {
        for (asked, given) in [("2024-11-05", "2024-11-05"), ("2026-07-28", "2025-11-25")] {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":"a","method":"initialize","params":{{"protocolVersion":"{asked}"}}}}"#
            );
            let answers = said("builder", &line);
            assert_eq!(answers[0]["id"], "a");
            assert_eq!(answers[0]["result"]["protocolVersion"], given);
            assert!(answers[0]["result"]["capabilities"]["tools"].is_object());
        }
    }

    #[test]
    fn notifications_and_answers_are_not_answered() {
        let lines = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n\
            {\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n\
            {\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"ping\"}\n";
        let answers = said("builder", lines);
        assert_eq!(answers, [json!({"jsonrpc": "2.0", "id": 5, "result": {}})]);
    }

    #[test]
    fn every_bad_request_is_told_and_the_next_is_served() {
        let long = "x".repeat(REQUEST_BYTES_MAX + 1);
        for (line, code) in [
            ("not json", PARSE_ERROR),
            (long.as_str(), INVALID_REQUEST),
            ("[]", INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#,
                METHOD_NOT_FOUND,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#,
                METHOD_NOT_FOUND,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
                INVALID_PARAMS,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"approve"}}"#,
                INVALID_PARAMS,
            ),
        ] {
            let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
            let answers = said("builder", &format!("{line}\n{ping}\n"));
            assert_eq!(answers[0]["error"]["code"], code, "{line:.80}");
            assert_eq!(answers[1]["id"], 9);
        }
    }

    #[test]
    fn a_role_is_offered_what_it_may_do() {
        assert!(names("reviewer").contains(&"report_finding".to_owned()));
        assert!(!names("builder").contains(&"report_finding".to_owned()));
        let call =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"report_finding"}}"#;
        assert_eq!(said("builder", call)[0]["error"]["code"], INVALID_PARAMS);
        assert_eq!(said("reviewer", call)[0]["result"]["isError"], true);
    }
}
