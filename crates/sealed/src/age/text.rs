//! How keys and shares are written: base64 without padding, and Bech32 for identities and recipients.

use zeroize::Zeroizing;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The digits of a Bech32 check.
const CHECK: usize = 6;

/// Writes base64, without padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let digits = regrouped(bytes, 8, 6, true).unwrap_or_default();
    digits
        .iter()
        .map(|it| char::from(BASE64[usize::from(*it)]))
        .collect()
}

/// Reads base64 without padding; nothing may be left over.
pub(super) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digit = |it: u8| BASE64.iter().position(|known| *known == it);
    let digits: Option<Vec<_>> = text
        .bytes()
        .map(|it| u8::try_from(digit(it)?).ok())
        .collect();
    regrouped(&Zeroizing::new(digits?), 6, 8, false)
}

/// Writes 32 bytes after a prefix, in lower case.
pub(super) fn bech(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(regrouped(bytes, 8, 5, true).unwrap_or_default());
    let check = check(prefix, &digits, 1);
    digits.extend(check);
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + digits.len() + 1));
    text.push_str(prefix);
    text.push('1');
    text.extend(digits.iter().map(|it| char::from(BECH32[usize::from(*it)])));
    text
}

/// Reads 32 bytes after a prefix, in one case or the other.
pub(super) fn unbech(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let is_mixed = text.bytes().any(|it| it.is_ascii_lowercase())
        && text.bytes().any(|it| it.is_ascii_uppercase());
    let text = Zeroizing::new(text.to_ascii_lowercase());
    let rest = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let digit = |it: u8| BECH32.iter().position(|known| *known == it);
    let digits: Option<Vec<_>> = rest
        .bytes()
        .map(|it| u8::try_from(digit(it)?).ok())
        .collect();
    let digits = Zeroizing::new(digits?);
    let (content, found) = digits.split_at_checked(digits.len().checked_sub(CHECK)?)?;
    if is_mixed || check(prefix, content, 1) != found {
        return None;
    }
    let bytes = Zeroizing::new(regrouped(content, 5, 8, false)?);
    let mut whole = Zeroizing::new([0; 32]);
    if bytes.len() != whole.len() {
        return None;
    }
    whole.copy_from_slice(&bytes);
    Some(whole)
}

/// Puts bits together anew. What does not fill a group is padded with zeros, or has to be zeros and
/// less than a group of the old width.
fn regrouped(groups: &[u8], from: u32, to: u32, pads: bool) -> Option<Vec<u8>> {
    let (mut held, mut bits) = (0_u32, 0_u32);
    // Of the right size at once, so that no copy stays behind in memory that was given back.
    let mut out = Vec::with_capacity(groups.len() * 2);
    let mask = (1 << to) - 1;
    for group in groups {
        held = (held << from | u32::from(*group)) & 0xffff;
        bits += from;
        while bits >= to {
            bits -= to;
            out.push(u8::try_from(held >> bits & mask).ok()?);
        }
    }
    let rest = held & ((1 << bits) - 1);
    if pads && bits > 0 {
        out.push(u8::try_from(rest << (to - bits) & mask).ok()?);
    }
    (pads || bits < from && rest == 0).then_some(out)
}

fn check(prefix: &str, digits: &[u8], constant: u32) -> [u8; CHECK] {
    const GENERATORS: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let high = prefix.bytes().map(|it| it >> 5);
    let low = prefix.bytes().map(|it| it & 31);
    let all = high
        .chain([0])
        .chain(low)
        .chain(digits.iter().copied())
        .chain([0; CHECK]);
    let sum = all.fold(1_u32, |sum, digit| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(digit);
        let generators = GENERATORS.iter().enumerate();
        generators.fold(next, |it, (at, generator)| {
            if top >> at & 1 == 1 {
                it ^ generator
            } else {
                it
            }
        })
    }) ^ constant;
    [25, 20, 15, 10, 5, 0].map(|it| u8::try_from(sum >> it & 31).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_it_is_written_and_in_no_other_way() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(unbase64(text).unwrap(), bytes.as_bytes());
        }
        for wrong in ["Z", "Zh", "Zg==", "Zm9=", "Z g", "Zm8\n"] {
            assert_eq!(unbase64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_digit_that_is_wrong_is_found() {
        let text = bech("age", &[7; 32]).to_string();
        assert_eq!(*unbech("age", &text).unwrap(), [7; 32]);
        assert!(unbech("age", &text.to_uppercase()).is_some());
        assert!(unbech("agf", &text).is_none());
        for at in 4..text.len() {
            let mut wrong = text.clone();
            let other = if &text[at..=at] == "q" { "p" } else { "q" };
            wrong.replace_range(at..=at, other);
            assert!(unbech("age", &wrong).is_none(), "{at}");
        }
        assert!(unbech("age", "age1").is_none() && unbech("age", "").is_none());
    }
}
