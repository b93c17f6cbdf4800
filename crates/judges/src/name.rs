//! Names of models: who is asked, and in which language.

/// The language of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Family {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Responses.
    OpenAi,
    /// Chat Completions, of the compatible server with this name.
    Compatible(String),
}

/// The name of a model, understood: `anthropic/claude-haiku-4-5`, `openai/gpt-5-mini`,
/// `ollama/qwen3` for the compatible server `ollama`; or a name that tells its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Who is asked.
    pub family: Family,
    /// What the provider calls the model.
    pub model: String,
}

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;

impl Name {
    /// Understands a name.
    ///
    /// # Errors
    /// Says how to mend one that tells no provider.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_./:@".contains(&it);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
            return Err(format!("`{}` is no name of a model", text.escape_debug()));
        }
        let of = |family, model: &str| Self {
            family,
            model: model.to_owned(),
        };
        let known = match text.split_once('/') {
            Some(("anthropic", model)) => Some(of(Family::Anthropic, model)),
            Some(("openai", model)) => Some(of(Family::OpenAi, model)),
            Some(("compatible", rest)) => rest.split_once('/').map(|(server, model)| {
                let family = Family::Compatible(server.to_owned());
                of(family, model)
            }),
            Some(("gemini", _)) => None,
            Some((server, model)) => {
                let family = Family::Compatible(server.to_owned());
                Some(of(family, model))
            }
            None if text.starts_with("claude-") => Some(of(Family::Anthropic, text)),
            None if ["gpt-", "o1", "o3", "o4"]
                .iter()
                .any(|it| text.starts_with(it)) =>
            {
                Some(of(Family::OpenAi, text))
            }
            None => None,
        };
        let is_server = |it: &Self| match &it.family {
            Family::Compatible(server) => !server.is_empty() && !server.contains(['.', ':', '@']),
            Family::Anthropic | Family::OpenAi => true,
        };
        known
            .filter(|it| !it.model.is_empty() && is_server(it))
            .ok_or_else(|| {
                format!(
                    "`{text}` tells no provider that judges speak to: write `anthropic/NAME`, \
                     `openai/NAME`, or `SERVER/NAME` for a compatible server"
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_who_is_asked() {
        let of = |text: &str| {
            let name = Name::parse(text).unwrap();
            (name.family, name.model)
        };
        assert_eq!(
            of("claude-haiku-4-5"),
            (Family::Anthropic, "claude-haiku-4-5".into())
        );
        assert_eq!(
            of("anthropic/claude-x"),
            (Family::Anthropic, "claude-x".into())
        );
        assert_eq!(of("openai/gpt-5"), (Family::OpenAi, "gpt-5".into()));
        assert_eq!(of("o3-mini"), (Family::OpenAi, "o3-mini".into()));
        let local = Family::Compatible("ollama".into());
        assert_eq!(of("ollama/qwen3:8b"), (local.clone(), "qwen3:8b".into()));
        assert_eq!(
            of("compatible/ollama/qwen/qwen3:8b"),
            (local, "qwen/qwen3:8b".into())
        );
    }

    #[test]
    fn a_name_that_tells_nobody_is_told_with_its_mend() {
        for text in [
            "",
            "strong",
            "gemini/gemini-3",
            "compatible/ollama",
            "anthropic/",
            "a b",
        ] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
        for hostile in [
            "compatible/../x",
            "anthropic/x\r\nHost: y",
            "compatible/a:b/x",
        ] {
            assert!(Name::parse(hostile).is_err(), "{hostile}");
        }
        assert!(
            Name::parse("strong")
                .unwrap_err()
                .contains("write `anthropic/NAME`")
        );
    }
}
