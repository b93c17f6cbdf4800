//! Prompts: what a session or a judge is told, rendered from a template and bounded facts, with an
//! account of what each part takes and of what was cut.

use domain::Digest;
use serde::{Deserialize, Serialize};

use crate::catalog::Source;
use crate::catalog::prompts;
use crate::world::digest_of;

pub mod bounds;
pub mod facts;
mod text;

pub use facts::Facts;

/// The longest prompt, in bytes.
pub const PROMPT_BYTES_MAX: usize = 192 * 1024;

/// What is written under `format`.
pub const FORMAT: &str = "palisade.prompt.v1";

/// How often what may be cut is cut to half before it is told that the rest is too much.
const HALVINGS_MAX: u32 = 12;

/// A prompt as it was told, kept as an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Always [`FORMAT`].
    pub format: String,
    /// Where the template came from.
    pub template: String,
    /// The digest of the template.
    pub digest: Digest,
    /// The words.
    pub text: String,
    /// The most that they might have been, in bytes.
    pub bytes_max: usize,
    /// The facts that the template names, and how much of each is shown.
    pub parts: Vec<Part>,
}

/// How much of a fact a prompt holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The fact's name, as templates call it.
    pub name: String,
    /// What is shown of it, in bytes, marks of cuts included.
    pub bytes: usize,
    /// What there is of it, in bytes.
    pub of_bytes: usize,
    /// Whether something of it is not shown.
    pub is_cut: bool,
}

/// Why there is no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The template does not render.
    #[error("the prompt: {0}")]
    Template(String),
    /// What must not be cut is more than a prompt may hold.
    #[error(
        "the prompt: what is never cut ({0}) does not fit into {PROMPT_BYTES_MAX} bytes; answer open \
         questions, resolve findings, or split the work"
    )]
    TooMuch(String),
}

/// Renders a prompt. What may be cut is cut until all of it fits.
///
/// # Errors
/// When the template does not render, or what must not be cut does not fit.
pub fn tell(template: &Source, facts: &Facts) -> Result<Told, Error> {
    let named = prompts::named(template).map_err(Error::Template)?;
    for halvings in 0..=HALVINGS_MAX {
        let (shown, parts) = bounds::within(facts, halvings);
        let Some(text) = prompts::render(template, &shown).map_err(Error::Template)? else {
            continue;
        };
        let parts = parts.into_iter().filter(|it| named.contains(&it.name));
        return Ok(Told {
            format: FORMAT.to_string(),
            template: template.name.clone(),
            digest: digest_of(template.text.as_bytes()),
            text,
            bytes_max: PROMPT_BYTES_MAX,
            parts: parts.collect(),
        });
    }
    let (_, parts) = bounds::within(facts, HALVINGS_MAX);
    let whole = parts.iter().filter(|it| named.contains(&it.name));
    let whole: Vec<_> = whole
        .filter(|it| it.bytes > 1024)
        .map(|it| format!("{}: {} bytes", it.name, it.bytes))
        .collect();
    Err(Error::TooMuch(whole.join(", ")))
}

#[cfg(test)]
mod tests;
