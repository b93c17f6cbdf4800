//! The list of what was revoked: identifiers of approvals and keys, one a line. It can only take
//! away, so a line that nobody understands takes away everything.

use std::path::Path;

use domain::{GrantId, PermitId};

use crate::paper::{self, Readers};

/// The largest list, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What the identifier of a key begins with.
const KEY: &str = "ed25519:";

/// The digits of a key's identifier.
const KEY_DIGITS: usize = 32;

/// Checks that the list is there and that each line of it is understood.
///
/// # Errors
/// With what is wrong and how to mend it.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    read(path).map(drop)
}

/// Returns the first of these identifiers that was revoked. A list that does not hold revokes all.
pub(crate) fn first(path: &Path, ids: [&str; 2]) -> Option<usize> {
    let Ok(all) = read(path) else { return Some(0) };
    ids.iter().position(|id| all.iter().any(|it| it == id))
}

fn read(path: &Path) -> Result<Vec<String>, String> {
    let bytes = paper::read(path, BYTES_MAX, Readers::Anybody).map_err(|fault| {
        format!("`revoked`: {fault}; it must be there, and may be empty: without it everything is revoked")
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        format!(
            "{}: the list of what was revoked is no UTF-8",
            path.display()
        )
    })?;
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        // What follows the identifier on its line is for people.
        match line.split_ascii_whitespace().next() {
            None => {}
            Some(word) if word.starts_with('#') => {}
            Some(word) if is_identifier(word) => all.push(word.to_owned()),
            Some(_) => {
                return Err(format!(
                    "{}:{}: a line begins with the identifier of an approval (`permit_…`, `grant_…`) \
                     or of a key (`{KEY}` and {KEY_DIGITS} digits, as `palisade keys revoke` prints \
                     it), or with `#`; until it does, everything is revoked",
                    path.display(),
                    at + 1
                ));
            }
        }
    }
    Ok(all)
}

fn is_identifier(word: &str) -> bool {
    let is_digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    let is_key = word
        .strip_prefix(KEY)
        .is_some_and(|it| it.len() == KEY_DIGITS && it.bytes().all(is_digit));
    is_key || word.parse::<PermitId>().is_ok() || word.parse::<GrantId>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_understood_revokes_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let key = "ed25519:46dfa4c746dfa4c746dfa4c746dfa4c7";
        let permit = PermitId::from_bits(7).to_string();
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        assert!(
            first(&path, [key, ""]).is_some() && check(&path).is_err(),
            "it is missing"
        );
        write("");
        assert!(first(&path, [key, ""]).is_none() && check(&path).is_ok());
        write(&format!("# a note\r\n\n{key} lost\r\n  {permit}"));
        assert!(first(&path, [key, ""]).is_some() && first(&path, [&permit, ""]).is_some());
        assert!(first(&path, ["ed25519:0", ""]).is_none() && check(&path).is_ok());
        for line in [
            "46dfa4c746dfa4c746dfa4c746dfa4c7".to_owned(),
            key.to_uppercase(),
            format!("\"{key}\""),
            format!("- {key}"),
            format!("{key},{key}"),
            "\u{fe0f}".to_owned(),
        ] {
            write(&format!("# a note\n{line}\n"));
            assert!(first(&path, [&permit, ""]).is_some(), "{line}");
            assert!(check(&path).unwrap_err().contains(":2: "), "{line}");
        }
    }
}
