//! Where an array is, for messages.

use super::header::Failure;
use crate::{Error, FileFormat, zip::Problem};
use std::{
    io,
    path::{Path, PathBuf},
};

/// A file, and the member of it if it is an archive.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) path: PathBuf,
    pub(super) member: Option<String>,
}

impl Location {
    pub(super) fn file(path: &Path) -> Location {
        Location { path: path.to_owned(), member: None }
    }

    pub(super) fn damaged(&self, problem: impl Into<String>) -> Error {
        let problem = problem.into();
        let problem = match &self.member {
            Some(member) => format!("array `{member}`: {problem}"),
            None => problem,
        };
        Error::invalid(FileFormat::Npy, &self.path, problem)
    }

    pub(super) fn io(&self, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("the elements end early"),
            // The decompressor reports invalid streams with these kinds.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => self.damaged(source.to_string()),
            _ => Error::Io { path: self.path.clone(), source },
        }
    }

    pub(super) fn header(&self, failure: Failure) -> Error {
        match failure {
            Failure::Io(source) => self.io(source),
            Failure::Damaged(problem) => self.damaged(problem),
        }
    }

    pub(super) fn zip(&self, problem: Problem) -> Error {
        match problem {
            Problem::Io(source) => Error::Io { path: self.path.clone(), source },
            Problem::Damaged(problem) => self.damaged(problem),
        }
    }
}
