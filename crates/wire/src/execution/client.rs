//! Who asks the executor: each question is a connection of its own over the unix socket, blocking,
//! with a deadline.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::ExecutionId;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Problem, Receipt, Request, strict};

/// How long sending may take, and how long an answer to a question that waits for no action.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an action may take: as long as the executor lets one, and a little.
const ACTION_PATIENCE: Duration = Duration::from_secs(3_700);

/// What was being done when nothing was asked yet.
pub(super) const CONNECTING: &str = "connecting";

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// An executor, by its socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The executor refused; nothing was done, unless the code is `in_progress`: then the same request
    /// is being carried out, and tells what became of it when it is sent again.
    #[error("the executor refused ({}): {}", .0.code.name(), .0.title)]
    Refused(Box<Problem>),
    /// It cannot be reached, or fell silent: whether something was done is not known. The same
    /// request sent again tells.
    #[error(
        "the executor at {socket} cannot be reached: {doing}; is it running, and is this user one of its peers?"
    )]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answered with what is no answer.
    #[error("the executor's answer is not understood; are both of one version?")]
    Odd,
}

impl Client {
    /// Returns a client of the executor with this socket.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            patience: ACTION_PATIENCE,
        }
    }

    /// Returns the same client, which waits no longer than this for an action in one go. The action
    /// goes on, and the same request sent again tells.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Has a request executed and returns its receipt. Sending it again is safe: it is done once.
    ///
    /// # Errors
    /// When it is refused, or the executor cannot be reached or understood.
    pub fn execute(&self, request: &Request) -> Result<Receipt, Fault> {
        let body = request.value().to_string();
        let head = format!(
            "POST /execute HTTP/1.1\r\nhost: executor\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&format!("{head}{body}"), self.patience)
    }

    /// Returns the receipt of a request.
    ///
    /// # Errors
    /// When there is none, or the executor cannot be reached or understood.
    pub fn receipt(&self, id: ExecutionId) -> Result<Receipt, Fault> {
        self.get(&format!("/receipts/{id}"))
    }

    /// Returns what can be asked for, and the digest of the policy that approvals name.
    ///
    /// # Errors
    /// When the executor cannot be reached or understood.
    pub fn actions(&self) -> Result<Value, Fault> {
        self.get("/actions")
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: executor\r\nconnection: close\r\n\r\n");
        self.ask(&head, PATIENCE)
    }

    fn ask<T: DeserializeOwned>(&self, question: &str, patience: Duration) -> Result<T, Fault> {
        let unreachable = |doing| {
            move |source| Fault::Unreachable {
                socket: self.socket.clone(),
                doing,
                source,
            }
        };
        let mut stream = UnixStream::connect(&self.socket).map_err(unreachable(CONNECTING))?;
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(unreachable("setting deadlines"))?;
        let sent = stream.write_all(question.as_bytes());
        let mut answer = Vec::new();
        let heard = (&mut stream)
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer);
        // Who is refused in the middle of sending is told why all the same.
        if answer.is_empty() {
            sent.map_err(unreachable("asking"))?;
            heard.map_err(unreachable("waiting for the answer"))?;
            let silent = io::ErrorKind::UnexpectedEof.into();
            return Err(unreachable("waiting for the answer")(silent));
        }
        read(&answer)
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Fault> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.ok_or(Fault::Odd)?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| Fault::Odd)?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|it| it.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|it| it.get(..3)).ok_or(Fault::Odd)?;
    // An answer that was cut off is none, even if it could be read.
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim())
    });
    if length.and_then(|it| it.parse().ok()) != Some(body.len()) {
        return Err(Fault::Odd);
    }
    let most = usize::try_from(ANSWER_BYTES_MAX).unwrap_or(usize::MAX);
    let value = strict::read(body, most).map_err(|_| Fault::Odd)?;
    if status == "200" {
        return serde_json::from_value(value).map_err(|_| Fault::Odd);
    }
    let problem = serde_json::from_value(value).map_err(|_| Fault::Odd)?;
    Err(Fault::Refused(Box::new(problem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Code;
    use serde_json::json;

    fn answered(status: &str, length: usize, body: &str) -> Result<Value, Fault> {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
        read(text.as_bytes())
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        assert_eq!(answered("200", 8, "{\"a\": 1}").unwrap(), json!({"a": 1}));
        for (status, length, body) in [
            ("200", 9, "{\"a\": 1}"),
            ("200", 7, "{\"a\": 1"),
            ("200", 13, "{\"a\":1,\"a\":2}"),
            ("500", 2, "{}"),
            ("5", 2, "{}"),
        ] {
            assert!(
                matches!(answered(status, length, body), Err(Fault::Odd)),
                "{body}"
            );
        }
        for text in ["", "HTTP/1.1 200 OK\r\n\r\n{}", "\r\n\r\n"] {
            assert!(matches!(read::<Value>(text.as_bytes()), Err(Fault::Odd)));
        }
    }

    #[test]
    fn a_problem_is_a_refusal() {
        let body = json!(Problem::of(Code::ApprovalUsed)).to_string();
        let refused = answered("403", body.len(), &body).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the executor refused (approval_used): The approval was used."
        );
    }

    #[test]
    fn an_executor_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("executor.sock"));
        assert!(matches!(client.actions(), Err(Fault::Unreachable { .. })));
    }
}
