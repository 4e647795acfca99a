//! Text from files, which may have been written to deceive whoever looks at it.

/// Whether a character controls a terminal or the order of what is shown instead of being shown itself:
/// control characters (C0, DEL, C1), marks that turn the direction of writing, separators of lines and
/// paragraphs, annotations, tags, and what is not a character. A line break is one of them.
///
/// Joiners, which scripts need, are not.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::is_hidden;

    #[test]
    fn what_is_shown_is_told_from_what_controls() {
        for c in "aZ09 ~\u{a0}äß漢字\u{200d}\u{200c}😀─│é".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
        for c in
            "\0\u{7}\t\n\r\u{1b}\u{7f}\u{80}\u{9b}\u{9f}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}"
                .chars()
        {
            assert!(is_hidden(c), "{c:?}");
        }
    }
}
