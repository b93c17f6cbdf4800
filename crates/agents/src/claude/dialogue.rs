//! How Claude Code is talked to: `stream-json` in both directions.

use std::collections::BTreeMap;

use domain::agent::Signal;
use domain::session::{ToolCall, ToolKind};
use serde_json::{Value, json};

use crate::calls;
use crate::dialogue::{Dialogue, Step};
use crate::follow_up::News;
use crate::permission::Judge;

/// What is kept of an agent's closing words, in characters.
const SUMMARY_CHARS_MAX: usize = 4_000;

/// Calls that wait for their result.
const CALLS_MAX: usize = 256;

/// Tools that need no leave beyond the cell's walls: what they do stays within these, or within the
/// program itself.
const FREE: [&str; 26] = [
    "Bash",
    "BashOutput",
    "KillShell",
    "Monitor",
    "Read",
    "Glob",
    "Grep",
    "LS",
    "NotebookRead",
    "Task",
    "Agent",
    "ListAgents",
    "SendMessage",
    "TaskCreate",
    "TaskGet",
    "TaskList",
    "TaskStop",
    "TaskUpdate",
    "TaskOutput",
    "TodoWrite",
    "TodoRead",
    "Skill",
    "ToolSearch",
    "ReportFindings",
    "EnterPlanMode",
    "ExitPlanMode",
];

/// The dialogue of one session.
#[derive(Debug)]
pub(super) struct Stream {
    judge: Judge,
    news: News,
    /// What was called and has no result yet, by the call's own name.
    calls: BTreeMap<String, ToolCall>,
    is_over: bool,
}

impl Stream {
    pub(super) const fn new(judge: Judge, news: News) -> Self {
        Self {
            judge,
            news,
            calls: BTreeMap::new(),
            is_over: false,
        }
    }

    /// Answers what is asked leave for; what is denied goes on record.
    fn permission(&mut self, request: &Value) -> (Value, Option<Step>) {
        let (tool, input) = (
            request["tool_name"].as_str().unwrap_or_default(),
            &request["input"],
        );
        match self.allows(tool, input) {
            Ok(()) => (json!({"behavior": "allow", "updatedInput": input}), None),
            Err(why) => {
                self.calls
                    .remove(request["tool_use_id"].as_str().unwrap_or_default());
                let call = called(tool, input, Some(why.clone()));
                let denial = json!({"behavior": "deny", "message": why});
                (denial, Some(Step::Called(call)))
            }
        }
    }

    /// Remembers what is called, until its result is there.
    fn wants(&mut self, event: &Value) {
        for block in blocks(event, "tool_use") {
            if let (Some(id), true) = (block["id"].as_str(), self.calls.len() < CALLS_MAX) {
                let tool = block["name"].as_str().unwrap_or_default();
                let call = called(tool, &block["input"], None);
                self.calls.insert(id.to_owned(), call);
            }
        }
    }

    fn has(&mut self, event: &Value) -> Vec<Step> {
        blocks(event, "tool_result")
            .filter_map(|it| self.calls.remove(it["tool_use_id"].as_str()?))
            .map(Step::Called)
            .collect()
    }

    fn allows(&self, tool: &str, input: &Value) -> Result<(), String> {
        match tool {
            "Write" | "Edit" | "MultiEdit" => self
                .judge
                .write(input["file_path"].as_str().unwrap_or_default()),
            "NotebookEdit" => self
                .judge
                .write(input["notebook_path"].as_str().unwrap_or_default()),
            "WebFetch" | "WebSearch" => Err(self.judge.no_network()),
            "AskUserQuestion" => Err("nobody sits at this terminal: ask with \
                 `palisade-agent ask --help`, hold a default and go on"
                .to_owned()),
            free if FREE.contains(&free) || free.starts_with("mcp__palisade__") => Ok(()),
            other => Err(format!(
                "`{other}` is not among the tools of this session; do it with Bash"
            )),
        }
    }

    /// Ends the turn: with what the operator has said meanwhile, if anything, else for good.
    fn turn_ended(&mut self, result: &Value) -> Vec<Step> {
        let ended = meaning(result);
        if matches!(ended, Signal::Done { .. })
            && let Some(text) = self.news.next()
        {
            return vec![Step::Say(user(&text))];
        }
        self.is_over = true;
        vec![Step::Ended(ended), Step::Close]
    }
}

impl Dialogue for Stream {
    fn begin(&mut self, prompt: &str) -> Vec<Step> {
        let begin = json!({"subtype": "initialize", "hooks": null});
        vec![
            Step::Say(request("palisade-begin", &begin)),
            Step::Say(user(prompt)),
        ]
    }

    fn hear(&mut self, line: &[u8]) -> Vec<Step> {
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            return Vec::new();
        };
        match event["type"].as_str() {
            Some("control_request") => {
                let asked = &event["request"];
                let (response, denied) = if asked["subtype"] == "can_use_tool" {
                    let (response, denied) = self.permission(asked);
                    (
                        json!({"subtype": "success", "request_id": event["request_id"], "response": response}),
                        denied,
                    )
                } else {
                    let error = "only `can_use_tool` is answered here";
                    (
                        json!({"subtype": "error", "request_id": event["request_id"], "error": error}),
                        None,
                    )
                };
                let answer = json!({"type": "control_response", "response": response});
                let answer = Step::Say(format!("{answer}\n"));
                std::iter::once(answer).chain(denied).collect()
            }
            Some("assistant") => {
                self.wants(&event);
                Vec::new()
            }
            Some("user") => self.has(&event),
            Some("result") if !self.is_over => self.turn_ended(&event),
            Some(_) | None => Vec::new(),
        }
    }

    fn cancel(&mut self) -> Vec<Step> {
        self.is_over = true;
        let interrupt = json!({"subtype": "interrupt"});
        vec![
            Step::Say(request("palisade-cancel", &interrupt)),
            Step::Close,
        ]
    }
}

/// Returns a call as it is told.
fn called(tool: &str, input: &Value, refused: Option<String>) -> ToolCall {
    let kind = match tool {
        "Read" | "Glob" | "Grep" | "LS" | "NotebookRead" => ToolKind::Read,
        "Write" | "Edit" | "MultiEdit" | "NotebookEdit" => ToolKind::Write,
        "Bash" => ToolKind::Run,
        ours if ours.starts_with("mcp__palisade__") => ToolKind::Signal,
        _ => ToolKind::Other,
    };
    let subject = calls::subject(input);
    ToolCall {
        tool: tool.to_owned(),
        kind,
        subject,
        refused,
    }
}

fn blocks<'a>(event: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let content = event["message"]["content"].as_array();
    let blocks = content.into_iter().flatten();
    blocks.filter(move |it| it["type"] == kind)
}

fn request(id: &str, request: &Value) -> String {
    format!(
        "{}\n",
        json!({"type": "control_request", "request_id": id, "request": request})
    )
}

fn user(text: &str) -> String {
    let message = json!({"role": "user", "content": text});
    let event = json!({
        "type": "user", "message": message, "parent_tool_use_id": null, "session_id": "",
    });
    format!("{event}\n")
}

/// Returns what a result comes to. `success` may still be an error of the model's provider.
fn meaning(result: &Value) -> Signal {
    let words = result["result"].as_str().unwrap_or_default().trim();
    let words: String = words.chars().take(SUMMARY_CHARS_MAX).collect();
    let kind = result["subtype"].as_str().unwrap_or("unknown");
    if kind == "success" && result["is_error"] == false {
        return Signal::Done {
            summary: if words.is_empty() {
                "The agent ended its turn without closing words.".to_owned()
            } else {
                words
            },
        };
    }
    let ending = result["terminal_reason"].as_str().unwrap_or(kind);
    Signal::Fail {
        reason: format!("Claude Code ended with `{ending}`: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::agents::Setting;

    fn stream(setting: &Setting) -> Stream {
        Stream::new(
            Judge::of(&setting.task),
            News::new(setting.task.brief.clone()),
        )
    }

    fn heard(stream: &mut Stream, event: &Value) -> Vec<Step> {
        stream.hear(event.to_string().as_bytes())
    }

    fn asks(tool: &str, input: &Value) -> Value {
        let request = json!({"subtype": "can_use_tool", "tool_name": tool, "input": input});
        json!({"type": "control_request", "request_id": "r1", "request": request})
    }

    fn answer(steps: &[Step]) -> Value {
        let [Step::Say(text), denied @ ..] = steps else {
            panic!("{steps:?}");
        };
        let answer: Value = serde_json::from_str(text).unwrap();
        let is_denied = answer["response"]["response"]["behavior"] == "deny";
        let on_record = matches!(denied, [Step::Called(call)] if call.refused.is_some());
        assert!(
            on_record == is_denied && (on_record || denied.is_empty()),
            "{steps:?}"
        );
        answer
    }

    #[test]
    fn leave_is_given_by_the_judge_with_the_input_as_it_is() {
        let setting = Setting::new();
        let mut stream = stream(&setting);
        let input = json!({"command": "make test"});
        let said = answer(&heard(&mut stream, &asks("Bash", &input)));
        let response = &said["response"];
        assert_eq!(response["request_id"], "r1");
        assert_eq!(response["response"]["behavior"], "allow");
        assert_eq!(response["response"]["updatedInput"], input);
        for (tool, input, why) in [
            (
                "Write",
                json!({"file_path": "/etc/x"}),
                "beneath /workspace",
            ),
            ("Edit", json!({}), "plainly"),
            ("NotebookEdit", json!({"notebook_path": "/x"}), "beneath"),
            ("WebFetch", json!({"url": "http://x"}), "no network"),
            ("AskUserQuestion", json!({}), "palisade-agent ask"),
            ("mcp__other__do", json!({}), "not among the tools"),
            ("", json!({}), "not among the tools"),
        ] {
            let said = answer(&heard(&mut stream, &asks(tool, &input)));
            let response = &said["response"]["response"];
            assert_eq!(response["behavior"], "deny", "{tool}");
            let told = response["message"].as_str().unwrap();
            assert!(told.contains(why), "{tool}: {told}");
        }
        let other = json!({"type": "control_request", "request_id": "r2",
            "request": {"subtype": "hook_callback"}});
        assert_eq!(
            answer(&heard(&mut stream, &other))["response"]["subtype"],
            "error"
        );
    }

    #[test]
    fn a_call_is_told_once_when_it_is_over_or_denied() {
        let setting = Setting::new();
        let mut stream = stream(&setting);
        let block = |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
        let content = json!([
            block("1", "Bash", json!({"command": "make test"})),
            block("2", "Write", json!({"file_path": "/etc/x"})),
            block("3", "mcp__palisade__get_task", json!({})),
        ]);
        let called = json!({"type": "assistant", "message": {"content": content}});
        assert_eq!(heard(&mut stream, &called), []);
        let mut asks = asks("Write", &json!({"file_path": "/etc/x"}));
        asks["request"]["tool_use_id"] = json!("2");
        answer(&heard(&mut stream, &asks));
        let results: Vec<_> = ["1", "2", "3", "unknown"]
            .map(|id| json!({"type": "tool_result", "tool_use_id": id}))
            .to_vec();
        let over = json!({"type": "user", "message": {"content": results}});
        let told: Vec<_> = heard(&mut stream, &over)
            .into_iter()
            .map(|step| {
                let Step::Called(it) = step else {
                    panic!("{step:?}");
                };
                (it.kind, it.subject, it.refused)
            })
            .collect();
        assert_eq!(
            told,
            [
                (ToolKind::Run, "make test".to_owned(), None),
                (ToolKind::Signal, String::new(), None),
            ]
        );
        assert_eq!(heard(&mut stream, &over), []);
    }

    #[test]
    fn a_result_is_read_by_its_error_and_not_by_its_name() {
        for (result, expected) in [
            (
                json!({"subtype": "success", "is_error": false, "result": "It builds."}),
                Ok("It builds."),
            ),
            (
                json!({"subtype": "success", "is_error": false}),
                Ok("The agent ended its turn without closing words."),
            ),
            (
                json!({"subtype": "success", "is_error": true, "result": "429",
                    "terminal_reason": "api_error"}),
                Err("Claude Code ended with `api_error`: 429"),
            ),
            (
                json!({"subtype": "error_max_turns", "is_error": true}),
                Err("Claude Code ended with `error_max_turns`: "),
            ),
            (json!({}), Err("Claude Code ended with `unknown`: ")),
        ] {
            let expected = match expected {
                Ok(summary) => Signal::Done {
                    summary: summary.to_owned(),
                },
                Err(reason) => Signal::Fail {
                    reason: reason.to_owned(),
                },
            };
            assert_eq!(meaning(&result), expected);
        }
    }

    #[test]
    fn what_the_operator_said_meanwhile_is_the_next_prompt() {
        let setting = Setting::new();
        let mut stream = stream(&setting);
        let folder = setting.task.brief.join("messages");
        std::fs::create_dir(&folder).unwrap();
        let message =
            r#"{"id":"m1","acknowledge_within_ms":1,"state":"delivered","text":"stop X"}"#;
        std::fs::write(folder.join("0001.json"), message).unwrap();
        let result = json!({"type": "result", "subtype": "success", "is_error": false});
        let next = answer(&heard(&mut stream, &result));
        let text = next["message"]["content"].as_str().unwrap();
        assert!(text.contains("stop X"), "{text}");
        let steps = heard(&mut stream, &result);
        assert!(
            matches!(steps[..], [Step::Ended(_), Step::Close]),
            "{steps:?}"
        );
        assert!(heard(&mut stream, &result).is_empty(), "it ends once");
    }

    #[test]
    fn what_is_no_event_says_nothing() {
        let mut stream = stream(&Setting::new());
        for line in [&b"not json"[..], b"[]", b"{}", b"{\"type\":7}", b"\xff"] {
            assert!(stream.hear(line).is_empty());
        }
    }
}
