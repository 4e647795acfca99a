//! Describes what can go wrong with files.

use crate::holder::Holder;
use dash_core::error::{Classify, ErrorKind};
use rustix::io::Errno;
use std::{io, path::PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// The operation, as a verb: "write", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// There is not enough free space for the next file.
    #[error("{path} needs {needed} bytes, but only {free} are free", path = path.display())]
    Full {
        /// The file or folder to be written.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A name is not a plain relative path, or leaves its folder.
    #[error("{name:?} is not a plain relative file name")]
    Name {
        /// The name as given.
        name: String,
    },
    /// A folder was published before all of its files were finished.
    #[error("{path} was published while {open} of its files were unfinished", path = path.display())]
    Unfinished {
        /// The final path of the folder.
        path: PathBuf,
        /// The number of files without `finish`.
        open: usize,
    },
    /// Another process works in this folder.
    #[error("{path} is in use by {holder}", path = path.display())]
    Locked {
        /// The locked folder.
        path: PathBuf,
        /// The holder, as far as it is known.
        holder: Holder,
    },
    /// This process already works in this folder, perhaps under another path.
    #[error("this process already uses {path}", path = path.display())]
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
    /// The file system has no locks.
    #[error("{path} cannot be locked: its file system has no locks (flock)", path = path.display())]
    NoLocks {
        /// The lock file.
        path: PathBuf,
    },
    /// A path is not a plain file, or is a link where links are not followed.
    #[error("{path} is {what}, not a plain file", path = path.display())]
    NotPlain {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// A file is larger than allowed.
    #[error("{path} has more than {limit} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest allowed size in bytes.
        limit: u64,
    },
    /// More files would have to be open at once than this process may open.
    #[error("{needed} files must be open at once, but this process may open only {limit}")]
    Descriptors {
        /// The number of open files that is needed.
        needed: u64,
        /// The limit of the process.
        limit: u64,
    },
    /// A file of the run state is damaged.
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
        /// The format of the file.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
}

impl Error {
    /// The reason without the path, for messages that name the file themselves.
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
                    "raise the limit on file sizes (`ulimit -f`, or that of the disk) and run the same command again"
                        .into(),
                ),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose another folder with --runs-dir or --reports-dir".into())
                }
                _ => None,
            },
            Error::Full { .. } => Some(
                "free some space and run the same command again; it resumes from the last checkpoint".into(),
            ),
            Error::Locked { .. } => Some("wait until it is finished, or use another folder".into()),
            Error::HeldHere { .. } => {
                Some("two paths lead to the same folder: check the run folders for links".into())
            }
            Error::LockLost { .. } => {
                Some("another process may work there now; run the same command again when it is finished".into())
            }
            Error::NoLocks { .. } => Some(
                "use a folder on another file system, or mount this one with locks (NFS: with a lock service; Lustre: with \
                 `-o flock`)"
                    .into(),
            ),
            Error::NotPlain { path, .. } => {
                Some(format!("remove {} or choose another file, then run the same command again", path.display()))
            }
            Error::Descriptors { .. } => Some(DESCRIPTORS_HINT.into()),
            Error::Damaged { path, .. } | Error::TooLarge { path, .. } => {
                Some(format!("delete {} and run the same command again", path.parent().unwrap_or(path).display()))
            }
            Error::NewerFormat { .. } => Some("use a newer version of dash-nas".into()),
            Error::Name { .. } | Error::Unfinished { .. } => None,
        }
    }
}

const DESCRIPTORS_HINT: &str =
    "raise the limit on open files (`ulimit -n`), or run fewer pipelines and seeds at once";

/// Whether the limit on open files of the process or the system is reached.
fn is_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}
