//! The ways in which an address does not deliver a file.

use crate::Error;

pub(super) type Response = ureq::http::Response<ureq::Body>;

/// The reason why an address did not deliver the file.
pub(super) enum Failure {
    /// The connection was cut; the request may be repeated.
    Cut(String),
    /// The server is too slow; the request may be repeated.
    Slow(String),
    /// It does not have the file.
    Final(String),
    /// It has another file.
    Other(Error),
    /// This machine is at fault, not the server.
    Ours(Error),
}

impl Failure {
    pub(super) fn problem(&self) -> String {
        match self {
            Failure::Cut(problem) | Failure::Slow(problem) | Failure::Final(problem) => problem.clone(),
            Failure::Other(error) | Failure::Ours(error) => error.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error)
    }
}

impl From<dash_store::Error> for Failure {
    fn from(error: dash_store::Error) -> Failure {
        Failure::Ours(error.into())
    }
}
