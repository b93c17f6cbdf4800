//! Routes: which paths and methods there are, and what each asks of whom. All else is refused.

use hyper::Method;

/// The language of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Anthropic.
    Anthropic,
    /// OpenAI.
    OpenAi,
    /// Gemini.
    Gemini,
    /// Whoever speaks OpenAI's Chat Completions: Ollama, vLLM and the like.
    Compatible,
}

impl Family {
    /// Every language.
    pub const ALL: [Self; 4] = [
        Self::Anthropic,
        Self::OpenAi,
        Self::Gemini,
        Self::Compatible,
    ];

    /// Returns whether its providers answer a call.
    #[must_use]
    pub const fn takes(self, call: Call) -> bool {
        match call {
            Call::Messages => matches!(self, Self::Anthropic | Self::Compatible),
            Call::Responses | Call::Chat => matches!(self, Self::OpenAi | Self::Compatible),
            Call::Content => matches!(self, Self::Gemini),
            Call::Count => matches!(self, Self::Anthropic | Self::Gemini),
            Call::Models => true,
        }
    }

    /// Returns the first part of its paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Gemini => "gemini",
            Self::Compatible => "compatible",
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
    /// Chat Completions.
    Chat,
    /// Gemini's content, at once or in a stream.
    Content,
    /// How many tokens a request would have.
    Count,
    /// Which models there are.
    Models,
}

impl Call {
    /// Returns whether a model works for it, which is counted and paid.
    #[must_use]
    pub const fn is_work(self) -> bool {
        match self {
            Self::Messages | Self::Responses | Self::Chat | Self::Content => true,
            Self::Count | Self::Models => false,
        }
    }
}

/// A request that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The language it is in.
    pub family: Family,
    /// The provider's name.
    pub provider: String,
    /// What is asked.
    pub call: Call,
    /// The path at the provider.
    pub path: String,
    /// The model, where the path names it.
    pub model: Option<String>,
}

impl Route {
    /// Returns the language that errors are best told in: that of the call, whoever answers it.
    #[must_use]
    pub const fn language(&self) -> Family {
        match (self.family, self.call) {
            (Family::Compatible, Call::Messages) => Family::Anthropic,
            (family, _) => family,
        }
    }

    /// Returns the path at a provider that is asked for another model.
    #[must_use]
    pub fn path_for(&self, model: &str) -> String {
        match (&self.model, self.path.rsplit_once(':')) {
            (Some(_), Some((_, verb))) => format!("/v1beta/models/{model}:{verb}"),
            _ => self.path.clone(),
        }
    }
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No such path; whose language the refusal is best in.
    Path(Family),
    /// The path takes another method.
    Method(Family),
}

/// Returns what a request asks of whom.
///
/// # Errors
/// When its path or method is not in the list.
pub fn find(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let trimmed = path.strip_prefix('/').unwrap_or_default();
    let (first, rest) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    let family = Family::ALL.iter().find(|it| it.name() == first).copied();
    let family = family.ok_or(NoRoute::Path(Family::Anthropic))?;
    let (provider, rest) = match family {
        Family::Compatible => rest.split_once('/').ok_or(NoRoute::Path(family))?,
        Family::Anthropic | Family::OpenAi | Family::Gemini => (family.name(), rest),
    };
    let (wanted, call, model) = called(family, rest).ok_or(NoRoute::Path(family))?;
    if *method != wanted {
        return Err(NoRoute::Method(family));
    }
    Ok(Route {
        family,
        provider: provider.to_owned(),
        call,
        path: format!("/{rest}"),
        model,
    })
}

fn called(family: Family, path: &str) -> Option<(Method, Call, Option<String>)> {
    let plain = match (family, path) {
        (Family::Anthropic, "v1/messages") => Some((Method::POST, Call::Messages)),
        (Family::Anthropic, "v1/messages/count_tokens") => Some((Method::POST, Call::Count)),
        (Family::Compatible, "v1/messages") => Some((Method::POST, Call::Messages)),
        (Family::OpenAi | Family::Compatible, "v1/responses") => {
            Some((Method::POST, Call::Responses))
        }
        (Family::OpenAi | Family::Compatible, "v1/chat/completions") => {
            Some((Method::POST, Call::Chat))
        }
        (Family::Anthropic | Family::OpenAi | Family::Compatible, "v1/models")
        | (Family::Gemini, "v1beta/models") => Some((Method::GET, Call::Models)),
        _ => None,
    };
    if let Some((method, call)) = plain {
        return Some((method, call, None));
    }
    if family != Family::Gemini {
        return None;
    }
    let (model, verb) = path.strip_prefix("v1beta/models/")?.split_once(':')?;
    let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
    if model.is_empty() || model.contains("..") || !model.bytes().all(letter) {
        return None;
    }
    let call = match verb {
        "generateContent" | "streamGenerateContent" => Call::Content,
        "countTokens" => Call::Count,
        _ => return None,
    };
    Some((Method::POST, call, Some(model.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_found() {
        for (path, provider, call, at) in [
            (
                "/anthropic/v1/messages",
                "anthropic",
                Call::Messages,
                "/v1/messages",
            ),
            (
                "/openai/v1/responses",
                "openai",
                Call::Responses,
                "/v1/responses",
            ),
            (
                "/openai/v1/chat/completions",
                "openai",
                Call::Chat,
                "/v1/chat/completions",
            ),
            (
                "/compatible/ollama/v1/messages",
                "ollama",
                Call::Messages,
                "/v1/messages",
            ),
            (
                "/compatible/ollama/v1/chat/completions",
                "ollama",
                Call::Chat,
                "/v1/chat/completions",
            ),
        ] {
            let route = find(&Method::POST, path).unwrap();
            assert_eq!((route.provider.as_str(), route.call), (provider, call));
            assert_eq!(route.path, at);
        }
        let gemini = find(
            &Method::POST,
            "/gemini/v1beta/models/gemini-2.5-pro:countTokens",
        )
        .unwrap();
        assert_eq!(gemini.model.as_deref(), Some("gemini-2.5-pro"));
        assert_eq!(gemini.call, Call::Count);
        assert_eq!(gemini.path_for("m"), "/v1beta/models/m:countTokens");
    }

    #[test]
    fn all_else_is_not() {
        for path in [
            "",
            "/",
            "/v1/messages",
            "/anthropic",
            "/anthropic/v1/files",
            "/anthropic/v1/messages/",
            "/anthropic//v1/messages",
            "/anthropic/v1/../v1/messages",
            "/anthropic/v1/%6dessages",
            "/openai/v1/files",
            "/openai/v1/messages",
            "/compatible/v1/chat/completions",
            "/gemini/v1beta/models/../x:generateContent",
            "/gemini/v1beta/models/a/b:generateContent",
            "/gemini/v1beta/models/a:deleteModel",
            "/gemini/v1beta/files",
            "/other/v1/messages",
        ] {
            assert!(
                matches!(find(&Method::POST, path), Err(NoRoute::Path(_))),
                "{path}"
            );
        }
        let wrong = find(&Method::DELETE, "/openai/v1/responses");
        assert_eq!(wrong, Err(NoRoute::Method(Family::OpenAi)));
    }
}
