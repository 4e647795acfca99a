//! Defines the error type of this crate, with the kind and the hint of each error.

use dash_core::error::{Classify, ErrorKind};
use dash_data::Subject;
use dash_formats::FileFormat;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The reason why raw files could not be fetched or made into a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A raw file cannot be read, does not hold what is expected, or the dataset cannot be written.
    #[error(transparent)]
    Data(#[from] dash_data::Error),
    /// A file is not the one that was seen before under its name.
    #[error("{}: sha256 is {found}, {recorded} was recorded", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The recorded hash.
        recorded: String,
        /// The hash of the file.
        found: String,
    },
    /// A file is not the one that was published under its name.
    #[error("{}: sha256 is {found}, that of the published file is {published}", path.display())]
    Unpublished {
        /// The file.
        path: PathBuf,
        /// The hash in the catalogue.
        published: String,
        /// The hash of the file.
        found: String,
    },
    /// No address delivered a file.
    #[error("{}: cannot be fetched: {problem}", path.display())]
    Download {
        /// The place of the file.
        path: PathBuf,
        /// Each address, and what went wrong there.
        problem: String,
    },
    /// The pipeline file asks for more samples than a source has.
    #[error("{}: {wanted} samples are requested ({keys}), the file has {available}", path.display())]
    TooFewSamples {
        /// The file.
        path: PathBuf,
        /// The number of samples requested.
        wanted: usize,
        /// The number of samples in the file.
        available: usize,
        /// The keys of the pipeline file that request them.
        keys: &'static str,
    },
    /// The Darcy solver did not reach the requested residual.
    #[error(
        "instance {instance} of the simulation with seed {seed}: relative residual {residual:.3e} after {iterations} \
         iterations, {tolerance:.3e} is requested"
    )]
    NotConverged {
        /// The seed of the simulation.
        seed: u64,
        /// The number of the instance.
        instance: usize,
        /// The residual relative to the right-hand side.
        residual: f64,
        /// The number of iterations.
        iterations: usize,
        /// The requested residual.
        tolerance: f64,
    },
}

impl From<dash_formats::Error> for Error {
    fn from(error: dash_formats::Error) -> Error {
        Error::Data(error.into())
    }
}

impl From<dash_store::Error> for Error {
    fn from(error: dash_store::Error) -> Error {
        Error::Data(error.into())
    }
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| dash_formats::Error::Io { path, source }.into()
    }

    pub(crate) fn field(path: &Path, field: impl Into<String>, problem: impl Into<String>) -> Error {
        dash_formats::Error::field(path, field, problem).into()
    }

    pub(crate) fn archive(path: &Path, problem: impl Into<String>) -> Error {
        dash_formats::Error::invalid(FileFormat::Archive, path, problem).into()
    }

    pub(crate) fn raw(path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        dash_data::Error::raw(path, problem).into()
    }

    pub(crate) fn table(path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        dash_data::Error::invalid(Subject::Table, path, problem).into()
    }

    pub(crate) fn configuration(key: impl Into<String>, problem: impl Into<String>) -> Error {
        dash_data::Error::configuration(key, problem).into()
    }

    /// A block of rows was requested that the source does not have.
    pub(crate) fn row(row: usize, rows: usize) -> Error {
        dash_data::Error::Row { row, rows }.into()
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Data(error) => error.kind(),
            _ => ErrorKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Error::Data(error) => return error.hint(),
            Error::Changed { .. } => {
                "fetch the file again; if the new one is intended, remove its entry from sha256.json in the raw folder"
            }
            Error::Unpublished { .. } => {
                "the file is damaged or another one: get it from another address or person, or remove it and run \
                 the same command, which fetches it"
            }
            Error::Download { .. } => {
                "run the same command again, which resumes where this one stopped; or download the file yourself and \
                 use --from, or name another address with --mirrors"
            }
            Error::TooFewSamples { keys, .. } => {
                return Some(format!("lower {keys}, or use a larger file"));
            }
            Error::NotConverged { .. } => {
                "raise `dataset.simulate.tolerance`, or bring `dataset.simulate.high` and `dataset.simulate.low` \
                 closer together"
            }
        };
        Some(text.to_owned())
    }
}
