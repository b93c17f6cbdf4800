//! Gemini's `generateContent`, whole and as a stream.

use serde_json::{Value, json};

use super::Turn;

/// Returns how many answers the history holds.
pub(super) fn answers(body: &Value) -> usize {
    let contents = body["contents"].as_array().into_iter().flatten();
    contents.filter(|it| it["role"] == "model").count()
}

/// Returns the pieces of an answer.
pub(super) fn events(body: &Value, turn: &Turn) -> Vec<Value> {
    let number = answers(body);
    let part = match turn {
        Turn::Call(name, input) => {
            json!({"functionCall": {"id": format!("call_{number}"), "name": name, "args": input}})
        }
        Turn::Say(_) | Turn::Hang(_) | Turn::Spend(_) | Turn::Fail(..) => {
            json!({"text": turn.words()})
        }
    };
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
    if !turn.hangs() {
        candidate["finishReason"] = json!("STOP");
    }
    let usage = json!({
        "promptTokenCount": 10, "cachedContentTokenCount": 5,
        "candidatesTokenCount": 12, "thoughtsTokenCount": 2, "totalTokenCount": 24,
    });
    let usage = match turn {
        Turn::Spend(tokens) => json!({"promptTokenCount": 10, "candidatesTokenCount": tokens}),
        Turn::Call(..) | Turn::Say(_) | Turn::Hang(_) | Turn::Fail(..) => usage,
    };
    vec![json!({
        "candidates": [candidate], "usageMetadata": usage, "modelVersion": "scripted",
        "responseId": format!("response_{number}"),
    })]
}
