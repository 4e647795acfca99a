//! Describes tables independently of the output format: a caption, columns, and cells of plain text.

use serde::Serialize;

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column's title and alignment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) align: Align,
}

/// A cell. Its text is plain; each output format escapes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) text: String,
    /// Whether it is the best of its column, shown in bold.
    pub(crate) strong: bool,
    /// Whether it is something to copy, such as a path or a fingerprint.
    pub(crate) code: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell { text, strong: false, code: false }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::from(text.to_owned())
    }
}

impl Cell {
    /// A cell that is set in bold if `strong`.
    pub(crate) fn strong(text: String, strong: bool) -> Self {
        Cell { strong, ..Cell::from(text) }
    }

    /// A cell with something to copy; a dash if `text` is empty.
    pub(crate) fn code(text: &str) -> Self {
        match text {
            "" => Cell::from(crate::number::MISSING),
            _ => Cell { code: true, ..Cell::from(text) },
        }
    }
}

/// A table. The first column names the row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows. A title that starts with `>` makes its column right-aligned.
    pub(crate) fn new(caption: String, titles: &[&str]) -> Self {
        let column = |title: &&str| match title.strip_prefix('>') {
            Some(title) => Column { title: title.to_owned(), align: Align::Right },
            None => Column { title: (*title).to_owned(), align: Align::Left },
        };
        Table { caption, columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }
}
