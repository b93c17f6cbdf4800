//! The guard at the way out: whether a loaded secret is in what is about to leave, however it is
//! written. See [`secrets::Watch`] for what is compared.

use std::collections::BTreeMap;

use secrets::{Sighting, Watch};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// How many times over a text may be escaped and is still looked into.
const ESCAPES_MAX: usize = 4;

/// All loaded secrets, watched for.
#[derive(Debug)]
pub struct Guard {
    watch: Watch,
}

impl Guard {
    /// Returns a guard of one secret, if it is one that would be loaded.
    #[must_use]
    pub fn of_one(name: &str, value: &[u8]) -> Option<Self> {
        let secret = Secret::of(name, Zeroizing::new(value.to_vec())).ok()?;
        Some(Self::of(&BTreeMap::from([(name.to_owned(), secret)])))
    }

    /// Returns a guard that watches for nothing.
    #[must_use]
    pub fn of_none() -> Self {
        Self::of(&BTreeMap::new())
    }

    /// Returns a guard of these secrets.
    pub(crate) fn of(secrets: &BTreeMap<String, Secret>) -> Self {
        let watched: Vec<_> = secrets
            .iter()
            .flat_map(|(name, secret)| secret.watched().into_iter().map(move |it| (name, it)))
            .collect();
        let watch = Watch::of(
            watched
                .iter()
                .map(|(name, it)| (name.as_str(), it.as_slice())),
        );
        Self { watch }
    }

    /// Returns a guard that watches for these.
    pub(crate) const fn watching(watch: Watch) -> Self {
        Self { watch }
    }

    /// Returns the first secret that is seen, also beneath escapes: a line break between two letters
    /// is a letter more when it is escaped.
    #[must_use]
    pub fn look(&self, bytes: &[u8]) -> Option<Sighting> {
        let mut seen = self.watch.look(bytes);
        let mut text = Zeroizing::new(bytes.to_vec());
        for _ in 0..ESCAPES_MAX {
            if seen.is_some() || !text.contains(&b'\\') {
                break;
            }
            text = unescaped(&text);
            seen = self.watch.look(&text);
        }
        seen
    }
}

/// Returns a text as JSON escapes it, without quotes; with `ascii` also what is not ASCII.
pub(crate) fn escaped(value: &[u8], ascii: bool) -> Zeroizing<Vec<u8>> {
    let text = String::from_utf8_lossy(value);
    let mut out = Zeroizing::new(Vec::new());
    for character in text.chars() {
        let short = match character {
            '"' | '\\' => Some(character),
            '\u{8}' => Some('b'),
            '\t' => Some('t'),
            '\n' => Some('n'),
            '\u{c}' => Some('f'),
            '\r' => Some('r'),
            _ => None,
        };
        if let Some(short) = short {
            out.extend([b'\\', u8::try_from(short).unwrap_or(b'?')]);
        } else if u32::from(character) < 0x20 || ascii && !character.is_ascii() {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.extend(format!("\\u{unit:04x}").into_bytes());
            }
        } else {
            out.extend(character.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    out
}

/// Returns a text without one layer of escapes. What is no escape stays as it is.
fn unescaped(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (kept, left) = match (first, after) {
            (b'\\', [b'b' | b'f' | b'n' | b'r' | b't', after @ ..]) => (b' ', after),
            (b'\\', [b'u', one, two, three, four, after @ ..]) => {
                let digits = [*one, *two, *three, *four];
                let digits = std::str::from_utf8(&digits).ok();
                match digits.and_then(|it| u16::from_str_radix(it, 16).ok()) {
                    // Beyond ASCII nothing is compared.
                    Some(unit) => (u8::try_from(unit).unwrap_or(b' '), after),
                    None => (b'u', &rest[2..]),
                }
            }
            (b'\\', [escaped, after @ ..]) => (*escaped, after),
            (byte, after) => (*byte, after),
        };
        out.push(kept);
        rest = left;
    }
    out
}

/// Returns a value in each of the ways of writing that must be recognised.
#[must_use]
pub fn forms(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let kept = |it: Vec<u8>| Zeroizing::new(it);
    let hexadecimal = value.iter().flat_map(|it| format!("{it:02x}").into_bytes());
    let percent = value
        .iter()
        .flat_map(|it| format!("%{it:02X}").into_bytes());
    let broken = value.iter().flat_map(|it| [*it, b'\n']);
    let mut all = vec![
        kept(value.to_vec()),
        kept(value.iter().rev().copied().collect()),
        kept(hexadecimal.clone().collect()),
        kept(hexadecimal.map(|it| it.to_ascii_uppercase()).collect()),
        kept(broken.collect()),
        escaped(value, false),
        escaped(value, true),
    ];
    // Every byte as in an address: the digits are those of hexadecimal.
    all.push(kept(percent.collect()));
    all.push(percent_plain(value));
    for before in 0..3 {
        let mut padded = Zeroizing::new(vec![b'x'; before]);
        padded.extend_from_slice(value);
        padded.extend_from_slice(b"xx");
        all.push(base64(&padded, b"+/"));
        all.push(base64(&padded, b"-_"));
    }
    all
}

/// Writes an address as browsers do: what is unreserved stays.
fn percent_plain(value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.extend(format!("%{byte:02X}").into_bytes());
        }
    }
    out
}

fn base64(value: &[u8], last: &[u8; 2]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut out = Zeroizing::new(Vec::new());
    for group in value.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=group.len() {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let digit = DIGITS
                .get(digit)
                .copied()
                .unwrap_or_else(|| last[digit - 62]);
            out.push(digit);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use proptest::prelude::*;

    /// Loads a secret the way the program does.
    fn loaded(value: &str) -> Option<BTreeMap<String, Secret>> {
        let source = crate::secret::Source::Environment;
        let wanted = BTreeMap::from([("PLANTED".to_owned(), source)]);
        let sources = crate::secret::Sources::local(&wanted, None);
        crate::secret::load(&sources, &|_| Some(value.to_owned())).ok()
    }

    #[test]
    fn our_base64_is_base64() {
        let standard = base64::engine::general_purpose::STANDARD_NO_PAD;
        let address = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        for length in 0..40_u8 {
            let value: Vec<u8> = (0..length).map(|it| it.wrapping_mul(83)).collect();
            assert_eq!(*base64(&value, b"+/"), standard.encode(&value).into_bytes());
            assert_eq!(*base64(&value, b"-_"), address.encode(&value).into_bytes());
        }
    }

    #[test]
    fn a_piece_of_a_long_secret_is_seen() {
        let long: String = (0..400_u32)
            .map(|it| char::from(b'A' + u8::try_from(it * 7 % 26).unwrap()))
            .collect();
        let guard = Guard::of(&loaded(&long).unwrap());
        assert!(guard.look(&long.as_bytes()[37..100]).is_some());
        assert!(guard.look(b"nothing of it").is_none());
    }

    proptest! {
        /// The rule of this file: whatever is loaded is seen in each form, amid other text.
        #[test]
        fn no_form_of_a_loaded_secret_passes(
            value in "[ -~\\n\\té€]{12,80}", before in "[ -~]{0,20}", after in "[ -~]{0,20}",
        ) {
            let secrets = loaded(&value);
            prop_assume!(secrets.is_some());
            let guard = Guard::of(&secrets.unwrap());
            for form in forms(value.as_bytes()) {
                let text = [b"{\"a\":\"", before.as_bytes(), b"\",\"", &form, b"\"", after.as_bytes()].concat();
                prop_assert!(guard.look(&text).is_some(), "{}", String::from_utf8_lossy(&form));
            }
            // The control: a guard of nothing sees nothing, so it was the guard above that saw.
            let nothing = Guard::of_none();
            prop_assert!(forms(value.as_bytes()).iter().all(|it| nothing.look(it).is_none()));
        }

        /// And as it really leaves: as a text in a document, escaped by its writer.
        #[test]
        fn no_secret_passes_in_a_document(value in "\\PC{12,60}") {
            let secrets = loaded(&value);
            prop_assume!(secrets.is_some());
            let guard = Guard::of(&secrets.unwrap());
            let broken: String = value.chars().flat_map(|it| [it, '\n']).collect();
            for text in [value, broken] {
                let once = serde_json::json!({"names": [text]}).to_string();
                prop_assert!(guard.look(once.as_bytes()).is_some());
                let twice = serde_json::json!({"report": once}).to_string();
                prop_assert!(guard.look(twice.as_bytes()).is_some());
            }
        }
    }
}
