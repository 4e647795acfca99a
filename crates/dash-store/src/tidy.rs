//! Creates temporary names, and cleans up after a crash.

use crate::{
    Error,
    disk::{Look, disk, look, parent},
    lock::{LOCK_FILE, this_host},
};
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// Cleans up a folder after a crash: abandoned temporary folders and files are removed, and a folder that had been moved
/// aside for its successor is moved back. Call it only while holding the folder's lock.
///
/// A process that writes a temporary file or folder holds its lock (`flock`); process numbers and host names do not matter.
pub fn recover(dir: &Path) -> Result<(), Error> {
    tidy(dir, |_, _| true)
}

/// As [`recover`], for a folder that several processes fill without a lock, such as a cache or the reports. Locks of folders
/// may not work across machines, so that folders of other machines are removed only after an hour.
pub fn recover_shared(dir: &Path) -> Result<(), Error> {
    let here = host_tag();
    tidy(dir, |left, path| left.host == here || path.is_file() || is_older(path, FOREIGN))
}

/// Age from which a folder of another host counts as abandoned.
const FOREIGN: Duration = Duration::from_secs(3600);
/// The same on a file system without locks.
const UNLOCKED: Duration = Duration::from_secs(24 * 3600);

fn is_older(path: &Path, age: Duration) -> bool {
    modified(path).is_some_and(|time| time.elapsed().is_ok_and(|found| found >= age))
}

/// The last change of temporary files and folders in `dir`: a sign of progress of the processes that write them.
pub fn last_change(dir: &Path) -> Option<SystemTime> {
    let made = entries(dir).filter(|(name, _)| name.starts_with('.') && name != LOCK_FILE);
    let inside = |path: &Path| entries(path).filter_map(|(_, path)| modified(&path)).max();
    made.flat_map(|(_, path)| [modified(&path), inside(&path)]).flatten().max()
}

fn entries(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|found| found.modified()).ok()
}

fn tidy(dir: &Path, abandoned: impl Fn(&Leftover<'_>, &Path) -> bool) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Io { action: "list", path: dir.to_owned(), source }),
    };
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", dir))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let Some(left) = Leftover::parse(&name).filter(|left| abandoned(left, &path)) else { continue };
        // Held until it is removed: a process that has just created it sees that and takes another name.
        let _held = match look(&path) {
            Look::Free(held) => Some(held),
            Look::NoLock if is_older(&path, UNLOCKED) => None,
            Look::Busy | Look::NoLock => continue,
        };
        let home = dir.join(left.original);
        if left.role == "old" && !home.exists() {
            match disk().rename(&path, &home) {
                Err(error) if is_taken(&error) => {}
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Io { action: "put back", path: home, source });
                }
                _ => continue,
            }
        }
        disk().remove(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// `.NAME.dash-HOST-PID-N-RANDOM.ROLE` beside `path`: hidden, recognisable, and unique although host names and process
/// numbers repeat in containers.
pub(crate) fn sibling(path: &Path, role: &str) -> Result<PathBuf, Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::Name { name: path.display().to_string() })?;
    let (host, pid) = (host_tag(), std::process::id());
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Hashers of the standard library have random keys.
    let random = RandomState::new().hash_one((pid, number, SystemTime::now()));
    Ok(parent(path).join(format!(".{name}.dash-{host}-{pid}-{number}-{random:016x}.{role}")))
}

/// Creates something beside `path` under an unused name.
pub(crate) fn make_sibling<T>(
    path: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> Result<(PathBuf, T), Error> {
    let mut tries = 0..TRIES;
    loop {
        let temporary = sibling(path, "new")?;
        match make(&temporary) {
            Ok(made) => return Ok((temporary, made)),
            // This also happens if another process removed it before it was marked as in use.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries.next().is_some() => {}
            Err(source) => return Err(Error::Io { action: "create", path: temporary, source }),
        }
    }
}

/// The number of retries when another process was faster.
pub(crate) const TRIES: usize = 10;

/// The host name as a part of a file name.
fn host_tag() -> String {
    this_host().chars().filter(char::is_ascii_alphanumeric).take(40).collect()
}

/// The parts of a name made by [`sibling`].
struct Leftover<'a> {
    original: &'a str,
    host: &'a str,
    role: &'a str,
}

impl<'a> Leftover<'a> {
    fn parse(name: &'a str) -> Option<Leftover<'a>> {
        let (rest, role) = name.strip_prefix('.')?.rsplit_once('.')?;
        let (original, tag) = rest.rsplit_once(".dash-")?;
        let mut parts = tag.split('-');
        let (host, pid, number) = (parts.next()?, parts.next()?, parts.next()?);
        let numbers = pid.parse::<u32>().is_ok() && number.parse::<u64>().is_ok();
        // Earlier versions had no random part.
        let random = parts.next().is_none_or(|digits| u64::from_str_radix(digits, 16).is_ok());
        let ours = matches!(role, "new" | "old") && numbers && random && parts.next().is_none();
        ours.then_some(Leftover { original, host, role })
    }
}

/// Whether a rename failed because its target exists.
pub(crate) fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Staging, disk::mark_existing};
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn recovery_touches_only_its_own_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".hidden", ".x.new", ".x.dash-h-1-2.neu", "notes.dash-h-1-2.new", ".x.dash-h-1-2-z.new"]
        {
            crate::publish_file(&dir.path().join(name), b"x").unwrap();
        }
        recover(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
        recover(&dir.path().join("missing")).unwrap();
    }

    /// Sets the modification time to `age` ago.
    fn age(path: &Path, age: Duration) {
        let file = fs::File::open(path).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(SystemTime::now() - age)).unwrap();
    }

    #[test]
    fn files_in_use_are_kept_and_abandoned_ones_are_removed_whatever_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: String| dir.path().join(name);
        // Names of this process, of a living one, and of an earlier version.
        let (here, me, parent) = (host_tag(), std::process::id(), std::os::unix::process::parent_id());
        let left = [
            format!(".a.dash-{here}-{me}-0-00000000000000ff.new"),
            format!(".b.dash-{here}-{parent}-0.new"),
            format!(".c.dash-other1-{me}-0.new"),
        ];
        let foreign = at(format!(".d.dash-other1-{me}-0.new"));
        for recovery in [recover_shared, recover] {
            for name in &left {
                crate::publish_file(&at(name.clone()), b"x").unwrap();
            }
            disk().create_dirs(&foreign).unwrap();
            let staging = Staging::begin(&at("target".into())).unwrap();
            recovery(dir.path()).unwrap();
            assert!(staging.path().exists());
            assert!(left.iter().all(|name| !at(name.clone()).exists()));
            staging.publish().unwrap();
            crate::remove(&at("target".into())).unwrap();
        }
        assert!(!foreign.exists());
        // Locks of folders may not work across machines, so that the age decides.
        fs::create_dir(&foreign).unwrap();
        recover_shared(dir.path()).unwrap();
        assert!(foreign.exists());
        age(&foreign, FOREIGN);
        recover_shared(dir.path()).unwrap();
        assert!(!foreign.exists());
    }

    #[test]
    fn files_are_marked_as_in_use_until_they_are_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cache");
        crate::publish_with(&file, |out| {
            recover_shared(dir.path()).map_err(io::Error::other)?;
            out.write_all(b"whole")
        })
        .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"whole");
        // A process that cleans up cannot take it between its creation and the mark.
        let name = dir.path().join(".x.dash-h-1-1.new");
        crate::publish_file(&name, b"x").unwrap();
        let Look::Free(held) = look(&name) else { panic!("in use") };
        assert!(crate::disk::mark(&fs::File::open(&name).unwrap(), &name).is_err());
        drop(held);
        let open = fs::File::open(&name).unwrap();
        crate::remove(&name).unwrap();
        assert!(crate::disk::mark(&open, &name).is_err());
    }

    #[test]
    fn a_folder_moved_aside_is_not_moved_back_while_its_successor_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join(".x.dash-h-1-1.old");
        fs::create_dir(&old).unwrap();
        let mark = mark_existing(&old);
        recover_shared(dir.path()).unwrap();
        assert!(old.exists());
        drop(mark);
        age(&old, FOREIGN);
        recover_shared(dir.path()).unwrap();
        assert!(dir.path().join("x").exists() && !old.exists());
    }

    #[test]
    fn a_name_that_is_taken_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let tries = AtomicUsize::new(0);
        let (path, ()) =
            make_sibling(&dir.path().join("x"), |_| match tries.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(io::ErrorKind::AlreadyExists.into()),
                _ => Ok(()),
            })
            .unwrap();
        assert_eq!(tries.into_inner(), 4);
        assert!(Leftover::parse(path.file_name().unwrap().to_str().unwrap()).is_some());
        let never = make_sibling(&path, |_| Err::<(), _>(io::ErrorKind::AlreadyExists.into()));
        assert!(matches!(never, Err(Error::Io { .. })));
    }

    #[test]
    fn a_sign_of_work_is_what_was_changed_last() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_change(dir.path()), None);
        crate::publish_file(&dir.path().join(".lock"), b"x").unwrap();
        crate::publish_file(&dir.path().join("0/stage.json"), b"x").unwrap();
        assert_eq!(last_change(dir.path()), None);
        let mut staging = Staging::begin(&dir.path().join("dataset")).unwrap();
        staging.write("train.parquet", b"x").unwrap();
        let file = staging.path().join("train.parquet");
        let future = SystemTime::now() + FOREIGN;
        fs::File::open(&file).unwrap().set_times(fs::FileTimes::new().set_modified(future)).unwrap();
        assert_eq!(last_change(dir.path()), modified(&file));
    }
}
