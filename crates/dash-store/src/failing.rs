//! A fault-injecting disk for tests.
#![allow(clippy::disallowed_methods, reason = "it damages files deliberately")]

use crate::disk::{Disk, DiskFile, LocalDisk};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The fault at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with an I/O error; later operations succeed.
    Failure,
    /// The operation fails because the disk is full, a write after half of its bytes; later operations succeed.
    Full,
    /// The process is killed: this operation and all later ones have no effect, except that a write stores half of its
    /// bytes.
    Kill,
    /// The machine loses power: as [`Fault::Kill`], and files that were not synced lose half of their bytes.
    PowerLoss,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 4] = [Fault::Failure, Fault::Full, Fault::Kill, Fault::PowerLoss];
}

/// A disk that works as [`LocalDisk`] until operation number `at`, counted from 0, has a [`Fault`].
#[derive(Clone, Debug)]
pub struct FailingDisk {
    fault: Fault,
    at: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    done: usize,
    /// Files with data that was not synced.
    unsynced: BTreeSet<PathBuf>,
}

impl FailingDisk {
    /// A disk with a `fault` at operation `at`.
    pub fn new(fault: Fault, at: usize) -> FailingDisk {
        FailingDisk { fault, at, state: Arc::default() }
    }

    /// The number of operations so far. The fault has occurred if it is greater than `at`.
    pub fn operations(&self) -> usize {
        self.lock().done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation; fails if it is the chosen one, or if the process was killed.
    fn step(&self) -> io::Result<()> {
        let mut state = self.lock();
        let number = state.done;
        state.done += 1;
        let dead = matches!(self.fault, Fault::Kill | Fault::PowerLoss);
        if number < self.at || (number > self.at && !dead) {
            return Ok(());
        }
        if number == self.at && self.fault == Fault::PowerLoss {
            for path in std::mem::take(&mut state.unsynced) {
                let file = fs::File::options().write(true).open(&path);
                // It may have been removed meanwhile.
                if let Ok(file) = file {
                    file.set_len(file.metadata()?.len() / 2)?;
                }
            }
        }
        Err(match self.fault {
            Fault::Full => io::ErrorKind::StorageFull.into(),
            _ => io::Error::other("injected failure"),
        })
    }

    fn fails_now(&self) -> bool {
        self.lock().done == self.at
    }
}

struct FailingFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    disk: FailingDisk,
}

impl Write for FailingFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let half = if self.disk.fault != Fault::Failure && self.disk.fails_now() { buf.len() / 2 } else { 0 };
        self.file.write_all(buf.get(..half).unwrap_or_default())?;
        self.disk.lock().unsynced.insert(self.path.clone());
        self.disk.step()?;
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for FailingFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.step()?;
        self.file.sync()?;
        self.disk.lock().unsynced.remove(&self.path);
        Ok(())
    }
}

impl Disk for FailingDisk {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.create_dirs(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<Option<fs::File>> {
        self.step()?;
        LocalDisk.create_dir(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.step()?;
        let file = LocalDisk.create_file(path)?;
        Ok(Box::new(FailingFile { file, path: path.to_owned(), disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.rename(from, to)?;
        let mut state = self.lock();
        let moved = std::mem::take(&mut state.unsynced).into_iter();
        state.unsynced = moved
            .map(|path| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or_else(|_| path.clone()))
            .collect();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.sync_dir(path)
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        LocalDisk.free(path)
    }
}
