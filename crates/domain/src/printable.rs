//! What may be shown of a text that somebody else wrote.

/// Returns whether a character hides itself, or reorders what stands around it: a text would read
/// otherwise than it is.
#[must_use]
pub const fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_misleads_and_letters_do_not() {
        for it in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{e0041}'] {
            assert!(misleads(it), "{it:?}");
        }
        for it in ['a', '\u{e9}', '\u{5d0}', '\u{4e2d}', ' '] {
            assert!(!misleads(it), "{it:?}");
        }
    }
}
