//! Open files: a run holds one for its lock as long as it is at work.

use crate::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a stage at work has open besides the locks: datasets, tables, threads' own.
const BESIDES: u64 = 64;

/// Lets this process have as many files open as the system allows it: the soft limit becomes the hard one. For
/// the beginning of a program.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If it is refused, what was allowed before still is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Checks, before anything is made, that this process may hold so many locks.
///
/// # Errors
/// [`Error::Descriptors`].
pub fn require_descriptors(locks: usize) -> Result<(), Error> {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    check(open + BESIDES + locks as u64, getrlimit(Resource::Nofile).current)
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
    fn more_locks_than_descriptors_are_refused_with_what_to_do() {
        require_descriptors(1).unwrap();
        check(10, Some(10)).unwrap();
        check(u64::MAX, None).unwrap();
        let error = check(1100, Some(1024)).unwrap_err();
        assert_eq!(error.to_string(), "1100 files must be open at once, this process may have 1024");
        let met = Error::io("open", "x".as_ref())(rustix::io::Errno::MFILE.into());
        for error in [error, met] {
            assert_eq!(error.kind(), ErrorKind::Device);
            assert!(error.hint().unwrap().contains("ulimit -n"));
        }
    }
}
