//! Folders that become visible by one rename.

use crate::{
    Error,
    disk::{Disk, DiskFile, Look, disk, look, mark_existing, parent},
    lock::this_host,
};
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{self, BufWriter, Write},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

/// A folder being made beside its final place; dropped without [`Staging::publish`], it is
/// removed.
#[derive(Debug)]
pub struct Staging {
    disk: Arc<dyn Disk>,
    target: PathBuf,
    temporary: PathBuf,
    unfinished: Arc<AtomicUsize>,
    /// While it is open, nobody takes the temporary folder for one that was left behind.
    _mark: Option<fs::File>,
}

/// A file of a [`Staging`], buffered. [`StagedFile::finish`] makes it durable; a folder with
/// unfinished files cannot be published.
pub struct StagedFile {
    out: BufWriter<Box<dyn DiskFile>>,
    path: PathBuf,
    unfinished: Arc<AtomicUsize>,
}

impl Staging {
    /// Starts a folder that will appear at `target`; missing parents are made.
    pub fn begin(target: &Path) -> Result<Staging, Error> {
        Staging::begin_on(disk(), target)
    }

    /// The same on another file system.
    pub fn begin_on(disk: Arc<dyn Disk>, target: &Path) -> Result<Staging, Error> {
        let dir = parent(target);
        disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let (temporary, mark) = make_sibling(target, |path| disk.create_dir(path))?;
        Ok(Staging { disk, target: target.to_owned(), temporary, unfinished: Arc::default(), _mark: mark })
    }

    /// Starts a file; `name` may contain sub-folders, `checkpoint/weights.safetensors`.
    pub fn create(&mut self, name: &str) -> Result<StagedFile, Error> {
        let path = self.temporary.join(plain(name)?);
        let dir = parent(&path);
        self.disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let file = self.disk.create_file(&path).map_err(Error::io("create", &path))?;
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Ok(StagedFile { out: BufWriter::new(file), path, unfinished: self.unfinished.clone() })
    }

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.create(name)?;
        file.write_all(bytes).map_err(Error::io("write", &file.path))?;
        file.finish()
    }

    /// Checks that there is room for `bytes` more, so that a full disk is told before hours of work or a long
    /// write, with the room that is needed.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn require(&self, bytes: u64) -> Result<(), Error> {
        match self.disk.free(&self.temporary) {
            Ok(free) if free < bytes => Err(Error::Full { path: self.target.clone(), needed: bytes, free }),
            // Where the system does not tell, writing will.
            _ => Ok(()),
        }
    }

    /// The temporary folder, for readers of files that are already finished.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// The final place.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the folder durable and visible. A folder that was at the target is moved aside
    /// first and removed after; should the machine stop in between, [`recover`] puts it back.
    pub fn publish(self) -> Result<(), Error> {
        let open = self.unfinished.load(Ordering::Relaxed);
        if open > 0 {
            return Err(Error::Unfinished { path: self.target.clone(), open });
        }
        for dir in folders(&self.temporary)? {
            self.disk.sync_dir(&dir).map_err(Error::io("make durable", &dir))?;
        }
        let mut tries = 0..TRIES;
        let (old, had_old) = loop {
            let old = sibling(&self.target, "old")?;
            // It is in use until its successor is there.
            let _mark = mark_existing(&self.target);
            let had_old = match self.disk.rename(&self.target, &old) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(source) => {
                    return Err(Error::Io { action: "move aside", path: self.target.clone(), source });
                }
            };
            match self.disk.rename(&self.temporary, &self.target) {
                Ok(()) => break (old, had_old),
                // Another process published the same meanwhile, such as a report that many runs share.
                Err(error) if is_taken(&error) && tries.next().is_some() => {
                    if had_old {
                        let _ = self.disk.remove(&old);
                    }
                }
                Err(source) => {
                    if had_old {
                        let _ = self.disk.rename(&old, &self.target);
                    }
                    return Err(Error::Io { action: "publish", path: self.target.clone(), source });
                }
            }
        };
        let dir = parent(&self.target);
        self.disk.sync_dir(dir).map_err(Error::io("make durable", dir))?;
        if had_old {
            // The new folder is in place; what is left of the old one is `recover`'s to remove.
            let _ = self.disk.remove(&old);
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `publish` there is nothing at this path any more.
        let _ = self.disk.remove(&self.temporary);
    }
}

impl StagedFile {
    /// Flushes the file and makes it durable.
    pub fn finish(self) -> Result<(), Error> {
        let StagedFile { out, path, unfinished } = self;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|mut file| file.sync())
            .map_err(Error::io("write", &path))?;
        unfinished.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Write for StagedFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Tidies a folder after a crash: half-made folders and files in it that nobody makes any more are removed, and one
/// that had been moved aside for its successor is put back. Call it only while holding the folder's lock.
///
/// Whoever makes something holds its lock (`flock`), so that a process number or host name means nothing here.
pub fn recover(dir: &Path) -> Result<(), Error> {
    tidy(dir, |_, _| true)
}

/// The same for a folder that several processes fill without a lock, such as a cache or the reports. Locks of folders
/// may not reach other machines: what these left is removed after an hour.
pub fn recover_shared(dir: &Path) -> Result<(), Error> {
    let here = host_tag();
    tidy(dir, |left, path| left.host == here || path.is_file() || is_older(path, FOREIGN))
}

/// Age of a folder of another host that nobody makes any more.
const FOREIGN: Duration = Duration::from_secs(3600);
/// The same where the file system has no locks.
const UNLOCKED: Duration = Duration::from_secs(24 * 3600);

fn is_older(path: &Path, age: Duration) -> bool {
    modified(path).is_some_and(|time| time.elapsed().is_ok_and(|found| found >= age))
}

/// When something that processes are making in `dir` was changed last: a sign that whoever makes it works.
pub fn last_change(dir: &Path) -> Option<SystemTime> {
    let made = entries(dir).filter(|(name, _)| name.starts_with('.') && name != crate::lock::LOCK_FILE);
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
        // Held until it is gone: whoever has just begun to make it sees that, and takes another name.
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

/// `.NAME.dash-HOST-PID-N-RANDOM.ROLE` beside `path`: hidden, unique (a host name and a process number are used
/// again by the next container), and told from other files later.
pub(crate) fn sibling(path: &Path, role: &str) -> Result<PathBuf, Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::Name { name: path.display().to_string() })?;
    let (host, pid) = (host_tag(), std::process::id());
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // The standard library's hashers have keys from the system's random numbers.
    let random = RandomState::new().hash_one((pid, number, SystemTime::now()));
    Ok(parent(path).join(format!(".{name}.dash-{host}-{pid}-{number}-{random:016x}.{role}")))
}

/// Makes something new beside `path` under a name that nobody has.
pub(crate) fn make_sibling<T>(
    path: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> Result<(PathBuf, T), Error> {
    let mut tries = 0..TRIES;
    loop {
        let temporary = sibling(path, "new")?;
        match make(&temporary) {
            Ok(made) => return Ok((temporary, made)),
            // Also if somebody tidied it away before it was marked as in use.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries.next().is_some() => {}
            Err(source) => return Err(Error::Io { action: "create", path: temporary, source }),
        }
    }
}

/// How often something is tried again that another process came before.
const TRIES: usize = 10;

/// The host's name as a part of a file name.
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

/// Whether something is at the target of a renaming that cannot be replaced by it.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

/// A relative path without `..`, root or drive.
fn plain(name: &str) -> Result<&Path, Error> {
    let path = Path::new(name);
    let fine = !name.is_empty() && path.components().all(|c| matches!(c, Component::Normal(_)));
    if fine { Ok(path) } else { Err(Error::Name { name: name.to_owned() }) }
}

/// The folder and its sub-folders.
fn folders(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let entry = entry.map_err(Error::io("list", &dir))?;
            if entry.file_type().map_err(Error::io("inspect", &dir))?.is_dir() {
                found.push(entry.path());
            }
        }
        next += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailingDisk, Fault};

    fn replace(disk: Arc<dyn Disk>, target: &Path) -> Result<(), Error> {
        let mut staging = Staging::begin_on(disk, target)?;
        staging.write("a", b"new")?;
        staging.write("sub/b", b"new")?;
        staging.publish()
    }

    /// "old" or "new" if the folder is wholly that, otherwise what was found.
    fn state(target: &Path) -> String {
        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap_or_default();
        match (read("a").as_str(), read("sub/b").as_str()) {
            (a, b) if a == b => a.to_owned(),
            (a, b) => format!("torn: {a} {b}"),
        }
    }

    #[test]
    fn a_failure_at_any_operation_leaves_the_old_or_the_new_folder_whole() {
        for fault in Fault::ALL {
            let mut outcomes = [0, 0];
            for at in 0.. {
                let dir = tempfile::tempdir().unwrap();
                let target = dir.path().join("stage");
                let mut old = Staging::begin(&target).unwrap();
                old.write("a", b"old").unwrap();
                old.write("sub/b", b"old").unwrap();
                old.publish().unwrap();

                let failing = FailingDisk::new(fault, at);
                let result = replace(Arc::new(failing.clone()), &target);
                recover(dir.path()).unwrap();
                let found = state(&target);
                assert!(found == "old" || found == "new", "{fault:?} at {at}: {found}");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "litter after {fault:?} at {at}");
                outcomes[usize::from(found == "new")] += 1;
                if failing.operations() <= at {
                    assert!(result.is_ok() && found == "new");
                    break;
                }
            }
            assert!(outcomes[0] >= 10 && outcomes[1] >= 1, "{fault:?}: {outcomes:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_with_the_room_that_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::begin(&dir.path().join("stage")).unwrap();
        staging.require(1).unwrap();
        let error = staging.require(u64::MAX).unwrap_err();
        let Error::Full { needed, free, .. } = error else { panic!("{error}") };
        assert!(needed == u64::MAX && free > 0 && free < needed);
        assert!(error.to_string().contains("needs 18446744073709551615 bytes"), "{error}");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = Staging::begin(&dir.path().join("stage")).unwrap();
        for name in ["", "../x", "/etc/x", "a/../../x"] {
            assert!(matches!(staging.write(name, b"x"), Err(Error::Name { .. })), "{name}");
        }
        assert!(matches!(Staging::begin(Path::new("/")), Err(Error::Name { .. })));
    }

    #[test]
    fn unfinished_files_prevent_publication() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("stage");
        let mut staging = Staging::begin(&target).unwrap();
        let file = staging.create("a").unwrap();
        drop(file);
        assert!(matches!(staging.publish(), Err(Error::Unfinished { open: 1, .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dropped_staging_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = Staging::begin(&dir.path().join("stage")).unwrap();
        staging.write("a", b"x").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

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

    /// As long ago as `age`.
    fn age(path: &Path, age: Duration) {
        let file = fs::File::open(path).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(SystemTime::now() - age)).unwrap();
    }

    #[test]
    fn what_is_being_made_is_kept_and_what_was_left_is_removed_whatever_its_name_says() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: String| dir.path().join(name);
        // Names as of this very process, of a living one, and of an earlier version.
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
        // Locks of folders may not reach other machines, so that time decides.
        fs::create_dir(&foreign).unwrap();
        recover_shared(dir.path()).unwrap();
        assert!(foreign.exists());
        age(&foreign, FOREIGN);
        recover_shared(dir.path()).unwrap();
        assert!(!foreign.exists());
    }

    #[test]
    fn files_are_marked_as_in_use_until_they_have_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cache");
        crate::publish_with(&file, |out| {
            recover_shared(dir.path()).map_err(io::Error::other)?;
            out.write_all(b"whole")
        })
        .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"whole");
        // Nobody who tidies can have it between its making and the mark.
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
    fn a_folder_moved_aside_is_not_put_back_while_its_successor_comes() {
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
    fn many_that_publish_one_folder_at_once_all_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("report");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        replace(disk(), &target).unwrap();
                        recover_shared(dir.path()).unwrap();
                    }
                });
            }
        });
        recover(dir.path()).unwrap();
        assert_eq!(state(&target), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
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
