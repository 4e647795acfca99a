//! Which program made a result.

use serde::{Deserialize, Serialize};

/// Stands for what the build could not tell, such as the commit of a program that was built from an
/// archive without a repository.
pub const UNKNOWN: &str = "unknown";

/// The build of the program: what is needed to build it again. The binary makes the value (its build
/// script asks git and the compiler), and hands it to the crates that write records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Version of the package, such as `0.1.0`.
    pub version: String,
    /// Full hash of the commit that was built, or [`UNKNOWN`].
    pub commit: String,
    /// Whether source files differed from that commit; `false` if the commit is unknown.
    pub dirty: bool,
    /// What the compiler calls itself, such as `rustc 1.89.0 (29483883e 2025-08-04)`, or [`UNKNOWN`].
    pub rustc: String,
    /// Target triple, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Cargo's profile: `release` or `debug`.
    pub profile: String,
}

impl Program {
    /// Version and commit in one line: `0.1.0 (e0c543b4d1c2)`, with `+changes` behind the hash of a commit
    /// that does not hold all of the source.
    pub fn describe(&self) -> String {
        let short = self.commit.get(..12).unwrap_or(&self.commit);
        let changes = if self.dirty { "+changes" } else { "" };
        format!("{} ({short}{changes})", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(commit: &str, dirty: bool) -> Program {
        let text = str::to_owned;
        Program {
            version: text("1.2.3"),
            commit: text(commit),
            dirty,
            rustc: text("rustc 1.89.0"),
            target: text("x86_64-unknown-linux-gnu"),
            profile: text("release"),
        }
    }

    #[test]
    fn a_program_is_described_by_version_and_commit() {
        let hash = "e0c543b4d1c2aaaabbbbccccddddeeeeffff0000";
        assert_eq!(program(hash, false).describe(), "1.2.3 (e0c543b4d1c2)");
        assert_eq!(program(hash, true).describe(), "1.2.3 (e0c543b4d1c2+changes)");
        assert_eq!(program(UNKNOWN, false).describe(), "1.2.3 (unknown)");
    }

    #[test]
    fn a_program_survives_json() {
        let program = program(UNKNOWN, false);
        let text = serde_json::to_string(&program).unwrap();
        assert_eq!(serde_json::from_str::<Program>(&text).unwrap(), program);
    }
}
