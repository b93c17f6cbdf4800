//! Whether a value can be a credential at all: entropy, placeholders, checksums.

/// Parts of what people write in the place of a secret.
const PLACEHOLDERS: [&str; 30] = [
    "example",
    "changeme",
    "change_me",
    "change-me",
    "placeholder",
    "dummy",
    "sample",
    "fake",
    "your_",
    "your-",
    "yourtoken",
    "yoursecret",
    "yourpassword",
    "yourapikey",
    "insert",
    "replace",
    "redacted",
    "notreal",
    "not-a-real",
    "not_a_real",
    "xxxx",
    "****",
    "....",
    "foobar",
    "lorem",
    "deadbeef",
    "password123",
    "mysecret",
    "my-secret",
    "my_secret",
];

/// Credentials that stand in their provider's own documentation and are none.
const PUBLISHED: [&str; 4] = [
    "4eC39HqLyjWDarjtT1zdp7dc",
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq",
];

/// The longest run of one character, or of characters that follow each other, in a real value.
const RUN_MAX: usize = 7;

/// The digits of base 62, as GitHub counts them.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns the Shannon entropy of the bytes, in bits for each byte.
#[must_use]
pub fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX).max(1));
    counts
        .iter()
        .filter(|it| **it > 0)
        .map(|it| {
            let share = f64::from(*it) / total;
            -share * share.log2()
        })
        .sum()
}

/// Returns whether people write this where a secret belongs.
#[must_use]
pub fn is_placeholder(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let lower = text.to_lowercase();
    let written = PLACEHOLDERS.iter().any(|it| lower.contains(it));
    let published = PUBLISHED.iter().any(|it| text.contains(it));
    let filled_in = ["${", "{{", "$(", "<%", "%("]
        .iter()
        .any(|it| text.contains(it))
        || text.starts_with(['<', '$', '%']);
    written || published || filled_in || has_run(value)
}

/// Returns whether a value looks as if a machine had drawn it: letters and digits, in no order, and
/// not words with something between them.
#[must_use]
pub fn is_random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|it| it.is_ascii_digit()).count();
    let letters = value.iter().filter(|it| it.is_ascii_alphabetic()).count();
    if digits < 2 || letters < 2 || is_uuid(value) {
        return false;
    }
    let mut parts = value
        .split(|it| !it.is_ascii_alphanumeric())
        .filter(|it| !it.is_empty());
    // `words-between-dashes-2` and `https://…` are names; one part that mixes both is none.
    parts.any(|part| changes(part) >= 2 && part.len() >= 8)
}

/// Returns whether the last six characters are the checksum of those between prefix and them.
#[must_use]
pub fn has_checksum(token: &[u8]) -> bool {
    const CHECKSUM: usize = 6;
    let Some(at) = token.iter().position(|it| *it == b'_') else {
        return false;
    };
    let body = &token[at + 1..];
    let Some(split) = body.len().checked_sub(CHECKSUM) else {
        return false;
    };
    let (random, checksum) = body.split_at(split);
    let mut rest = crc32(random);
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        let at = usize::try_from(rest % 62).unwrap_or(0);
        *digit = BASE62[at];
        rest /= 62;
    }
    digits == checksum
}

/// Returns whether the host of an address is one that others can reach.
#[must_use]
pub fn is_on_a_network(host: &[u8]) -> bool {
    let host = String::from_utf8_lossy(host).to_lowercase();
    let ends = [
        ".example",
        ".example.com",
        ".example.org",
        ".example.net",
        ".test",
        ".invalid",
    ];
    let reserved = [
        "example.com",
        "example.org",
        "example.net",
        "127.0.0.1",
        "0.0.0.0",
    ];
    let local = [".localhost", ".local", ".internal"];
    host.contains('.')
        && !reserved.contains(&host.as_str())
        && !ends.iter().chain(&local).any(|it| host.ends_with(it))
}

/// How often a letter follows a digit or the other way round, or the case of letters turns.
fn changes(part: &[u8]) -> usize {
    let class = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        _ => 2,
    };
    part.windows(2)
        .filter(|it| class(it[0]) != class(it[1]))
        .count()
}

fn is_uuid(value: &[u8]) -> bool {
    let dashes = [8, 13, 18, 23];
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) {
                *byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// `aaaaaaaa`, `12345678` and `abcdefgh` are typed, not drawn.
fn has_run(value: &[u8]) -> bool {
    let (mut same, mut rising) = (1_usize, 1_usize);
    for pair in value.windows(2) {
        same = if pair[0] == pair[1] { same + 1 } else { 1 };
        rising = if pair[0].checked_add(1) == Some(pair[1]) {
            rising + 1
        } else {
            1
        };
        if same > RUN_MAX || rising > RUN_MAX {
            return true;
        }
    }
    false
}

/// CRC-32 as in ISO 3309, bit by bit: tokens are short.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xEDB8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_published_example() {
        let token = ["ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"].concat();
        assert!(has_checksum(token.as_bytes()));
        let typed = ["ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkK", "0mLq17"].concat();
        assert!(!has_checksum(typed.as_bytes()));
        assert!(!has_checksum(b"ghp_"));
        assert!(!has_checksum(b"none"));
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn entropy_is_that_of_the_bytes() {
        assert!(entropy(b"aaaaaaaa").abs() < 1e-9);
        assert!((entropy(b"abcdefgh") - 3.0).abs() < 1e-9);
        assert!(entropy(b"").abs() < 1e-9);
    }

    #[test]
    fn what_people_type_is_no_secret() {
        for typed in [
            "changeme-please",
            "YOUR_TOKEN_HERE",
            "xxxxxxxxxxxx",
            "${SECRET}",
            "<token>",
            "aaaaaaaaaaaaaaaa",
            "1234567890abc",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            assert!(is_placeholder(typed.as_bytes()), "{typed}");
        }
        assert!(!is_placeholder(b"q7Zr0vTn2KxWm5Lp"));
    }

    #[test]
    fn words_and_names_are_not_random() {
        for word in [
            "session_token_name",
            "application/json",
            "some-long-identifier-2",
            "550e8400-e29b-41d4-a716-446655440000",
            "com.acme.service.v2.Tokens",
            "1700000000000000",
        ] {
            assert!(!is_random(word.as_bytes()), "{word}");
        }
        for drawn in ["q7Zr0vTn2KxWm5Lp", "9f86d081884c7d659a2feaa0c55ad015"] {
            assert!(is_random(drawn.as_bytes()), "{drawn}");
        }
    }

    #[test]
    fn only_hosts_that_others_reach_count() {
        for local in ["localhost", "127.0.0.1", "db", "db.example.com", "a.local"] {
            assert!(!is_on_a_network(local.as_bytes()), "{local}");
        }
        assert!(is_on_a_network(b"db.acme.io"));
    }
}
