//! One process at a time on a run.
//!
//! Whether a folder is in use is what `flock` says about its lock file. What stands in the file is for people: a
//! process that is gone, another host name, another PID namespace or an equal process number mean nothing.

use crate::{
    Error,
    clock::now_utc,
    disk::disk,
    plain::{open_own, read_at_most},
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fmt,
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

/// Whoever looks at a lock holds it for a moment ([`Lock::holder`]): the lock is in use if it is so this long.
const GLANCES: u32 = 20;
const GLANCE: Duration = Duration::from_millis(5);

/// More than a holder's text has.
const TEXT: u64 = 4096;

/// Device and inode of the lock files that this process holds.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// Who holds a lock, as far as its file says: for people, not for decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process number in the holder's PID namespace; 0 if the file does not say.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// UTC date and time at which it was taken.
    pub since: String,
    /// Whether it is this process.
    #[serde(skip)]
    pub own: bool,
}

/// The right to write into a folder, released on drop. Readers need none.
///
/// The lock file is never deleted, only emptied. Should somebody else delete it, with the folder or alone, the next
/// process makes another one and holds that: [`Lock::still_mine`].
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    id: (u64, u64),
}

/// What became of a try to take a lock.
enum Try {
    Taken(Lock),
    Busy(Holder),
    /// The path named another file meanwhile.
    Moved,
}

/// How long [`Lock::wait`] waits.
pub struct Patience<'a> {
    /// Time without a sign of work by the holder after which it gives up.
    pub limit: Duration,
    /// Anything that changes while the holder works, such as [`last_change`](crate::last_change) of a folder.
    pub sign: &'a dyn Fn() -> Option<std::time::SystemTime>,
    /// Is told at the beginning, and every `tell_every`, for whom it waits and how long it has.
    pub tell: &'a dyn Fn(&Holder, Duration),
    /// Time between two tellings.
    pub tell_every: Duration,
}

impl Lock {
    /// Takes the lock of `dir`, making the folder if it is missing.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it, [`Error::HeldHere`] if this one does, under this path or
    /// another; [`Error::NotPlain`] if the lock file is a link or no plain file, [`Error::NoLocks`] if the file system
    /// has no locks.
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

    /// Takes the lock of `dir` as soon as nobody else holds it, or gives up when the holder shows no sign of work.
    ///
    /// # Errors
    /// Those of [`Lock::acquire`].
    pub fn wait(dir: &Path, patience: &Patience<'_>) -> Result<Lock, Error> {
        let begun = Instant::now();
        let (mut sign, mut seen, mut told) = ((patience.sign)(), begun, None::<Instant>);
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
            if told.is_none_or(|told| told.elapsed() >= patience.tell_every) {
                (patience.tell)(&holder, begun.elapsed());
                told = Some(Instant::now());
            }
            sleep(GLANCE * GLANCES);
        }
    }

    fn attempt(dir: &Path) -> Result<Try, Error> {
        disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let path = dir.join(LOCK_FILE);
        let mut file = open_own(File::options().create(true).truncate(false).read(true).write(true), &path)?;
        let found = file.metadata().map_err(Error::io("inspect", &path))?;
        if found.nlink() > 1 {
            // Its text would be written into whatever else the file is.
            return Err(Error::NotPlain { path, what: "a file that has other names (hard links)" });
        }
        let id = id(&found);
        // Not between the lock and its entry here: other threads would take this process for another.
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
        // If this fails, others are not told who holds it.
        if let Ok(me) = serde_json::to_vec(&Holder::this_process()) {
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&me));
        }
        Ok(Try::Taken(Lock { file, path, id }))
    }

    /// Who holds the lock of `dir` now, if anybody does.
    ///
    /// # Errors
    /// If that cannot be found out: the lock file is no plain file, cannot be opened, or is on a file system without
    /// locks.
    pub fn holder(dir: &Path) -> Result<Option<Holder>, Error> {
        let path = dir.join(LOCK_FILE);
        let file = match open_own(File::options().read(true), &path) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = id(&file.metadata().map_err(Error::io("inspect", &path))?);
        let own = HELD.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
        // A shared lock: two who look do not see each other, and an exclusive one needs a writable file on NFS.
        if !own && try_lock(&file, FlockOperation::NonBlockingLockShared, &path)? {
            return Ok(None);
        }
        Ok(Some(Holder { own, ..Holder::of(&file, &path) }))
    }

    /// Whether nobody else can hold the lock meanwhile: its file, and so the folder, is the one that was locked. To be
    /// asked before results are published.
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
        // What cannot be emptied is a text that nobody believes.
        let _ = self.file.set_len(0);
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether the lock was free and is held now.
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

    /// What a lock file says, which may be anything.
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

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder { own: true, .. } => write!(f, "this process"),
            Holder { pid: 0, .. } => write!(f, "another process"),
            Holder { pid, host, since, .. } => write!(f, "process {pid} on {host} since {since}"),
        }
    }
}

/// A name from a file as it may be shown on a terminal.
fn printable(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

pub(crate) fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
