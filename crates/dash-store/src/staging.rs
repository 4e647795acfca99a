//! Publishes folders atomically.

use crate::{
    Error,
    disk::{Disk, DiskFile, disk, mark_existing, parent},
    tidy::{TRIES, is_taken, make_sibling, sibling},
};
use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A folder that is written under a temporary name beside its target and becomes visible by one rename. It is removed if
/// it is dropped without [`Staging::publish`].
#[derive(Debug)]
pub struct Staging {
    disk: Arc<dyn Disk>,
    target: PathBuf,
    temporary: PathBuf,
    unfinished: Arc<AtomicUsize>,
    /// While it is open, nobody takes the temporary folder for an abandoned one.
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
    /// Starts a folder that will appear at `target`. Missing parents are created.
    pub fn begin(target: &Path) -> Result<Staging, Error> {
        Staging::begin_on(disk(), target)
    }

    /// As [`Staging::begin`], on another disk.
    pub fn begin_on(disk: Arc<dyn Disk>, target: &Path) -> Result<Staging, Error> {
        let dir = parent(target);
        disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let (temporary, mark) = make_sibling(target, |path| disk.create_dir(path))?;
        Ok(Staging { disk, target: target.to_owned(), temporary, unfinished: Arc::default(), _mark: mark })
    }

    /// Starts a file. `name` may contain folders, as in `checkpoint/weights.safetensors`.
    pub fn create(&mut self, name: &str) -> Result<StagedFile, Error> {
        let path = self.temporary.join(plain(name)?);
        let dir = parent(&path);
        self.disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let file = self.disk.create_file(&path).map_err(Error::io("create", &path))?;
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Ok(StagedFile { out: BufWriter::new(file), path, unfinished: self.unfinished.clone() })
    }

    /// Writes a file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.create(name)?;
        file.write_all(bytes).map_err(Error::io("write", &file.path))?;
        file.finish()
    }

    /// Checks that there is space for `bytes` more, so that a full disk is reported before hours of work.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn require(&self, bytes: u64) -> Result<(), Error> {
        match self.disk.free(&self.temporary) {
            Ok(free) if free < bytes => Err(Error::Full { path: self.target.clone(), needed: bytes, free }),
            // If the system does not report it, writing will fail.
            _ => Ok(()),
        }
    }

    /// The temporary folder, in which finished files can be read.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// The final path.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the folder durable and visible. A folder that was at the target is moved aside before and removed afterwards. If
    /// the machine stops in between, [`recover`](crate::recover) moves it back.
    pub fn publish(self) -> Result<(), Error> {
        let (old, had_old) = self.replace(None)?;
        if had_old {
            // The new folder is in place; `recover` removes the rest of the old one.
            let _ = self.disk.remove(&old);
        }
        Ok(())
    }

    /// As [`Staging::publish`], but a folder that was at the target is moved to `kept`.
    pub fn publish_keeping(self, kept: &Path) -> Result<(), Error> {
        let dir = parent(kept);
        self.disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        self.replace(Some(kept))?;
        self.disk.sync_dir(dir).map_err(Error::io("make durable", dir))
    }

    /// Renames the folder to its target, and a folder that was there to `kept` or to a temporary name. Returns that path, and
    /// whether there was a folder.
    fn replace(&self, kept: Option<&Path>) -> Result<(PathBuf, bool), Error> {
        let open = self.unfinished.load(Ordering::Relaxed);
        if open > 0 {
            return Err(Error::Unfinished { path: self.target.clone(), open });
        }
        for dir in folders(&self.temporary)? {
            self.disk.sync_dir(&dir).map_err(Error::io("make durable", &dir))?;
        }
        let mut tries = 0..TRIES;
        let (old, had_old) = loop {
            let old = match kept {
                Some(kept) => kept.to_owned(),
                None => sibling(&self.target, "old")?,
            };
            // Marked as in use until its successor is in place.
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
                // Another process published the same folder meanwhile, such as a report that many runs share.
                Err(error) if is_taken(&error) && kept.is_none() && tries.next().is_some() => {
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
        Ok((old, had_old))
    }
}

/// Moves the folder `from` to `target`; a folder that was there moves to `kept`, if that is given. If the machine stops in
/// between, neither folder is lost.
///
/// # Errors
/// If something is at `target` and `kept` is not given, or if the operating system fails.
pub fn exchange(from: &Path, target: &Path, kept: Option<&Path>) -> Result<(), Error> {
    let disk = disk();
    if let Some(kept) = kept {
        let dir = parent(kept);
        disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        disk.rename(target, kept).map_err(Error::io("move aside", target))?;
    }
    disk.rename(from, target).map_err(Error::io("put back", target))?;
    let dirs = [Some(target), Some(from), kept];
    for dir in dirs.into_iter().flatten().map(parent) {
        disk.sync_dir(dir).map_err(Error::io("make durable", dir))?;
    }
    Ok(())
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After `publish` nothing is at this path.
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

/// `name` as a path, if it is relative and without `..`.
pub(crate) fn plain(name: &str) -> Result<&Path, Error> {
    let path = Path::new(name);
    let is_plain = !name.is_empty() && path.components().all(|c| matches!(c, Component::Normal(_)));
    if is_plain { Ok(path) } else { Err(Error::Name { name: name.to_owned() }) }
}

/// The folder and all folders in it.
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
    use crate::{FailingDisk, Fault, recover, recover_shared};

    fn replace(disk: Arc<dyn Disk>, target: &Path) -> Result<(), Error> {
        let mut staging = Staging::begin_on(disk, target)?;
        staging.write("a", b"new")?;
        staging.write("sub/b", b"new")?;
        staging.publish()
    }

    /// "old" or "new" if the folder is completely so, otherwise a description.
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
    fn a_full_disk_is_reported_with_the_space_that_is_needed() {
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
}
