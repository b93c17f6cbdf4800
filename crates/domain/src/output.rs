//! Output: what an agent printed, kept up to a cap. It is shown to people; nothing is decided on it.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The largest piece kept in one event, in bytes.
pub const PIECE_BYTES_MAX: usize = 32 * 1024;

/// Which stream a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What is known of a session's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Bytes kept so far.
    pub bytes: u64,
}

/// What one may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Keeps a piece.
    Write {
        /// Where it came from.
        stream: Stream,
        /// The text; bytes that are not UTF-8 are replaced.
        text: String,
    },
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A piece was kept.
    Written {
        /// Where it came from.
        stream: Stream,
        /// The text.
        text: String,
    },
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Written { .. } => "io.palisade.output.written.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The piece is too large.
    #[error("a piece of output has at most {PIECE_BYTES_MAX} bytes")]
    TooLarge,
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the piece is too large.
pub fn decide(_state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Write { text, .. } if text.len() > PIECE_BYTES_MAX => Err(Refusal::TooLarge),
        Command::Write { stream, text } => Ok(vec![Event::Written { stream, text }]),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match event {
        Event::Written { text, .. } => {
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            State {
                bytes: state.bytes.saturating_add(bytes),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_over_the_cap_is_refused() {
        let text = "x".repeat(PIECE_BYTES_MAX + 1);
        let command = Command::Write {
            stream: Stream::Out,
            text,
        };
        assert_eq!(decide(&State::default(), command), Err(Refusal::TooLarge));
    }
}
