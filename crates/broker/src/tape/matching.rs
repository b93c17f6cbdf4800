//! Matching: two requests are one when they differ in nothing but identifiers, dates, the order of
//! names, and what clients add about themselves.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use wire::tape::Exchange;

/// The most differences that are told.
const DIFFERENCES_TOLD_MAX: usize = 12;

/// The longest value that is shown of a difference, in characters.
const SHOWN_MAX: usize = 120;

/// Fields about the client, which no answer depends on.
const IGNORED: [&str; 10] = [
    "metadata",
    "user",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "client_metadata",
    "stream_options",
    "cache_control",
    "encrypted_content",
    "signature",
];

/// Fields that may name a person, an account or a machine.
const REDACTED: [&str; 5] = [
    "metadata",
    "user",
    "prompt_cache_key",
    "safety_identifier",
    "client_metadata",
];

/// Identifiers (ours are a prefix and 26 letters and digits), moments, days, long hexadecimal numbers,
/// and how long a command took, in that order.
static CHANGING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    RegexBuilder::new(concat!(
        r"\b(?:[a-z]{2,16}_)?[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
        r"|\b[a-z]{2,16}_[0-7][0-9a-hjkmnp-tv-z]{25}\b",
        r"|\b(?:toolu|call|msg|resp|fc|rs|req|sess|work|goal|run|evt|chatcmpl)[_-][0-9A-Za-z_-]{6,}",
        r"|\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?",
        r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b",
        r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)",
        r" \d{1,2},? \d{4}\b",
        r"|\b[0-9a-f]{16,}\b",
        r"|\b\d+(?:\.\d+)?(?: ?(?:ns|us|ms|s)| (?:milli)?seconds?)\b",
        r"|\bChunk ID: [0-9a-f]+\b",
    ))
    .unicode(false)
    .build()
    .ok()
});

/// Returns what a request is found by.
#[must_use]
pub fn key(path: &str, request: &Value) -> String {
    let text = format!("{path}\n{}", plain(request));
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// Returns a request without what names people and accounts.
#[must_use]
pub fn redacted(mut request: Value) -> Value {
    if let Value::Object(fields) = &mut request {
        for name in REDACTED {
            if let Some(value) = fields.get_mut(name) {
                *value = Value::from("[redacted]");
            }
        }
    }
    request
}

/// Returns a request without what may differ. Names are in order, since maps are sorted here.
#[must_use]
pub fn plain(request: &Value) -> Value {
    match request {
        Value::String(text) => Value::String(steady(text)),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !IGNORED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => request.clone(),
    }
}

fn steady(text: &str) -> String {
    match &*CHANGING {
        Some(changing) => changing.replace_all(text, "<id>").into_owned(),
        None => text.to_owned(),
    }
}

/// Says how a request differs from the one on tape that is most like it.
#[must_use]
pub fn difference(kept: &[&Exchange], path: &str, model: &str, request: &Value) -> String {
    let asked = plain(request);
    let like = kept
        .iter()
        .enumerate()
        .filter(|(_, it)| it.path == path)
        .map(|(at, it)| {
            let mut found = Vec::new();
            compare("", &plain(&it.request), &asked, &mut found);
            // As many turns say more of where one is than what was said in them.
            let turns = turns(&it.request).abs_diff(turns(request));
            (found, at, turns)
        })
        .min_by_key(|(found, _, turns)| (*turns, found.len()))
        .map(|(found, at, _)| (found, at));
    let Some((found, at)) = like else {
        let paths: std::collections::BTreeSet<_> = kept.iter().map(|it| it.path.as_str()).collect();
        return format!("nothing was asked at {path} ({model}); the tape has {paths:?}");
    };
    let more = found.len().saturating_sub(DIFFERENCES_TOLD_MAX);
    let mut told: Vec<_> = found.into_iter().take(DIFFERENCES_TOLD_MAX).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    format!(
        "the most similar is exchange {at}, which differs: {}",
        told.join("; ")
    )
}

/// Returns how many messages a request holds.
fn turns(request: &Value) -> usize {
    let lists = ["messages", "input", "contents"];
    let found = lists.iter().find_map(|it| request[*it].as_array());
    found.map_or(0, Vec::len)
}

fn compare(place: &str, kept: &Value, asked: &Value, found: &mut Vec<String>) {
    match (kept, asked) {
        (Value::Object(kept), Value::Object(asked)) => {
            let names: std::collections::BTreeSet<_> = kept.keys().chain(asked.keys()).collect();
            for name in names {
                let (kept, asked) = (kept.get(name), asked.get(name));
                let null = Value::Null;
                let place = format!("{place}/{name}");
                compare(&place, kept.unwrap_or(&null), asked.unwrap_or(&null), found);
            }
        }
        (Value::Array(kept), Value::Array(asked)) => {
            if kept.len() != asked.len() {
                found.push(format!(
                    "{place} has {} items, not {}",
                    asked.len(),
                    kept.len()
                ));
            }
            for (at, (kept, asked)) in kept.iter().zip(asked).enumerate() {
                compare(&format!("{place}/{at}"), kept, asked, found);
            }
        }
        (kept, asked) if kept != asked => {
            found.push(format!(
                "{place} is {}, not {}",
                shown(asked, kept),
                shown(kept, asked)
            ));
        }
        _same => {}
    }
}

/// Shows a value from where it begins to differ from another.
fn shown(value: &Value, other: &Value) -> String {
    let (text, other) = (value.to_string(), other.to_string());
    let same = text
        .chars()
        .zip(other.chars())
        .take_while(|(one, two)| one == two)
        .count();
    let from = same.saturating_sub(20);
    let before = if from > 0 { "…" } else { "" };
    let piece: String = text.chars().skip(from).take(SHOWN_MAX).collect();
    let after = if text.chars().count() > from + SHOWN_MAX {
        "…"
    } else {
        ""
    };
    format!("{before}{piece}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(request: Value) -> Exchange {
        Exchange {
            path: "/v1/messages".to_owned(),
            model: "m".to_owned(),
            served_by: None,
            request,
            status: 200,
            content_type: String::new(),
            reply: String::new(),
            is_cut: false,
            withheld: None,
        }
    }

    #[test]
    fn what_does_not_matter_does_not_count() {
        let one = json!({
            "model": "m", "metadata": {"user_id": "a"}, "messages": [
                {"role": "user", "content": "Today is 2026-11-20, a Friday."},
                {"content": "ask session_01kac6vtm2exttx2zmjxjh8y2t, it took 0.0512 seconds"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_01ABCdef9", "name": "x"}]},
                {"content": "fco_01a1fe02-0790-73d2-b6c4-36937a4fd4f1, run 0b54d2f6-9d33-4c3e-8a3a-0f6a3f6f6b11 at 2026-11-20T10:00:00Z"},
            ],
        });
        let other: Value = serde_json::from_str(
            r#"{"messages": [
                {"content": "Today is 2027-01-02, a Saturday.", "role": "user"},
                {"content": "ask session_01kac6vtm2exttx2zmjxjh9999, it took 12 seconds"},
                {"content": [{"name": "x", "id": "toolu_99XYZabc0", "type": "tool_use"}], "role": "assistant"},
                {"content": "fco_21a1fe02-0790-73d2-b6c4-36937a4fd4f1, run 11111111-2222-3333-4444-555555555555 at 2027-01-02T11:30:00.5+01:00"}
            ], "metadata": {"user_id": "b"}, "model": "m"}"#,
        )
        .unwrap();
        assert_eq!(key("/p", &one), key("/p", &other));
    }

    #[test]
    fn what_matters_counts() {
        let one = json!({"model": "m", "messages": [{"content": "mend the test"}]});
        for other in [
            json!({"model": "n", "messages": [{"content": "mend the test"}]}),
            json!({"model": "m", "messages": [{"content": "mend the tests"}]}),
            json!({"model": "m", "messages": [{"content": "mend the test"}], "tools": []}),
        ] {
            assert_ne!(key("/p", &one), key("/p", &other));
        }
        assert_ne!(key("/p", &one), key("/q", &one));
    }

    #[test]
    fn a_missing_match_is_told_by_its_difference() {
        let near = kept(json!({"model": "m", "messages": [{"content": "mend the test"}]}));
        let far = kept(json!({"model": "x", "messages": [], "tools": [1]}));
        let asked = json!({"model": "m", "messages": [{"content": "mend the door"}]});
        let told = difference(&[&far, &near], "/v1/messages", "m", &asked);
        assert!(told.contains("exchange 1"), "{told}");
        assert!(
            told.contains("/messages/0/content is \"mend the door\", not \"mend the test\""),
            "{told}"
        );
        let none = difference(&[&far], "/v1/other", "m", &asked);
        assert!(none.contains("/v1/messages"), "{none}");
    }

    #[test]
    fn names_of_people_are_not_kept() {
        let request =
            redacted(json!({"metadata": {"user_id": "lovelace"}, "user": "lovelace", "x": 1}));
        assert!(!request.to_string().contains("lovelace"), "{request}");
    }
}
