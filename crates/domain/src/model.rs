//! Models: how one is named, which one a session is given, and which stands in when it cannot be had.

use alloc::string::{String, ToString as _};
use core::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of a provider and of a model, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The most models of one class: a first one, and those that stand in for it.
pub const CLASS_MODELS_MAX: usize = 8;

/// A model at a provider, written `provider/model`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Model {
    /// The provider: `anthropic`, `openai`, `gemini`, or the name of a compatible server.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
}

impl Model {
    /// Reads `provider/model`; a model's own name may hold more slashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        let fits = |it: &str| (1..=NAME_BYTES_MAX).contains(&it.len());
        let is_plain =
            provider.bytes().all(letter) && model.bytes().all(|it| it.is_ascii_graphic());
        (fits(provider) && fits(model) && is_plain).then(|| Self {
            provider: provider.to_string(),
            model: model.to_string(),
        })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.provider, self.model)
    }
}

impl From<Model> for String {
    fn from(model: Model) -> Self {
        model.to_string()
    }
}

impl TryFrom<String> for Model {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a model is written `provider/model`")
    }
}

/// Why a model could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// Its provider could not be reached.
    Unreachable,
    /// Its provider failed, also when it was asked again.
    Failing,
    /// Its provider had too many requests, and for longer than is waited for.
    Throttled,
}

impl Outage {
    /// Returns the words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "could not be reached",
            Self::Failing => "failed, also when it was asked again",
            Self::Throttled => "turned too many requests away",
        }
    }
}

/// That another model was asked than was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FellBack {
    /// What was wanted.
    pub from: Model,
    /// What was asked in its place.
    pub to: Model,
    /// Why.
    pub why: Outage,
    /// How many requests this was so for.
    pub count: u64,
}

impl fmt::Display for FellBack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            why,
            count,
        } = self;
        let times = if *count == 1 { "time" } else { "times" };
        write!(
            out,
            "{to} stood in {count} {times} for {from}, which {}",
            why.name()
        )
    }
}

/// Returns the first model of a class whose provider an agent's program can speak to.
#[must_use]
pub fn first_for(class: &[Model], speaks_to: impl Fn(&str) -> bool) -> Option<&Model> {
    class.iter().find(|it| speaks_to(&it.provider))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_model_is_a_provider_and_a_name() {
        let model = Model::parse("openrouter/meta-llama/llama-3:free").unwrap();
        assert_eq!(model.provider, "openrouter");
        assert_eq!(model.model, "meta-llama/llama-3:free");
        assert_eq!(model.to_string(), "openrouter/meta-llama/llama-3:free");
        for wrong in [
            "",
            "model",
            "/model",
            "provider/",
            "a b/model",
            "a/b c",
            "a/\u{e9}",
        ] {
            assert_eq!(Model::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_agent_is_given_the_first_model_it_can_speak_to() {
        let class: vec::Vec<_> = ["anthropic/a", "openai/b", "openai/c"]
            .into_iter()
            .filter_map(Model::parse)
            .collect();
        let first = first_for(&class, |it| it == "openai").unwrap();
        assert_eq!(first.to_string(), "openai/b");
        assert_eq!(first_for(&class, |it| it == "gemini"), None);
    }
}
