//! Chat Completions, as a stream of events.

use serde_json::{Value, json};

use super::Turn;

/// Returns the events of an answer.
pub(super) fn events(body: &Value, turn: &Turn) -> Vec<Value> {
    let number = super::anthropic::answers(body);
    let (delta, finish) = match turn {
        Turn::Call(name, input) => {
            let function = json!({"name": name, "arguments": input.to_string()});
            let call = json!({
                "index": 0, "id": format!("call_{number}"), "type": "function",
                "function": function,
            });
            (
                json!({"role": "assistant", "tool_calls": [call]}),
                "tool_calls",
            )
        }
        Turn::Say(_) | Turn::Hang(_) | Turn::Spend(_) | Turn::Fail(..) => (
            json!({"role": "assistant", "content": turn.words()}),
            "stop",
        ),
    };
    let chunk = |delta: &Value, finish: Option<&str>| {
        json!({
            "id": format!("chat_{number}"), "object": "chat.completion.chunk", "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let mut events = vec![chunk(&delta, None)];
    if let Turn::Spend(tokens) = turn {
        let mut spent = chunk(&json!({}), None);
        spent["usage"] = json!({"prompt_tokens": 10, "completion_tokens": tokens});
        events.push(spent);
    }
    if !turn.hangs() {
        let mut last = chunk(&json!({}), Some(finish));
        last["usage"] = json!({
            "prompt_tokens": 10, "completion_tokens": 12, "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 5},
        });
        events.push(last);
    }
    events
}
