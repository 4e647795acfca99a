//! The one place that changes the file system. Tests put a failing twin behind the same trait.
#![allow(clippy::disallowed_methods, reason = "this is the module that the lint sends others to")]

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

/// The file-system operations that durable writing is made of.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder and its missing parents.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;
    /// Makes a new empty file; an existing one is an error.
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
    chosen.clone().unwrap_or_else(|| Arc::new(Local))
}

/// From now on all that this process publishes goes through `disk`; `None` is the machine's own file system
/// again. For tests of whole pipelines: see [`FailingDisk`](crate::FailingDisk).
pub fn write_through(disk: Option<Arc<dyn Disk>>) {
    *DISK.write().unwrap_or_else(PoisonError::into_inner) = disk;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl Disk for Local {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(fs::File::create_new(path)?))
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

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
