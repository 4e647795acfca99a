//! The only module that changes the file system. Tests replace it by a fault-injecting disk with the same trait.
#![allow(clippy::disallowed_methods, reason = "the lint refers other modules to this one")]

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

/// The file-system operations of durable writing.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a folder and its missing parents.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder; an existing one is an error. If a file is returned, the folder is marked as in use while that file
    /// is open.
    fn create_dir(&self, path: &Path) -> io::Result<Option<fs::File>>;
    /// Creates an empty file; an existing one is an error. It is marked as in use while it is open.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file or folder within its file system, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or a folder with its content. It is not an error if nothing is there.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a folder durable (fsync).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The number of free bytes that this process may use on the file system of a folder.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: io::Write + Send {
    /// Makes the written data durable (fsync).
    fn sync(&mut self) -> io::Result<()>;
}

static DISK: RwLock<Option<Arc<dyn Disk>>> = RwLock::new(None);

/// The disk to which this process writes.
pub(crate) fn disk() -> Arc<dyn Disk> {
    let chosen = DISK.read().unwrap_or_else(PoisonError::into_inner);
    chosen.clone().unwrap_or_else(|| Arc::new(LocalDisk))
}

/// Makes the whole process write through `disk`; `None` restores the local file system. It is for tests of whole pipelines
/// with a [`FailingDisk`](crate::FailingDisk); such tests cannot share a process with others.
pub fn write_through(disk: Option<Arc<dyn Disk>>) {
    *DISK.write().unwrap_or_else(PoisonError::into_inner) = disk;
}

/// The local file system.
#[derive(Clone, Copy, Debug)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<Option<fs::File>> {
        fs::create_dir(path)?;
        let dir = fs::File::open(path).map_err(|error| match error.kind() {
            // Another process removed the folder before it was marked.
            io::ErrorKind::NotFound => io::ErrorKind::AlreadyExists.into(),
            _ => error,
        })?;
        mark(&dir, path)?;
        Ok(Some(dir))
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = fs::File::create_new(path)?;
        mark(&file, path)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Windows cannot open a folder for that; a rename is durable there.
        if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl DiskFile for fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Marks the file or folder that was just created at `path` as in use, by a lock that ends with this process. On a file
/// system without locks it does nothing.
///
/// # Errors
/// `AlreadyExists` if a process that cleans up took it meanwhile.
pub(crate) fn mark(file: &fs::File, path: &Path) -> io::Result<()> {
    let taken = || Err(io::ErrorKind::AlreadyExists.into());
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => taken(),
        Err(_) => Ok(()),
        Ok(()) => {
            let (made, now) = (file.metadata()?, fs::symlink_metadata(path));
            let same = now.is_ok_and(|now| (now.dev(), now.ino()) == (made.dev(), made.ino()));
            if same { Ok(()) } else { taken() }
        }
    }
}

/// Marks a folder as in use while the returned file is open; `None` if there is no folder or it cannot be marked.
pub(crate) fn mark_existing(dir: &Path) -> Option<fs::File> {
    let file = open_nofollow(dir).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file)
}

/// Whether a file or folder is in use.
pub(crate) enum Look {
    /// It is not in use, and nobody else can mark it while this file is open.
    Free(fs::File),
    /// It is in use, or it is not accessible.
    Busy,
    /// It cannot be locked, so that nothing is known.
    NoLock,
}

/// Whether the file or folder at `path` is marked as in use.
pub(crate) fn look(path: &Path) -> Look {
    match open_nofollow(path) {
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Look::Free(file),
            Err(Errno::WOULDBLOCK) => Look::Busy,
            Err(_) => Look::NoLock,
        },
        // It belongs to another user, or is gone.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => {
            Look::Busy
        }
        // A link or a socket, which this program does not create.
        Err(_) => Look::NoLock,
    }
}

fn open_nofollow(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
