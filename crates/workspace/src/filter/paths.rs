//! Paths by themselves: canonical, and meaning the same on every system.

use crate::spelling::is_ignorable;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 4_095;
/// The longest component, in bytes.
const COMPONENT_BYTES_MAX: usize = 255;

/// Names that are devices on Windows, with any ending.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
/// Names that are devices on Windows when a digit follows.
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// Returns why a path is not the one way to write it.
pub(super) fn not_canonical(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.starts_with('/') {
        Some("is absolute; it must be relative to the root of the tree")
    } else if path.split('/').any(|it| matches!(it, "" | "." | "..")) {
        Some("has an empty, `.` or `..` component")
    } else {
        None
    }
}

/// Returns why a path does not mean the same everywhere.
pub(super) fn unportable(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|it| it.len() > COMPONENT_BYTES_MAX) {
        Some("is too long")
    } else if path.chars().any(char::is_control) {
        Some("has a control character")
    } else if path.chars().any(is_invisible) {
        Some("has an invisible character")
    } else if path.contains('\\') {
        Some("has a backslash, which parts folders on some systems")
    } else if path.contains(':') {
        Some("has a colon, which names a hidden stream on some systems")
    } else if path.split('/').any(|it| it.ends_with(['.', ' '])) {
        Some("has a name that ends in a dot or space, which some systems drop")
    } else if path.split('/').any(is_device) {
        Some("has a name that is a device on some systems")
    } else {
        None
    }
}

/// Returns whether a character hides or reorders what people read.
pub(super) fn is_invisible(character: char) -> bool {
    is_ignorable(character)
        || matches!(
            character,
            '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2069}' | '\u{061c}'
                | '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180e}' | '\u{3164}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
        )
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(' ').to_ascii_lowercase();
    DEVICES.contains(&stem.as_str())
        || NUMBERED_DEVICES.iter().any(|it| {
            stem.strip_prefix(it).is_some_and(|rest| {
                matches!(rest.chars().as_str(), "¹" | "²" | "³")
                    || rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
}
