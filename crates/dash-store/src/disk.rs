//! The one place that changes the file system. Tests put a failing twin behind the same trait.
#![allow(clippy::disallowed_methods, reason = "this is the module that the lint sends others to")]

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

/// The file-system operations that durable writing is made of.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder and its missing parents.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;
    /// Makes a new folder; an existing one is an error. As long as the file that is returned is open, if there is
    /// one, it is marked as in use.
    fn create_dir(&self, path: &Path) -> io::Result<Option<fs::File>>;
    /// Makes a new empty file; an existing one is an error. It is marked as in use as long as it is open.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Moves a file or folder within its file system, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or a folder with all that is in it; a missing one is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that this process may still write to the file system of a folder.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: io::Write + Send {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

static DISK: RwLock<Option<Arc<dyn Disk>>> = RwLock::new(None);

/// The file system that this process writes to.
pub(crate) fn disk() -> Arc<dyn Disk> {
    let chosen = DISK.read().unwrap_or_else(PoisonError::into_inner);
    chosen.clone().unwrap_or_else(|| Arc::new(LocalDisk))
}

/// From now on all that this process publishes goes through `disk`; `None` is the machine's own file system
/// again. For tests of whole pipelines: see [`FailingDisk`](crate::FailingDisk).
pub fn write_through(disk: Option<Arc<dyn Disk>>) {
    *DISK.write().unwrap_or_else(PoisonError::into_inner) = disk;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<Option<fs::File>> {
        fs::create_dir(path)?;
        let dir = fs::File::open(path).map_err(|error| match error.kind() {
            // Whoever tidies was quicker than the mark.
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
        // Windows has no handle to a folder's entries; there a rename is durable by itself.
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

/// Marks what was just made at `path` as in use, by a lock that ends with this process; nothing is marked where
/// the file system has no locks.
///
/// # Errors
/// `AlreadyExists` if somebody who tidies has taken it meanwhile.
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

/// Marks a folder as in use as long as the file is open; `None` if that cannot be done, or there is none.
pub(crate) fn mark_existing(dir: &Path) -> Option<fs::File> {
    let file = open_nofollow(dir).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file)
}

/// Whether somebody makes a file or folder.
pub(crate) enum Look {
    /// Nobody does, nor can begin to as long as this is open.
    Free(fs::File),
    /// Somebody does, or it cannot be looked at.
    Busy,
    /// It has no lock that could tell.
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
        // Of others, or gone.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => {
            Look::Busy
        }
        // A link, a socket: nothing that this program makes.
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
