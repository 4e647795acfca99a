//! Publishes single files atomically.

use crate::{
    Error,
    disk::{Disk, disk, parent},
    plain::open_own,
    tidy::make_sibling,
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

/// Writes a file atomically: under a temporary name beside `path`, made durable, then renamed.
pub fn publish_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    publish_with(path, |out| out.write_all(bytes))
}

/// As [`publish_file`], for content that `write` produces piece by piece. If it fails, the old file is unchanged.
pub fn publish_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    publish_on(&*disk(), path, write)
}

pub(crate) fn publish_on(
    disk: &dyn Disk,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let dir = parent(path);
    disk.create_dirs(dir).map_err(Error::io("make the folder", dir))?;
    let (temporary, file) = make_sibling(path, |temporary| disk.create_file(temporary))?;
    let published = (|| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync()?;
        // It stays open until it is renamed, so that nobody takes it for an abandoned file.
        disk.rename(&temporary, path)
    })();
    if let Err(source) = published {
        // The first error is the one to report.
        let _ = disk.remove(&temporary);
        return Err(Error::Io { action: "write", path: path.to_owned(), source });
    }
    disk.sync_dir(dir).map_err(Error::io("make durable", dir))
}

/// Removes a file, or a folder with its content. It is not an error if nothing is there.
pub fn remove(path: &Path) -> Result<(), Error> {
    disk().remove(path).map_err(Error::io("remove", path))
}

/// Opens a log for appending, such as the events of a run; the file and its folder are created if missing. Logs are not
/// published atomically: readers must expect an incomplete last line.
///
/// # Errors
/// [`Error::NotPlain`] for links and special files.
pub fn append(path: &Path) -> Result<File, Error> {
    let dir = parent(path);
    disk().create_dirs(dir).map_err(Error::io("make the folder", dir))?;
    open_own(File::options().create(true).append(true), path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_failing_writer_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/file");
        publish_file(&path, b"old").unwrap();
        let failed = publish_with(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.unwrap_err().to_string().contains("no more"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn publishing_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        publish_file(&path, b"old").unwrap();
        publish_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
