//! Escapes text for terminals and JSON documents. Names and messages come from files that others wrote; characters that
//! would control a terminal are shown as escapes such as `\x1b`.
//!
//! Everything that this program prints is escaped here: tables escape their cells, [`stdout`] and [`stderr`] all that is
//! written to them, [`Json`] documents, and the progress display its texts.

use dash_core::text::is_hidden;
use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, StderrLock, StdoutLock, Write},
};

/// Escapes one line, line breaks included.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Escapes lines; line breaks are kept.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n')
}

fn escaped(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let changes = |c: char| is_hidden(c) && !kept(c);
    if !text.contains(changes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            c if !changes(c) => out.write_char(c),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if c < '\u{100}' => write!(out, "\\x{:02x}", u32::from(c)),
            c => write!(out, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    Cow::Owned(out)
}

/// Standard output for people.
pub(crate) fn stdout() -> Lines<StdoutLock<'static>> {
    Lines(io::stdout().lock())
}

/// Standard error for people.
pub(crate) fn stderr() -> Lines<StderrLock<'static>> {
    Lines(io::stderr().lock())
}

/// Writes text without terminal control characters. Formatted text (`writeln!`) is one line, whatever its arguments
/// contain; bytes may hold several lines.
pub(crate) struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(lines(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    // Written at once, so that lines of several processes do not mix.
    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let text = text.to_string();
        let (text, end) = text.strip_suffix('\n').map_or((text.as_str(), ""), |text| (text, "\n"));
        self.0.write_all(format!("{}{end}", line(text)).as_bytes())
    }
}

/// Writes a JSON document to a terminal: control characters that serde does not escape are escaped as JSON does. They
/// occur in strings only, so that the meaning of the document does not change.
pub(crate) struct Json<W>(pub(crate) W);

impl<W: Write> Write for Json<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // serde writes whole characters.
        let text = String::from_utf8_lossy(bytes);
        let changes = |c: char| is_hidden(c) && !c.is_ascii_whitespace();
        if !text.contains(changes) {
            self.0.write_all(bytes)?;
            return Ok(bytes.len());
        }
        let mut out = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            if changes(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            } else {
                out.push(c);
            }
        }
        self.0.write_all(out.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}b\nc\u{7f}ä\u{e0041}";

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(line(HOSTILE), "a\\x1b[2J\\x9b31m\\r\\x07\\u{202e}b\\nc\\x7fä\\u{e0041}");
        assert_eq!(lines("a\tb\nc"), "a\\tb\nc");
        assert!(matches!(line("plain ─ ä"), Cow::Borrowed("plain ─ ä")));
    }

    #[test]
    fn writers_escape_everything() {
        let mut out = Lines(Vec::new());
        writeln!(out, "{HOSTILE}").unwrap();
        out.write_all(HOSTILE.as_bytes()).unwrap();
        let text = String::from_utf8(out.0).unwrap();
        assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
        assert_eq!(text.matches('\n').count(), 2, "one ends the first line, one is in the bytes");
    }

    #[test]
    fn escaped_json_has_the_same_meaning() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, 1, null] });
        let mut out = Json(Vec::new());
        serde_json::to_writer_pretty(&mut out, &value).unwrap();
        let text = String::from_utf8(out.0).unwrap();
        assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
