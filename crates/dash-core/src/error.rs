//! The common ground of errors: what kind of failure it is, where it is, and what to do about it.

use serde::{Deserialize, Serialize};

/// The kinds of failure; each has one documented exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// A defect of this program.
    Internal,
    /// The command line is wrong.
    Usage,
    /// A pipeline file is wrong.
    Configuration,
    /// Data is missing, damaged, or not what its recipe expects.
    Data,
    /// Another process holds the run.
    Locked,
    /// A device is missing, or memory or disk is exhausted.
    Device,
    /// One or more stages failed.
    Stage,
    /// Stopped at a checkpoint; running the same command goes on.
    Stopped,
    /// Interrupted.
    Interrupted,
}

impl ErrorKind {
    /// The exit code of the program for this kind of failure.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Internal => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Configuration => 3,
            ErrorKind::Data => 4,
            ErrorKind::Locked => 5,
            ErrorKind::Device => 6,
            ErrorKind::Stage => 7,
            ErrorKind::Stopped => 75,
            ErrorKind::Interrupted => 130,
        }
    }
}

/// An error that knows its kind and what to do about it.
pub trait Classify: std::error::Error {
    /// What kind of failure this is.
    fn kind(&self) -> ErrorKind;
    /// Where it is, as `FILE` or `FILE:LINE`, if it is one place and known.
    fn place(&self) -> Option<String> {
        None
    }
    /// One sentence that says what to do, if there is something to do.
    fn hint(&self) -> Option<String> {
        None
    }
}
