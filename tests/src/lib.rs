//! Helps to test the binary: a temporary folder, pipeline files, runs of the program, and the files that they leave. The
//! tests are in `tests/end_to_end/`, a target of the package `dash-cli`, because Cargo builds a binary only for the tests
//! of its own package.
//!
//! ```
//! let bench = dash_tests::Bench::new("/bin/sh");
//! bench.write("hello.txt", b"hello");
//! let ran = bench.run(&["-c", "cat hello.txt; exit 3"]);
//! assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "hello"));
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a failing bench must fail the test, and it makes bad files on purpose"
)]

mod pipeline;

pub use pipeline::{PipelineText, pipeline};

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A temporary folder in which the program is run.
pub struct Bench {
    binary: PathBuf,
    folder: tempfile::TempDir,
}

/// The output of a run of the program.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Bench {
    /// Creates an empty folder for runs of `binary`.
    pub fn new(binary: &str) -> Bench {
        Bench { binary: binary.into(), folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Returns a path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and creates its folder.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// Runs the program to its end with some environment variables.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        let output = command.envs(variables.iter().copied()).output().expect("the program starts");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the program and returns while it runs.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Reads a JSON file of the folder.
    pub fn json(&self, name: &str) -> Value {
        let bytes = fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Reads all files below a folder, by path. Hidden files are included, so that tests notice when they remain.
    pub fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path(name);
        let mut found = BTreeMap::new();
        let mut pending = vec![root.clone()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    let relative = path.strip_prefix(&root).unwrap_or(Path::new("")).display().to_string();
                    found.insert(relative, fs::read(path).unwrap());
                }
            }
        }
        found
    }
}

impl Ran {
    /// Asserts that the program ended with exit code 0.
    pub fn well(self) -> Ran {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Asserts an exit code, and that standard error holds an error and all of `words`.
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.stderr.contains("error: "), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing in {}", self.stderr);
        }
    }
}

/// A pipeline of simulated Darcy Flow with every stage and both methods that takes seconds.
pub const TINY: &str = r#"name = "tiny"
seeds = [0, 1]
methods = ["dash", "backbone"]

[dataset]
recipe = "darcy-flow"
simulate = { grid = 17, tolerance = 1e-8 }
subsample = 2
train = 32
validation = 4
test = 4

[task]
loss = { kind = "relative-l2" }
metric = { kind = "relative-l2" }
decode_target = true

[search]
backbone = { kind = "wrn", depth = 10 }
kernel_sizes = [3, 5]
dilations = [1, 3]
epochs = 1
batch_size = 4
learning_rate = 0.01
arch_learning_rate = 0.005
pull = { kind = "kernel-size" }

[tune]
epochs = 1
batch_size = 4
learning_rates = [0.01]
dropouts = [0.0]
weight_decays = [5e-4]
momenta = [0.9]

[retrain]
backbone = { kind = "wrn", depth = 10 }
epochs = 2
batch_size = 4

[profiles.longer]
retrain.epochs = 3
"#;
