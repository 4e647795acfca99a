//! The binary `dash-nas`: reads arguments, runs a command and prints its result. No other crate touches the terminal.

mod args;
mod commands;
mod data;
mod documents;
mod error;
mod escape;
mod files;
mod log;
mod output;
mod platform;
mod program;
mod progress;
mod signals;
mod tensorboard;

use clap::Parser;
use dash_core::error::Classify;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: platform::memory::LimitedAllocator = platform::memory::LimitedAllocator;

fn main() -> ExitCode {
    platform::initialise();
    let args = args::Args::parse();
    if matches!(args.command, args::Command::Run(_) | args::Command::Bench(_)) {
        platform::use_huge_pages();
    }
    signals::listen();
    let format = args.command.format();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is no other place to report the error.
            let _ = output::error(&error, format);
            ExitCode::from(error.kind().exit_code())
        }
    }
}
