//! Defines the error type of all readers.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The reason why a file could not be read. Every message begins with the path of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is damaged, truncated, or a variant of its format that is not supported.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The format that the file was read as.
        format: FileFormat,
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        problem: String,
    },
    /// A pickle names an object outside the allow-list: it is not plain data.
    #[error("{}: at byte {offset} the pickle refers to `{global}`, which is not data", path.display())]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// The position of the operation that names the object.
        offset: usize,
        /// The object, as `module.name`.
        global: String,
    },
    /// The file does not have a field (an array, a variable, a key) of this name.
    #[error("{}: no field `{field}`; the file has {found}", path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The fields that exist.
        found: String,
    },
    /// A field holds something else than the caller expects.
    #[error("{}: field `{field}`: {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, with the position in it where that helps.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// The caller asked for a row that the array does not have.
    #[error("row {row} was requested from an array of {rows} rows")]
    Row {
        /// The row.
        row: usize,
        /// The number of rows of the array.
        rows: usize,
    },
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// A Python pickle.
    Pickle,
    /// A numpy file or archive.
    Npy,
    /// A MATLAB MAT-file.
    Matlab,
    /// An IDX file.
    Idx,
    /// A WAV recording.
    Wav,
    /// A gzip, tar or zip file.
    Archive,
}

impl Error {
    /// Turns an error of the operating system about `path` into an [`Error::Io`].
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::Io { path, source }
    }

    /// Makes an [`Error::Field`].
    pub fn field(path: &Path, field: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Field { path: path.to_owned(), field: field.into(), problem: problem.into() }
    }

    /// The same error about a field of the field `parent`.
    #[must_use]
    pub fn inside(self, parent: &str) -> Error {
        match self {
            Error::Field { path, field, problem } => {
                Error::Field { path, field: format!("{parent}.{field}"), problem }
            }
            Error::MissingField { path, field, found } => {
                Error::MissingField { path, field: format!("{parent}.{field}"), found }
            }
            other => other,
        }
    }

    /// Makes an [`Error::Invalid`].
    pub fn invalid(format: FileFormat, path: &Path, problem: impl Into<String>) -> Error {
        Error::Invalid { format, path: path.to_owned(), problem: problem.into() }
    }

    /// Whether the content of the file is at fault: `false` if the operating system or the caller is.
    pub fn is_about_content(&self) -> bool {
        !matches!(self, Error::Io { .. } | Error::Row { .. })
    }
}
