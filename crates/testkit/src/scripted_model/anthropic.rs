//! Anthropic Messages, as a stream of events.

use serde_json::{Value, json};

use super::Turn;

/// Returns how many answers the history holds.
pub(super) fn answers(body: &Value) -> usize {
    let messages = body["messages"].as_array().into_iter().flatten();
    messages.filter(|it| it["role"] == "assistant").count()
}

/// Returns the events of an answer.
pub(super) fn events(body: &Value, turn: &Turn) -> Vec<Value> {
    let number = answers(body);
    let message = json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant",
        "model": body["model"], "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {
            "input_tokens": 10, "output_tokens": 1,
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5,
        },
    });
    let (block, delta, stop) = match turn {
        Turn::Call(name, input) => (
            json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": name, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": input.to_string()}),
            "tool_use",
        ),
        Turn::Say(_) | Turn::Hang(_) | Turn::Spend(_) | Turn::Fail(..) => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": turn.words()}),
            "end_turn",
        ),
    };
    let mut events = vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
    ];
    if let Turn::Spend(tokens) = turn {
        let usage = json!({"output_tokens": tokens});
        events.push(json!({"type": "message_delta", "delta": {}, "usage": usage}));
    }
    if !turn.hangs() {
        let stop = json!({"stop_reason": stop, "stop_sequence": null});
        let usage = json!({"output_tokens": 12});
        events.extend([
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": stop, "usage": usage}),
            json!({"type": "message_stop"}),
        ]);
    }
    events
}
