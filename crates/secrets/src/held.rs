//! What files that are withheld hold: the values that must never be seen outside them.

use crate::plausible;

/// The shortest value that is watched for, in bytes: shorter ones turn up by chance.
pub const VALUE_BYTES_MIN: usize = 12;

/// The longest piece of a value that is watched for, in bytes; a longer value is watched in pieces.
pub const PIECE_BYTES_MAX: usize = 48;

/// The most bytes of one file that are looked at.
pub const FILE_BYTES_MAX: usize = 64 << 10;

/// The most values of one file.
pub const VALUES_MAX: usize = 256;

/// The least entropy of a watched value, in bits for each byte.
const ENTROPY_MIN: f64 = 3.0;

/// The most lines of a file in which a line without a name may be a secret: a token's own file.
const BARE_LINES_MAX: usize = 16;

/// Words in the name of a variable whose value is secret even if it is made of words.
const TELLING: [&str; 9] = [
    "secret",
    "token",
    "passw",
    "pwd",
    "pass",
    "key",
    "credential",
    "auth",
    "private",
];

/// Returns the values in a withheld file that are worth watching for: the body of a key, what
/// variables are set to, the passwords in addresses. What is plainly configuration (a host's name, a
/// level, a path) or a placeholder is none.
#[must_use]
pub fn values(file: &[u8]) -> Vec<Vec<u8>> {
    let file = &file[..file.len().min(FILE_BYTES_MAX)];
    let mut found: Vec<Vec<u8>> = if file.contains(&0) {
        of_binary(file)
    } else {
        of_text(file)
    };
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|it| seen.insert(it.clone()));
    found.truncate(VALUES_MAX);
    found
}

/// Three pieces from the inside: the ends of a container are the same in many files.
fn of_binary(file: &[u8]) -> Vec<Vec<u8>> {
    let piece = |quarter: usize| {
        let from = file.len() / 4 * quarter;
        let piece = file.get(from..from + PIECE_BYTES_MAX)?;
        (plausible::entropy(piece) >= 4.0).then(|| piece.to_vec())
    };
    (1..4).filter_map(piece).collect()
}

fn of_text(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let is_short = file.split(|it| *it == b'\n').count() <= BARE_LINES_MAX;
    let mut block = Block::None;
    for line in file.split(|it| *it == b'\n') {
        let line = line.trim_ascii();
        if line.starts_with(b"-----BEGIN") {
            let is_key = contains(line, b"PRIVATE KEY");
            block = if is_key { Block::Key } else { Block::Public };
        } else if line.starts_with(b"-----END") {
            block = Block::None;
        } else {
            match block {
                Block::Key if line.len() >= 24 && line.iter().all(|it| is_base64(*it)) => {
                    take(line, &mut found);
                }
                Block::Key | Block::Public => {}
                Block::None => of_line(line, is_short, &mut found),
            }
        }
    }
    found
}

/// Where a line stands: what certificates and public keys hold is no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Key,
    Public,
}

fn of_line(line: &[u8], may_be_bare: bool, found: &mut Vec<Vec<u8>>) {
    if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"//") && !contains(line, b"=")
    {
        return;
    }
    let at = line.iter().position(|it| matches!(it, b'=' | b':'));
    let (name, rest) = match at {
        // `machine x login y password z`, and a file that is one bare token.
        None if may_be_bare => (line, line),
        None => return,
        // `//registry/:_authToken=…` and other names with a colon in them.
        Some(at) if line[at] == b':' && contains(&line[at..], b"=") => {
            let sign = line.iter().position(|it| *it == b'=').unwrap_or(at);
            (&line[..sign], &line[sign + 1..])
        }
        Some(at) => (&line[..at], &line[at + 1..]),
    };
    let lower = String::from_utf8_lossy(name).to_lowercase();
    let is_telling = TELLING.iter().any(|it| lower.contains(it));
    if let Some(password) = password_of(rest) {
        take(password, found);
        return;
    }
    let whole = unquoted(rest);
    for value in whole.split(u8::is_ascii_whitespace).map(unquoted) {
        if value.len() < VALUE_BYTES_MIN || plausible::is_placeholder(value) || is_place(value) {
            continue;
        }
        let is_drawn = plausible::is_random(value);
        if plausible::entropy(value) >= ENTROPY_MIN && (is_drawn || is_telling && at.is_some()) {
            take(value, found);
        }
    }
}

/// Returns the password of an address, if it is worth watching for.
fn password_of(rest: &[u8]) -> Option<&[u8]> {
    let from = rest.windows(3).position(|it| it == b"://")? + 3;
    let end = from + rest[from..].iter().rposition(|it| *it == b'@')?;
    let colon = from + rest[from..end].iter().position(|it| *it == b':')? + 1;
    let password = &rest[colon..end];
    let counts = password.len() >= VALUE_BYTES_MIN
        && !plausible::is_placeholder(password)
        && plausible::entropy(password) >= 2.5;
    counts.then_some(password)
}

/// Returns whether this names a place rather than a secret.
fn is_place(value: &[u8]) -> bool {
    contains(value, b"://")
        || value.starts_with(b"/")
        || value.starts_with(b"./")
        || value.starts_with(b"~/")
}

fn take(value: &[u8], found: &mut Vec<Vec<u8>>) {
    if value.len() <= PIECE_BYTES_MAX + VALUE_BYTES_MIN {
        found.push(value.to_vec());
        return;
    }
    found.extend(
        value
            .chunks(PIECE_BYTES_MAX)
            .filter(|it| it.len() >= VALUE_BYTES_MIN)
            .map(<[u8]>::to_vec),
    );
}

fn unquoted(text: &[u8]) -> &[u8] {
    let mut text = text.trim_ascii();
    while let [b'"' | b'\'' | b'`' | b'{' | b'[', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b'"' | b'\'' | b'`' | b',' | b';' | b'}' | b']'] = text {
        text = rest;
    }
    text.trim_ascii()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|it| it == part)
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        values(text.as_bytes())
            .into_iter()
            .map(|it| String::from_utf8(it).unwrap())
            .collect()
    }

    #[test]
    fn values_of_variables_and_passwords_are_taken() {
        let text = "# a comment with q7Zr0vTn2KxWm5Lp\nexport API_TOKEN=\"q7Zr0vTn2KxWm5Lp\"\n\
                    DB=postgres://app:correct horse@db\nURL=postgres://app:w0rdOfP4ssing@db:5432/x\n\
                    APP_PASSWORD=correct-horse-battery\nplain=9f86d081884c7d65\n\
                    //registry.acme.io/:_a=0a1b2c3d4e5f60718293\n\
                    machine acme.io password t0pS3cretW0rds\n{\"key\": \"Zk3x9Qm1Tn7bL0w\",\n";
        assert_eq!(
            of(text),
            [
                "q7Zr0vTn2KxWm5Lp",
                "correct horse",
                "w0rdOfP4ssing",
                "correct-horse-battery",
                "9f86d081884c7d65",
                "0a1b2c3d4e5f60718293",
                "t0pS3cretW0rds",
                "Zk3x9Qm1Tn7bL0w"
            ]
        );
    }

    #[test]
    fn configuration_and_placeholders_are_not() {
        let text = "LOG_LEVEL=information\nHOST=localhost\nURL=http://localhost:3000/path\n\
                    NAME=my-application-name\nPORT=5432\nTOKEN=changeme-please\nSHORT=a1b2c3\n\
                    KEY_FILE=/etc/ssl/private/q7Zr0vTn2KxWm5Lp\nAPI_KEY=your_api_key_here1\n";
        assert_eq!(of(text), Vec::<String>::new());
    }

    #[test]
    fn the_body_of_a_key_is_taken_line_by_line() {
        let line = "q7Zr0vTn2KxWm5Lp".repeat(4);
        let key = format!("-----BEGIN X PRIVATE KEY-----\n{line}\n-----END X PRIVATE KEY-----\n");
        assert_eq!(of(&key), [&line[..48], &line[48..]]);
    }

    #[test]
    fn a_certificate_is_public() {
        let line = "q7Zr0vTn2KxWm5Lp".repeat(4);
        let text = format!("-----BEGIN CERTIFICATE-----\n{line}\n-----END CERTIFICATE-----\n");
        assert_eq!(of(&text), Vec::<String>::new());
        assert_eq!(
            of("q7Zr0vTn2KxWm5Lp\n"),
            ["q7Zr0vTn2KxWm5Lp"],
            "a token's own file"
        );
        assert_eq!(of(&"q7Zr0vTn2KxWm5Lp\n".repeat(20)), Vec::<String>::new());
    }

    #[test]
    fn a_container_is_watched_by_its_inside() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        assert_eq!(values(&bytes).len(), 3);
        assert!(values(&[0; 1_000]).is_empty());
    }
}
