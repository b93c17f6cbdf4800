//! The many spellings of `.git`: what HFS+, NTFS and case-insensitive disks take for it.

/// Returns whether a component is `.git`, in any spelling: what git itself refuses to hold.
pub(crate) fn is_in_dot_git(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| is_dot_git(&plain(part)))
}

fn is_dot_git(plain: &str) -> bool {
    plain == ".git" || is_short(plain, "git~")
}

fn is_short(plain: &str, stem: &str) -> bool {
    plain
        .strip_prefix(stem)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_digit()))
}

/// Returns whether NTFS may have made this name of a longer one by a checksum: the beginning of
/// `hashed`, a tilde and digits, eight characters in all.
fn is_hashed(plain: &str, hashed: &str) -> bool {
    plain.len() == 8
        && plain.split_once('~').is_some_and(|(stem, number)| {
            hashed.starts_with(stem) && number.bytes().all(|it| it.is_ascii_digit())
        })
}

/// Returns why a path touches git's own files, if one of its components does.
pub(crate) fn git_name(path: &str) -> Option<&'static str> {
    path.split(['/', '\\']).find_map(|part| {
        let plain = plain(part);
        let short = |stem| is_short(&plain, stem);
        match plain.as_str() {
            name if is_dot_git(name) => {
                Some("it has a `.git` component, in this or another spelling")
            }
            ".gitmodules" => Some("submodules are not changed from a session"),
            ".gitattributes" => Some("git attributes are not changed from a session"),
            _ if short("gitmod~") || is_hashed(&plain, "gi7eba") => {
                Some("it has a short name of `.gitmodules`")
            }
            _ if short("gitatt~") || is_hashed(&plain, "gi7d29") => {
                Some("it has a short name of `.gitattributes`")
            }
            _ => None,
        }
    })
}

/// Returns the component as the most forgiving file system reads it.
fn plain(part: &str) -> String {
    let visible: String = part
        .chars()
        .filter(|it| !is_ignorable(*it))
        .flat_map(char::to_lowercase)
        .collect();
    let name = visible.split(':').next().unwrap_or_default();
    name.trim_end_matches(['.', ' ']).to_owned()
}

/// Returns whether HFS+ passes over this character when it compares names.
pub(crate) const fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found() {
        for path in [
            ".git",
            ".git/config",
            "a/.git/hooks/x",
            ".GIT",
            "a/.Git",
            ".git.",
            ".git ",
            ".git. . ",
            ".git:stream",
            ".git::$INDEX_ALLOCATION/x",
            "git~1",
            "GIT~1/config",
            "git~12",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{202e}t/x",
            "a\\.git\\config",
            ".gitmodules",
            "sub/.GITMODULES",
            ".gitattributes",
            "gitmod~1",
            "GITATT~2",
            "gi7eba~1",
            "GI7EB~10",
            "g~123456",
            "gi7d29~1",
            ".gitmodules ",
        ] {
            assert!(git_name(path).is_some(), "{path:?}");
            let file = ["gitm", "gita", "gi7", "g~", ".gitm", ".gita", "sub/.GITM"];
            let own = file
                .iter()
                .all(|it| !path.to_lowercase().starts_with(&it.to_lowercase()));
            assert_eq!(is_in_dot_git(path), own, "{path:?}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for path in [
            ".gitignore",
            ".github/workflows/ci.yml",
            "git",
            "digit~1",
            "git~x",
            "git~",
            "gi7eba~12",
            "gi7ebb~1",
            "a.git",
            ".gitkeep",
            "src/.gitlab-ci.yml",
        ] {
            assert_eq!(git_name(path), None, "{path:?}");
        }
    }
}
