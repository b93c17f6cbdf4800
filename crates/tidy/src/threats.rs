//! The threat model: what it names exists, and what attacks is named.

use std::collections::BTreeSet;

use crate::File;
use crate::documents::{has_test, is_function_name};

/// The document.
pub const THREATS: &str = "docs/THREATS.md";

/// Returns everything that the threat model names and that is not there, and every group of the
/// suites that it does not name.
///
/// A test is named as an invariant's is: a file in backticks, and behind it the names of its tests.
/// An attempt is a name such as `S5-udp` in backticks; it exists when a file of an attack suite
/// holds it as a literal. A group is named by itself, as a whole word.
#[must_use]
pub fn misleading_threats(threats: &str, files: &[File]) -> Vec<String> {
    let attempts = attempts(files);
    let mut breaches = Vec::new();
    if attempts.is_empty() {
        breaches.push("no attack suite names an attempt".to_owned());
    }
    let mut file = None;
    for word in threats.split('`').skip(1).step_by(2) {
        if word.ends_with(".rs") {
            file = Some(word);
            if files.iter().all(|it| it.path != word) {
                breaches.push(format!("{THREATS}: there is no `{word}`"));
            }
        } else if is_attempt(word) {
            if !attempts.contains(word) {
                breaches.push(format!("{THREATS}: no suite makes the attempt `{word}`"));
            }
        } else if let Some(path) = file
            && is_function_name(word)
            && word.contains('_')
            && !has_test(files, path, word)
        {
            breaches.push(format!("{THREATS}: `{path}` has no test `{word}`"));
        }
    }
    let words: BTreeSet<&str> = threats
        .split(|it: char| !it.is_ascii_alphanumeric())
        .collect();
    let groups: BTreeSet<&str> = attempts
        .iter()
        .filter_map(|it| it.split('-').next())
        .collect();
    for group in groups.iter().filter(|it| !words.contains(*it)) {
        breaches.push(format!(
            "{THREATS}: says nothing of the attempts of {group}"
        ));
    }
    breaches
}

/// Returns the names of all attempts: literals in files of the attack suites.
fn attempts(files: &[File]) -> BTreeSet<String> {
    files
        .iter()
        .filter(|it| it.is_rust() && it.path.contains("attacks"))
        .flat_map(|it| it.text.split('"').skip(1))
        .filter(|it| is_attempt(it))
        .map(str::to_owned)
        .collect()
}

/// Returns whether a word is the name of an attempt: `S`, a number, a dash, small words.
fn is_attempt(word: &str) -> bool {
    let Some((group, rest)) = word.split_once('-') else {
        return false;
    };
    let Some(number) = group.strip_prefix('S') else {
        return false;
    };
    let is_small = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    !number.is_empty()
        && number.chars().all(|it| it.is_ascii_digit())
        && !rest.is_empty()
        && rest.chars().all(is_small)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: &str = "crates/attacks/src/list/a.rs";

    fn check(threats: &str) -> Vec<String> {
        let suite = File::new(SUITE, "//! A.\nconst A: &str = \"S5-udp\";\n");
        let test = File::new("crates/x/tests/y.rs", "#[test]\nfn it_holds() {}\n");
        misleading_threats(threats, &[suite, test])
    }

    #[test]
    fn what_is_named_exists() {
        let good = "S5: `S5-udp`, `crates/x/tests/y.rs` `it_holds`";
        assert_eq!(check(good), Vec::<String>::new());
        assert_eq!(check("S5 `S5-tcp`").len(), 1);
        assert_eq!(check("S5 `crates/x/tests/z.rs`").len(), 1);
        assert_eq!(check("S5 `crates/x/tests/y.rs` `it_breaks`").len(), 1);
    }

    #[test]
    fn a_group_that_is_not_named_is_found() {
        assert_eq!(check("nothing").len(), 1);
        assert_eq!(check("S50 and S55").len(), 1);
        assert_eq!(misleading_threats("S5", &[]).len(), 1);
    }
}
