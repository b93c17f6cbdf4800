//! One request of HTTP/1.1 over a unix socket: blocking, bounded, with a deadline.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ports::judges::Error;

use crate::REPLY_BYTES_MAX;

/// The most header fields of a reply.
const HEADERS_MAX: usize = 64;

/// The most that a reply may have before its body, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// A reply, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug)]
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

struct Head {
    status: u16,
    length: Length,
    bytes: usize,
}

/// Sends JSON and returns what comes back.
pub(crate) fn post(
    socket: &Path,
    path: &str,
    body: &[u8],
    patience: Duration,
) -> Result<Reply, Error> {
    let until = Instant::now() + patience;
    let broken = |doing| {
        move |source: io::Error| {
            let slow = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
            if slow.contains(&source.kind()) {
                Error::TooSlow(patience)
            } else {
                Error::Broken { doing, source }
            }
        }
    };
    let mut stream =
        UnixStream::connect(socket).map_err(broken("reaching the session's socket"))?;
    stream
        .set_write_timeout(Some(patience))
        .map_err(broken("setting a deadline"))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: broker\r\ncontent-type: application/json\r\n\
         accept: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .map_err(broken("asking"))?;
    let mut read = Vec::new();
    let mut head = None;
    loop {
        if head.is_none() {
            head = head_of(&read)?;
        }
        if let Some(head) = &head
            && let Some(body) = body_of(head.length, &read[head.bytes..])?
        {
            let status = head.status;
            return Ok(Reply { status, body });
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TooSlow(patience));
        }
        let waits = stream.set_read_timeout(Some(left));
        waits.map_err(broken("setting a deadline"))?;
        let mut piece = [0; PIECE_BYTES];
        let count = match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(broken("waiting for the answer"))?,
        };
        if count == 0 {
            return ended(head.as_ref(), &read);
        }
        read.extend_from_slice(&piece[..count]);
        if read.len() > REPLY_BYTES_MAX {
            return Err(Error::Odd(format!(
                "the reply has more than the {REPLY_BYTES_MAX} bytes that are read"
            )));
        }
    }
}

/// What has come when nothing more does.
fn ended(head: Option<&Head>, read: &[u8]) -> Result<Reply, Error> {
    match head {
        Some(Head {
            status,
            length: Length::UntilClosed,
            bytes,
        }) => Ok(Reply {
            status: *status,
            body: read[*bytes..].to_vec(),
        }),
        Some(_) | None => Err(Error::Broken {
            doing: "waiting for the answer",
            source: io::ErrorKind::UnexpectedEof.into(),
        }),
    }
}

fn head_of(read: &[u8]) -> Result<Option<Head>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(read);
    let bytes = match parsed {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if read.len() > HEAD_BYTES_MAX => {
            return Err(Error::Odd("its head never ends".to_owned()));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Error::Odd(format!("it is not HTTP: {error}"))),
    };
    let field = |name: &str| {
        let found = response.headers.iter();
        let mut found = found.filter(|it| it.name.eq_ignore_ascii_case(name));
        found
            .next()
            .map(|it| String::from_utf8_lossy(it.value).to_lowercase())
    };
    let length = match (field("transfer-encoding"), field("content-length")) {
        (Some(coding), _) if coding.trim() == "chunked" => Length::Chunked,
        (Some(coding), _) => return Err(Error::Odd(format!("its coding is `{coding}`"))),
        (None, Some(length)) => match length.trim().parse() {
            Ok(length) if length <= REPLY_BYTES_MAX => Length::Known(length),
            Ok(_) | Err(_) => return Err(Error::Odd(format!("its length is `{length}`"))),
        },
        (None, None) => Length::UntilClosed,
    };
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        length,
        bytes,
    }))
}

/// Returns the body, once all of it is there.
fn body_of(length: Length, read: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    match length {
        Length::Known(length) => Ok(read.get(..length).map(<[u8]>::to_vec)),
        Length::UntilClosed => Ok(None),
        Length::Chunked => chunked(read),
    }
}

fn chunked(mut read: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut body = Vec::new();
    loop {
        let (start, length) = match httparse::parse_chunk_size(read) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Error::Odd(format!("it is not HTTP: {error}"))),
        };
        if length == 0 {
            return Ok(Some(body));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let end = start.saturating_add(length);
        if end > REPLY_BYTES_MAX {
            return Err(Error::Odd(format!("a piece of it has {length} bytes")));
        }
        // Each piece ends with a line break.
        let (Some(piece), Some(rest)) = (read.get(start..end), read.get(end + 2..)) else {
            return Ok(None);
        };
        body.extend_from_slice(piece);
        read = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_pieces_is_put_together() {
        let whole = b"4\r\nabcd\r\n2;x=1\r\nef\r\n0\r\n\r\n";
        assert_eq!(chunked(whole).unwrap().unwrap(), b"abcdef");
        for cut in 0..whole.len() - 4 {
            assert!(chunked(&whole[..cut]).unwrap().is_none(), "{cut}");
        }
        assert!(chunked(b"zz\r\n").is_err());
        assert!(chunked(b"ffffffff\r\n").is_err());
    }

    #[test]
    fn a_head_says_how_long_the_body_is() {
        let of = |text: &str| head_of(text.as_bytes()).map(|it| it.map(|it| it.status));
        assert_eq!(
            of("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").unwrap(),
            Some(200)
        );
        assert_eq!(of("HTTP/1.1 200 OK\r\n").unwrap(), None);
        for odd in [
            "HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(of(odd).is_err(), "{odd}");
        }
    }
}
