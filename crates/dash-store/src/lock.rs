//! One process at a time on a run.

use crate::{Error, disk::disk, now_utc};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, test_kill_process},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Name of the lock file in a locked folder.
pub(crate) const LOCK_FILE: &str = ".lock";

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process number.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// UTC date and time at which it was taken.
    pub since: String,
    /// When the process started, in ticks after boot, where the system tells: numbers of
    /// processes are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
}

/// The right to write into a folder, released on drop. Readers need none.
///
/// The lock file is never deleted, only emptied: a file that disappears under another process's
/// hands would give two holders.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of `dir`, making the folder if it is missing. A lock whose process is gone
    /// is taken over.
    pub fn acquire(dir: &Path) -> Result<Lock, Error> {
        disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let path = dir.join(LOCK_FILE);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let mut text = String::new();
        // A torn holder is that of a process which died while writing it.
        let _ = file.read_to_string(&mut text);
        let holder: Option<Holder> = serde_json::from_str(&text).ok();
        match holder {
            Some(holder) if !free || holder.may_live() => {
                return Err(Error::Locked { path: dir.to_owned(), holder });
            }
            None if !free => {
                let holder =
                    Holder { pid: 0, host: "an unknown host".into(), since: "now".into(), started: None };
                return Err(Error::Locked { path: dir.to_owned(), holder });
            }
            _ => {}
        }
        let me = serde_json::to_string(&Holder::this_process())
            .map_err(|e| Error::Damaged { path: path.clone(), reason: e.to_string() })?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(me.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &path))?;
        Ok(Lock { file, path })
    }

    /// Who holds the lock of `dir` now, if anybody does.
    pub fn holder(dir: &Path) -> Option<Holder> {
        let text = std::fs::read_to_string(dir.join(LOCK_FILE)).ok()?;
        serde_json::from_str::<Holder>(&text).ok().filter(Holder::is_live)
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails the next process finds our number and sees that we are gone.
        let _ = self.file.set_len(0);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Holder {
    fn this_process() -> Holder {
        let pid = std::process::id();
        Holder { pid, host: this_host(), since: now_utc(), started: start_ticks(pid) }
    }

    fn is_live(&self) -> bool {
        if self.host != this_host() {
            return true; // cannot be asked: believe the file
        }
        process_exists(self.pid) && (self.started.is_none() || self.started == start_ticks(self.pid))
    }

    /// Whether somebody else may still hold the lock although `flock` gave it to us: on file
    /// systems where `flock` has no effect beyond this host, or none at all.
    fn may_live(&self) -> bool {
        self.is_live() && (self.pid != std::process::id() || self.host != this_host())
    }
}

/// Whether this host has a process of this number, anybody's.
pub(crate) fn process_exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

pub(crate) fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Field 22 of `/proc/PID/stat`; it follows the command name, which may contain anything but is
/// the last thing in parentheses. A zombie counts as gone.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_holder(dir: &Path, holder: &Holder) {
        crate::publish_file(&dir.join(LOCK_FILE), &serde_json::to_vec(holder).unwrap()).unwrap();
    }

    #[test]
    fn the_second_is_told_who_and_may_come_in_later() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("runs/x/0");
        let lock = Lock::acquire(&run).unwrap();
        let Err(Error::Locked { holder, .. }) = Lock::acquire(&run) else { panic!("two holders") };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(Lock::holder(&run), Some(holder));
        drop(lock);
        assert_eq!(Lock::holder(&run), None);
        Lock::acquire(&run).unwrap();
    }

    #[test]
    fn a_dead_process_loses_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let me = Holder::this_process();
        // Our parent's number with another start: the number was used again.
        let parent = std::os::unix::process::parent_id();
        if me.started.is_some() {
            write_holder(dir.path(), &Holder { pid: parent, started: Some(u64::MAX), ..me.clone() });
            drop(Lock::acquire(dir.path()).unwrap());
        }
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        write_holder(dir.path(), &Holder { pid, started: Some(1), ..me });
        Lock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_live_process_and_another_host_are_believed_without_flock() {
        let dir = tempfile::tempdir().unwrap();
        let me = Holder::this_process();
        let elsewhere = Holder { host: "elsewhere".into(), ..me.clone() };
        let parent = std::os::unix::process::parent_id();
        let neighbour = Holder { pid: parent, started: start_ticks(parent), ..me };
        for holder in [elsewhere, neighbour] {
            write_holder(dir.path(), &holder);
            assert!(matches!(Lock::acquire(dir.path()), Err(Error::Locked { holder: h, .. }) if h == holder));
        }
    }

    #[test]
    fn a_torn_lock_file_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        crate::publish_file(&dir.path().join(LOCK_FILE), b"{\"pid\": 12").unwrap();
        Lock::acquire(dir.path()).unwrap();
    }
}
