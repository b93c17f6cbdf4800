//! Messages: their shapes, and how one is read and written as a line with a limit.

use std::io::{self, BufRead, Read as _, Write};
use std::path::PathBuf;

use domain::SessionId;
use ports::models::{Account, Error, Grant};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message, in bytes: a grant with as much to watch for as there may be.
pub const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// The name of the control socket in a broker's run folder.
pub const CONTROL: &str = "control.sock";

/// What is asked of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Opens a session.
    Open {
        /// What it may do.
        grant: Box<Grant>,
    },
    /// Asks how a session stands.
    Account {
        /// Which.
        session: SessionId,
    },
    /// Closes a session.
    Close {
        /// Which.
        session: SessionId,
    },
}

/// What the broker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The session's socket.
    Opened {
        /// Where it is.
        socket: PathBuf,
    },
    /// How a session stands.
    Account {
        /// The account.
        account: Box<Account>,
    },
    /// It could not be done.
    Refused {
        /// Why.
        refusal: Refusal,
    },
}

/// Why something could not be done, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// The session is open already.
    AlreadyOpen {
        /// Which.
        session: SessionId,
    },
    /// Nothing is known of the session.
    NotFound {
        /// Which.
        session: SessionId,
    },
    /// No budget is left.
    OverBudget {
        /// Which.
        detail: String,
    },
    /// The grant or the message is not acceptable.
    Refused {
        /// Why.
        detail: String,
    },
    /// The broker failed.
    Failed {
        /// At what.
        detail: String,
    },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AlreadyOpen { session } => Self::AlreadyOpen(session),
            Refusal::NotFound { session } => Self::NotFound(session),
            Refusal::OverBudget { detail } => Self::OverBudget(detail),
            Refusal::Refused { detail } => Self::Refused(detail),
            Refusal::Failed { detail } => Self::Failed(detail),
        }
    }
}

/// Writes a message as one line.
///
/// # Errors
/// When the other side is gone.
pub fn write(out: &mut dyn Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Reads the next message; none when the other side has finished.
///
/// # Errors
/// When the line is too long, ends early or is no message of this kind.
pub fn read<T: DeserializeOwned>(from: &mut dyn BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let length = from.take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if length == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        let why = "a message is too long or ends early";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_comes_back() {
        let session = SessionId::from_bits(7);
        let asked = Request::Close { session };
        let mut line = Vec::new();
        write(&mut line, &asked).unwrap();
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            format!("{{\"ask\":\"close\",\"session\":\"{session}\"}}\n")
        );
        assert_eq!(read(&mut line.as_slice()).unwrap(), Some(asked));
        assert_eq!(read::<Request>(&mut &b""[..]).unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        for line in [
            &b"{\"ask\":\"close\""[..],
            b"{\"ask\":\"shout\"}\n",
            b"{\"ask\":\"close\",\"session\":\"sess_1\"}\n",
            b"\xff\n",
        ] {
            assert!(read::<Request>(&mut &*line).is_err());
        }
    }
}
