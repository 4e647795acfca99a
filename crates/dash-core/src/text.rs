//! Detects characters in text from untrusted files that control a terminal.

/// Whether a character is invisible and controls a terminal or the order of the text: control characters (C0, DEL, C1),
/// marks of the writing direction, separators of lines and paragraphs, annotations, tags, and noncharacters. Line breaks
/// are hidden characters; joiners, which some scripts need, are not.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

/// The number of characters of a value that messages show.
pub(crate) const SHOWN: usize = 200;

/// A text for a message, truncated if it is long.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_hidden;

    #[test]
    fn control_characters_are_hidden_and_letters_are_not() {
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
