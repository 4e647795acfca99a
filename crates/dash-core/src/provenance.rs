//! Provenance of a result: the program, the machine, and how the stage was run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The value of a property that the build could not determine, such as the commit of a program that was built from an
/// archive without a repository.
pub const UNKNOWN: &str = "unknown";

/// The build of the program: what is needed to build it again. The binary's build script determines it with git and the
/// compiler, and the binary passes it to the crates that write records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// Version of the package, such as `0.1.0`.
    pub version: String,
    /// Full hash of the commit that was built, or [`UNKNOWN`].
    pub commit: String,
    /// Whether source files differed from that commit; `false` if the commit is unknown.
    pub dirty: bool,
    /// Version of the compiler, such as `rustc 1.89.0 (29483883e 2025-08-04)`, or [`UNKNOWN`].
    pub rustc: String,
    /// Target triple, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Cargo's profile: `release` or `debug`.
    pub profile: String,
}

impl Program {
    /// Version and commit in one line: `0.1.0 (e0c543b4d1c2)`. `+changes` after the hash marks uncommitted changes.
    pub fn describe(&self) -> String {
        let short = self.commit.get(..12).unwrap_or(&self.commit);
        let changes = if self.dirty { "+changes" } else { "" };
        format!("{} ({short}{changes})", self.version)
    }
}

/// An unknown program, as in tests.
impl Default for Program {
    fn default() -> Self {
        let unknown = || UNKNOWN.to_owned();
        Program {
            version: unknown(),
            commit: unknown(),
            dirty: false,
            rustc: unknown(),
            target: unknown(),
            profile: unknown(),
        }
    }
}

/// How a stage was run. None of it changes a result on the CPU; it helps to find out why two results differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The program that finished the stage.
    pub program: Program,
    /// The instruction set of the CPU code: `avx512`, `avx2` or `scalar`.
    pub instruction_set: String,
    /// Device of the tensors, such as `cpu` or `cuda:0`.
    pub device: String,
    /// Model name of the device.
    pub device_name: String,
    /// Number of threads.
    pub threads: usize,
    /// Operating system, release and architecture.
    pub os: String,
    /// How convolution algorithms were chosen: `model` or `measure`.
    pub plan_policy: String,
    /// Profile of the pipeline file that was applied.
    pub profile: Option<String>,
    /// Overrides as given on the command line, `KEY=VALUE`.
    pub overrides: Vec<String>,
    /// UTC date and time of the start of the first attempt.
    pub first_started: String,
    /// Number of processes that worked on the stage, including the one that finished it.
    pub attempts: u32,
    /// Wall time in seconds, summed over attempts. The last seconds of an attempt that was killed are not counted.
    pub seconds: f64,
    /// Peak resident memory of the process during the last attempt, in bytes; none if the system does not report it.
    pub peak_memory: Option<u64>,
    /// The memory estimate made before the stage ran, in bytes; none for stages that do not train.
    pub predicted_memory: Option<u64>,
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
