//! Defines the error type of this crate, with the kind and the hint of each error.

use arrow::error::ArrowError;
use dash_core::error::{Classify, ErrorKind};
use parquet::errors::ParquetError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The reason why a dataset could not be read, made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, is damaged, or does not hold what is expected.
    #[error(transparent)]
    File(#[from] dash_formats::Error),
    /// Data is not what it must be.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// What the problem is about.
        subject: Subject,
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The pipeline file asks for something impossible.
    #[error("`{key}`: {problem}")]
    Configuration {
        /// The key of the pipeline file.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// Writing or reading Parquet failed.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The error of the Parquet library.
        source: ParquetError,
    },
    /// Writing or reading Arrow data failed.
    #[error("{}: {source}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// The error of the Arrow library.
        source: ArrowError,
    },
    /// A caller asked for a row that does not exist.
    #[error("row {row} was requested from a split of {rows} rows")]
    Row {
        /// The row.
        row: usize,
        /// The number of rows of the split.
        rows: usize,
    },
    /// Publishing a file failed.
    #[error(transparent)]
    Store(#[from] dash_store::Error),
}

/// What an [`Error::Invalid`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A raw file or folder that does not exist, or is ambiguous.
    Raw,
    /// A raw table that is damaged, or of a kind that is not supported.
    Table,
    /// A dataset folder that does not agree with its card, or was made by another version.
    Dataset,
    /// A dataset, or its cache, that changed while it was in use.
    Altered,
    /// Data on which a loss or a metric has no value, whatever a network predicts.
    Undefined,
}

impl Error {
    /// Turns an error of the operating system about `path` into an [`Error::File`].
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| dash_formats::Error::Io { path, source }.into()
    }

    /// Of the Parquet library, if it is not the system's.
    pub(crate) fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Error + use<> {
        let path = path.to_owned();
        |error| {
            let source = match error {
                ParquetError::External(source) => match source.downcast::<io::Error>() {
                    Ok(source) => return dash_formats::Error::Io { path, source: *source }.into(),
                    Err(source) => ParquetError::External(source),
                },
                source => source,
            };
            match system(&source.to_string()) {
                Some(source) => dash_formats::Error::Io { path, source }.into(),
                None => Error::Parquet { path, source },
            }
        }
    }

    /// Of the Arrow library, if it is not the system's.
    pub(crate) fn arrow(path: &Path) -> impl FnOnce(ArrowError) -> Error + use<> {
        let path = path.to_owned();
        |error| match error {
            ArrowError::IoError(_, source) => dash_formats::Error::Io { path, source }.into(),
            source => match system(&source.to_string()) {
                Some(source) => dash_formats::Error::Io { path, source }.into(),
                None => Error::Arrow { path, source },
            },
        }
    }

    /// Makes the error that a field of a file holds something else than expected.
    pub fn field(path: &Path, field: impl Into<String>, problem: impl Into<String>) -> Error {
        dash_formats::Error::field(path, field, problem).into()
    }

    /// Makes an [`Error::Invalid`].
    pub fn invalid(subject: Subject, path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        Error::Invalid { subject, path: path.into(), problem: problem.into() }
    }

    /// Makes an [`Error::Invalid`] about a raw file or folder.
    pub fn raw(path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        Error::invalid(Subject::Raw, path, problem)
    }

    /// Makes an [`Error::Configuration`].
    pub fn configuration(key: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Configuration { key: key.into(), problem: problem.into() }
    }

    pub(crate) fn dataset(path: &Path, problem: impl Into<String>) -> Error {
        Error::invalid(Subject::Dataset, path, problem)
    }

    pub(crate) fn altered(path: &Path, problem: impl Into<String>) -> Error {
        Error::invalid(Subject::Altered, path, problem)
    }
}

fn io_hint(error: &io::Error) -> Option<String> {
    // Error numbers of Unix: too many open files in this process, or in all.
    let descriptors = cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24));
    let text = match error.kind() {
        _ if descriptors => "allow more open files (ulimit -n), and run the same command again",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space and run the same command again; finished stages are kept"
        }
        io::ErrorKind::OutOfMemory => "free some memory and run the same command again",
        kind if is_about_data(kind) || kind == io::ErrorKind::PermissionDenied => {
            "check that the file exists and may be read"
        }
        _ => "check the disk and the connection to it, and run the same command again",
    };
    Some(text.to_owned())
}

/// The operating system's error that a text ends with. When the Parquet library wraps an error of Arrow's, or the
/// other way round, the error becomes a text; an error of the system keeps its number in it: `... (os error 28)`.
fn system(text: &str) -> Option<io::Error> {
    let (_, end) = text.rsplit_once("(os error ")?;
    let (number, _) = end.split_once(')')?;
    Some(io::Error::from_raw_os_error(number.parse().ok()?))
}

/// Whether an error of the system is about the requested file, which is missing, of another kind or damaged. All
/// other errors mean that the machine failed: a full or broken disk, no file descriptors.
fn is_about_data(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, UnexpectedEof,
    };
    let kinds =
        [NotFound, NotADirectory, IsADirectory, InvalidData, InvalidInput, InvalidFilename, UnexpectedEof];
    kinds.contains(&kind)
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        use dash_formats::Error as File;
        match self {
            Error::Configuration { .. } => ErrorKind::Configuration,
            Error::File(File::Io { source, .. }) if !is_about_data(source.kind()) => ErrorKind::Device,
            Error::File(File::Row { .. }) | Error::Row { .. } => ErrorKind::Internal,
            Error::Store(source) => source.kind(),
            _ => ErrorKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        use dash_formats::Error as File;
        const FETCH_AGAIN: &str =
            "the file may be incomplete: compare its size and checksum with the source, and fetch it again";
        const MAKE_AGAIN: &str =
            "remove the dataset folder and run the same command: it is made again from the raw data";
        let text = match self {
            Error::File(File::Io { source, .. }) => return io_hint(source),
            Error::File(File::Invalid { .. }) => FETCH_AGAIN,
            Error::File(File::ForbiddenGlobal { .. }) => {
                "nothing in the file was executed; use a copy from a trusted source, or save the data again as plain \
                 arrays"
            }
            Error::File(_) => "check that this is the file that the recipe expects",
            Error::Invalid { subject, .. } => match subject {
                Subject::Raw => {
                    "put the benchmark's files there, or point `dataset.raw` at their folder (a relative path \
                     starts at the current directory)"
                }
                Subject::Table => FETCH_AGAIN,
                Subject::Dataset => MAKE_AGAIN,
                Subject::Altered => {
                    "another program writes to the dataset while it is in use; nothing of this stage is kept: run \
                     the same command again when that program has ended"
                }
                Subject::Undefined => {
                    "choose another `task.loss` or `task.metric`, leave such samples out, or make splits that hold \
                     what is missing"
                }
            },
            Error::Parquet { .. } | Error::Arrow { .. } => MAKE_AGAIN,
            Error::Store(source) => return source.hint(),
            Error::Configuration { .. } | Error::Row { .. } => return None,
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_distinguished_from_damaged_data_through_any_library() {
        let path = Path::new("train.parquet");
        // No room, no descriptors, a broken disk, a limit on the size of files.
        for number in [28, 24, 23, 5, 27, 122] {
            let io = || io::Error::from_raw_os_error(number);
            let through_parquet = ArrowError::from(ParquetError::from(io()));
            let through_arrow = ParquetError::from(ArrowError::from(io()));
            let errors = [
                Error::io(path)(io()),
                Error::parquet(path)(io().into()),
                Error::arrow(path)(io().into()),
                Error::arrow(path)(through_parquet),
                Error::parquet(path)(through_arrow),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Device, "{error:?}");
                assert!(error.to_string().starts_with("train.parquet: "), "{error}");
                let hint = error.hint().unwrap();
                assert!(!hint.contains("remove the dataset folder"), "{hint}");
            }
        }
        let damaged = Error::parquet(path)(ParquetError::General("bad thrift (os error x)".into()));
        assert_eq!(damaged.kind(), ErrorKind::Data);
        assert!(damaged.hint().unwrap().contains("remove the dataset folder"));
        let missing = Error::io(path)(io::ErrorKind::NotFound.into());
        assert_eq!(missing.kind(), ErrorKind::Data);
    }
}
