//! Reads the verbs of a story's steps.

use domain::agent::{RefusalReason, Signal};
use toml::de::DeValue;

use super::super::{Act, Stream};
use super::{Faults, Fields, code, count, flag, large, number, path, text, words};
use crate::report::{Question, Sections};
use crate::signal_line::{PRIORITIES, PRIORITY_DEFAULT};

/// The verbs, in the order of the table in [`crate::story`].
pub(super) const VERBS: [&str; 27] = [
    "write",
    "append",
    "replace",
    "delete",
    "rename",
    "symlink",
    "fifo",
    "sparse",
    "require",
    "wait_for",
    "run",
    "print",
    "flood",
    "progress",
    "ask",
    "finding",
    "acknowledge",
    "done",
    "refuse",
    "fail",
    "raw",
    "garbage",
    "sleep_ms",
    "hang",
    "background",
    "exit",
    "kill_self",
];

/// The longest pause: an hour.
const SLEEP_MS_MAX: u64 = 3_600_000;

/// Reads one verb with its options; `None` when that is told as a fault.
pub(super) fn read(
    verb: &'static str,
    fields: &mut Fields<'_>,
    faults: &mut Faults<'_>,
) -> Option<Act> {
    match verb {
        "run" | "print" | "flood" | "sleep_ms" | "hang" | "background" | "exit" | "kill_self" => {
            process(verb, fields, faults)
        }
        "progress" | "ask" | "finding" | "done" | "refuse" | "fail" => {
            let signal = signal(verb, fields, faults);
            let epoch = fields.optional("epoch", faults, large);
            signal.map(|signal| Act::Say { signal, epoch })
        }
        "acknowledge" => fields.optional(verb, faults, text).map(Act::Acknowledge),
        "raw" => fields.optional(verb, faults, text).map(Act::Raw),
        "garbage" => fields.optional(verb, faults, count).map(Act::Garbage),
        _ => file(verb, fields, faults),
    }
}

fn file(verb: &'static str, fields: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Act> {
    let path_read = fields.optional(verb, faults, path);
    match verb {
        "write" => {
            let text = fields.required("text", faults, text);
            let executable = fields.optional("executable", faults, flag).unwrap_or(false);
            Some(Act::Write {
                path: path_read?,
                text: text?,
                executable,
            })
        }
        "append" => {
            let text = fields.required("text", faults, text);
            Some(Act::Append {
                path: path_read?,
                text: text?,
            })
        }
        "replace" => {
            let old = fields.required("old", faults, text);
            let new = fields.required("new", faults, text);
            Some(Act::Replace {
                path: path_read?,
                old: old?,
                new: new?,
            })
        }
        "rename" | "symlink" => {
            let to = fields.required("to", faults, path)?;
            let path = path_read?;
            Some(match verb {
                "rename" => Act::Rename { path, to },
                _ => Act::Symlink { path, to },
            })
        }
        "sparse" => {
            let bytes = fields.required("bytes", faults, large);
            Some(Act::Sparse {
                path: path_read?,
                bytes: bytes?,
            })
        }
        "require" => {
            let contains = fields.optional("contains", faults, text);
            Some(Act::Require {
                path: path_read?,
                contains: contains.unwrap_or_default(),
            })
        }
        "delete" => path_read.map(Act::Delete),
        "fifo" => path_read.map(Act::Fifo),
        "wait_for" => path_read.map(Act::WaitFor),
        _ => None,
    }
}

fn process(verb: &'static str, fields: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Act> {
    match verb {
        "run" => {
            let argv = fields.optional(verb, faults, words);
            let expect = fields.optional("expect", faults, code).unwrap_or(0);
            argv.map(|argv| Act::Run { argv, expect })
        }
        "print" => {
            let text = fields.optional(verb, faults, text);
            let stream = fields
                .optional("stream", faults, stream)
                .unwrap_or_default();
            text.map(|text| Act::Print { text, stream })
        }
        "flood" => {
            let bytes = fields.optional(verb, faults, large);
            let stream = fields
                .optional("stream", faults, stream)
                .unwrap_or_default();
            bytes.map(|bytes| Act::Flood { bytes, stream })
        }
        "sleep_ms" => fields.optional(verb, faults, pause).map(Act::SleepMs),
        "hang" => fields.optional(verb, faults, yes).map(|()| Act::Hang),
        "background" => fields.optional(verb, faults, yes).map(|()| Act::Background),
        "exit" => fields.optional(verb, faults, code).map(Act::Exit),
        "kill_self" => fields
            .optional(verb, faults, signal_number)
            .map(Act::KillSelf),
        _ => None,
    }
}

fn signal(verb: &'static str, fields: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Signal> {
    match verb {
        "ask" => ask(fields.table(verb, faults)?, faults),
        "finding" => finding(fields.table(verb, faults)?, faults),
        "refuse" => {
            let reason = fields.optional(verb, faults, refusal);
            let detail = fields.optional("detail", faults, text);
            Some(Signal::Refuse {
                reason: reason?,
                detail: detail.unwrap_or_default(),
            })
        }
        _ => {
            let text = fields.optional(verb, faults, text)?;
            Some(match verb {
                "progress" => Signal::Progress { text },
                "done" => Signal::Done { summary: text },
                _ => Signal::Fail { reason: text },
            })
        }
    }
}

fn ask(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Option<Signal> {
    let span = fields.span.clone();
    let question = fields.required("question", faults, text);
    let why = fields.required("why", faults, text);
    let options = fields.required("options", faults, words);
    let recommend = fields.required("recommend", faults, text);
    let impact = fields.required("impact", faults, text);
    let default = fields.required("default", faults, text);
    let priority = fields.optional("priority", faults, priority);
    fields.finish("a question", faults);
    let sections = Sections {
        question: question?,
        why: why?,
        options: options?,
        recommend: recommend?,
        impact: impact?,
        default: default?,
    };
    Question::of(&sections)
        .map_err(|error| faults.add(span, error.to_string()))
        .ok()
        .map(|question| Signal::Ask {
            report: question.into_text(),
            priority: priority.unwrap_or_else(|| PRIORITY_DEFAULT.to_owned()),
        })
}

fn finding(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Option<Signal> {
    let file = fields.required("file", faults, path);
    let line = fields.optional("line", faults, count).unwrap_or(0);
    let rule = fields.required("rule", faults, text);
    let text = fields.required("text", faults, text);
    fields.finish("a finding", faults);
    Some(Signal::Finding {
        file: file?,
        line,
        rule: rule?,
        text: text?,
    })
}

fn stream(value: &DeValue<'_>) -> Result<Stream, String> {
    match value.as_str() {
        Some("out") => Ok(Stream::Out),
        Some("err") => Ok(Stream::Err),
        Some(_) | None => Err("`out` or `err`".to_owned()),
    }
}

fn refusal(value: &DeValue<'_>) -> Result<RefusalReason, String> {
    match value.as_str() {
        Some("unmet_dependency") => Ok(RefusalReason::UnmetDependency),
        Some("too_large") => Ok(RefusalReason::TooLarge),
        Some("already_done") => Ok(RefusalReason::AlreadyDone),
        Some(_) | None => Err("`unmet_dependency`, `too_large` or `already_done`".to_owned()),
    }
}

fn priority(value: &DeValue<'_>) -> Result<String, String> {
    text(value)
        .ok()
        .filter(|it| PRIORITIES.contains(&it.as_str()))
        .ok_or_else(|| format!("one of {}", PRIORITIES.join(", ")))
}

fn pause(value: &DeValue<'_>) -> Result<u64, String> {
    large(value)
        .ok()
        .filter(|it| *it <= SLEEP_MS_MAX)
        .ok_or_else(|| format!("a whole number up to {SLEEP_MS_MAX}"))
}

fn signal_number(value: &DeValue<'_>) -> Result<i32, String> {
    let wanted = "the number of a signal, 1 to 31";
    number::<i32>(value, wanted).and_then(|it| {
        let named = rustix::process::Signal::from_named_raw(it);
        named.map(|_| it).ok_or_else(|| wanted.to_owned())
    })
}

fn yes(value: &DeValue<'_>) -> Result<(), String> {
    if value.as_bool() == Some(true) {
        Ok(())
    } else {
        Err("true".to_owned())
    }
}
