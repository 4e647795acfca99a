//! Raises and checks the limit on open files. A run keeps one file open for its lock.

use crate::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of files that a stage opens besides the locks, such as datasets and tables.
const RESERVE: u64 = 64;

/// Raises the soft limit on open files to the hard limit. To be called at the start of a program.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If this fails, the old limit still holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Checks that this process may hold `locks` locks.
///
/// # Errors
/// [`Error::Descriptors`].
pub fn require_descriptors(locks: usize) -> Result<(), Error> {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    check(open + RESERVE + locks as u64, getrlimit(Resource::Nofile).current)
}

fn check(needed: u64, limit: Option<u64>) -> Result<(), Error> {
    match limit {
        Some(limit) if needed > limit => Err(Error::Descriptors { needed, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::error::{Classify, ErrorKind};

    #[test]
    fn more_locks_than_descriptors_are_refused_with_a_hint() {
        require_descriptors(1).unwrap();
        check(10, Some(10)).unwrap();
        check(u64::MAX, None).unwrap();
        let error = check(1100, Some(1024)).unwrap_err();
        assert_eq!(error.to_string(), "1100 files must be open at once, but this process may open only 1024");
        let met = Error::io("open", "x".as_ref())(rustix::io::Errno::MFILE.into());
        for error in [error, met] {
            assert_eq!(error.kind(), ErrorKind::Device);
            assert!(error.hint().unwrap().contains("ulimit -n"));
        }
    }
}
