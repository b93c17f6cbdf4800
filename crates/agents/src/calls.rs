//! Calls of tools, as programs tell them: what one was called for, in a line.

use serde_json::Value;

/// The most that is told of what a tool was called for, in characters.
const SUBJECT_CHARS_MAX: usize = 300;

/// Where inputs say what a call is about, the most telling first.
const TELLING: [&str; 12] = [
    "command",
    "cmd",
    "file_path",
    "notebook_path",
    "path",
    "pattern",
    "query",
    "question",
    "summary",
    "text",
    "detail",
    "file",
];

/// Returns what a tool was called for: a path in the tree, a command, or the input as it is.
pub(crate) fn subject(input: &Value) -> String {
    let told = TELLING.iter().find_map(|it| input[*it].as_str());
    match told {
        Some(told) => line(told),
        None if input.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
        None => line(&input.to_string()),
    }
}

/// Returns a text as one line of bounded length, paths from the tree on.
pub(crate) fn line(text: &str) -> String {
    let text = text.strip_prefix("/workspace/").unwrap_or(text).trim();
    let plain = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    plain.take(SUBJECT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_most_telling_part_of_an_input_is_told() {
        for (input, expected) in [
            (
                json!({"file_path": "/workspace/src/a", "content": "x"}),
                "src/a",
            ),
            (
                json!({"description": "d", "command": "make\ntest"}),
                "make test",
            ),
            (json!({"other": 1}), r#"{"other":1}"#),
            (json!({}), ""),
            (json!({"command": "x".repeat(1_000)}), &*"x".repeat(300)),
        ] {
            assert_eq!(subject(&input), expected);
        }
    }
}
