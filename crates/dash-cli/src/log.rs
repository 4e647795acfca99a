//! Files that records are appended to during a run: events, and the scalars of TensorBoard.
//!
//! A record is written with one system call, so that processes that read the file, or append to it, see whole records. A
//! full disk does not end the run: records wait until there is space, and a record that was written in part is
//! continued.

use std::{
    collections::VecDeque,
    fs::{File, Metadata, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Limit of the size of waiting records in bytes; further records are dropped.
const WAITING_LIMIT: usize = 4 << 20;

/// How records are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    /// Each record is a line; other processes may append lines too.
    Lines,
    /// Records follow each other without a separator; no other process writes to the file.
    Bytes,
}

/// A file that is appended to.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    records: Records,
    /// Records that are not written yet, or of the first not all.
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first one that are written.
    begun: usize,
    /// Length of the file after them.
    end: u64,
    /// Size of all waiting records in bytes.
    size: usize,
    /// Number of dropped records.
    lost: usize,
    /// Whether a failure was reported.
    reported: bool,
}

/// Records are missing in a file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot write {path}: {reason}; {missing} records of it are missing", path = path.display())]
pub(crate) struct LogFailure {
    pub(crate) path: PathBuf,
    pub(crate) missing: usize,
    pub(crate) reason: String,
}

impl Log {
    /// Appends records to `file`, which was opened for appending at `path`.
    pub(crate) fn new(path: &Path, file: File, records: Records) -> Log {
        let waiting = VecDeque::new();
        Log { path: path.into(), file, records, waiting, begun: 0, end: 0, size: 0, lost: 0, reported: false }
    }

    /// Appends waiting records and this one; a line is passed without its line break. Returns the first failure, so that
    /// it can be reported at once.
    pub(crate) fn append(&mut self, mut record: Vec<u8>) -> Option<LogFailure> {
        if self.records == Records::Lines {
            record.push(b'\n');
        }
        match self.size + record.len() <= WAITING_LIMIT {
            true => {
                self.size += record.len();
                self.waiting.push_back(record);
            }
            false => self.lost += 1,
        }
        let source = self.flush().err()?;
        (!std::mem::replace(&mut self.reported, true)).then(|| self.failure(source))
    }

    /// Tries once more to write waiting records.
    ///
    /// # Errors
    /// If records are missing in the file.
    pub(crate) fn finish(mut self) -> Result<(), LogFailure> {
        match self.flush() {
            Err(source) => Err(self.failure(source)),
            Ok(()) if self.lost > 0 => Err(self.failure(io::ErrorKind::StorageFull.into())),
            Ok(()) => Ok(()),
        }
    }

    fn failure(&self, source: io::Error) -> LogFailure {
        let missing = self.waiting.len() + self.lost;
        LogFailure { path: self.path.clone(), missing, reason: source.to_string() }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let locked = self.records == Records::Lines && lock(&self.file);
        let written = self.write_waiting();
        if locked {
            // Closing the file would release it, too.
            let _ = self.file.unlock();
        }
        written
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        while let Some(record) = self.waiting.front() {
            let metadata = self.file.metadata()?;
            // If another process has appended to the partial record, it remains as a line of its own.
            if self.begun > 0 && metadata.is_file() && metadata.len() != self.end {
                self.begun = 0;
            }
            let rest = record.get(self.begun..).unwrap_or_default();
            let inside = self.begun == 0
                && self.records == Records::Lines
                && is_inside_line(&self.path, &metadata).unwrap_or(false);
            let written = match inside {
                true => self.file.write(&[b"\n", rest].concat()).map(|n| n.saturating_sub(1)),
                false => self.file.write(rest),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(written) if written >= rest.len() => {
                    self.size -= record.len();
                    self.begun = 0;
                    self.waiting.pop_front();
                }
                Ok(0) if !inside => return Err(io::ErrorKind::WriteZero.into()),
                // The next write returns the reason.
                Ok(written) => {
                    self.begun += written;
                    self.end = self.file.metadata()?.len();
                }
            }
        }
        Ok(())
    }
}

/// Locks a file against other processes that append to it, so that they do not see a part of a record: a write that
/// crosses a page boundary becomes visible in two steps. Returns whether it is locked; a process that is suspended while
/// it holds the lock delays others, and does not block them.
fn lock(file: &File) -> bool {
    for _ in 0..100 {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            // A file system without locks.
            Err(TryLockError::Error(_)) => return false,
        }
    }
    false
}

/// Whether the last line of a file has no line break, as a process leaves it that is killed while it writes. False if the
/// file is not a regular file.
fn is_inside_line(path: &Path, written: &Metadata) -> io::Result<bool> {
    if !written.is_file() || written.len() == 0 {
        return Ok(false);
    }
    // Checked before it is opened: opening a pipe with the same name would wait for a writer.
    if !is_same(&std::fs::metadata(path)?, written) {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Whether both are the same file: the path may have been replaced.
#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    a.is_file() && a.len() == b.len()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests leave half-written files on purpose")]
mod tests {
    use super::*;
    use std::fs;

    fn log(path: &Path, records: Records) -> Log {
        Log::new(path, File::options().append(true).create(true).open(path).unwrap(), records)
    }

    #[test]
    fn a_line_that_a_killed_process_left_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        fs::write(&path, "{\"half").unwrap();
        let mut lines = log(&path, Records::Lines);
        assert!(lines.append(b"{}".to_vec()).is_none());
        assert!(lines.append(b"[]".to_vec()).is_none());
        lines.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n[]\n");
    }

    #[test]
    fn lines_of_several_processes_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let mut lines = log(&path, Records::Lines);
                scope.spawn(move || {
                    for number in 0..200 {
                        assert!(lines.append(format!("[{writer},{number}]").into_bytes()).is_none());
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 800);
        assert!(text.lines().all(|line| line.starts_with('[') && line.ends_with(']')), "{text}");
    }

    #[test]
    fn a_partial_record_is_continued_or_becomes_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        for other in [false, true] {
            let path = dir.path().join(format!("events-{other}"));
            let mut lines = log(&path, Records::Lines);
            // As after a short write: four bytes of the record are in the file.
            lines.file.write_all(b"{\"a\"").unwrap();
            lines.waiting.push_back(b"{\"a\":1}\n".to_vec());
            (lines.begun, lines.end, lines.size) = (4, 4, 8);
            if other {
                fs::write(&path, "{\"a\"\n{\"b\":2}\n").unwrap();
            }
            assert!(lines.append(b"{\"c\":3}".to_vec()).is_none());
            let expected = match other {
                false => "{\"a\":1}\n{\"c\":3}\n",
                true => "{\"a\"\n{\"b\":2}\n{\"a\":1}\n{\"c\":3}\n",
            };
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            lines.finish().unwrap();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_reported_once_and_at_the_end() {
        let mut lines = log(Path::new("/dev/full"), Records::Lines);
        let first = lines.append(b"1".to_vec()).unwrap();
        assert!(first.to_string().starts_with("cannot write /dev/full: No space left"), "{first}");
        assert!(lines.append(b"2".to_vec()).is_none());
        assert!(lines.append(vec![b'3'; 2 * WAITING_LIMIT]).is_none());
        assert_eq!(lines.finish().unwrap_err().missing, 3);
    }
}
