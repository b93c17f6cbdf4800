//! What an operator says to an agent that is at work: found in its brief, told once, as a prompt.

use std::collections::BTreeSet;
use std::path::PathBuf;

use domain::message::Topic;
use domain::principal::is_operator;
use serde_json::Value;

use crate::client::{is_open, messages_in};

/// Messages that become prompts after the first one, at most.
const FOLLOW_UPS_MAX: usize = 100;

/// The messages of one session, and which of them were told.
#[derive(Debug)]
pub(crate) struct News {
    brief: PathBuf,
    /// By identifier: a letter that is delivered again differs in how often it was.
    told: BTreeSet<String>,
}

impl News {
    /// Returns the news in a session's brief on the host; none was told yet.
    pub(crate) const fn new(brief: PathBuf) -> Self {
        Self {
            brief,
            told: BTreeSet::new(),
        }
    }

    /// Returns the messages to this session that it was not told yet, as a prompt.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut new = Vec::new();
        // A folder that cannot be read holds nothing new; the agent can look by itself.
        for letter in messages_in(&self.brief).unwrap_or_default() {
            if self.told.len() >= FOLLOW_UPS_MAX {
                break;
            }
            if let Some(id) = letter["id"].as_str()
                && (is_open(&letter) || is_word(&letter))
                && self.told.insert(id.to_owned())
            {
                new.push(letter.to_string());
            }
        }
        if new.is_empty() {
            return None;
        }
        Some(format!(
            "While you worked you were told this. Do what it says, and end as before. Acknowledge \
             each that has a number in `acknowledge_within_ms` with \
             `palisade-agent ack ID WHAT-YOU-WILL-DO`.\n\n{}",
            new.join("\n")
        ))
    }
}

/// Returns whether a message is an operator's own word that was not acknowledged.
fn is_word(letter: &Value) -> bool {
    let is_from_operator = letter["from"].as_str().is_some_and(is_operator);
    // That it stood still and goes on asks nothing of an agent that has ended its turn.
    let is_of_pauses = [Topic::Pause, Topic::Resume]
        .iter()
        .any(|it| letter["topic"] == it.name());
    let is_waiting = letter["state"] == "delivered" || letter["state"] == "escalated";
    is_from_operator && !is_of_pauses && is_waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    fn letter(id: &str) -> Value {
        json!({
            "id": id, "topic": "notice", "severity": "info", "text": format!("text of {id}"),
            "from": "operator:ada", "acknowledge_within_ms": null, "state": "delivered",
            "attempts": 1,
        })
    }

    /// News of these letters, and how to write one anew.
    fn news(letters: &[Value]) -> (tempfile::TempDir, News) {
        let brief = tempfile::tempdir().unwrap();
        fs::create_dir(brief.path().join("messages")).unwrap();
        for it in letters {
            put(&brief, it);
        }
        let news = News::new(brief.path().to_owned());
        (brief, news)
    }

    fn put(brief: &tempfile::TempDir, letter: &Value) {
        let name = format!("messages/{}.json", letter["id"].as_str().unwrap());
        fs::write(brief.path().join(name), letter.to_string()).unwrap();
    }

    fn with(id: &str, field: &str, value: Value) -> Value {
        let mut letter = letter(id);
        letter[field] = value;
        letter
    }

    #[test]
    fn a_plain_word_of_the_operator_is_the_next_prompt_once() {
        let (brief, mut news) = news(&[letter("a")]);
        assert!(news.next().unwrap().contains("text of a"));
        assert_eq!(news.next(), None);
        put(&brief, &letter("b"));
        let next = news.next().unwrap();
        assert!(
            next.contains("text of b") && !next.contains("text of a"),
            "{next}"
        );
        assert_eq!(news.next(), None);
    }

    #[test]
    fn what_is_delivered_again_is_not_prompted_again() {
        let mut letter = with("a", "acknowledge_within_ms", json!(1));
        let (brief, mut news) = news(&[letter.clone()]);
        assert!(news.next().is_some());
        for (field, value) in [
            ("attempts", json!(2)),
            ("attempts", json!(3)),
            ("state", json!("escalated")),
            ("state", json!("acknowledged")),
        ] {
            letter[field] = value;
            put(&brief, &letter);
            assert_eq!(news.next(), None, "{letter}");
        }
    }

    #[test]
    fn only_words_that_wait_are_prompted() {
        let mut critical = with("a", "from", json!("engine"));
        critical["acknowledge_within_ms"] = json!(1);
        for waits in [critical, with("a", "state", json!("escalated"))] {
            assert!(
                news(std::slice::from_ref(&waits)).1.next().is_some(),
                "{waits}"
            );
        }
        for other in [
            with("a", "from", json!("engine")),
            with("a", "topic", json!("pause")),
            with("a", "topic", json!("resume")),
            with("a", "state", json!("acknowledged")),
            with("a", "state", json!("expired")),
            with("a", "from", Value::Null),
        ] {
            assert_eq!(news(std::slice::from_ref(&other)).1.next(), None, "{other}");
        }
    }

    #[test]
    fn prompts_have_an_end() {
        let letters: Vec<_> = (0..=FOLLOW_UPS_MAX)
            .map(|it| letter(&format!("{it:03}")))
            .collect();
        let (_brief, mut news) = news(&letters);
        let next = news.next().unwrap();
        assert!(next.contains("text of 099") && !next.contains("text of 100"));
        assert_eq!(news.next(), None);
    }
}
