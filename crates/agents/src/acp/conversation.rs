//! A session of the Agent Client Protocol, version 1: from the greeting to the end of the last turn.
//!
//! The program is greeted, a session is opened with our tools in it, and each turn is one prompt:
//! the first is the session's, later ones are what the operator says meanwhile and what the agent was
//! refused without being told why. What it asks of its client is judged here and carried out in its
//! own cell by [`crate::client`]; nothing that it names is touched from outside.

use std::collections::BTreeSet;

use domain::agent::Signal;
use domain::session::{ToolCall, ToolKind};
use serde_json::{Value, json};

use super::leave;
use super::update::Updates;
use crate::calls;
use crate::dialogue::{Dialogue, Step};
use crate::follow_up::News;
use crate::json_rpc::{self, DENIED, Heard, INVALID_PARAMS, METHOD_NOT_FOUND, Request};
use crate::permission::Judge;

/// The version of the protocol that is spoken.
const VERSION: u64 = 1;

/// What a program may ask for in one session.
const REQUESTS_MAX: u32 = 20_000;

/// Kept of what a program says went wrong, in characters.
const FAULT_CHARS_MAX: usize = 1_000;

/// The longest identifier of a session, in bytes.
const SESSION_BYTES_MAX: usize = 1_024;

/// Reasons that one session is told again as a prompt.
const TOLD_AGAIN_MAX: usize = 20;

/// Where the session works.
const CWD: &str = "/workspace";

/// What differs between the programs that speak it.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// What the program is called to the operator.
    pub(crate) told: String,
    /// The server of our tools, as the protocol names one.
    pub(crate) tools: Value,
}

/// The conversation of one session.
#[derive(Debug)]
pub(crate) struct Conversation {
    manner: Manner,
    judge: Judge,
    news: News,
    prompt: String,
    stage: Stage,
    /// The number of our last question: the one whose answer is waited for.
    asked: u64,
    session: String,
    updates: Updates,
    refused: Refused,
    requests: u32,
    is_cancelled: bool,
}

/// What our last question was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Opening,
    Turn,
    Over,
}

/// What the agent was refused in a way that does not tell it why.
#[derive(Debug, Default)]
struct Refused {
    untold: Vec<String>,
    told: BTreeSet<String>,
}

impl Conversation {
    pub(crate) fn new(manner: Manner, judge: Judge, news: News) -> Self {
        Self {
            manner,
            judge,
            news,
            prompt: String::new(),
            stage: Stage::Greeting,
            asked: 0,
            session: String::new(),
            updates: Updates::default(),
            refused: Refused::default(),
            requests: 0,
            is_cancelled: false,
        }
    }

    fn ask(&mut self, stage: Stage, method: &str, params: &Value) -> Vec<Step> {
        self.stage = stage;
        self.asked += 1;
        vec![Step::Say(json_rpc::request(self.asked, method, params))]
    }

    fn turn(&mut self, text: &str) -> Vec<Step> {
        self.updates.begin();
        let prompt = json!([{"type": "text", "text": text}]);
        let params = json!({"sessionId": self.session, "prompt": prompt});
        self.ask(Stage::Turn, "session/prompt", &params)
    }

    fn end(&mut self, signal: Signal) -> Vec<Step> {
        self.stage = Stage::Over;
        vec![Step::Ended(signal), Step::Close]
    }

    fn fail(&mut self, why: &str) -> Vec<Step> {
        let reason = format!("{} {why}", self.manner.told);
        self.end(Signal::Fail { reason })
    }

    fn answered(&mut self, answer: Result<Value, Value>) -> Vec<Step> {
        if self.is_cancelled {
            self.stage = Stage::Over;
            return vec![Step::Close];
        }
        match (self.stage, answer) {
            (Stage::Over, _) => Vec::new(),
            (Stage::Greeting, Ok(result)) => self.greeted(&result),
            (Stage::Opening, Ok(result)) => match result["sessionId"].as_str() {
                Some(session) if session.len() <= SESSION_BYTES_MAX => {
                    session.clone_into(&mut self.session);
                    let prompt = std::mem::take(&mut self.prompt);
                    self.turn(&prompt)
                }
                Some(_) | None => self.fail("opened a session without a name"),
            },
            (Stage::Turn, Ok(result)) => self.turn_ended(&result),
            (stage, Err(error)) => {
                let doing = match stage {
                    Stage::Greeting => "does not answer the greeting of its protocol",
                    Stage::Opening => "opens no session",
                    Stage::Turn | Stage::Over => "ended its turn with an error",
                };
                self.fail(&format!("{doing}: {}", fault(&error)))
            }
        }
    }

    fn greeted(&mut self, result: &Value) -> Vec<Step> {
        let version = &result["protocolVersion"];
        if *version != VERSION {
            let version: String = version.to_string().chars().take(40).collect();
            return self.fail(&format!(
                "speaks version {version} of the Agent Client Protocol, and only {VERSION} is \
                 understood here"
            ));
        }
        let servers = json!([self.manner.tools]);
        let params = json!({"cwd": CWD, "mcpServers": servers});
        self.ask(Stage::Opening, "session/new", &params)
    }

    fn turn_ended(&mut self, result: &Value) -> Vec<Step> {
        let reason = result["stopReason"].as_str().unwrap_or_default();
        let refused = self.refused.next();
        if let "end_turn" | "cancelled" = reason
            && let Some(text) = refused
        {
            return self.turn(&text);
        }
        match reason {
            "end_turn" => match self.news.next() {
                Some(text) => self.turn(&text),
                None => {
                    let summary = self.updates.words();
                    self.end(Signal::Done { summary })
                }
            },
            "max_tokens" => self.fail("ended its turn at its model's limit of tokens (max_tokens)"),
            "max_turn_requests" => {
                self.fail("ended its turn at its own limit of requests (max_turn_requests)")
            }
            "refusal" => {
                let words = self.updates.words();
                self.fail(&format!("says that its model refused (refusal): {words}"))
            }
            "cancelled" => self.fail("cancelled its own turn"),
            other => {
                let other: String = other.chars().take(40).collect();
                self.fail(&format!("ended its turn with `{other}`"))
            }
        }
    }

    fn requested(&mut self, request: &Request) -> Vec<Step> {
        self.requests = self.requests.saturating_add(1);
        if self.requests > REQUESTS_MAX && self.stage != Stage::Over {
            return self.fail(&format!("asked for over {REQUESTS_MAX} things"));
        }
        let no = |code, why: &str| vec![Step::Say(json_rpc::error(&request.id, code, why))];
        let is_leave = request.method == "session/request_permission";
        if self.stage != Stage::Turn || self.is_cancelled {
            if is_leave {
                let outcome = json!({"outcome": leave::cancelled()});
                return vec![Step::Say(json_rpc::result(&request.id, &outcome))];
            }
            return no(INVALID_PARAMS, "no turn is going on");
        }
        let params = &request.params;
        if params["sessionId"] != self.session.as_str() {
            return no(INVALID_PARAMS, "there is no such session");
        }
        if is_leave {
            let (answer, why) = leave::judged(&self.judge, params);
            let answer = Step::Say(json_rpc::result(&request.id, &answer));
            let told = why.and_then(|why| {
                self.refused.untold.push(why.clone());
                self.updates.refused(&params["toolCall"], why)
            });
            return std::iter::once(answer).chain(told).collect();
        }
        let path = params["path"].as_str().unwrap_or_default();
        let verdict = match request.method.as_str() {
            "fs/read_text_file" => self.judge.read(path),
            "fs/write_text_file" => self.judge.write(path),
            "terminal/create" => self.judge.run(
                params["command"].as_str().unwrap_or_default(),
                params["cwd"].as_str(),
            ),
            "terminal/output" | "terminal/wait_for_exit" | "terminal/kill" | "terminal/release" => {
                Ok(())
            }
            _ => {
                return no(
                    METHOD_NOT_FOUND,
                    "files, terminals and leave are all there is",
                );
            }
        };
        match verdict {
            Ok(()) => vec![Step::Say(json_rpc::perform(request))],
            Err(why) => {
                let answer = Step::Say(json_rpc::error(&request.id, DENIED, &why));
                vec![answer, Step::Called(refused_request(request, why))]
            }
        }
    }
}

impl Dialogue for Conversation {
    fn begin(&mut self, prompt: &str) -> Vec<Step> {
        prompt.clone_into(&mut self.prompt);
        let files = json!({"readTextFile": true, "writeTextFile": true});
        let params = json!({
            "protocolVersion": VERSION,
            "clientCapabilities": {"fs": files, "terminal": true},
            "clientInfo": {"name": "palisade", "version": env!("CARGO_PKG_VERSION")},
        });
        self.ask(Stage::Greeting, "initialize", &params)
    }

    fn hear(&mut self, line: &[u8]) -> Vec<Step> {
        match json_rpc::read(line) {
            // Programs print other things as well; what is no message is output like any other.
            None => Vec::new(),
            Some(Heard::Request(request)) => self.requested(&request),
            Some(Heard::Answer { id, answer }) if id == self.asked => self.answered(answer),
            // Nobody asked.
            Some(Heard::Answer { .. }) => Vec::new(),
            Some(Heard::Told { method, params }) => {
                let is_ours = params["sessionId"] == self.session.as_str();
                if method == "session/update" && is_ours && self.stage == Stage::Turn {
                    let told = self.updates.take(&params["update"]);
                    return told.into_iter().collect();
                }
                Vec::new()
            }
        }
    }

    fn overlong(&mut self) -> Vec<Step> {
        match self.stage {
            Stage::Over => Vec::new(),
            Stage::Greeting | Stage::Opening | Stage::Turn => {
                self.fail("said more in one message than is understood")
            }
        }
    }

    fn cancel(&mut self) -> Vec<Step> {
        self.is_cancelled = true;
        match self.stage {
            Stage::Turn => {
                let params = json!({"sessionId": self.session});
                let told = json_rpc::notification("session/cancel", &params);
                vec![Step::Say(told)]
            }
            Stage::Greeting | Stage::Opening | Stage::Over => vec![Step::Close],
        }
    }
}

impl Refused {
    /// Returns what was refused and not told yet, as a prompt.
    fn next(&mut self) -> Option<String> {
        let new: Vec<String> = std::mem::take(&mut self.untold)
            .into_iter()
            .filter(|it| self.told.len() < TOLD_AGAIN_MAX && self.told.insert(it.clone()))
            .collect();
        let reasons: Vec<String> = new.into_iter().map(|it| format!("- {it}")).collect();
        if reasons.is_empty() {
            return None;
        }
        Some(format!(
            "What you asked leave for was not allowed:\n{}\nGo on without it, and end as before.",
            reasons.join("\n")
        ))
    }
}

/// Returns what an agent wanted of its client and was refused, as a call that is told.
fn refused_request(request: &Request, why: String) -> ToolCall {
    let kind = match request.method.as_str() {
        "fs/read_text_file" => ToolKind::Read,
        "fs/write_text_file" => ToolKind::Write,
        _ => ToolKind::Run,
    };
    ToolCall {
        tool: request.method.clone(),
        kind,
        subject: calls::subject(&request.params),
        refused: Some(why),
    }
}

fn fault(error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or_default();
    // Where a provider's own words are.
    let data = &error["data"];
    let more = data["details"].as_str().or(data.as_str());
    let more = match more {
        Some(text) => format!(": {text}"),
        None if data.is_null() => String::new(),
        None => format!(": {data}"),
    };
    let text = format!("{message}{more}");
    text.chars().take(FAULT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
