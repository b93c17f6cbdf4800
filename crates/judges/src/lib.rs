//! A language model asked one question over a session's socket: in the provider's own words, with
//! the provider's own means for an answer of a declared form where it has one, and without any key.
#![forbid(unsafe_code)]

use ports::judges::{ANSWER_BYTES_MAX, Error, Judges, Question};
use serde_json::Value;

mod dialect;
mod http;
mod name;

pub use name::{Family, Name};

/// The longest reply that is read, in bytes: an answer, and what providers say around it.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// How much of a refusal is told, in characters.
const REFUSAL_CHARS_MAX: usize = 500;

/// Judges behind the broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelJudges;

impl Judges for ModelJudges {
    fn knows(&self, model: &str) -> Result<(), Error> {
        Name::parse(model).map(drop).map_err(Error::Unknown)
    }

    fn ask(&self, question: &Question) -> Result<String, Error> {
        let name = Name::parse(&question.model).map_err(Error::Unknown)?;
        if question.patience.is_zero() {
            return Err(Error::TooSlow(question.patience));
        }
        let schema: Value = serde_json::from_str(&question.schema)
            .map_err(|it| Error::Odd(format!("the schema is no JSON: {it}")))?;
        let body = dialect::request(&name, question, &schema).to_string();
        let path = dialect::path(&name);
        let reply = http::post(&question.socket, &path, body.as_bytes(), question.patience)?;
        let value: Option<Value> = serde_json::from_slice(&reply.body).ok();
        if reply.status != 200 {
            return Err(Error::Refused {
                status: reply.status,
                detail: refusal(value.as_ref(), &reply.body),
            });
        }
        let value = value.ok_or_else(|| Error::Odd("it is not JSON".to_owned()))?;
        let answer = dialect::answer(&name.family, &value).map_err(Error::Odd)?;
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(Error::Odd(format!(
                "it has {} bytes; {ANSWER_BYTES_MAX} are taken",
                answer.len()
            )));
        }
        Ok(answer)
    }
}

/// Returns what a provider says of a refusal: its own message, else the beginning of the reply.
fn refusal(value: Option<&Value>, body: &[u8]) -> String {
    let message = value.and_then(|it| it["error"]["message"].as_str());
    let told = match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let shown = told.chars().filter(|it| !it.is_control());
    shown.take(REFUSAL_CHARS_MAX).collect()
}
