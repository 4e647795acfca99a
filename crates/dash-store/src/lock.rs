//! Locks of run folders: one process at a time works on a run.
//!
//! Only `flock` on the lock file decides whether a folder is in use. The text in the file is for people; a process that is
//! gone, another host name, another PID namespace or an equal process number do not matter.

use crate::{
    Error,
    clock::now_utc,
    disk::disk,
    holder::Holder,
    plain::{open_own, open_unshared, read_at_most},
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata},
    io::{Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

/// Name of the lock file in a locked folder.
pub(crate) const LOCK_FILE: &str = ".lock";

/// [`Lock::holder`] holds the lock for a moment. A lock is in use only if it is held for this number of tries.
const GLANCES: u32 = 20;
const GLANCE: Duration = Duration::from_millis(5);

/// The largest size of a holder's text, in bytes.
const TEXT: u64 = 4096;

/// Device and inode of the lock files that this process holds.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// The exclusive right to write into a folder, released on drop. Readers do not need it.
///
/// The lock file is emptied on release but never deleted. If somebody else deletes it, the next process creates and locks
/// another one; [`Lock::still_mine`] detects that.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    id: (u64, u64),
}

/// The outcome of an attempt to take a lock.
enum Try {
    Taken(Lock),
    Busy(Holder),
    /// The path names another file now.
    Moved,
}

/// How [`Lock::wait`] waits.
pub struct Patience<'a> {
    /// It gives up after this time without a sign of progress of the holder.
    pub limit: Duration,
    /// A sign of progress: a value that changes while the holder works, such as [`last_change`](crate::last_change) of a
    /// folder.
    pub sign: &'a dyn Fn() -> Option<std::time::SystemTime>,
    /// Called at the start and every `report_every` with the holder and the time waited so far.
    pub report: &'a dyn Fn(&Holder, Duration),
    /// Time between two calls of `report`.
    pub report_every: Duration,
}

impl Lock {
    /// Takes the lock of `dir`. A missing folder is created.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it, [`Error::HeldHere`] if this process does, under this or another path;
    /// [`Error::NotPlain`] if the lock file is a link or not a plain file, [`Error::NoLocks`] if the file system has no
    /// locks.
    pub fn acquire(dir: &Path) -> Result<Lock, Error> {
        let mut holder = Holder::unknown();
        for glance in 0..GLANCES {
            if glance > 0 {
                sleep(GLANCE);
            }
            match Lock::attempt(dir)? {
                Try::Taken(lock) => return Ok(lock),
                Try::Busy(found) => holder = found,
                Try::Moved => {}
            }
        }
        Err(Error::Locked { path: dir.to_owned(), holder })
    }

    /// Waits for the lock of `dir` and takes it. It gives up if the holder shows no sign of progress.
    ///
    /// # Errors
    /// Those of [`Lock::acquire`].
    pub fn wait(dir: &Path, patience: &Patience<'_>) -> Result<Lock, Error> {
        let begun = Instant::now();
        let (mut sign, mut seen, mut reported) = ((patience.sign)(), begun, None::<Instant>);
        loop {
            let holder = match Lock::acquire(dir) {
                Err(Error::Locked { holder, .. }) => holder,
                other => return other,
            };
            let now = (patience.sign)();
            if now != sign {
                (sign, seen) = (now, Instant::now());
            }
            if seen.elapsed() >= patience.limit {
                return Err(Error::Locked { path: dir.to_owned(), holder });
            }
            if reported.is_none_or(|last| last.elapsed() >= patience.report_every) {
                (patience.report)(&holder, begun.elapsed());
                reported = Some(Instant::now());
            }
            sleep(GLANCE * GLANCES);
        }
    }

    fn attempt(dir: &Path) -> Result<Try, Error> {
        disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let path = dir.join(LOCK_FILE);
        let mut file =
            open_unshared(File::options().create(true).truncate(false).read(true).write(true), &path)?;
        let id = id(&file.metadata().map_err(Error::io("inspect", &path))?);
        // Held until the lock is registered: otherwise other threads would take this process for another one.
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&id) {
            return Err(Error::HeldHere { path: dir.to_owned() });
        }
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive, &path)? {
            return Ok(Try::Busy(Holder::of(&file, &path)));
        }
        if fs::symlink_metadata(&path).map(|now| self::id(&now)).ok() != Some(id) {
            return Ok(Try::Moved);
        }
        held.insert(id);
        drop(held);
        // If this fails, others cannot see who holds the lock.
        if let Ok(me) = serde_json::to_vec(&Holder::this_process()) {
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&me));
        }
        Ok(Try::Taken(Lock { file, path, id }))
    }

    /// The current holder of the lock of `dir`, if there is one.
    ///
    /// # Errors
    /// If the lock file is not a plain file, cannot be opened, or is on a file system without locks.
    pub fn holder(dir: &Path) -> Result<Option<Holder>, Error> {
        let path = dir.join(LOCK_FILE);
        let file = match open_own(File::options().read(true), &path) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = id(&file.metadata().map_err(Error::io("inspect", &path))?);
        let own = HELD.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
        // A shared lock, so that two readers do not block each other; an exclusive one needs a writable file on NFS.
        if !own && try_lock(&file, FlockOperation::NonBlockingLockShared, &path)? {
            return Ok(None);
        }
        Ok(Some(Holder { own, ..Holder::of(&file, &path) }))
    }

    /// Checks that the lock file, and so the folder, is still the one that was locked. To be called before results are
    /// published.
    ///
    /// # Errors
    /// [`Error::LockLost`].
    pub fn still_mine(&self) -> Result<(), Error> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if id(&found) == self.id => Ok(()),
            _ => Err(Error::LockLost { path: self.path.clone() }),
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, a stale text remains, which has no effect.
        let _ = self.file.set_len(0);
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Tries to take the lock; `false` if another process holds it.
fn try_lock(file: &File, operation: FlockOperation, path: &Path) -> Result<bool, Error> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            Err(Error::NoLocks { path: path.to_owned() })
        }
        Err(source) => Err(Error::Io { action: "lock", path: path.to_owned(), source: source.into() }),
    }
}

impl Holder {
    fn this_process() -> Holder {
        Holder { pid: std::process::id(), host: this_host(), since: now_utc(), own: true }
    }

    fn unknown() -> Holder {
        Holder { pid: 0, host: "an unknown host".into(), since: "an unknown time".into(), own: false }
    }

    /// The holder that a lock file names; its text is not trusted.
    fn of(file: &File, path: &Path) -> Holder {
        let text = file.try_clone().map_err(Error::io("read", path)).and_then(|mut file| {
            file.rewind().map_err(Error::io("read", path))?;
            read_at_most(file, path, TEXT)
        });
        let holder: Option<Holder> = text.ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(holder) = holder else { return Holder::unknown() };
        Holder { host: printable(&holder.host), since: printable(&holder.since), ..holder }
    }
}

/// Untrusted text, safe to show on a terminal.
fn printable(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

pub(crate) fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
