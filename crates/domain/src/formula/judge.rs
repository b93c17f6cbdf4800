//! Judges: steps in which a language model is asked once, for an answer of a declared form. Its word
//! moves the run, and never a gate, a finding or a decision.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::is_name;
use crate::Millis;

/// The most attempts of one judge.
pub const ATTEMPTS_MAX: u32 = 10;

/// What a judge is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judge {
    /// The model, by name or class; empty in a file for the one that the operator has set, which is
    /// filled in when a run begins.
    pub model: String,
    /// The template of what it is told.
    pub prompt: String,
    /// The form of its answer: JSON Schema, as text.
    pub schema: String,
    /// The field of the answer that holds its verdict: true or false, or a word.
    pub verdict: String,
    /// The words that pass; none where the field is true or false.
    pub passes: Vec<String>,
    /// The field that holds its reasons, as texts.
    pub reasons: Option<String>,
    /// The field that holds questions to be filed.
    pub files: Option<String>,
    /// How often it is asked for an answer of the declared form.
    pub attempts: u32,
    /// The most tokens that all attempts may take.
    pub tokens: u64,
    /// How long all attempts may take.
    pub wall: Millis,
}

impl Judge {
    pub(super) fn faults(&self, fault: &mut impl FnMut(&'static str, String)) {
        if !is_name(&self.prompt) {
            let told = format!(
                "`{}` is not the name of a template: lower-case letters, digits, `-`",
                self.prompt
            );
            fault("prompt", told);
        }
        if self.verdict.is_empty() {
            fault("verdict", "name the field that holds the verdict".into());
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            fault("budget", format!("`attempts` is 1 to {ATTEMPTS_MAX}"));
        }
        if self.tokens == 0 {
            fault("budget", "`tokens` is more than nothing".into());
        }
        if self.wall.0 == 0 {
            fault("budget", "`seconds` is more than nothing".into());
        }
    }
}
