//! OpenAI Responses, as a stream of events.

use serde_json::{Value, json};

use super::Turn;

/// Returns how many answers the history holds.
pub(super) fn answers(body: &Value) -> usize {
    let items = body["input"].as_array().into_iter().flatten();
    items
        .filter(|it| match it["type"].as_str() {
            Some("function_call" | "custom_tool_call") => true,
            _ => it["role"] == "assistant",
        })
        .count()
}

/// Returns the events of an answer.
pub(super) fn events(body: &Value, turn: &Turn) -> Vec<Value> {
    let number = answers(body);
    let item = match turn {
        Turn::Call(name, input) => call(body, number, name, input),
        Turn::Say(_) | Turn::Hang(_) | Turn::Spend(_) | Turn::Fail(..) => json!({
            "type": "message", "id": format!("msg_{number}"), "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": turn.words(), "annotations": []}],
        }),
    };
    let response = json!({
        "id": format!("resp_{number}"), "object": "response", "created_at": 1,
        "status": "in_progress", "model": body["model"], "output": [], "usage": null,
    });
    let mut events = vec![
        json!({"type": "response.created", "response": response}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
    ];
    if let Turn::Spend(tokens) = turn {
        let mut spent = response.clone();
        spent["usage"] = json!({"input_tokens": 10, "output_tokens": tokens});
        events.push(json!({"type": "response.in_progress", "response": spent}));
    }
    if !turn.hangs() {
        let mut done = response;
        done["status"] = json!("completed");
        done["output"] = json!([item]);
        done["usage"] = json!({
            "input_tokens": 10, "input_tokens_details": {"cached_tokens": 5},
            "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 22,
        });
        events.extend([
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.completed", "response": done}),
        ]);
    }
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

/// Returns the item of a call, in the form in which the tool was offered.
fn call(body: &Value, number: usize, name: &str, input: &Value) -> Value {
    let tools: Vec<&Value> = body["tools"].as_array().into_iter().flatten().collect();
    let is_custom = tools
        .iter()
        .any(|it| it["name"] == name && it["type"] == "custom");
    let (id, call_id) = (format!("fc_{number}"), format!("call_{number}"));
    if is_custom {
        return json!({
            "type": "custom_tool_call", "id": id, "call_id": call_id, "status": "completed",
            "name": name, "input": input["input"],
        });
    }
    // Tools of a server lie within a namespace, which is named beside the tool: `space/tool`.
    let (space, name) = match name.split_once('/') {
        Some((space, name)) => (Some(space), name),
        None => (None, name),
    };
    let mut item = json!({
        "type": "function_call", "id": id, "call_id": call_id, "status": "completed",
        "name": name, "arguments": input.to_string(),
    });
    if let Some(space) = space {
        item["namespace"] = json!(space);
    }
    item
}
