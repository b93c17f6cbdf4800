//! Refusals: what the broker says instead of a provider, in the shape its clients understand.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::route::{Call, Family};

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such path, or no such provider.
    NoSuchPath,
    /// The path takes another method.
    Method,
    /// The request cannot be read.
    Malformed(String),
    /// The model is not one of those that may be asked.
    Model(String),
    /// The request is too large, in bytes.
    TooLarge(usize),
    /// Too many requests, in a minute or at once.
    TooFast,
    /// A budget is used up.
    OverBudget(String),
    /// It holds what must not leave.
    Leak(String),
    /// The provider could not be reached, or its reply not be used.
    Upstream(String),
    /// There is no such way out.
    Egress(String),
    /// The tape has no answer.
    NoMatch(String),
}

impl Refusal {
    /// Returns the status. Clients try again after 429 and 5xx, and give up after the others.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed(_) | Self::NoMatch(_) => StatusCode::BAD_REQUEST,
            Self::Model(_) | Self::OverBudget(_) | Self::Leak(_) | Self::Egress(_) => {
                StatusCode::FORBIDDEN
            }
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooFast => StatusCode::TOO_MANY_REQUESTS,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Returns the sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::NoSuchPath => "Palisade: this path leads to no model; only the listed calls of \
                                 configured providers are passed on"
                .to_owned(),
            Self::Method => "Palisade: this path takes another method".to_owned(),
            Self::Malformed(why) => format!("Palisade: the request cannot be read: {why}"),
            Self::Model(model) => format!(
                "Palisade: the model `{model}` may not be asked here; `models` in broker.toml and \
                 the session's grant say which may"
            ),
            Self::TooLarge(most) => format!("Palisade: a request has at most {most} bytes"),
            Self::TooFast => "Palisade: too many requests; wait a moment".to_owned(),
            Self::OverBudget(detail) => format!(
                "Palisade: the budget is used up: {detail}. The session ends; its work is kept and \
                 goes on when the operator raises the budget"
            ),
            Self::Leak(detail) => format!("Palisade: the request was stopped: {detail}"),
            Self::Upstream(why) => format!("Palisade: the provider gave no usable reply: {why}"),
            Self::Egress(why) => format!(
                "Palisade: no way out of the cell: {why}; only CONNECT to hosts that broker.toml and \
                 [egress] of palisade.toml list is carried, for roles that may"
            ),
            Self::NoMatch(why) => format!("Palisade: the tape has no answer: {why}"),
        }
    }

    /// Returns the body in a provider's shape.
    #[must_use]
    pub fn body(&self, family: Family) -> Bytes {
        Bytes::from(self.shape(family).to_string())
    }

    /// Returns what ends a stream of events that has begun.
    #[must_use]
    pub fn event(&self, family: Family, call: Call) -> Bytes {
        let text = match (family, call) {
            (Family::Anthropic, _) => format!("event: error\ndata: {}\n\n", self.shape(family)),
            (_, Call::Responses) => {
                let event = json!({
                    "type": "error", "sequence_number": 0, "code": self.word(Family::OpenAi),
                    "message": self.sentence(), "param": null,
                });
                format!("event: error\ndata: {event}\n\n")
            }
            (Family::OpenAi | Family::Compatible | Family::Gemini, _) => {
                format!("data: {}\n\n", self.shape(family))
            }
        };
        Bytes::from(text)
    }

    fn shape(&self, family: Family) -> Value {
        let message = self.sentence();
        let word = self.word(family);
        match family {
            Family::Anthropic => {
                json!({"type": "error", "error": {"type": word, "message": message}})
            }
            Family::OpenAi | Family::Compatible => json!({"error": {
                "message": message, "type": word, "param": null, "code": word,
            }}),
            Family::Gemini => json!({"error": {
                "code": self.status().as_u16(), "message": message, "status": word,
            }}),
        }
    }

    /// Returns the provider's own word for this kind of error.
    const fn word(&self, family: Family) -> &'static str {
        match (self, family) {
            (Self::NoSuchPath, Family::Anthropic) => "not_found_error",
            (Self::NoSuchPath, Family::Gemini) => "NOT_FOUND",
            (Self::NoSuchPath, Family::OpenAi | Family::Compatible) => "not_found",
            (Self::Model(_) | Self::Leak(_) | Self::Egress(_), Family::Anthropic) => {
                "permission_error"
            }
            (
                Self::Model(_) | Self::Leak(_) | Self::OverBudget(_) | Self::Egress(_),
                Family::Gemini,
            ) => "PERMISSION_DENIED",
            (Self::Model(_), Family::OpenAi | Family::Compatible) => "model_not_found",
            (Self::Leak(_) | Self::Egress(_), Family::OpenAi | Family::Compatible) => {
                "content_policy_violation"
            }
            (Self::OverBudget(_), Family::Anthropic) => "billing_error",
            (Self::OverBudget(_), Family::OpenAi | Family::Compatible) => "insufficient_quota",
            (Self::TooLarge(_), Family::Anthropic) => "request_too_large",
            (Self::TooFast, Family::Anthropic) => "rate_limit_error",
            (Self::TooFast, Family::Gemini) => "RESOURCE_EXHAUSTED",
            (Self::TooFast, Family::OpenAi | Family::Compatible) => "rate_limit_exceeded",
            (Self::Upstream(_), Family::Anthropic) => "api_error",
            (Self::Upstream(_), Family::Gemini) => "UNAVAILABLE",
            (Self::Upstream(_), Family::OpenAi | Family::Compatible) => "server_error",
            (
                Self::Method | Self::Malformed(_) | Self::TooLarge(_) | Self::NoMatch(_),
                Family::Gemini,
            ) => "INVALID_ARGUMENT",
            (
                Self::Method | Self::Malformed(_) | Self::NoMatch(_),
                Family::Anthropic | Family::OpenAi | Family::Compatible,
            )
            | (Self::TooLarge(_), Family::OpenAi | Family::Compatible) => "invalid_request_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn each_provider_is_answered_in_its_own_shape() {
        let refusal = Refusal::OverBudget("10 of 10 tokens are used".to_owned());
        let anthropic = parsed(&refusal.body(Family::Anthropic));
        assert_eq!(anthropic["type"], "error");
        assert_eq!(anthropic["error"]["type"], "billing_error");
        let openai = parsed(&refusal.body(Family::OpenAi));
        assert_eq!(openai["error"]["code"], "insufficient_quota");
        let gemini = parsed(&refusal.body(Family::Gemini));
        assert_eq!(gemini["error"]["code"], 403);
        assert_eq!(gemini["error"]["status"], "PERMISSION_DENIED");
        for body in [anthropic, openai, gemini] {
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains("10 of 10 tokens"), "{message}");
        }
    }

    #[test]
    fn the_end_of_a_stream_is_an_event_of_its_own() {
        let refusal = Refusal::Leak("the canary".to_owned());
        let text = |family, call| String::from_utf8(refusal.event(family, call).to_vec()).unwrap();
        assert!(text(Family::Anthropic, Call::Messages).starts_with("event: error\ndata: {"));
        assert!(text(Family::OpenAi, Call::Responses).contains("\"type\":\"error\""));
        assert!(text(Family::Compatible, Call::Chat).starts_with("data: {\"error\""));
        assert!(text(Family::Gemini, Call::Content).ends_with("}\n\n"));
    }
}
