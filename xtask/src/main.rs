//! Runs the tasks of the project's developers: `cargo xtask ci | cuda-check | gen | tidy | release`.
//!
//! CI, the workflow files and people call the same tasks, so that what passes on one machine passes on the other.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod ci;
mod generate;
mod release;
mod shell;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
usage: cargo xtask TASK

  ci         run everything that CI runs: formatting, lints, tests, documentation, tidy, and what is installed of the rest
  cuda-check  check the code of the feature `cuda` without a CUDA toolkit (compiles candle for CUDA: many minutes)
  gen        write the generated files again (schemas)
  gen --check  fail if a generated file differs from what would be written
  tidy       check what compilers do not: retired words, unique type names, import cycles, module docs, file sizes, links
  release    build both variants of the program and pack them with licences and checksums
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["ci"] => ci::run(&root()),
        ["cuda-check"] => ci::cuda(&root()),
        ["gen"] => generate::write(&root()),
        ["gen", "--check"] => generate::check(&root()),
        ["tidy"] => tidy::run(&root()),
        ["release"] => release::run(&root()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root folder.
fn root() -> PathBuf {
    // Cargo sets it for programs that it runs, so that a copy of the program finds the tree that it is run in.
    let package =
        std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&package).join("..")
}
