//! One signal as one line of JSON: what agents write and drivers read.
//!
//! A line is an object with `signal` (`progress`, `ask`, `finding`, `acknowledge`, `propose_action`,
//! `done`, `refuse`, `fail`), the
//! fields of that signal and nothing else. `epoch` may be left out, so that a shell script can
//! speak with `echo`: then the session's own is meant. A wrong epoch is refused: it comes from
//! another life of the work.

use std::fmt;

use domain::MessageId;
use domain::agent::{RefusalReason, Signal};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The priority of a question that names none.
pub const PRIORITY_DEFAULT: &str = "P2";

/// The priorities there are, most urgent first.
pub const PRIORITIES: [&str; 4] = ["P0", "P1", "P2", "P3"];

/// Why a line is not a signal of this session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The line is not what the protocol asks for.
    #[error("not a signal: {0}")]
    Form(#[from] serde_json::Error),
    /// The epoch is not a whole number.
    #[error("not a signal: `epoch` must be a whole number from 0")]
    Epoch,
    /// The signal belongs to another life of the work.
    #[error("stale epoch {said}: this session has epoch {own}")]
    Stale {
        /// What the line says.
        said: u64,
        /// What the session has.
        own: u64,
    },
    /// The priority is none of the four.
    #[error("not a signal: priority `{0}` is none of P0, P1, P2, P3")]
    Priority(String),
}

/// Returns the line that says `signal`, with its newline.
///
/// # Errors
/// When the signal cannot be written as JSON.
pub fn encode(epoch: Option<u64>, signal: &Signal) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(signal)?;
    if let (Some(epoch), Value::Object(fields)) = (epoch, &mut value) {
        fields.insert("epoch".to_owned(), Value::from(epoch));
    }
    let mut line = serde_json::to_string(&value)?;
    line.push('\n');
    Ok(line)
}

/// Returns the epoch and the signal of a line, for a session whose epoch is `own`.
///
/// # Errors
/// When the line is no signal, or one of another session.
pub fn decode(line: &[u8], own: u64) -> Result<(u64, Signal), Error> {
    let Fields(mut fields) = serde_json::from_slice(line)?;
    let epoch = match fields.remove("epoch") {
        None => own,
        Some(value) => value.as_u64().ok_or(Error::Epoch)?,
    };
    let said: Said = serde_json::from_value(Value::Object(fields))?;
    if epoch != own {
        return Err(Error::Stale { said: epoch, own });
    }
    let signal = Signal::from(said);
    if let Signal::Ask { priority, .. } = &signal
        && !PRIORITIES.contains(&priority.as_str())
    {
        return Err(Error::Priority(priority.clone()));
    }
    Ok((epoch, signal))
}

/// Tells whether a line, of whatever session, is a signal that ends one.
#[must_use]
pub(crate) fn says_the_end(line: &[u8]) -> bool {
    let Ok(Fields(mut fields)) = serde_json::from_slice(line) else {
        return false;
    };
    fields.remove("epoch");
    serde_json::from_value(Value::Object(fields))
        .is_ok_and(|said: Said| is_terminal(&Signal::from(said)))
}

/// Tells whether a signal ends its session.
#[must_use]
pub const fn is_terminal(signal: &Signal) -> bool {
    match signal {
        Signal::Done { .. } | Signal::Refuse { .. } | Signal::Fail { .. } => true,
        Signal::Progress { .. }
        | Signal::Ask { .. }
        | Signal::Finding { .. }
        | Signal::Acknowledge { .. }
        | Signal::ProposeAction { .. } => false,
    }
}

/// A signal as it may be written: like [`Signal`], but strict about unknown fields.
#[derive(Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Progress {
        text: String,
    },
    Ask {
        report: String,
        #[serde(default = "priority_default")]
        priority: String,
    },
    Finding {
        file: String,
        #[serde(default)]
        line: u32,
        rule: String,
        text: String,
    },
    Acknowledge {
        message: MessageId,
        text: String,
    },
    ProposeAction {
        action: String,
        arguments: Value,
        why: String,
    },
    Done {
        summary: String,
    },
    Refuse {
        reason: RefusalReason,
        detail: String,
    },
    Fail {
        reason: String,
    },
}

fn priority_default() -> String {
    PRIORITY_DEFAULT.to_owned()
}

impl From<Said> for Signal {
    fn from(said: Said) -> Self {
        match said {
            Said::Progress { text } => Self::Progress { text },
            Said::Ask { report, priority } => Self::Ask { report, priority },
            Said::Finding {
                file,
                line,
                rule,
                text,
            } => Self::Finding {
                file,
                line,
                rule,
                text,
            },
            Said::Acknowledge { message, text } => Self::Acknowledge { message, text },
            Said::ProposeAction {
                action,
                arguments,
                why,
            } => Self::ProposeAction {
                action,
                // Written by hand it is an object; as our own client writes it, its text.
                arguments: match arguments {
                    Value::String(text) => text,
                    other @ (Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::Array(_)
                    | Value::Object(_)) => other.to_string(),
                },
                why,
            },
            Said::Done { summary } => Self::Done { summary },
            Said::Refuse { reason, detail } => Self::Refuse { reason, detail },
            Said::Fail { reason } => Self::Fail { reason },
        }
    }
}

/// The fields of one object, each named once: with two of a kind, reader and writer could each
/// believe another one.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Fields;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a JSON object with a `signal`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn done(summary: &str) -> Signal {
        Signal::Done {
            summary: summary.to_owned(),
        }
    }

    #[test]
    fn a_hand_written_line_needs_no_epoch() {
        let line = br#"{"signal":"done","summary":"it works"}"#;
        assert_eq!(decode(line, 7).unwrap(), (7, done("it works")));
    }

    #[test]
    fn arguments_of_an_action_are_an_object_or_its_text() {
        for arguments in [r#"{"suite":"a"}"#, r#""{\"suite\":\"a\"}""#] {
            let line = format!(
                r#"{{"signal":"propose_action","action":"run_tests","arguments":{arguments},"why":"w"}}"#
            );
            let (_, signal) = decode(line.as_bytes(), 1).unwrap();
            let wanted = Signal::ProposeAction {
                action: "run_tests".to_owned(),
                arguments: r#"{"suite":"a"}"#.to_owned(),
                why: "w".to_owned(),
            };
            assert_eq!(signal, wanted);
            let again = encode(Some(1), &signal).unwrap();
            assert_eq!(decode(again.as_bytes(), 1).unwrap().1, wanted);
        }
        let approving = br#"{"signal":"approve_action","action":"action_1"}"#;
        assert!(decode(approving, 1).is_err(), "there is no such word");
    }

    #[test]
    fn a_question_without_priority_has_the_default() {
        let line = br###"{"signal":"ask","report":"## Question"}"###;
        let (_, signal) = decode(line, 1).unwrap();
        assert_eq!(
            signal,
            Signal::Ask {
                report: "## Question".to_owned(),
                priority: "P2".to_owned()
            }
        );
    }

    #[test]
    fn every_deviation_is_refused_with_its_reason() {
        for (line, why) in [
            ("", "EOF"),
            ("done", "expected"),
            ("[]", "a JSON object with a `signal`"),
            ("null", "a JSON object with a `signal`"),
            ("{}", "missing field `signal`"),
            (r#"{"signal":"merge"}"#, "unknown variant `merge`"),
            // There is no word for resolving, waiving or approving anything.
            (
                r#"{"signal":"resolve","finding":"x"}"#,
                "unknown variant `resolve`",
            ),
            (
                r#"{"signal":"approve","dossier":"x"}"#,
                "unknown variant `approve`",
            ),
            (
                r#"{"signal":"finding","file":"a","rule":"r","text":"t","severity":"waived"}"#,
                "unknown field `severity`",
            ),
            (
                r#"{"signal":"done","summary":"s","override":true}"#,
                "unknown field `override`",
            ),
            (r#"{"signal":"done"}"#, "missing field `summary`"),
            (
                r#"{"signal":"done","summary":"s","run":"rm"}"#,
                "unknown field `run`",
            ),
            (r#"{"signal":"done","summary":7}"#, "invalid type"),
            (
                r#"{"signal":"done","summary":"s","signal":"fail"}"#,
                "duplicate field `signal`",
            ),
            (r#"{"signal":"done","summary":"s"} x"#, "trailing"),
            (
                r#"{"signal":"done","summary":"s","epoch":2}"#,
                "stale epoch 2",
            ),
            (
                r#"{"signal":"done","summary":"s","epoch":"3"}"#,
                "`epoch` must be a whole number",
            ),
            (
                r#"{"signal":"done","summary":"s","epoch":-3}"#,
                "`epoch` must be a whole number",
            ),
            (
                r#"{"signal":"ask","report":"r","priority":"P9"}"#,
                "priority `P9`",
            ),
            (
                r#"{"signal":"refuse","reason":"bored","detail":""}"#,
                "unknown variant `bored`",
            ),
        ] {
            let error = decode(line.as_bytes(), 3).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(decode(b"{\"signal\":\"done\",\"summary\":\"\xff\"}", 3).is_err());
        assert!(decode("[".repeat(100_000).as_bytes(), 3).is_err());
    }

    fn signals() -> impl Strategy<Value = Signal> {
        prop_oneof![
            ".*".prop_map(|text| Signal::Progress { text }),
            (".*", 0..4_usize).prop_map(|(report, at)| Signal::Ask {
                report,
                priority: PRIORITIES[at].to_owned()
            }),
            (".*", any::<u32>(), ".*", ".*").prop_map(|(file, line, rule, text)| {
                Signal::Finding {
                    file,
                    line,
                    rule,
                    text,
                }
            }),
            ".*".prop_map(|summary| Signal::Done { summary }),
            ".*".prop_map(|detail| Signal::Refuse {
                reason: RefusalReason::TooLarge,
                detail
            }),
            ".*".prop_map(|reason| Signal::Fail { reason }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_from_one_line(signal in signals(), epoch: u64) {
            let line = encode(Some(epoch), &signal).unwrap();
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(decode(line.as_bytes(), epoch).unwrap(), (epoch, signal.clone()));
            let bare = encode(None, &signal).unwrap();
            prop_assert_eq!(decode(bare.as_bytes(), epoch).unwrap(), (epoch, signal));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes, 1).is_err() || !bytes.is_empty());
        }
    }
}
