//! Escapes text for each output format. Names and messages come from files of others and may be hostile; after
//! escaping they are shown literally. There is one function per format, and no other place escapes.

use dash_core::text::is_hidden;
use std::fmt::Write;

/// Replaces a character that would control a terminal or a viewer.
const REPLACED: char = '\u{fffd}';

/// The character as it is shown in a single line.
fn shown(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        c if is_hidden(c) => REPLACED,
        c => c,
    }
}

/// Text for element content and quoted attributes of XML 1.0, in one line.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(shown(c)),
        }
    }
    out
}

/// Text in lines for the template of the page, which escapes what has a meaning in HTML.
pub(crate) fn page(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { shown(c) }).collect()
}

/// Text that Markdown shows literally: special characters are escaped, lines are joined.
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_[]|~#<>&!$".contains(c) {
            out.push('\\');
        }
        out.push(shown(c));
    }
    out
}

/// Text that LaTeX typesets literally. Characters of our own texts that plain LaTeX lacks become commands.
pub(crate) fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '±' => out.push_str("$\\pm$"),
            '↓' => out.push_str("$\\downarrow$"),
            '↑' => out.push_str("$\\uparrow$"),
            '−' => out.push_str("$-$"),
            '—' => out.push_str("---"),
            // What shows other replacements is not a character of plain LaTeX.
            c if is_hidden(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A comment of LaTeX, which ends with its line.
pub(crate) fn latex_comment(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// A CSV file in which no cell is a formula, which a spreadsheet would execute: a text that looks like one gets an
/// apostrophe in front, the spreadsheets' own mark for text. Numbers are unchanged.
pub(crate) fn csv(file: &[u8]) -> Result<Vec<u8>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(file);
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(file.len()));
    for record in reader.records() {
        writer.write_record(record?.iter().map(cell))?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

fn cell(text: &str) -> String {
    // Spreadsheets skip blanks, and take wide forms of the signs too.
    let first = text.trim_start().chars().next();
    let formula = first.is_some_and(|c| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(c));
    let begins = text.starts_with(is_hidden);
    let mut out = String::with_capacity(text.len() + 1);
    if (formula || begins) && text.parse::<f64>().is_err() {
        out.push('\'');
    }
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '\n' => out.write_char('\n'),
            c => out.write_char(shown(c)),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\u{9b}\u{202e}|`x`<b>&\n=1\u{0}";

    #[test]
    fn nothing_that_controls_is_left_in_any_format() {
        for text in [xml(HOSTILE), page(HOSTILE), markdown(HOSTILE), latex(HOSTILE), latex_comment(HOSTILE)] {
            assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
        }
        assert_eq!((xml("a\n<b>\u{85}"), page("a\n<b>\t")), ("a &lt;b&gt;\u{fffd}".into(), "a\n<b> ".into()));
        assert_eq!(markdown("a|b\n`c`"), "a\\|b \\`c\\`");
    }

    #[test]
    fn texts_cannot_become_commands_of_latex() {
        assert_eq!(
            latex("50% of a_b & {\\input{x}} ~^<\n0.1 ± 0.2"),
            "50\\% of a\\_b \\& \\{\\textbackslash{}input\\{x\\}\\} \\textasciitilde{}\\textasciicircum{}\\textless{} \
             0.1 $\\pm$ 0.2"
        );
        assert_eq!(latex_comment("a\nb"), "a b");
    }

    #[test]
    fn no_text_of_a_csv_file_is_a_formula_and_numbers_stay() {
        let file = "name,value\n\
            \"=cmd|' /C calc'!A0\",-1.5\n@x,+1e-3\n-a,-inf\n\t=1,1\n\" =1\",NaN\n\"\r=1\",\n+b,2\n＝1,3\nplain - x,4\n";
        let found = String::from_utf8(csv(file.as_bytes()).unwrap()).unwrap();
        let expected = "name,value\n\
            '=cmd|' /C calc'!A0,-1.5\n'@x,+1e-3\n'-a,-inf\n' =1,1\n' =1,NaN\n' =1,\n'+b,2\n'＝1,3\nplain - x,4\n";
        assert_eq!(found, expected);
        assert_eq!(csv(found.as_bytes()).unwrap(), found.as_bytes(), "once is enough");
    }
}
