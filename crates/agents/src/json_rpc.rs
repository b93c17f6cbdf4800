//! JSON-RPC 2.0 by lines, as the Agent Client Protocol speaks it: what is read and what is said.

use serde_json::{Value, json};

/// The longest identifier of a request that is answered, in bytes.
const ID_BYTES_MAX: usize = 256;

/// The request is not one that is understood.
pub(crate) const INVALID_PARAMS: i64 = -32_602;
/// Nothing of that name is served.
pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
/// What was asked for went wrong.
pub(crate) const INTERNAL_ERROR: i64 = -32_603;
/// The file is not there.
pub(crate) const NOT_FOUND: i64 = -32_002;
/// Role, lane or plan do not allow it.
pub(crate) const DENIED: i64 = -32_003;

/// How a line begins that tells [`crate::client`] what to do in an agent's name. No program of
/// an agent's can say it: it comes by the standard input that only the engine writes.
pub(crate) const PERFORM: &str = "{\"palisade\":";

/// A line that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// Something is asked, and waits for an answer.
    Request(Request),
    /// Something is told.
    Told {
        /// What it is about.
        method: String,
        /// The rest.
        params: Value,
    },
    /// A question of ours is answered.
    Answer {
        /// Which question.
        id: Value,
        /// The answer, or the error in its place.
        answer: Result<Value, Value>,
    },
}

/// A request of the other side's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// What the answer names.
    pub(crate) id: Value,
    /// What is asked.
    pub(crate) method: String,
    /// The rest.
    pub(crate) params: Value,
}

/// Reads a line; nothing when it is none of JSON-RPC's.
pub(crate) fn read(line: &[u8]) -> Option<Heard> {
    let Ok(Value::Object(mut message)) = serde_json::from_slice(line) else {
        return None;
    };
    let id = message.remove("id");
    let params = message.remove("params").unwrap_or_default();
    match (message.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => {
            is_id(&id).then_some(Heard::Request(Request { id, method, params }))
        }
        (Some(Value::String(method)), None) => Some(Heard::Told { method, params }),
        (None, Some(id)) => {
            let answer = match (message.remove("result"), message.remove("error")) {
                (_, Some(error)) => Err(error),
                (Some(result), None) => Ok(result),
                (None, None) => return None,
            };
            Some(Heard::Answer { id, answer })
        }
        (Some(_) | None, _) => None,
    }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= ID_BYTES_MAX,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Returns the line that asks something.
pub(crate) fn request(id: u64, method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// Returns the line that tells something.
pub(crate) fn notification(method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// Returns the line that answers a request.
pub(crate) fn result(id: &Value, result: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// Returns the line that answers a request with a no, and why.
pub(crate) fn error(id: &Value, code: i64, message: &str) -> String {
    let error = json!({"code": code, "message": message});
    line(&json!({"jsonrpc": "2.0", "id": id, "error": error}))
}

/// Returns the line that has a request of the agent's carried out inside its cell.
pub(crate) fn perform(request: &Request) -> String {
    let Request { id, method, params } = request;
    line(&json!({"palisade": {"id": id, "method": method, "params": params}}))
}

/// Reads what [`perform`] says; nothing when it is another line.
pub(crate) fn performed(line: &[u8]) -> Option<Request> {
    if !line.starts_with(PERFORM.as_bytes()) {
        return None;
    }
    let mut order: Value = serde_json::from_slice(line).ok()?;
    match read(order["palisade"].take().to_string().as_bytes())? {
        Heard::Request(request) => Some(request),
        Heard::Told { .. } | Heard::Answer { .. } => None,
    }
}

fn line(message: &Value) -> String {
    format!("{message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_requests_news_answers_or_nothing() {
        let asked = Request {
            id: json!("a"),
            method: "fs/read_text_file".to_owned(),
            params: json!({"path": "x"}),
        };
        let line =
            r#"{"jsonrpc":"2.0","id":"a","method":"fs/read_text_file","params":{"path":"x"}}"#;
        assert_eq!(read(line.as_bytes()), Some(Heard::Request(asked)));
        let told = read(br#"{"method":"session/update"}"#);
        assert!(
            matches!(
                told,
                Some(Heard::Told {
                    params: Value::Null,
                    ..
                })
            ),
            "{told:?}"
        );
        for (line, answer) in [
            (r#"{"id":1,"result":null}"#, Ok(Value::Null)),
            (r#"{"id":1,"error":{"code":2}}"#, Err(json!({"code": 2}))),
            (
                r#"{"id":1,"error":{"code":2},"result":{}}"#,
                Err(json!({"code": 2})),
            ),
        ] {
            let id = json!(1);
            assert_eq!(read(line.as_bytes()), Some(Heard::Answer { id, answer }));
        }
        let long = format!(
            r#"{{"id":"{}","method":"m"}}"#,
            "x".repeat(ID_BYTES_MAX + 1)
        );
        for none in [
            "",
            "[]",
            "7",
            "null",
            "{",
            "{}",
            "\u{0}",
            r#"{"id":1}"#,
            r#"{"id":1,"method":7}"#,
            r#"{"id":null,"method":"m"}"#,
            r#"{"id":{},"method":"m"}"#,
            r#"{"id":1.5,"method":"m"}"#,
            r#"[{"id":1,"method":"m"}]"#,
            &long,
        ] {
            assert_eq!(read(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn an_order_is_told_from_what_is_passed_on() {
        let asked = Request {
            id: json!(7),
            method: "terminal/create".to_owned(),
            params: json!({"command": "make"}),
        };
        let line = perform(&asked);
        assert!(line.starts_with(PERFORM) && line.ends_with('\n'));
        assert_eq!(performed(line.trim_end().as_bytes()), Some(asked));
        assert_eq!(
            performed(request(1, "initialize", &json!({})).as_bytes()),
            None
        );
        assert_eq!(performed(b"{\"palisade\":7}"), None);
    }
}
