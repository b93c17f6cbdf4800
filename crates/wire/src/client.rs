//! The engine's side: each question is a connection of its own, with a deadline.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::SessionId;
use ports::models::{Account, Error, Grant, Models};

use crate::message::{self, Reply, Request};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker, by its control socket.
#[derive(Clone, Debug)]
pub struct Client {
    control: PathBuf,
}

impl Client {
    /// Returns a client of the broker with this control socket.
    #[must_use]
    pub fn new(control: impl Into<PathBuf>) -> Self {
        Self {
            control: control.into(),
        }
    }

    /// Returns the control socket.
    #[must_use]
    pub fn control(&self) -> &Path {
        &self.control
    }

    fn ask(&self, doing: &str, request: &Request) -> Result<Reply, Error> {
        let unreachable = |source: io::Error| Error::Unreachable {
            doing: format!("{doing} at {}", self.control.display()),
            source,
        };
        let stream = UnixStream::connect(&self.control).map_err(unreachable)?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(unreachable)?;
        message::write(&mut &stream, request).map_err(unreachable)?;
        let reply = message::read(&mut BufReader::new(&stream)).map_err(unreachable)?;
        match reply {
            Some(Reply::Refused { refusal }) => Err(refusal.into()),
            Some(reply @ (Reply::Opened { .. } | Reply::Account { .. })) => Ok(reply),
            None => Err(unreachable(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn account_by(&self, doing: &str, request: &Request) -> Result<Account, Error> {
        match self.ask(doing, request)? {
            Reply::Account { account } => Ok(*account),
            other @ (Reply::Opened { .. } | Reply::Refused { .. }) => Err(odd(doing, &other)),
        }
    }
}

impl Models for Client {
    fn open(&self, grant: &Grant) -> Result<PathBuf, Error> {
        let doing = "opening a session";
        let grant = Box::new(grant.clone());
        match self.ask(doing, &Request::Open { grant })? {
            Reply::Opened { socket } => Ok(socket),
            other @ (Reply::Account { .. } | Reply::Refused { .. }) => Err(odd(doing, &other)),
        }
    }

    fn account(&self, session: SessionId) -> Result<Account, Error> {
        self.account_by("asking for an account", &Request::Account { session })
    }

    fn close(&self, session: SessionId) -> Result<Account, Error> {
        self.account_by("closing a session", &Request::Close { session })
    }
}

fn odd(doing: &str, reply: &Reply) -> Error {
    let what = match reply {
        Reply::Opened { .. } => "a socket",
        Reply::Account { .. } => "an account",
        Reply::Refused { .. } => "a refusal",
    };
    Error::Failed(format!("while {doing} it answered with {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("control.sock"));
        let error = client.account(SessionId::from_bits(1)).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}
