//! A large file that comes in parts, over several runs of the program if need be.

use crate::{
    Error,
    disk::{disk, parent},
};
use std::{
    fs::File,
    io::Write,
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
    /// Opens what is there of `target`, or begins it, making its folder.
    pub fn open(target: &Path) -> Result<Partial, Error> {
        let dir = parent(target);
        disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
        let part = Partial::path_of(target);
        let opened = File::options().create(true).append(true).open(&part);
        let file = opened.map_err(Error::io("open", &part))?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
