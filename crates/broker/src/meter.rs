//! The meter: what a reply took, read from the provider's own usage fields as it passes by, and
//! estimated from its length where there are none.

use std::sync::LazyLock;

use domain::usage::Tokens;
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::route::Call;

/// The longest line of a stream, and the longest whole reply, that is looked into, in bytes.
const LOOKED_AT_BYTES_MAX: usize = 16 << 20;

/// Bytes of a token, for estimates: fewer than in most texts, so that estimates are high.
pub const BYTES_PER_TOKEN: u64 = 3;

/// What an event of a stream weighs beside the text that it brings, in bytes.
const EVENT_BYTES: u64 = 90;

/// The meter of one reply.
#[derive(Debug)]
pub struct Meter {
    call: Call,
    is_stream: bool,
    /// The line, or the whole reply, as far as it has come.
    held: Vec<u8>,
    overflowed: bool,
    tokens: Tokens,
    /// Whether the provider has said what came in, and what came out in the end.
    told: Told,
    estimated_output: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    input: bool,
    output: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    message: Option<Holder>,
    response: Option<Holder>,
    usage: Option<Fields>,
    #[serde(rename = "usageMetadata")]
    usage_metadata: Option<Fields>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Holder {
    usage: Option<Fields>,
}

/// The usage fields of all providers; each sends some.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    #[serde(rename = "promptTokenCount")]
    prompt_token_count: Option<u64>,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_use_prompt_token_count: Option<u64>,
    #[serde(rename = "cachedContentTokenCount")]
    cached_content_token_count: Option<u64>,
    #[serde(rename = "candidatesTokenCount")]
    candidates_token_count: Option<u64>,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts_token_count: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    thinking_tokens: Option<u64>,
}

impl Meter {
    /// Returns a meter for the reply to a request of `request_bytes`.
    #[must_use]
    pub fn new(call: Call, is_stream: bool, request_bytes: usize) -> Self {
        Self {
            call,
            is_stream,
            held: Vec::new(),
            overflowed: false,
            tokens: Tokens {
                input: input_estimate(request_bytes),
                ..Tokens::default()
            },
            told: Told::default(),
            estimated_output: 0,
        }
    }

    /// Takes the next piece of the reply.
    pub fn feed(&mut self, piece: &[u8]) {
        if !self.call.is_work() {
            return;
        }
        if !self.is_stream {
            self.estimated_output = self
                .estimated_output
                .saturating_add(length(piece.len()).div_ceil(BYTES_PER_TOKEN));
            self.hold(piece);
            return;
        }
        // Most pieces have none, and that is known at once.
        let may_tell = mentions_usage(piece);
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if self.held.is_empty() && !self.overflowed {
                self.line(line, may_tell);
            } else {
                self.hold(line);
                let whole = std::mem::take(&mut self.held);
                if !std::mem::take(&mut self.overflowed) {
                    self.line(&whole, true);
                }
            }
            rest = after;
        }
        self.hold(rest);
    }

    /// Takes note that nothing more comes.
    pub fn finish(&mut self) {
        let held = std::mem::take(&mut self.held);
        if self.overflowed || !self.call.is_work() {
            return;
        }
        if self.is_stream {
            self.line(&held, true);
        } else {
            self.whole(&held);
        }
    }

    /// Returns what the reply has taken so far, and whether the provider said so itself.
    #[must_use]
    pub fn tokens(&self) -> (Tokens, bool) {
        if !self.call.is_work() {
            return (Tokens::default(), true);
        }
        let output = if self.told.output {
            self.tokens.output
        } else {
            self.tokens.output.max(self.estimated_output)
        };
        let tokens = Tokens {
            output,
            ..self.tokens
        };
        (tokens, self.told.input && self.told.output)
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.overflowed || self.held.len().saturating_add(piece.len()) > LOOKED_AT_BYTES_MAX {
            self.overflowed = true;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(piece);
        }
    }

    fn line(&mut self, line: &[u8], may_tell: bool) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let bytes = length(data.len()).saturating_sub(EVENT_BYTES);
        self.estimated_output = self
            .estimated_output
            .saturating_add((bytes / BYTES_PER_TOKEN).max(1));
        if may_tell
            && mentions_usage(data)
            && let Ok(event) = serde_json::from_slice::<Event>(data)
        {
            self.take(event);
        }
    }

    fn whole(&mut self, reply: &[u8]) {
        // Gemini's streams are one list unless they are asked for as events.
        if let Ok(events) = serde_json::from_slice::<Vec<Event>>(reply) {
            events.into_iter().for_each(|it| self.take(it));
        } else if let Ok(event) = serde_json::from_slice::<Event>(reply) {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        // The beginning of a message counts what came in; what it says of the output is a start.
        if let Some(fields) = event.message.and_then(|it| it.usage) {
            self.fields(&fields);
            self.told.output = false;
        }
        let rest = [
            event.response.and_then(|it| it.usage),
            event.usage,
            event.usage_metadata,
        ];
        rest.iter().flatten().for_each(|it| self.fields(it));
    }

    fn fields(&mut self, fields: &Fields) {
        let cached = |it: &Option<Details>| it.as_ref().and_then(|it| it.cached_tokens);
        let thought = |it: &Option<Details>| {
            it.as_ref()
                .and_then(|it| it.reasoning_tokens.or(it.thinking_tokens))
        };
        let tokens = &mut self.tokens;
        // OpenAI and Gemini count what was cached within the input, Anthropic beside it.
        let within = cached(&fields.input_tokens_details)
            .or_else(|| cached(&fields.prompt_tokens_details))
            .or(fields.cached_content_token_count);
        let input = fields
            .input_tokens
            .or(fields.prompt_tokens)
            .or(fields.prompt_token_count);
        if let Some(input) = input {
            let tools = fields.tool_use_prompt_token_count.unwrap_or(0);
            tokens.input = input
                .saturating_sub(within.unwrap_or(0))
                .saturating_add(tools);
            self.told.input = true;
        }
        if let Some(read) = fields.cache_read_input_tokens.or(within) {
            tokens.cache_read = read;
        }
        if let Some(written) = fields.cache_creation_input_tokens {
            tokens.cache_write = written;
        }
        let thoughts = thought(&fields.output_tokens_details)
            .or_else(|| thought(&fields.completion_tokens_details))
            .or(fields.thoughts_token_count);
        if let Some(thoughts) = thoughts {
            tokens.reasoning = thoughts;
        }
        let output = fields
            .output_tokens
            .or(fields.completion_tokens)
            .or_else(|| {
                let candidates = fields.candidates_token_count?;
                Some(candidates.saturating_add(fields.thoughts_token_count.unwrap_or(0)))
            });
        if let Some(output) = output {
            tokens.output = output;
            self.told.output = true;
        }
    }
}

/// Returns how many tokens a request is taken for until the provider says.
#[must_use]
pub fn input_estimate(request_bytes: usize) -> u64 {
    length(request_bytes).div_ceil(BYTES_PER_TOKEN)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn mentions_usage(data: &[u8]) -> bool {
    static WORD: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage"));
    WORD.find(data).is_some()
}

#[cfg(test)]
mod tests;
