//! The dialogue with `codex app-server`: JSON-RPC, one message a line, both ways.

use std::collections::BTreeMap;

use domain::agent::Signal;
use domain::session::{ToolCall, ToolKind};
use serde_json::{Value, json};

use crate::calls;
use crate::dialogue::{Dialogue, Step};
use crate::follow_up::News;
use crate::json_rpc::METHOD_NOT_FOUND;
use crate::permission::Judge;

/// What is kept of an agent's closing words, in characters.
const SUMMARY_CHARS_MAX: usize = 4_000;

/// Changes of files that are under way.
const CHANGES_MAX: usize = 256;

const INITIALIZE: u64 = 1;
const THREAD: u64 = 2;
/// Turns, and what is said within them, count from here.
const TURNS_FROM: u64 = 3;

/// The dialogue of one session.
#[derive(Debug)]
pub(super) struct Server {
    judge: Judge,
    news: News,
    model: Option<String>,
    prompt: String,
    thread: String,
    turn: String,
    next: u64,
    /// The paths of each change that is under way: an approval names the change alone.
    changes: BTreeMap<String, Vec<String>>,
    /// The last thing the agent said.
    words: String,
    last_error: String,
    is_over: bool,
}

impl Server {
    pub(super) const fn new(judge: Judge, news: News, model: Option<String>) -> Self {
        Self {
            judge,
            news,
            model,
            prompt: String::new(),
            thread: String::new(),
            turn: String::new(),
            next: TURNS_FROM,
            changes: BTreeMap::new(),
            words: String::new(),
            last_error: String::new(),
            is_over: false,
        }
    }

    fn begin_turn(&mut self, text: &str) -> Step {
        self.turn.clear();
        let input = json!([{"type": "text", "text": text}]);
        let params = json!({"threadId": self.thread, "input": input});
        self.request("turn/start", &params)
    }

    fn request(&mut self, method: &str, params: &Value) -> Step {
        let id = self.next;
        self.next += 1;
        say(&json!({"id": id, "method": method, "params": params}))
    }

    fn fail(&mut self, why: &str) -> Vec<Step> {
        self.is_over = true;
        let reason = format!("Codex ended with a failed turn: {why}");
        vec![Step::Ended(Signal::Fail { reason }), Step::Close]
    }

    /// Takes the answer to a request of ours.
    fn answered(&mut self, id: u64, message: &Value) -> Vec<Step> {
        if let Some(error) = message.get("error") {
            // Steering comes too late when the turn is over; that changes nothing.
            let is_vital = id < TURNS_FROM || self.turn.is_empty();
            return if is_vital && !self.is_over {
                let why = short(text(&error["message"]));
                self.fail(&why)
            } else {
                Vec::new()
            };
        }
        let result = &message["result"];
        match id {
            INITIALIZE => {
                let mut params = json!({
                    "cwd": "/workspace",
                    "approvalPolicy": "untrusted",
                    // The cell admits no sandbox within it, and is the tighter one.
                    "sandbox": "danger-full-access",
                });
                if let Some(model) = &self.model {
                    params["model"] = json!(model);
                }
                vec![
                    say(&json!({"method": "initialized"})),
                    say(&json!({"id": THREAD, "method": "thread/start", "params": params})),
                ]
            }
            THREAD => {
                text(&result["thread"]["id"]).clone_into(&mut self.thread);
                let prompt = std::mem::take(&mut self.prompt);
                vec![self.begin_turn(&prompt)]
            }
            _ => {
                if let Some(turn) = result["turn"]["id"].as_str() {
                    turn.clone_into(&mut self.turn);
                }
                Vec::new()
            }
        }
    }

    /// Answers what it asks of its client.
    fn asked(&mut self, id: &Value, method: &str, params: &Value) -> Vec<Step> {
        match method {
            // What a command may do, the cell's walls say.
            "item/commandExecution/requestApproval" => vec![decision(id, true)],
            "item/fileChange/requestApproval" => {
                let item = text(&params["itemId"]);
                let paths = self.changes.remove(item).unwrap_or_default();
                match self.may_change(&paths) {
                    Ok(()) => vec![decision(id, true)],
                    Err(why) => self.denied(id, &paths, &why),
                }
            }
            "mcpServer/elicitation/request" => {
                // Our own tools are the only ones it has; what they do is judged by the engine.
                let is_ours = params["serverName"] == crate::surroundings::TOOLS;
                let action = if is_ours { "accept" } else { "decline" };
                let result = json!({"action": action, "content": {}});
                vec![say(&json!({"id": id, "result": result}))]
            }
            other => {
                let why = format!("`{other}` is not answered here");
                let error = json!({"code": METHOD_NOT_FOUND, "message": why});
                vec![say(&json!({"id": id, "error": error}))]
            }
        }
    }

    fn may_change(&self, paths: &[String]) -> Result<(), String> {
        if paths.is_empty() {
            // A change that nobody announced could be anything.
            return Err("a change without files is not permitted".to_owned());
        }
        paths.iter().try_for_each(|it| self.judge.write(it))
    }

    /// Denies a change, and tells why by steering: the protocol's own answer has no room for it.
    fn denied(&mut self, id: &Value, paths: &[String], why: &str) -> Vec<Step> {
        let call = patch(paths, Some(why.to_owned()));
        let input = json!([{"type": "text", "text": format!("That was not permitted: {why}")}]);
        let params = json!({"threadId": self.thread, "expectedTurnId": self.turn, "input": input});
        vec![
            decision(id, false),
            Step::Called(call),
            self.request("turn/steer", &params),
        ]
    }

    fn noted(&mut self, method: &str, params: &Value) -> Vec<Step> {
        let item = &params["item"];
        match method {
            "item/started" => {
                self.announced(item);
                Vec::new()
            }
            "item/completed" => {
                // Most changes are never asked about: they may not fill what approvals need.
                self.changes.remove(text(&item["id"]));
                if item["type"] == "agentMessage" {
                    self.words = short(text(&item["text"]));
                }
                completed(item).map(Step::Called).into_iter().collect()
            }
            "turn/started" => {
                text(&params["turn"]["id"]).clone_into(&mut self.turn);
                Vec::new()
            }
            "error" => {
                self.last_error = short(text(&params["error"]["message"]));
                Vec::new()
            }
            "turn/completed" if !self.is_over => self.turn_ended(&params["turn"]),
            _ => Vec::new(),
        }
    }

    fn announced(&mut self, item: &Value) {
        if item["type"] == "fileChange" && self.changes.len() < CHANGES_MAX {
            let id = text(&item["id"]).to_owned();
            self.changes.insert(id, changed(item));
        }
    }

    /// Ends the turn: with what the operator has said meanwhile, if anything, else for good.
    fn turn_ended(&mut self, turn: &Value) -> Vec<Step> {
        if turn["status"] != "completed" {
            let mut why = short(text(&turn["error"]["message"]));
            if why.is_empty() {
                why = std::mem::take(&mut self.last_error);
            }
            return self.fail(&why);
        }
        if let Some(text) = self.news.next() {
            return vec![self.begin_turn(&text)];
        }
        self.is_over = true;
        let mut summary = std::mem::take(&mut self.words);
        if summary.is_empty() {
            "The agent ended its turn without closing words.".clone_into(&mut summary);
        }
        vec![Step::Ended(Signal::Done { summary }), Step::Close]
    }
}

impl Dialogue for Server {
    fn begin(&mut self, prompt: &str) -> Vec<Step> {
        prompt.clone_into(&mut self.prompt);
        let client = json!({
            "name": "palisade", "title": "Palisade", "version": env!("CARGO_PKG_VERSION"),
        });
        let params = json!({"clientInfo": client});
        vec![say(
            &json!({"id": INITIALIZE, "method": "initialize", "params": params}),
        )]
    }

    fn hear(&mut self, line: &[u8]) -> Vec<Step> {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            return Vec::new();
        };
        let params = &message["params"];
        match (message.get("id"), message["method"].as_str()) {
            (Some(id), Some(method)) => self.asked(id, method, params),
            (None, Some(method)) => self.noted(method, params),
            (Some(id), None) => match id.as_u64() {
                Some(id) => self.answered(id, &message),
                None => Vec::new(),
            },
            (None, None) => Vec::new(),
        }
    }

    fn cancel(&mut self) -> Vec<Step> {
        self.is_over = true;
        if self.turn.is_empty() {
            return vec![Step::Close];
        }
        let params = json!({"threadId": self.thread, "turnId": self.turn});
        vec![self.request("turn/interrupt", &params), Step::Close]
    }
}

/// Returns the call that a finished item was, if it was one and was not declined.
fn completed(item: &Value) -> Option<ToolCall> {
    if item["status"] == "declined" {
        // It was told when it was denied.
        return None;
    }
    let call = |tool: &str, kind, subject: String| {
        Some(ToolCall {
            tool: calls::line(tool),
            kind,
            subject,
            refused: None,
        })
    };
    match text(&item["type"]) {
        "commandExecution" => {
            let command = calls::line(text(&item["command"]));
            call("command", ToolKind::Run, command)
        }
        "fileChange" => Some(patch(&changed(item), None)),
        "mcpToolCall" => {
            let tool = format!("{}.{}", text(&item["server"]), text(&item["tool"]));
            let subject = calls::subject(&item["arguments"]);
            call(&tool, ToolKind::Signal, subject)
        }
        _ => None,
    }
}

fn patch(paths: &[String], refused: Option<String>) -> ToolCall {
    let paths: Vec<_> = paths.iter().map(|it| calls::line(it)).collect();
    ToolCall {
        tool: "apply_patch".to_owned(),
        kind: ToolKind::Write,
        subject: calls::line(&paths.join(" ")),
        refused,
    }
}

/// Returns the paths that a change of files names, those it moves to as well.
fn changed(item: &Value) -> Vec<String> {
    let changes = item["changes"].as_array().into_iter().flatten();
    let paths = changes.flat_map(|it| {
        let moved = it["kind"]["move_path"].as_str();
        [Some(text(&it["path"])), moved].into_iter().flatten()
    });
    paths.map(str::to_owned).collect()
}

fn decision(id: &Value, is_permitted: bool) -> Step {
    let decision = if is_permitted { "accept" } else { "decline" };
    say(&json!({"id": id, "result": {"decision": decision}}))
}

fn short(told: &str) -> String {
    told.trim().chars().take(SUMMARY_CHARS_MAX).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn say(message: &Value) -> Step {
    Step::Say(format!("{message}\n"))
}

#[cfg(test)]
mod tests;
