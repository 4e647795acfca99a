//! Files that are read by position. They are not mapped: a file that another process cuts, or a disk that fails,
//! is then an error that can be reported; reading a memory map would end the process.

use crate::Error;
use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// What the system says of a file without reading it. A file whose stamp is the same has not been written to:
/// nobody can set the time of the last change of its inode.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    length: u64,
    /// Modification and change of the inode, in nanoseconds since 1970.
    times: [i128; 2],
    /// Device and number of the inode.
    place: [u64; 2],
    /// Whether the file had been written to so shortly before that another write might leave it the same times,
    /// which systems count in steps of some milliseconds, some of seconds.
    fresh: bool,
}

/// Writes are certain to leave another time if they are so many nanoseconds apart.
const STEP: i128 = 2_500_000_000;

impl Stamp {
    /// Of the file at a path; links are followed.
    pub(crate) fn at(path: &Path) -> Result<Stamp, Error> {
        std::fs::metadata(path).map(|meta| Stamp::of(&meta)).map_err(Error::io(path))
    }

    /// Whether nothing tells the file from that with the stamp `now`.
    pub(crate) fn is_same(&self, now: &Stamp) -> bool {
        (self.length, self.times, self.place) == (now.length, now.times, now.place)
    }

    /// Whether the file, which has the stamp `now` by now, is certainly as it was.
    pub(crate) fn holds(&self, now: &Stamp) -> bool {
        !self.fresh && self.is_same(now)
    }

    fn new(length: u64, times: [i128; 2], place: [u64; 2]) -> Stamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        Stamp { length, times, place, fresh: times.iter().any(|time| now - time < STEP) }
    }

    #[cfg(unix)]
    fn of(meta: &Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let times =
            [nanoseconds(meta.mtime(), meta.mtime_nsec()), nanoseconds(meta.ctime(), meta.ctime_nsec())];
        Stamp::new(meta.len(), times, [meta.dev(), meta.ino()])
    }

    #[cfg(not(unix))]
    fn of(meta: &Metadata) -> Stamp {
        let time = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Stamp::new(meta.len(), [time.map_or(0, |time| time.as_nanos() as i128); 2], [0; 2])
    }
}

/// An open file that is read by position.
#[derive(Debug)]
pub(crate) struct Positioned {
    file: File,
    path: PathBuf,
    /// When it was opened.
    stamp: Stamp,
}

impl Positioned {
    /// Opens a plain file: opening anything else may wait for ever.
    pub(crate) fn open(path: &Path) -> io::Result<Positioned> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not a plain file"));
        }
        let file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        Ok(Positioned { file, path: path.to_owned(), stamp })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.stamp.length
    }

    /// Whether the file may have been written to since it was opened.
    pub(crate) fn is_touched(&self) -> Result<bool, Error> {
        let now = self.file.metadata().map_err(Error::io(&self.path))?;
        Ok(!self.stamp.holds(&Stamp::of(&now)))
    }

    /// Fills `out` from `offset` on.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> Result<(), Error> {
        read_exact_at(&self.file, out, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                let wanted = offset.saturating_add(out.len() as u64);
                Error::altered(
                    &self.path,
                    format!("ends before byte {wanted}: it was cut while it was in use"),
                )
            }
            _ => Error::io(&self.path)(source),
        })
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                out = out.get_mut(read..).unwrap_or_default();
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
