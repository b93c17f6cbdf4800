//! What an agent asks leave for by the Agent Client Protocol, and which of its options answers it.

use serde_json::{Value, json};

use crate::permission::Judge;

/// Files that one request may name.
const PATHS_MAX: usize = 256;

/// The fields by which tools name the file they write, in what agents tell of their raw input.
const PATH_FIELDS: [&str; 6] = [
    "file_path",
    "filepath",
    "filePath",
    "path",
    "abs_path",
    "notebook_path",
];

/// Judges a request for leave; returns the outcome to answer with, and why it is a no.
pub(super) fn judged(judge: &Judge, params: &Value) -> (Value, Option<String>) {
    let verdict = allows(judge, &params["toolCall"]);
    let kind = match verdict {
        Ok(()) => "allow_once",
        Err(_) => "reject_once",
    };
    let options = params["options"].as_array();
    let option = options.and_then(|it| it.iter().find(|it| it["kind"] == kind));
    let option = option.and_then(|it| it["optionId"].as_str());
    let why = match (verdict, option) {
        (Ok(()), Some(_)) => None,
        // A leave for ever would be the last question.
        (Ok(()), None) => Some("no leave can be given for this once, and none is for ever".into()),
        (Err(why), _) => Some(why),
    };
    let outcome = match option {
        Some(option) => json!({"outcome": "selected", "optionId": option}),
        None => cancelled(),
    };
    let mut answer = json!({"outcome": outcome});
    if let Some(why) = &why {
        // The protocol has no field for it; who reads this one, knows at once.
        answer["_meta"] = json!({"palisade.reason": why});
    }
    (answer, why)
}

/// Returns the outcome of a request that nobody decides any more.
pub(super) fn cancelled() -> Value {
    json!({"outcome": "cancelled"})
}

fn allows(judge: &Judge, call: &Value) -> Result<(), String> {
    let kind = call["kind"].as_str().unwrap_or("other");
    // What is shown as a change is one, whatever it is called.
    let changed = changed(call);
    let writes = matches!(kind, "edit" | "delete" | "move");
    let mut paths = changed;
    if writes {
        paths.extend(named(call));
    }
    if paths.len() > PATHS_MAX {
        return Err(format!("more than {PATHS_MAX} files are changed at once"));
    }
    if writes && paths.is_empty() {
        return Err("what is asked leave for names no file".to_owned());
    }
    for path in paths {
        judge.write(path)?;
    }
    match kind {
        "fetch" => Err(judge.no_network()),
        // The cell's walls hold what is read, run, thought or called: of none of it more is known
        // than what its program says.
        _ => Ok(()),
    }
}

fn changed(call: &Value) -> Vec<&str> {
    let content = call["content"].as_array().into_iter().flatten();
    let diffs = content.filter(|it| it["type"] == "diff");
    diffs
        .map(|it| it["path"].as_str().unwrap_or_default())
        .collect()
}

fn named(call: &Value) -> impl Iterator<Item = &str> {
    let locations = call["locations"].as_array().into_iter().flatten();
    let locations = locations.map(|it| it["path"].as_str().unwrap_or_default());
    let input = &call["rawInput"];
    let fields = PATH_FIELDS.iter().filter_map(|it| input[*it].as_str());
    locations.chain(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::agents::Setting;

    fn judge() -> Judge {
        let mut task = Setting::new().task;
        if let Some(tree) = &mut task.cell.workspace {
            tree.writes.writable = vec!["src".into()];
        }
        Judge::of(&task)
    }

    fn options() -> Value {
        json!([
            {"optionId": "always", "kind": "allow_always", "name": "Always"},
            {"optionId": "yes", "kind": "allow_once", "name": "Yes"},
            {"optionId": "no", "kind": "reject_once", "name": "No"},
        ])
    }

    fn asked(call: &Value) -> (Value, Option<String>) {
        judged(&judge(), &json!({"toolCall": call, "options": options()}))
    }

    #[test]
    fn changes_are_judged_by_every_file_they_name_however_they_name_it() {
        let diff = |path: &str| json!({"type": "diff", "path": path, "newText": "x"});
        for call in [
            json!({"kind": "edit", "content": [diff("/workspace/src/a")]}),
            json!({"kind": "edit", "locations": [{"path": "/workspace/src/a"}]}),
            json!({"kind": "delete", "rawInput": {"file_path": "src/a"}}),
            json!({"kind": "execute", "rawInput": {"command": "rm -rf /"}}),
            json!({"kind": "read", "locations": [{"path": "/etc/passwd"}]}),
            json!({"kind": "other", "title": "ask (palisade)"}),
            json!({"kind": "nothing known"}),
            json!({}),
        ] {
            let (answer, why) = asked(&call);
            assert_eq!(why, None, "{call}");
            let selected = json!({"outcome": {"outcome": "selected", "optionId": "yes"}});
            assert_eq!(answer, selected);
        }
        for (call, told) in [
            (
                json!({"kind": "edit", "content": [diff("/workspace/src/a"), diff("/etc/x")]}),
                "beneath",
            ),
            (
                json!({"kind": "edit", "content": [diff("/workspace/src/a")],
                "locations": [{"path": "/workspace/Makefile"}]}),
                "`Makefile`",
            ),
            (
                json!({"kind": "move", "rawInput": {"path": "src/../.git/config"}}),
                "git directory",
            ),
            // A change by another name.
            (
                json!({"kind": "read", "content": [diff("/workspace/Makefile")]}),
                "`Makefile`",
            ),
            (json!({"kind": "think", "content": [diff("")]}), "plainly"),
            (json!({"kind": "edit"}), "names no file"),
            (
                json!({"kind": "edit", "content": [{"type": "diff", "path": 7}]}),
                "plainly",
            ),
            (
                json!({"kind": "fetch", "rawInput": {"url": "http://x"}}),
                "no network",
            ),
            (
                json!({"kind": "edit", "content": vec![diff("src/a"); PATHS_MAX + 1]}),
                "more than",
            ),
        ] {
            let (answer, why) = asked(&call);
            let why = why.unwrap();
            assert!(why.contains(told), "{call}: {why}");
            assert_eq!(answer["outcome"]["optionId"], "no");
            assert_eq!(answer["_meta"]["palisade.reason"], why);
        }
    }

    #[test]
    fn leave_is_given_once_or_not_at_all() {
        let always = json!([{"optionId": "always", "kind": "allow_always"}]);
        let params = json!({"toolCall": {"kind": "execute"}, "options": always});
        let (answer, why) = judged(&judge(), &params);
        assert_eq!(answer["outcome"], cancelled());
        assert!(why.unwrap().contains("for ever"));
        for options in [
            json!([]),
            json!(7),
            Value::Null,
            json!([{"kind": "allow_once"}]),
        ] {
            let params = json!({"toolCall": {"kind": "execute"}, "options": options});
            assert_eq!(judged(&judge(), &params).0["outcome"], cancelled());
        }
    }
}
