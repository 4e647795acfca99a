//! What can go wrong with files.

use crate::lock::Holder;
use dash_core::error::{Classify, ErrorKind};
use std::{io, path::PathBuf};

/// Failures of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb: "write", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no room for what must be written next.
    #[error("{path} needs {needed} bytes, {free} are free", path = path.display())]
    Full {
        /// The folder to be written.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A name would leave its folder or is otherwise not a plain relative path.
    #[error("{name:?} is not a plain relative file name")]
    Name {
        /// The name as given.
        name: String,
    },
    /// A folder was published before all of its files were finished.
    #[error("{path} was published while {open} of its files were unfinished", path = path.display())]
    Unfinished {
        /// The folder's final place.
        path: PathBuf,
        /// Files without `finish`.
        open: usize,
    },
    /// Another process works on this run.
    #[error("{path} is in use by process {pid} on {host} since {since}",
        path = path.display(), pid = holder.pid, host = holder.host, since = holder.since)]
    Locked {
        /// The locked folder.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// A file of the run state cannot be understood.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file was written by a newer version of this program.
    #[error("{path} has format {found}, this program reads up to {known}", path = path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Format number in the file.
        found: u32,
        /// Newest format number known here.
        known: u32,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } | Error::Full { .. } => ErrorKind::Device,
            Error::Locked { .. } => ErrorKind::Locked,
            Error::Damaged { .. } | Error::NewerFormat { .. } => ErrorKind::Data,
            Error::Name { .. } | Error::Unfinished { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space and run the same command again; finished stages are kept".into())
                }
                io::ErrorKind::FileTooLarge => Some(
                    "raise the limit of the size of files (`ulimit -f`, or that of the disk) and run again"
                        .into(),
                ),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose another folder with --runs-dir or --reports-dir".into())
                }
                _ => None,
            },
            Error::Full { .. } => Some(
                "free some space and run the same command again; it goes on from the last checkpoint".into(),
            ),
            Error::Locked { path, .. } => Some(format!(
                "wait until it ends, use another --runs-dir, or, if that process is certainly gone, delete {}",
                path.join(crate::lock::LOCK_FILE).display()
            )),
            Error::Damaged { path, .. } => {
                Some(format!("delete {} and run again", path.parent().unwrap_or(path).display()))
            }
            Error::NewerFormat { .. } => Some("use the newer version of dash-nas".into()),
            Error::Name { .. } | Error::Unfinished { .. } => None,
        }
    }
}
