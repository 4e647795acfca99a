//! What all errors have in common: a kind, which decides the exit code, a place, and a hint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of errors. Each has one documented exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// A bug in this program.
    Internal,
    /// The command line is invalid.
    Usage,
    /// A pipeline file is invalid.
    Configuration,
    /// Data is missing, damaged, or not what the recipe expects.
    Data,
    /// Another process works on the run.
    Locked,
    /// A device is missing, or memory or disk space is exhausted.
    Device,
    /// One or more stages failed.
    Stage,
    /// The run stopped at a checkpoint. The same command resumes it.
    Stopped,
    /// The program was interrupted.
    Interrupted,
}

impl ErrorKind {
    /// The exit code of the program for this kind of error.
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

/// An error with a kind and, if possible, a place and a hint.
pub trait Classify: std::error::Error {
    /// The kind of the error.
    fn kind(&self) -> ErrorKind;
    /// The place of the error, as `FILE` or `FILE:LINE`, if it has one.
    fn place(&self) -> Option<String> {
        None
    }
    /// One sentence on how to fix the error, if there is a way.
    fn hint(&self) -> Option<String> {
        None
    }
}
