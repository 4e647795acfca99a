//! Describes the build of this program, and its conventions: exit codes and signals.

use dash_core::provenance::{Program, UNKNOWN};
use std::sync::LazyLock;

/// Exit codes and signals, printed at the end of the long help.
pub(crate) const CONVENTIONS: &str = "\
Exit codes:
    0  done
    1  internal error
    2  wrong use of the command line
    3  bad or missing pipeline file
    4  bad or missing data
    5  locked by another run
    6  device, memory, disk, or a limit of the system (threads, size of files)
    7  one or more stages failed
   75  stopped at a checkpoint, run again
  130  interrupted

Signals:
  The first SIGINT, SIGTERM or SIGHUP (unless it is ignored, as with nohup)
  asks a training stage to take a checkpoint and stop. A second one, or one
  at any other time, ends the program at once.

With --format json an error is one JSON object on standard error: code,
kind, message, where, hint.";

/// The build of this program, for records of what it makes.
pub(crate) fn program() -> Program {
    // The build script leaves unknown values empty.
    let known = |text: &str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
    Program {
        version: known(env!("CARGO_PKG_VERSION")),
        commit: known(env!("DASH_NAS_COMMIT")),
        dirty: !env!("DASH_NAS_DIRTY").is_empty(),
        rustc: known(env!("DASH_NAS_RUSTC")),
        target: known(env!("DASH_NAS_TARGET")),
        profile: known(env!("DASH_NAS_PROFILE")),
    }
}

/// What `-V` prints.
pub(crate) fn short() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| program().describe());
    &TEXT
}

/// What `--version` prints.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let Program { commit, dirty, rustc, target, profile, .. } = program();
        let changes = if dirty { ", with changes" } else { "" };
        let first = program().describe();
        format!("{first}\ncommit: {commit}{changes}\nrustc: {rustc}\ntarget: {target}\nprofile: {profile}")
    });
    &TEXT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_described() {
        let program = program();
        assert_eq!(program.version, env!("CARGO_PKG_VERSION"));
        assert!(program.rustc.starts_with("rustc 1."), "{program:?}");
        assert!(program.target.contains('-'), "{program:?}");
        // The commit is unknown in an archive without a repository.
        let is_hash = program.commit.len() == 40 && program.commit.chars().all(|c| c.is_ascii_hexdigit());
        assert!(is_hash || (program.commit == UNKNOWN && !program.dirty), "{program:?}");
        assert!(long().starts_with(short()));
    }
}
