//! What can go wrong with files.

use crate::lock::Holder;
use dash_core::error::{Classify, ErrorKind};
use rustix::io::Errno;
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
    #[error("{path} is in use by {holder}", path = path.display())]
    Locked {
        /// The locked folder.
        path: PathBuf,
        /// Who holds it, as far as is known.
        holder: Holder,
    },
    /// This process works on this folder already, perhaps under another path.
    #[error("this process uses {path} already", path = path.display())]
    HeldHere {
        /// The folder that was to be locked.
        path: PathBuf,
    },
    /// A lock file was removed or replaced while this process held it.
    #[error("{path} was removed or replaced while it was locked", path = path.display())]
    LockLost {
        /// The lock file.
        path: PathBuf,
    },
    /// A file system has no locks.
    #[error("{path} cannot be locked: its file system has no locks (flock)", path = path.display())]
    NoLocks {
        /// The lock file.
        path: PathBuf,
    },
    /// A path leads to something else than a plain file, or to a link where none is followed.
    #[error("{path} is {what}, not a plain file", path = path.display())]
    NotPlain {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A file is larger than any of its kind can be.
    #[error("{path} has more than {limit} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that it may have.
        limit: u64,
    },
    /// More files would be open at once than this process may have.
    #[error("{needed} files must be open at once, this process may have {limit}")]
    Descriptors {
        /// How many are needed.
        needed: u64,
        /// The soft limit.
        limit: u64,
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
    /// What is wrong, for messages that name the file themselves.
    pub fn reason(&self) -> String {
        match self {
            Error::Io { source, .. } => source.to_string(),
            Error::NotPlain { what, .. } => format!("is {what}, not a plain file"),
            Error::TooLarge { limit, .. } => format!("has more than {limit} bytes"),
            Error::Damaged { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { .. } | Error::Full { .. } | Error::NoLocks { .. } | Error::Descriptors { .. } => {
                ErrorKind::Device
            }
            Error::Locked { .. } | Error::HeldHere { .. } | Error::LockLost { .. } => ErrorKind::Locked,
            Error::Damaged { .. }
            | Error::NewerFormat { .. }
            | Error::NotPlain { .. }
            | Error::TooLarge { .. } => ErrorKind::Data,
            Error::Name { .. } | Error::Unfinished { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Io { source, .. } if is_of_descriptors(source) => Some(DESCRIPTORS_HINT.into()),
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
            Error::Locked { .. } => Some("wait until it ends, or use another folder".into()),
            Error::HeldHere { .. } => {
                Some("two names lead to one folder: look for links among the folders of the runs".into())
            }
            Error::LockLost { .. } => {
                Some("another process may work there now; run the same command again when none does".into())
            }
            Error::NoLocks { .. } => Some(
                "use a folder on another file system, or have it mounted with locks (NFS: with a lock service; Lustre: \
                 with `-o flock`)"
                    .into(),
            ),
            Error::NotPlain { path, .. } => {
                Some(format!("remove {}, or choose another file, and run again", path.display()))
            }
            Error::Descriptors { .. } => Some(DESCRIPTORS_HINT.into()),
            Error::Damaged { path, .. } | Error::TooLarge { path, .. } => {
                Some(format!("delete {} and run again", path.parent().unwrap_or(path).display()))
            }
            Error::NewerFormat { .. } => Some("use the newer version of dash-nas".into()),
            Error::Name { .. } | Error::Unfinished { .. } => None,
        }
    }
}

const DESCRIPTORS_HINT: &str = "raise the limit (`ulimit -n`), or run fewer pipelines and seeds at once";

/// Whether the process or the system has too many files open.
fn is_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}
