//! `dash-nas`: the terminal. The only crate that prints or reads arguments.

mod args;
mod commands;
mod data;
mod error;
mod escape;
mod files;
mod log;
mod memory;
mod output;
mod program;
mod progress;
mod signals;
mod tensorboard;
mod threads;

use clap::Parser;
use dash_core::error::Classify;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: memory::Limited = memory::Limited;

fn main() -> ExitCode {
    threads::bound_pools();
    keep_freed_memory();
    memory::limit_to_available();
    let args = args::Args::parse();
    if matches!(args.command, args::Command::Run(_) | args::Command::Bench(_)) {
        use_huge_pages();
    }
    // A run holds a lock, and so a file, per seed.
    dash_store::raise_descriptor_limit();
    signals::listen();
    let format = args.command.format();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere else to tell that it cannot be told.
            let _ = output::error(&error, format);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Training allocates and frees buffers of the same few sizes in every step. Left to itself, the
/// allocator of glibc returns large ones to the system and pays a page fault per page to get them
/// back: a third of a training step of a 1-D network, when it was measured.
fn keep_freed_memory() {
    // SAFETY: settings of the allocator, made before there is a second thread.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Has the allocator of glibc ask the system for huge pages: a training step of any network walks
/// through more memory than the CPU has translations at hand, which took 5 to 7 % of it when it was
/// measured. Glibc reads this setting once, at the start of a process, so that this one starts itself
/// anew, under the same number; settings that are there already are left alone.
fn use_huge_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::{env, os::unix::process::CommandExt, process::Command};
        const SETTINGS: &str = "GLIBC_TUNABLES";
        if env::var_os(SETTINGS).is_some() {
            return;
        }
        let Ok(program) = env::current_exe() else { return };
        let mut arguments = env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        // Returns only if it fails, and then everything works as well, but slower.
        let _ = command.args(arguments).env(SETTINGS, "glibc.malloc.hugetlb=1").exec();
    }
}
