//! Sealed files: what `age` and `rage` write for an X25519 recipient, read and written here, for
//! values of at most one piece. The format is age-encryption.org/v1; larger files are none of ours.

use std::fmt::Write as _;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

mod text;

const VERSION: &str = "age-encryption.org/v1";
const STANZA: &str = "-> ";
const END: &str = "---";
const KIND: &str = "X25519";
const WRAPPING: &[u8] = b"age-encryption.org/v1/X25519";
const SECRET_PREFIX: &str = "age-secret-key-";
const RECIPIENT_PREFIX: &str = "age";

/// The largest sealed content, in bytes: one piece of the format.
pub const CONTENT_BYTES_MAX: usize = 64 << 10;

/// The largest sealed file, in bytes: its header comes on top.
pub const FILE_BYTES_MAX: usize = CONTENT_BYTES_MAX + (16 << 10);

/// The most stanzas of a header.
const STANZAS_MAX: usize = 64;

/// Why a file is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no such file.
    #[error("it is no file of age-encryption.org/v1 in its binary form, or too large")]
    Malformed,
    /// It is for somebody else.
    #[error("it is sealed for another identity")]
    Other,
    /// It is not what was sealed.
    #[error("it is not what was sealed")]
    Changed,
    /// There are no random bytes.
    #[error("the machine gives no random bytes")]
    NoRandom,
}

/// Who can open what is sealed for it. It has no `Debug`, `Display` or `Serialize` on purpose.
#[expect(missing_debug_implementations, reason = "nobody can print it")]
pub struct Identity(StaticSecret);

impl Identity {
    /// Makes a new one.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn generate() -> Result<Self, Fault> {
        Ok(Self(StaticSecret::from(*random::<32>()?)))
    }

    /// Reads the text of an identity file: the first line that is no comment.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|it| !it.is_empty() && !it.starts_with('#'))?;
        let bytes = text::unbech(SECRET_PREFIX, line)?;
        Some(Self(StaticSecret::from(*bytes)))
    }

    /// Returns the text of an identity file.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = text::bech(SECRET_PREFIX, &Zeroizing::new(self.0.to_bytes()));
        text.make_ascii_uppercase();
        let mut file = Zeroizing::new(String::with_capacity(256));
        // Writing to memory does not fail.
        let (Ok(()) | Err(_)) = writeln!(file, "# public key: {}\n{}", self.recipient(), *text);
        file
    }

    /// Returns its public half, as others seal for it.
    #[must_use]
    pub fn recipient(&self) -> String {
        text::bech(RECIPIENT_PREFIX, PublicKey::from(&self.0).as_bytes()).to_string()
    }

    /// Seals a content that this identity can open.
    ///
    /// # Errors
    /// When it is too large, or there are no random bytes.
    pub fn seal(&self, content: &[u8]) -> Result<Vec<u8>, Fault> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(Fault::Malformed);
        }
        let file_key = random::<16>()?;
        let share = StaticSecret::from(*random::<32>()?);
        let (own, public) = (PublicKey::from(&share), PublicKey::from(&self.0));
        let wrapping = wrapping(&share, &public, &own, &public).ok_or(Fault::Malformed)?;
        let mut body = file_key.to_vec();
        let wrapped = sealed(&wrapping, [0; 12], &mut body).ok_or(Fault::Malformed);
        wrapped?;
        let share = text::base64(own.as_bytes());
        let body = text::base64(&body);
        let header = format!("{VERSION}\n{STANZA}{KIND} {share}\n{body}\n{END}");
        let mac = hmac::sign(&mac_key(&file_key), header.as_bytes());
        let nonce = random::<16>()?;
        let mut payload = content.to_vec();
        let key = derived(&*file_key, &*nonce, b"payload");
        sealed(&key, LAST, &mut payload).ok_or(Fault::Malformed)?;
        let mut file = format!("{header} {}\n", text::base64(mac.as_ref())).into_bytes();
        file.extend_from_slice(&*nonce);
        file.extend_from_slice(&payload);
        Ok(file)
    }

    /// Opens a sealed file.
    ///
    /// # Errors
    /// When it is no such file, for somebody else, or changed.
    pub fn open(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let header = Header::read(file).ok_or(Fault::Malformed)?;
        let mut stanzas = header.stanzas.iter();
        let file_key = stanzas.find_map(|it| self.unwrap(it)).ok_or(Fault::Other)?;
        hmac::verify(&mac_key(&file_key), header.signed, &header.mac)
            .map_err(|_| Fault::Changed)?;
        let (nonce, payload) = header.rest.split_at_checked(16).ok_or(Fault::Malformed)?;
        if payload.len() > CONTENT_BYTES_MAX + CHACHA20_POLY1305.tag_len() {
            return Err(Fault::Malformed);
        }
        let key = derived(&*file_key, nonce, b"payload");
        let mut content = Zeroizing::new(payload.to_vec());
        let length = opened(&key, LAST, &mut content).ok_or(Fault::Changed)?;
        content.truncate(length);
        Ok(content)
    }

    /// Takes the key of the file out of a stanza, if it is for this identity.
    fn unwrap(&self, stanza: &Stanza<'_>) -> Option<Zeroizing<[u8; 16]>> {
        let [kind, share] = stanza.words.as_slice() else {
            return None;
        };
        let share: [u8; 32] = text::unbase64(share)?.try_into().ok()?;
        if *kind != KIND || stanza.body.len() != 16 + CHACHA20_POLY1305.tag_len() {
            return None;
        }
        let (share, own) = (PublicKey::from(share), PublicKey::from(&self.0));
        let wrapping = wrapping(&self.0, &share, &share, &own)?;
        let mut body = Zeroizing::new(stanza.body.clone());
        opened(&wrapping, [0; 12], &mut body)?;
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(body.get(..16)?);
        Some(key)
    }
}

/// The number of the one and last piece of a content.
const LAST: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

struct Header<'a> {
    stanzas: Vec<Stanza<'a>>,
    signed: &'a [u8],
    mac: Vec<u8>,
    rest: &'a [u8],
}

struct Stanza<'a> {
    words: Vec<&'a str>,
    body: Vec<u8>,
}

impl<'a> Header<'a> {
    fn read(file: &'a [u8]) -> Option<Self> {
        if file.len() > FILE_BYTES_MAX {
            return None;
        }
        let mut at = 0;
        let mut line = || -> Option<(&'a str, usize)> {
            let length = file.get(at..)?.iter().position(|it| *it == b'\n')?;
            let start = at;
            at += length + 1;
            Some((
                std::str::from_utf8(file.get(start..start + length)?).ok()?,
                start,
            ))
        };
        if line()?.0 != VERSION {
            return None;
        }
        let mut stanzas = Vec::new();
        loop {
            let (text, start) = line()?;
            if let Some(mac) = text.strip_prefix(END) {
                let mac = text::unbase64(mac.strip_prefix(' ')?)?;
                return Some(Self {
                    stanzas,
                    signed: file.get(..start + END.len())?,
                    mac,
                    rest: file.get(at..)?,
                });
            }
            let words = text.strip_prefix(STANZA)?.split(' ').collect();
            let mut body = String::new();
            loop {
                let (text, _) = line()?;
                body.push_str(text);
                if text.len() > 64 || stanzas.len() >= STANZAS_MAX {
                    return None;
                }
                if text.len() < 64 {
                    break;
                }
            }
            let body = text::unbase64(&body)?;
            stanzas.push(Stanza { words, body });
        }
    }
}

fn random<const LENGTH: usize>() -> Result<Zeroizing<[u8; LENGTH]>, Fault> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    let filled = SystemRandom::new().fill(&mut *bytes);
    filled.map_err(|_| Fault::NoRandom)?;
    Ok(bytes)
}

/// Returns what the key of a file is wrapped with; none for shares that any identity would give the
/// same for.
fn wrapping(
    secret: &StaticSecret,
    other: &PublicKey,
    share: &PublicKey,
    recipient: &PublicKey,
) -> Option<Zeroizing<[u8; 32]>> {
    let shared = secret.diffie_hellman(other);
    let salt = [share.as_bytes().as_slice(), recipient.as_bytes()].concat();
    shared
        .was_contributory()
        .then(|| derived(shared.as_bytes(), &salt, WRAPPING))
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

fn derived(from: &[u8], salt: &[u8], what: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let filled = Salt::new(HKDF_SHA256, salt)
        .extract(from)
        .expand(&[what], Length)
        .and_then(|it| it.fill(&mut *key));
    // A length of 32 is never too long.
    debug_assert!(filled.is_ok());
    key
}

fn mac_key(file_key: &[u8; 16]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*derived(file_key, &[], b"header"))
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
    Some(LessSafeKey::new(key))
}

fn sealed(key: &[u8; 32], number: [u8; 12], content: &mut Vec<u8>) -> Option<()> {
    let number = Nonce::assume_unique_for_key(number);
    let cipher = cipher(key)?;
    cipher
        .seal_in_place_append_tag(number, Aad::empty(), content)
        .ok()
}

/// Opens in place, and returns the length of what was sealed.
fn opened(key: &[u8; 32], number: [u8; 12], content: &mut [u8]) -> Option<usize> {
    let number = Nonce::assume_unique_for_key(number);
    let opened = cipher(key)?.open_in_place(number, Aad::empty(), content);
    opened.ok().map(|it| it.len())
}

#[cfg(test)]
mod tests;
