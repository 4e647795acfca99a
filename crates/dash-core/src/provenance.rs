//! Where a result comes from: the program, the machine and the way in which a stage was run.

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

/// A program that nothing is known of, such as one that tests run in.
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

/// How a stage was run. None of it changes a result on the CPU; all of it helps to find out why one differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The program that finished the stage.
    pub program: Program,
    /// The vector instructions that CPU kernels used: `avx512`, `avx2`, `scalar`.
    pub instruction_set: String,
    /// Device that tensors were on, such as `cpu` or `cuda:0`.
    pub device: String,
    /// Model name of the device.
    pub device_name: String,
    /// Threads of the pool that computes.
    pub threads: usize,
    /// Operating system, its release and the architecture.
    pub os: String,
    /// What convolution algorithms were chosen by: `model` or `measure`.
    pub plan_policy: String,
    /// Profile of the pipeline file that was applied.
    pub profile: Option<String>,
    /// Overrides as given on the command line, `KEY=VALUE`.
    pub overrides: Vec<String>,
    /// UTC date and time at which the first attempt started.
    pub first_started: String,
    /// Processes that worked on the stage, the one that finished it included.
    pub attempts: u32,
    /// Wall time in seconds, summed over attempts. Of an attempt that was killed, the last seconds are unknown.
    pub seconds: f64,
    /// Largest resident memory of the process during the last attempt, in bytes; none where the system does not tell.
    pub peak_memory: Option<u64>,
    /// Memory that was predicted before the stage ran, in bytes; none for stages that do not train.
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
