//! The first message of TLS: whom it asks for, as far as it says so in the clear. Nothing is decrypted.

/// The longest first message, in bytes.
pub const HELLO_BYTES_MAX: usize = 32 << 10;

/// What the beginning of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a first message.
    Partial,
    /// A whole first message that asks for this host, in lower case.
    For(String),
    /// No TLS, or nobody is asked for, or that is hidden.
    Unusable,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// What hides the host that is asked for behind another.
const HIDING: [u16; 2] = [0xfe0d, 0xffce];

/// Reads the beginning of a connection.
#[must_use]
pub fn read(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = Bytes(bytes);
    // A message may come in several records.
    loop {
        if let Some(hello) = whole(&message) {
            return host(hello).map_or(Hello::Unusable, Hello::For);
        }
        if message.first().is_some_and(|it| *it != CLIENT_HELLO) || message.len() > HELLO_BYTES_MAX
        {
            return Hello::Unusable;
        }
        match record(&mut rest) {
            Ok(Some(part)) => message.extend_from_slice(part),
            Ok(None) if bytes.len() > HELLO_BYTES_MAX => return Hello::Unusable,
            Ok(None) => return Hello::Partial,
            Err(NoTls) => return Hello::Unusable,
        }
    }
}

struct NoTls;

/// Takes the next record; none when it is not all there.
fn record<'a>(bytes: &mut Bytes<'a>) -> Result<Option<&'a [u8]>, NoTls> {
    let is_other = |at: usize, wanted: u8| bytes.0.get(at).is_some_and(|it| *it != wanted);
    if is_other(0, HANDSHAKE) || is_other(1, 3) {
        return Err(NoTls);
    }
    let mut rest = Bytes(bytes.0);
    let part = rest.take(3).and_then(|_| rest.long());
    if part == Some(&[]) {
        return Err(NoTls);
    }
    if part.is_some() {
        *bytes = rest;
    }
    Ok(part)
}

/// Returns the body of a first message that is all there.
fn whole(message: &[u8]) -> Option<&[u8]> {
    let length = message.get(1..4)?;
    let length = length.iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
    message.get(4..4 + length)
}

/// Returns the one host that a first message asks for.
fn host(hello: &[u8]) -> Option<String> {
    let mut hello = Bytes(hello);
    // Version and random bytes, session, ciphers, compression.
    hello.take(34)?;
    hello.short()?;
    hello.long()?;
    hello.short()?;
    let mut extensions = Bytes(hello.long()?);
    let mut found = None;
    while !extensions.0.is_empty() {
        let (kind, body) = (extensions.number()?, extensions.long()?);
        if HIDING.contains(&kind) {
            return None;
        }
        if kind == SERVER_NAME {
            let mut body = Bytes(body);
            let mut names = Bytes(body.long()?);
            let is_name = names.take(1)? == [0];
            let name = names.long()?;
            let is_only = names.0.is_empty() && body.0.is_empty() && found.is_none();
            let text = std::str::from_utf8(name)
                .ok()
                .filter(|_| is_name && is_only)?;
            found = Some(text.to_ascii_lowercase());
        }
    }
    found.filter(|_| hello.0.is_empty())
}

/// Bytes that are read from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let taken = self.take(2)?;
        Some(u16::from_be_bytes(taken.try_into().ok()?))
    }

    /// Takes what has its length in one byte before it.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(length.into())
    }

    /// The same, with two.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use std::sync::Arc;

    /// What a real client says first.
    fn real(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same in records of so many bytes.
    fn cut(hello: &[u8], size: usize) -> Vec<u8> {
        let parts = hello[5..].chunks(size);
        let record = |it: &[u8]| {
            let length = u16::try_from(it.len()).unwrap().to_be_bytes();
            [&[22, 3, 1][..], &length, it].concat()
        };
        parts.flat_map(record).collect()
    }

    #[test]
    fn a_real_client_says_whom_it_asks_for() {
        let hello = real("static.crates.io");
        let wanted = Hello::For("static.crates.io".to_owned());
        assert_eq!(read(&hello), wanted);
        for size in [1, 7, 100] {
            assert_eq!(read(&cut(&hello, size)), wanted, "{size}");
        }
        for length in 0..hello.len() {
            assert_eq!(read(&hello[..length]), Hello::Partial, "{length}");
        }
    }

    #[test]
    fn who_asks_for_nobody_or_hides_it_is_not_heard() {
        assert_eq!(read(&real("127.0.0.1")), Hello::Unusable);
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Hello::Unusable);
        assert_eq!(read(b"SSH-2.0-x\r\n"), Hello::Unusable);
        // The same name under a kind that hides.
        let mut hello = real("static.crates.io");
        let at = hello.windows(16).position(|it| it == b"static.crates.io");
        let kind = at.unwrap() - 9;
        assert_eq!(hello[kind..kind + 2], [0, 0]);
        hello[kind..kind + 2].copy_from_slice(&[0xfe, 0x0d]);
        assert_eq!(read(&hello), Hello::Unusable);
        let endless = cut(&[[0; 5].to_vec(), vec![1; 64 << 10]].concat(), 1 << 10);
        assert_eq!(read(&endless), Hello::Unusable);
    }

    #[test]
    fn nothing_that_is_changed_does_harm() {
        let hello = real("static.crates.io");
        for at in 0..hello.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = hello.clone();
                changed[at] = byte;
                drop(read(&changed));
            }
        }
    }
}
