//! Opens plain files only. A FIFO could block for ever and a device never end; a link could redirect a write to
//! another file.

use crate::Error;
use rustix::fs::OFlags;
use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// The largest size of a JSON file of the run state, in bytes: far more than any has, far less than memory.
pub const STATE_LIMIT: u64 = 256 << 20;

/// Opens a plain file for reading. Links are followed, since raw files and finished results may be links. Everything else
/// is refused immediately, without waiting for the other end of a FIFO.
///
/// # Errors
/// [`Error::NotPlain`], or [`Error::Io`] if it cannot be opened; see [`Error::is_missing`].
pub fn open_plain(path: &Path) -> Result<File, Error> {
    open(File::options().read(true), OFlags::empty(), path)
}

/// The content of a plain file of at most `limit` bytes, opened as by [`open_plain`].
///
/// # Errors
/// Those of [`open_plain`], and [`Error::TooLarge`].
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    read_at_most(open_plain(path)?, path, limit)
}

/// Opens a plain file for writing, without following links.
pub(crate) fn open_own(options: &mut OpenOptions, path: &Path) -> Result<File, Error> {
    open(options, OFlags::NOFOLLOW, path)
}

/// As [`open_own`], and refuses a file with other names (hard links), since writing would change them too.
pub(crate) fn open_unshared(options: &mut OpenOptions, path: &Path) -> Result<File, Error> {
    let file = open_own(options, path)?;
    match file.metadata().map_err(Error::io("inspect", path))?.nlink() {
        0 | 1 => Ok(file),
        _ => Err(Error::NotPlain { path: path.to_owned(), what: "a file that has other names (hard links)" }),
    }
}

pub(crate) fn read_at_most(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    match bytes.len() as u64 > limit {
        true => Err(Error::TooLarge { path: path.to_owned(), limit }),
        false => Ok(bytes),
    }
}

/// Opens without blocking, and checks the opened file instead of the path, which might name another file meanwhile.
fn open(options: &mut OpenOptions, flags: OFlags, path: &Path) -> Result<File, Error> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let refused = |kind: FileType| Error::NotPlain { path: path.to_owned(), what: name(kind) };
    let file = match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(source) => {
            // The error code depends on whether it is a link, a FIFO without a reader, a socket or a folder.
            let nofollow = flags.contains(OFlags::NOFOLLOW);
            let found = if nofollow { fs::symlink_metadata(path) } else { fs::metadata(path) };
            return Err(match found {
                Ok(found) if !found.is_file() => refused(found.file_type()),
                _ => Error::Io { action: "open", path: path.to_owned(), source },
            });
        }
    };
    let kind = file.metadata().map_err(Error::io("inspect", path))?.file_type();
    if kind.is_file() { Ok(file) } else { Err(refused(kind)) }
}

fn name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

impl Error {
    /// Whether the error is that a file or folder does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};
    use std::os::unix::fs::symlink;

    pub(crate) fn fifo(path: &Path) {
        mknodat(CWD, path, Kind::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }

    fn refusal(result: Result<impl Sized, Error>) -> &'static str {
        match result {
            Err(Error::NotPlain { what, .. }) => what,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened"),
        }
    }

    #[test]
    fn special_files_are_refused_at_once_and_links_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fifo(&at("fifo"));
        symlink("fifo", at("link-to-fifo")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, what) in [
            ("fifo", "a FIFO"),
            ("link-to-fifo", "a FIFO"),
            ("zero", "a device"),
            ("socket", "a socket"),
            (".", "a folder"),
        ] {
            assert_eq!(refusal(open_plain(&at(name))), what);
            assert_eq!(refusal(crate::sha256_file(&at(name))), what);
            assert_eq!(refusal(read_small(&at(name), 10)), what);
        }
        crate::publish_file(&at("file"), b"text").unwrap();
        symlink("file", at("link")).unwrap();
        assert_eq!(read_small(&at("link"), 4).unwrap(), b"text");
        assert!(matches!(read_small(&at("link"), 3), Err(Error::TooLarge { limit: 3, .. })));
        assert!(open_plain(&at("none")).unwrap_err().is_missing());
    }

    #[test]
    fn nothing_is_appended_through_links_or_to_special_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        crate::publish_file(&at("file"), b"text").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        fifo(&at("fifo"));
        fifo(&at("read"));
        let _reader = File::options().read(true).write(true).open(at("read")).unwrap();
        for (name, what) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("null", "a symbolic link"),
            ("fifo", "a FIFO"),
            ("read", "a FIFO"),
            (".", "a folder"),
        ] {
            assert_eq!(refusal(crate::append(&at(name))), what, "{name}");
        }
        assert!(!at("nowhere").exists());
        crate::append(&at("file")).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"text");
    }
}
