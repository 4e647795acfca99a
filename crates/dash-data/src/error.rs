//! Everything that can be wrong with data, and what to do about it.

use arrow::error::ArrowError;
use dash_core::error::{Classify, ErrorKind};
use parquet::errors::ParquetError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why data could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A raw file or folder does not exist, or several could be meant.
    #[error("{}: {problem}", path.display())]
    Raw {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing, and what was found instead.
        problem: String,
    },
    /// A file is not the one that was seen before under its name.
    #[error("{}: sha256 is {found}, {recorded} was recorded", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The hash on record.
        recorded: String,
        /// The hash that it has.
        found: String,
    },
    /// A file is not the one that was published under its name.
    #[error("{}: sha256 is {found}, that of the published file is {published}", path.display())]
    Unpublished {
        /// The file.
        path: PathBuf,
        /// The hash in the catalogue.
        published: String,
        /// The hash that it has.
        found: String,
    },
    /// No address gave a file.
    #[error("{}: cannot be fetched: {problem}", path.display())]
    Download {
        /// Where it was to be put.
        path: PathBuf,
        /// Each address, and what was wrong there.
        problem: String,
    },
    /// The system refused to read a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pickle is damaged, truncated, or holds something that is not plain data.
    #[error("{}: at byte {offset} of the pickle: {problem}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Position of the operation that failed.
        offset: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A pickle names an object outside the allow-list: it is not plain data.
    #[error("{}: at byte {offset} the pickle refers to `{global}`, which is not data", path.display())]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// Position of the operation that names it.
        offset: usize,
        /// The object, as `module.name`.
        global: String,
    },
    /// A numpy file or archive is damaged, truncated, or of a kind that is not read.
    #[error("{}: {problem}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which member of an archive.
        problem: String,
    },
    /// An IDX file is damaged, truncated, or of a kind that is not read.
    #[error("{}: {problem}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A packed file is damaged, truncated, or not safe to unpack.
    #[error("{}: {problem}", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A recording is damaged, truncated, or of a kind that is not read.
    #[error("{}: {problem}", path.display())]
    Audio {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A MATLAB file is damaged, truncated, or of a kind that is not read.
    #[error("{}: {problem}", path.display())]
    Matlab {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A container does not hold a field that its recipe needs.
    #[error("{}: no field `{field}`; the file has {found}", path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The fields that exist.
        found: String,
    },
    /// A field holds something else than its recipe expects.
    #[error("{}: field `{field}`: {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, with the position in it where that helps.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// More samples are asked for than a source has.
    #[error("{}: {wanted} samples are asked for ({keys}), the file has {available}", path.display())]
    TooFewSamples {
        /// The file.
        path: PathBuf,
        /// Samples asked for.
        wanted: usize,
        /// Samples in the file.
        available: usize,
        /// The keys of the pipeline file that ask for them.
        keys: &'static str,
    },
    /// A raw Parquet file is damaged, or of a kind that is not read.
    #[error("{}: {problem}", path.display())]
    Table {
        /// The file.
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
    /// The Darcy solver did not reach the requested residual.
    #[error(
        "instance {instance} of the simulation with seed {seed}: relative residual {residual:.3e} \
         after {iterations} iterations, {tolerance:.3e} is asked for"
    )]
    NotConverged {
        /// Seed of the simulation.
        seed: u64,
        /// Number of the instance.
        instance: usize,
        /// Residual relative to the right-hand side.
        residual: f64,
        /// Iterations done.
        iterations: usize,
        /// Residual asked for.
        tolerance: f64,
    },
    /// A dataset folder is not what its card says, or was made by another version.
    #[error("{}: {problem}", path.display())]
    Dataset {
        /// The file inside the dataset folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A dataset, or the cache of one, is not any more what it was when it was opened.
    #[error("{}: {problem}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// How that shows.
        problem: String,
    },
    /// A loss or a metric has no value on a dataset, whatever a network puts out.
    #[error("{}: {problem}", path.display())]
    Undefined {
        /// The file of the split.
        path: PathBuf,
        /// What the data has not, and who needs it.
        problem: String,
    },
    /// Writing or reading Parquet failed.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet library said.
        source: ParquetError,
    },
    /// Writing or reading Arrow data failed.
    #[error("{}: {source}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What the Arrow library said.
        source: ArrowError,
    },
    /// A caller asked for a row that does not exist.
    #[error("row {row} of {rows} rows is asked for")]
    Row {
        /// The row.
        row: usize,
        /// Rows of the split.
        rows: usize,
    },
    /// Publishing a file failed.
    #[error(transparent)]
    Store(#[from] dash_store::Error),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::Io { path, source }
    }

    /// Of the Parquet library, if it is not the system's.
    pub(crate) fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Error + use<> {
        let path = path.to_owned();
        |error| {
            let source = match error {
                ParquetError::External(source) => match source.downcast::<io::Error>() {
                    Ok(source) => return Error::Io { path, source: *source },
                    Err(source) => ParquetError::External(source),
                },
                source => source,
            };
            match system(&source.to_string()) {
                Some(source) => Error::Io { path, source },
                None => Error::Parquet { path, source },
            }
        }
    }

    /// Of the Arrow library, if it is not the system's.
    pub(crate) fn arrow(path: &Path) -> impl FnOnce(ArrowError) -> Error + use<> {
        let path = path.to_owned();
        |error| match error {
            ArrowError::IoError(_, source) => Error::Io { path, source },
            source => match system(&source.to_string()) {
                Some(source) => Error::Io { path, source },
                None => Error::Arrow { path, source },
            },
        }
    }

    pub(crate) fn field(path: &Path, field: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Field { path: path.to_owned(), field: field.into(), problem: problem.into() }
    }

    pub(crate) fn dataset(path: &Path, problem: impl Into<String>) -> Error {
        Error::Dataset { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn altered(path: &Path, problem: impl Into<String>) -> Error {
        Error::Altered { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn configuration(key: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Configuration { key: key.into(), problem: problem.into() }
    }
}

fn io_hint(error: &io::Error) -> Option<String> {
    // Numbers of Unix: too many open files in this process, or in all.
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

/// The error of the system that a text ends with. Where the Parquet library answers as Arrow's, and the other way
/// round, errors become texts; those of the system keep their number: `... (os error 28)`.
fn system(text: &str) -> Option<io::Error> {
    let (_, end) = text.rsplit_once("(os error ")?;
    let (number, _) = end.split_once(')')?;
    Some(io::Error::from_raw_os_error(number.parse().ok()?))
}

/// Whether an answer of the system is about the file that was asked for, which is missing, of another kind or
/// damaged; else the machine failed, whatever the file holds: no room, no descriptors, a broken disk.
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
        match self {
            Error::Configuration { .. } => ErrorKind::Configuration,
            Error::Io { source, .. } if !is_about_data(source.kind()) => ErrorKind::Device,
            Error::Row { .. } => ErrorKind::Internal,
            Error::Store(source) => source.kind(),
            _ => ErrorKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Error::Raw { .. } => {
                "put the benchmark's files there, or point `dataset.raw` at their folder (a relative \
                 path starts at the current directory)"
            }
            Error::Changed { .. } => {
                "get the file again; if the new one is meant, remove its entry from sha256.json in the \
                 raw folder"
            }
            Error::Unpublished { .. } => {
                "the file is damaged or another one: get it from another address or person, or remove it and run \
                 the same command, which fetches it"
            }
            Error::Download { .. } => {
                "run the same command again, which goes on where this one has stopped; or download the file by \
                 hand and use --from, or name another address with --mirrors"
            }
            Error::Io { source, .. } => return io_hint(source),
            Error::Undefined { .. } => {
                "choose another `task.loss` or `task.metric`, leave such samples out, or make splits that hold what \
                 is missing"
            }
            Error::Altered { .. } => {
                "something else writes to the dataset while it is in use; nothing of this stage is kept: run the \
                 same command again when that has ended"
            }
            Error::Pickle { .. }
            | Error::Matlab { .. }
            | Error::Npy { .. }
            | Error::Idx { .. }
            | Error::Packed { .. }
            | Error::Audio { .. }
            | Error::Table { .. } => {
                "the file may be incomplete: compare its size and checksum with the source, and fetch it \
                 again"
            }
            Error::ForbiddenGlobal { .. } => {
                "nothing in the file was executed; use a copy from a trusted source, or save the data \
                 anew as plain arrays"
            }
            Error::MissingField { .. } | Error::Field { .. } => {
                "check that this is the file that the recipe expects"
            }
            Error::TooFewSamples { keys, .. } => {
                return Some(format!("lower {keys}, or use a larger file"));
            }
            Error::NotConverged { .. } => {
                "raise `dataset.simulate.tolerance`, or bring `dataset.simulate.high` and \
                 `dataset.simulate.low` closer together"
            }
            Error::Dataset { .. } | Error::Parquet { .. } | Error::Arrow { .. } => {
                "remove the dataset folder and run the same command: it is made anew from the raw data"
            }
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
    fn errors_of_the_system_are_told_from_damaged_data_whatever_they_came_through() {
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
