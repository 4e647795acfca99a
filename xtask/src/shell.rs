//! Runs other programs.

use std::{path::Path, process::Command};

/// What went wrong, for the terminal.
pub(crate) type Failure = String;

/// Runs a program in a folder, with its output on the terminal.
pub(crate) fn execute(
    folder: &Path,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<(), Failure> {
    let line = format!("{program} {}", arguments.join(" "));
    println!("+ {line}");
    let mut command = Command::new(program);
    command.current_dir(folder).args(arguments).envs(environment.iter().copied());
    let status = command.status().map_err(|error| format!("cannot start {program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed: {status}")) }
}

/// What a program prints, or `None` if it cannot be started or fails.
pub(crate) fn output(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).current_dir(folder).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
