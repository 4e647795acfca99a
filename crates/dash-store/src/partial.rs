//! Downloads that continue over several runs of the program.

use crate::{
    Error,
    disk::{disk, parent},
    plain::open_unshared,
};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// An incomplete file: it grows under the name `<name>.part` and is renamed when it is complete. It survives the process
/// and cannot be mistaken for the complete file.
#[derive(Debug)]
pub struct Partial {
    file: File,
    part: PathBuf,
    target: PathBuf,
    length: u64,
}

impl Partial {
    /// Opens the incomplete file of `target`, or creates it and its folder.
    ///
    /// # Errors
    /// If it cannot be opened, is a link or has other names (hard links): writing to it would change another file.
    pub fn open(target: &Path) -> Result<Partial, Error> {
        let dir = parent(target);
        disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let part = Partial::path_of(target);
        let file =
            open_unshared(File::options().create(true).append(true), &part).map_err(|error| match error {
                Error::NotPlain { path, what } => {
                    let source =
                        io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}; remove it"));
                    Error::Io { action: "open", path, source }
                }
                other => other,
            })?;
        let length = file.metadata().map_err(Error::io("read", &part))?.len();
        Ok(Partial { file, part, target: target.to_owned(), length })
    }

    /// Path of the incomplete file of `target`.
    pub fn path_of(target: &Path) -> PathBuf {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        target.with_file_name(name)
    }

    /// Path of the incomplete file.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// The number of bytes so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are no bytes yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The number of free bytes on its disk; `None` if the system does not report it.
    pub fn free(&self) -> Option<u64> {
        disk().free(parent(&self.part)).ok()
    }

    /// Checks that there is space for `bytes` more, before they are requested.
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

    /// Removes all bytes, to start again.
    pub fn clear(&mut self) -> Result<(), Error> {
        if self.length > 0 {
            self.file.set_len(0).map_err(Error::io("write", &self.part))?;
            self.length = 0;
        }
        Ok(())
    }

    /// Makes the file durable and renames it to its target, atomically.
    pub fn publish(self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("write", &self.part))?;
        disk().rename(&self.part, &self.target).map_err(Error::io("rename", &self.part))?;
        let dir = parent(&self.target);
        disk().sync_dir(dir).map_err(Error::io("make durable", dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_without_other_names_are_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (target, other) = (dir.path().join("data.bin"), dir.path().join("precious"));
        let part = Partial::path_of(&target);
        let refused = |expected: &str| {
            let message = Partial::open(&target).unwrap_err().to_string();
            assert!(message.contains("data.bin.part") && message.contains(expected), "{message}");
            crate::remove(&part).unwrap();
        };
        crate::publish_file(&other, b"precious").unwrap();
        std::os::unix::fs::symlink(&other, &part).unwrap();
        refused("it is a symbolic link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &part).unwrap();
        refused("it is a symbolic link");
        assert!(!dir.path().join("nowhere").exists());
        std::fs::hard_link(&other, &part).unwrap();
        refused("hard links");
        crate::plain::tests::fifo(&part);
        refused("a FIFO");
        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn a_file_larger_than_the_free_space_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::open(&dir.path().join("data.bin")).unwrap();
        partial.require(1).unwrap();
        assert!(matches!(partial.require(u64::MAX), Err(Error::Full { .. })));
    }

    #[test]
    fn an_incomplete_file_is_kept_until_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/data.bin");
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

        // A second download starts again and replaces the first.
        let mut partial = Partial::open(&target).unwrap();
        partial.write(b"rubbish").unwrap();
        partial.clear().unwrap();
        partial.write(b"new").unwrap();
        assert_eq!(partial.len(), 3);
        partial.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
