//! A large file that comes in parts, over several runs of the program if need be.

use crate::{
    Error,
    disk::{disk, parent},
};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file that grows under another name, `<name>.part`, and gets its own when it is whole. What came so
/// far survives the process; nobody takes it for the file.
#[derive(Debug)]
pub struct Partial {
    file: File,
    part: PathBuf,
    target: PathBuf,
    length: u64,
}

impl Partial {
    /// Opens what is there of `target`, or begins it, making its folder. Links are not followed, and only a plain
    /// file without a second name is taken: writing to anything else would change what belongs to others.
    pub fn open(target: &Path) -> Result<Partial, Error> {
        let dir = parent(target);
        disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let part = Partial::path_of(target);
        let file = open_plain(&part).map_err(Error::io("open", &part))?;
        let length = file.metadata().map_err(Error::io("read", &part))?.len();
        Ok(Partial { file, part, target: target.to_owned(), length })
    }

    /// Where the parts of `target` are collected.
    pub fn path_of(target: &Path) -> PathBuf {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        target.with_file_name(name)
    }

    /// Where the parts are collected.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that may still be written to its disk; `None` where the system does not tell.
    pub fn free(&self) -> Option<u64> {
        disk().free(parent(&self.part)).ok()
    }

    /// Checks that there is room for `bytes` more, before they are asked for.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn require(&self, bytes: u64) -> Result<(), Error> {
        match self.free() {
            Some(free) if free < bytes => Err(Error::Full { path: self.part.clone(), needed: bytes, free }),
            _ => Ok(()),
        }
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.part))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Drops what is there, to begin anew.
    pub fn clear(&mut self) -> Result<(), Error> {
        if self.length > 0 {
            self.file.set_len(0).map_err(Error::io("write", &self.part))?;
            self.length = 0;
        }
        Ok(())
    }

    /// Gives the file its name, in one step, after it was made durable.
    pub fn publish(self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("write", &self.part))?;
        disk().rename(&self.part, &self.target).map_err(Error::io("rename", &self.part))?;
        let dir = parent(&self.target);
        disk().sync_dir(dir).map_err(Error::io("make durable", dir))
    }
}

/// Opens a file for appending, or makes it, if it is plain and has no other name.
fn open_plain(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe without a reader is an error then, and not waited for.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    let refused = |problem: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    let file = match options.open(path) {
        Err(_) if path.is_symlink() => return refused("it is a link, which is not followed; remove it"),
        opened => opened?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return refused("it is no plain file; remove it");
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&meta) > 1 {
        return refused("it is another file's second name (a hard link); remove it");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_plain_files_without_other_names_are_written_to() {
        let place = tempfile::tempdir().unwrap();
        let (target, other) = (place.path().join("data.bin"), place.path().join("precious"));
        let part = Partial::path_of(&target);
        let refused = |expected: &str| {
            let message = Partial::open(&target).unwrap_err().to_string();
            assert!(message.contains("data.bin.part") && message.contains(expected), "{message}");
            crate::remove(&part).unwrap();
        };
        crate::publish_file(&other, b"precious").unwrap();
        std::os::unix::fs::symlink(&other, &part).unwrap();
        refused("it is a link");
        std::os::unix::fs::symlink(place.path().join("nowhere"), &part).unwrap();
        refused("it is a link");
        assert!(!place.path().join("nowhere").exists());
        std::fs::hard_link(&other, &part).unwrap();
        refused("second name");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &part,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        refused("");
        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn more_than_the_disk_has_is_not_begun() {
        let place = tempfile::tempdir().unwrap();
        let partial = Partial::open(&place.path().join("data.bin")).unwrap();
        partial.require(1).unwrap();
        assert!(matches!(partial.require(u64::MAX), Err(Error::Full { .. })));
    }

    #[test]
    fn parts_are_kept_until_the_file_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("deep/data.bin");
        let mut partial = Partial::open(&target).unwrap();
        assert!(partial.is_empty());
        partial.write(b"one ").unwrap();
        drop(partial);
        assert!(!target.exists());
        let mut partial = Partial::open(&target).unwrap();
        assert_eq!((partial.len(), partial.path()), (4, target.with_file_name("data.bin.part").as_path()));
        partial.write(b"two").unwrap();
        partial.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"one two");
        assert!(!Partial::path_of(&target).exists());

        // Another begins anew and replaces the first.
        let mut partial = Partial::open(&target).unwrap();
        partial.write(b"rubbish").unwrap();
        partial.clear().unwrap();
        partial.write(b"new").unwrap();
        assert_eq!(partial.len(), 3);
        partial.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
