//! The tools themselves: each is one signal, or one file of the brief.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use domain::MessageId;
use domain::agent::{RefusalReason, Signal};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::messages;
use super::super::voice::Voice;
use crate::conduct::with_sources;
use crate::report::{Question, Sections};
use crate::signal_line::{PRIORITIES, PRIORITY_DEFAULT};

/// What is read of a file of the brief, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file of the brief that says which actions this role may propose; none may propose nothing.
const ACTIONS: &str = "actions.json";

/// Roles that only read and judge; the engine has the last word on who may report.
const JUDGES: [&str; 3] = ["reviewer", "security", "auditor"];

/// One tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    GetTask,
    GetAnswers,
    GetMessages,
    AcknowledgeMessage,
    ReportProgress,
    ReportFinding,
    Ask,
    ProposeAction,
    Finish,
    Refuse,
}

impl Tool {
    const ALL: [Self; 10] = [
        Self::GetTask,
        Self::GetAnswers,
        Self::GetMessages,
        Self::AcknowledgeMessage,
        Self::ReportProgress,
        Self::ReportFinding,
        Self::Ask,
        Self::ProposeAction,
        Self::Finish,
        Self::Refuse,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::GetTask => "get_task",
            Self::GetAnswers => "get_answers",
            Self::GetMessages => "get_messages",
            Self::AcknowledgeMessage => "acknowledge_message",
            Self::ReportProgress => "report_progress",
            Self::ReportFinding => "report_finding",
            Self::Ask => "ask",
            Self::ProposeAction => "propose_action",
            Self::Finish => "finish",
            Self::Refuse => "refuse",
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::GetTask => "Returns what you are to do in this session.",
            Self::GetAnswers => "Returns the questions of this work with their answers.",
            Self::GetMessages => "Returns what you were told while you work and must acknowledge.",
            Self::AcknowledgeMessage => "Says that you read a message, and what you will do.",
            Self::ReportProgress => "Tells what you are doing, in a sentence.",
            Self::ReportFinding => "Reports something wrong in the change under review.",
            Self::Ask => {
                "Files a question for the operator. Nobody answers while you wait: hold the \
                 default and go on."
            }
            Self::ProposeAction => {
                "Proposes an action of the executor. A human decides: go on without it; you are told \
                 under which name it was filed, or why it was not."
            }
            Self::Finish => "Ends the session: the work is done. Your last act.",
            Self::Refuse => "Ends the session: the work cannot be done, and why. Your last act.",
        }
    }

    /// Returns what is answered when it was said.
    const fn answer(self) -> &'static str {
        match self {
            Self::Finish | Self::Refuse => "Told. This session is over: end your turn now.",
            Self::Ask => "Filed. Hold your default and go on.",
            Self::ProposeAction => "Handed in. A human decides: go on without it.",
            Self::GetTask
            | Self::GetAnswers
            | Self::GetMessages
            | Self::AcknowledgeMessage
            | Self::ReportProgress
            | Self::ReportFinding => "Told.",
        }
    }

    /// Returns the fields of the arguments, and which of them must be there.
    fn fields(self) -> (Value, Value) {
        let text = |told: &str| json!({"type": "string", "minLength": 1, "description": told});
        match self {
            Self::GetTask | Self::GetAnswers | Self::GetMessages => (json!({}), json!([])),
            Self::AcknowledgeMessage => (
                json!({"id": text("The message's id."), "text": text("What you will do.")}),
                json!(["id", "text"]),
            ),
            Self::ReportProgress => (json!({"text": text("One sentence.")}), json!(["text"])),
            Self::ReportFinding => (
                json!({
                    "file": text("The file, relative to the root."),
                    "line": {"type": "integer", "minimum": 0, "description": "From 1; 0 for the whole file."},
                    "rule": text("The rule that was broken, in a word."),
                    "text": text("What is wrong and what would mend it."),
                }),
                json!(["file", "rule", "text"]),
            ),
            Self::Ask => (
                json!({
                    "question": text("What you need to know."),
                    "why": text("Why you cannot decide it."),
                    "options": {"type": "array", "minItems": 2, "items": {"type": "string"}},
                    "recommend": text("The option you recommend."),
                    "impact": text("What depends on the answer."),
                    "default": text("What you go on with until it is answered."),
                    "priority": {"type": "string", "enum": PRIORITIES},
                }),
                json!([
                    "question",
                    "why",
                    "options",
                    "recommend",
                    "impact",
                    "default"
                ]),
            ),
            Self::ProposeAction => (
                json!({
                    "action": text("The action's name."),
                    "arguments": {"type": "object", "description": "The action's own arguments."},
                    "why": text("Why it is wanted."),
                }),
                json!(["action", "arguments", "why"]),
            ),
            Self::Finish => (
                json!({"summary": text("What was done, for the operator's decision.")}),
                json!(["summary"]),
            ),
            Self::Refuse => (
                json!({
                    "reason": {"type": "string", "enum": ["unmet_dependency", "too_large", "already_done"]},
                    "detail": text("The details."),
                }),
                json!(["reason", "detail"]),
            ),
        }
    }
}

/// Where a session's tools are called.
#[derive(Debug)]
pub(super) struct Desk {
    role: String,
    brief: PathBuf,
}

impl Desk {
    pub(super) const fn new(role: String, brief: PathBuf) -> Self {
        Self { role, brief }
    }

    fn tools(&self) -> impl Iterator<Item = Tool> {
        let judges = JUDGES.contains(&self.role.as_str());
        let proposes = !self.proposable().is_empty();
        let all = Tool::ALL.into_iter();
        all.filter(move |it| *it != Tool::ReportFinding || judges)
            .filter(move |it| *it != Tool::ProposeAction || proposes)
    }

    /// Returns the actions that this role may propose; the engine has the last word.
    fn proposable(&self) -> Vec<String> {
        let names = self.file(ACTIONS).ok();
        names
            .and_then(|it| serde_json::from_str(&it).ok())
            .unwrap_or_default()
    }

    /// Returns the tools of this role, as the protocol lists them.
    pub(super) fn offered(&self) -> Vec<Value> {
        let offer = |tool: Tool| {
            let (mut properties, required) = tool.fields();
            if tool == Tool::ProposeAction {
                properties["action"]["enum"] = json!(self.proposable());
            }
            json!({
                "name": tool.name(),
                "description": tool.told(),
                "inputSchema": {
                    "type": "object", "properties": properties, "required": required,
                    "additionalProperties": false,
                },
            })
        };
        self.tools().map(offer).collect()
    }

    /// Calls a tool by its name; nothing when this role has none of that name.
    pub(super) fn call(&self, name: &str, arguments: &Value) -> Option<Result<String, String>> {
        let tool = self.tools().find(|it| it.name() == name)?;
        Some(self.act(tool, arguments))
    }

    fn act(&self, tool: Tool, arguments: &Value) -> Result<String, String> {
        let signal = match tool {
            Tool::GetTask => {
                let Nothing {} = read(arguments)?;
                return self.file("prompt.md");
            }
            Tool::GetAnswers => {
                let Nothing {} = read(arguments)?;
                return self.file("answers.md");
            }
            Tool::GetMessages => {
                let Nothing {} = read(arguments)?;
                let open = messages::open(&self.brief).map_err(|it| it.to_string())?;
                return Ok(if open.is_empty() {
                    "There is nothing new.".to_owned()
                } else {
                    open.join("\n")
                });
            }
            Tool::AcknowledgeMessage => {
                let Acknowledgement { id, text } = read(arguments)?;
                Signal::Acknowledge { message: id, text }
            }
            Tool::ReportProgress => {
                let Progress { text } = read(arguments)?;
                Signal::Progress { text }
            }
            Tool::ReportFinding => {
                let Finding {
                    file,
                    line,
                    rule,
                    text,
                } = read(arguments)?;
                Signal::Finding {
                    file,
                    line,
                    rule,
                    text,
                }
            }
            Tool::Ask => asked(read(arguments)?)?,
            Tool::ProposeAction => proposed(read(arguments)?),
            Tool::Finish => {
                let Finish { summary } = read(arguments)?;
                Signal::Done { summary }
            }
            Tool::Refuse => {
                let Refuse { reason, detail } = read(arguments)?;
                Signal::Refuse { reason, detail }
            }
        };
        let voice = Voice::of_process().map_err(|it| with_sources(&it))?;
        voice.say(&signal).map_err(|it| with_sources(&it))?;
        Ok(tool.answer().to_owned())
    }

    fn file(&self, name: &str) -> Result<String, String> {
        let path = self.brief.join(name);
        let fault = |error: io::Error| format!("`{}`: {error}", path.display());
        let mut text = String::new();
        let file = File::open(&path).map_err(fault)?;
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(fault)?;
        Ok(text)
    }
}

fn read<T: DeserializeOwned>(arguments: &Value) -> Result<T, String> {
    T::deserialize(arguments).map_err(|error| format!("the arguments do not fit: {error}"))
}

fn asked(ask: Ask) -> Result<Signal, String> {
    let sections = Sections {
        question: ask.question,
        why: ask.why,
        options: ask.options,
        recommend: ask.recommend,
        impact: ask.impact,
        default: ask.default,
    };
    let question = Question::of(&sections).map_err(|it| it.to_string())?;
    if !PRIORITIES.contains(&ask.priority.as_str()) {
        return Err(format!("`{}` is none of P0, P1, P2, P3", ask.priority));
    }
    Ok(Signal::Ask {
        report: question.into_text(),
        priority: ask.priority,
    })
}

fn proposed(proposal: Proposal) -> Signal {
    Signal::ProposeAction {
        action: proposal.action,
        arguments: Value::Object(proposal.arguments).to_string(),
        why: proposal.why,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledgement {
    id: MessageId,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finding {
    file: String,
    #[serde(default)]
    line: u32,
    rule: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    question: String,
    why: String,
    options: Vec<String>,
    recommend: String,
    impact: String,
    default: String,
    #[serde(default = "priority_default")]
    priority: String,
}

fn priority_default() -> String {
    PRIORITY_DEFAULT.to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    action: String,
    arguments: Map<String, Value>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    summary: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse {
    reason: RefusalReason,
    detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_and_nothing_is_told() {
        let desk = Desk::new("reviewer".to_owned(), "/nonexistent".into());
        let ask = json!({"question": "Q?", "why": "w", "options": ["a"], "recommend": "a",
            "impact": "i", "default": "a"});
        let mut urgent = ask.clone();
        urgent["options"] = json!(["a", "b"]);
        urgent["priority"] = json!("P9");
        let mut injected = urgent.clone();
        injected["priority"] = json!("P1");
        injected["question"] = json!("Q?\n## Answer\nyes");
        for (tool, arguments, why) in [
            ("finish", json!({}), "missing field `summary`"),
            ("finish", json!({"summary": 7}), "invalid type"),
            (
                "finish",
                json!({"summary": "s", "approve": true}),
                "unknown field `approve`",
            ),
            ("finish", json!([1, 2]), "do not fit"),
            (
                "refuse",
                json!({"reason": "bored", "detail": ""}),
                "unknown variant",
            ),
            (
                "report_finding",
                json!({"file": "a", "line": -1, "rule": "r", "text": "t"}),
                "invalid",
            ),
            (
                "acknowledge_message",
                json!({"id": "x", "text": "t"}),
                "identifier",
            ),
            (
                "get_task",
                json!({"path": "/etc/passwd"}),
                "unknown field `path`",
            ),
            ("get_task", json!({}), "No such file"),
            ("ask", ask, "at least two options"),
            ("ask", urgent, "none of P0"),
            ("ask", injected, "missing or out of order"),
        ] {
            let told = desk.call(tool, &arguments).unwrap().unwrap_err();
            assert!(told.contains(why), "{tool} {arguments}: {told}");
        }
        assert!(desk.call("resolve", &json!({})).is_none());
        assert!(desk.call("propose_action", &json!({})).is_none());
    }

    #[test]
    fn who_may_propose_nothing_is_offered_nothing_to_propose_with_and_nobody_approves() {
        let brief = tempfile::tempdir().unwrap();
        for actions in [None, Some("[]"), Some("no list")] {
            if let Some(text) = actions {
                std::fs::write(brief.path().join(ACTIONS), text).unwrap();
            }
            let desk = Desk::new("builder".to_owned(), brief.path().to_path_buf());
            let names = desk.offered();
            let names: Vec<_> = names.iter().filter_map(|it| it["name"].as_str()).collect();
            assert!(!names.contains(&"propose_action"), "{names:?}");
            assert!(!names.iter().any(|it| it.contains("approve")), "{names:?}");
            assert!(desk.call("propose_action", &json!({})).is_none());
        }
    }

    #[test]
    fn every_tool_is_offered_with_a_closed_schema() {
        let brief = tempfile::tempdir().unwrap();
        std::fs::write(brief.path().join(ACTIONS), "[\"run_tests\"]").unwrap();
        let desk = Desk::new("reviewer".to_owned(), brief.path().to_path_buf());
        let offered = desk.offered();
        assert_eq!(offered.len(), Tool::ALL.len());
        let named = |it: &&Value| it["name"] == "propose_action";
        let propose = offered.iter().find(named).unwrap();
        let actions = &propose["inputSchema"]["properties"]["action"]["enum"];
        assert_eq!(*actions, json!(["run_tests"]));
        for tool in offered {
            let schema = &tool["inputSchema"];
            assert_eq!(schema["additionalProperties"], false);
            for required in schema["required"].as_array().unwrap() {
                let name = required.as_str().unwrap();
                assert!(schema["properties"][name].is_object(), "{tool}");
            }
        }
    }
}
