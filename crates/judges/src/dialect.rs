//! The languages of providers: a question as a request, and the answer out of a reply.

use ports::judges::Question;
use serde_json::{Value, json};

use crate::name::{Family, Name};

/// What the answer is called where it needs a name.
const ANSWER: &str = "answer";

/// What is said when an answer is not of the declared form.
fn complained(complaint: &str) -> String {
    format!("Your answer is not of the declared form: {complaint}. Answer again, with JSON alone.")
}

/// Returns the path of a model's provider at the broker.
pub(crate) fn path(name: &Name) -> String {
    match &name.family {
        Family::Anthropic => "/anthropic/v1/messages".to_owned(),
        Family::OpenAi => "/openai/v1/responses".to_owned(),
        Family::Compatible(server) => format!("/compatible/{server}/v1/chat/completions"),
    }
}

/// Returns the request of a question.
pub(crate) fn request(name: &Name, question: &Question, schema: &Value) -> Value {
    let mut said = vec![json!({"role": "user", "content": question.prompt})];
    for it in &question.earlier {
        // An empty message is refused by providers.
        let answer = if it.answer.trim().is_empty() {
            "(nothing)"
        } else {
            &it.answer
        };
        said.push(json!({"role": "assistant", "content": answer}));
        said.push(json!({"role": "user", "content": complained(&it.complaint)}));
    }
    let model = &name.model;
    match &name.family {
        // The tool that must be called is the form of the answer.
        Family::Anthropic => json!({
            "model": model, "max_tokens": question.tokens_max, "messages": said,
            "tools": [{
                "name": ANSWER, "description": "Takes your answer.", "input_schema": schema,
            }],
            "tool_choice": {"type": "tool", "name": ANSWER},
        }),
        Family::OpenAi => json!({
            "model": model, "max_output_tokens": question.tokens_max, "input": said,
            "store": false,
            "text": {"format": {
                "type": "json_schema", "name": ANSWER, "schema": schema,
                "strict": is_strict(schema),
            }},
        }),
        Family::Compatible(_) => json!({
            "model": model, "max_tokens": question.tokens_max, "messages": said,
            "response_format": {"type": "json_schema", "json_schema": {
                "name": ANSWER, "schema": schema, "strict": is_strict(schema),
            }},
        }),
    }
}

/// Returns whether a schema names every field as required and admits no other: what providers call
/// strict, and refuse otherwise.
fn is_strict(schema: &Value) -> bool {
    let within = |value: &Value| value.is_null() || is_strict(value);
    let Some(properties) = schema["properties"].as_object() else {
        return within(&schema["items"]);
    };
    let required = schema["required"].as_array();
    let all_required = required.is_some_and(|it| it.len() == properties.len());
    all_required
        && schema["additionalProperties"] == Value::Bool(false)
        && properties.values().all(is_strict)
}

/// Returns the answer in a reply.
///
/// # Errors
/// Says why there is none.
pub(crate) fn answer(family: &Family, reply: &Value) -> Result<String, String> {
    let found = match family {
        Family::Anthropic => anthropic(reply),
        Family::OpenAi => openai(reply),
        Family::Compatible(_) => {
            let text = reply["choices"][0]["message"]["content"].as_str();
            text.map(str::to_owned)
        }
    };
    found.ok_or_else(|| "it holds no answer; the model may have been cut off".to_owned())
}

fn anthropic(reply: &Value) -> Option<String> {
    let blocks = reply["content"].as_array()?;
    let called = blocks.iter().find(|it| it["type"] == "tool_use");
    if let Some(called) = called {
        return Some(called["input"].to_string());
    }
    let texts: Vec<_> = blocks.iter().filter_map(|it| it["text"].as_str()).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

fn openai(reply: &Value) -> Option<String> {
    let items = reply["output"].as_array()?.iter();
    let said = items.filter(|it| it["type"] == "message");
    let parts = said.flat_map(|it| it["content"].as_array().into_iter().flatten());
    let texts: Vec<_> = parts.filter_map(|it| it["text"].as_str()).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_schema_that_names_everything_is_strict() {
        let strict = json!({"type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "array", "items": {"type": "string"}}}});
        assert!(is_strict(&strict));
        let mut open = strict.clone();
        open["additionalProperties"] = Value::Null;
        assert!(!is_strict(&open));
        let mut optional = strict;
        optional["required"] = json!([]);
        assert!(!is_strict(&optional));
    }

    #[test]
    fn a_reply_without_an_answer_is_none() {
        for family in [
            Family::Anthropic,
            Family::OpenAi,
            Family::Compatible("x".into()),
        ] {
            for reply in [
                json!({}),
                json!({"content": []}),
                json!({"output": []}),
                json!(null),
            ] {
                assert!(answer(&family, &reply).is_err(), "{family:?} {reply}");
            }
        }
    }
}
