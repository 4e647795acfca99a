//! Single files, published whole.

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

/// Puts a file in its place in one step: written beside it, made durable, renamed.
pub fn publish_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    publish_with(path, |out| out.write_all(bytes))
}

/// The same for content that is produced piece by piece; if `write` fails, the old file stays.
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
        // Open until it has its name: nobody takes it for one that was left behind.
        disk.rename(&temporary, path)
    })();
    if let Err(source) = published {
        // The first failure is the one to report.
        let _ = disk.remove(&temporary);
        return Err(Error::Io { action: "write", path: path.to_owned(), source });
    }
    disk.sync_dir(dir).map_err(Error::io("make durable", dir))
}

/// Removes a file or a folder with all that is in it; a missing one is no error.
pub fn remove(path: &Path) -> Result<(), Error> {
    disk().remove(path).map_err(Error::io("remove", path))
}

/// Opens a log that grows line by line, such as the events of a run, making its folder. This is
/// the one kind of file that is not published whole: readers must expect a torn last line.
///
/// # Errors
/// [`Error::NotPlain`] for links and special files: what is appended would go elsewhere, or nowhere.
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
