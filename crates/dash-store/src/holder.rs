//! Describes who holds a lock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The holder of a lock, according to the lock file. It is for people, not for decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Process number in the holder's PID namespace; 0 if unknown.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// UTC date and time at which the lock was taken.
    pub since: String,
    /// Whether it is this process.
    #[serde(skip)]
    pub own: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder { own: true, .. } => write!(f, "this process"),
            Holder { pid: 0, .. } => write!(f, "another process"),
            Holder { pid, host, since, .. } => write!(f, "process {pid} on {host} since {since}"),
        }
    }
}
