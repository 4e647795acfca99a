//! Collects the process-wide effects of this program, and says why they exist. Nothing else in the workspace changes its process.
//!
//! - **Memory limit** ([`memory`]). A global allocator counts large blocks and ends the process with a message when more
//!   memory is requested than was available at the start. Without it, the system's out-of-memory killer ends the process
//!   without a word, or the machine starts swapping. Runs survive an end at any moment, so nothing is lost.
//! - **Bounded thread pools** ([`threads`]). Libraries start pools as large as the machine where they are first used, and
//!   panic if the system refuses a thread. Their sizes are environment variables, which must be set before a second
//!   thread exists.
//! - **Allocator settings** ([`keep_freed_memory`]). Training allocates and frees buffers of the same few sizes in every
//!   step. By default, glibc returns large buffers to the system and pays a page fault per page to get them back: a third
//!   of a training step of a 1-D network when it was measured.
//! - **Huge pages** ([`use_huge_pages`]). A training step walks through more memory than the CPU's translation cache
//!   covers, which took 5 to 7 % of it when it was measured. glibc reads the setting only at the start of a process, so
//!   that the program executes itself again with the environment variable, under the same process number.
//! - **File descriptors.** A run holds a lock, and so an open file, per seed: the soft limit is raised to the hard limit.
//! - **Signals** ([`crate::signals`]). The first interrupt asks a training stage to take a checkpoint and stop.
//!
//! Other programs that use the libraries need none of this.

pub(crate) mod memory;
pub(crate) mod threads;

/// Prepares the process. This must be the first statement of the program, before there is a second thread.
pub(crate) fn initialise() {
    threads::bound_pools();
    keep_freed_memory();
    memory::limit_to_available();
    dash_store::raise_descriptor_limit();
}

/// Lets the allocator of glibc keep freed memory in one heap instead of returning it to the system.
fn keep_freed_memory() {
    // SAFETY: these are settings of the allocator, made before there is a second thread.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "the C library has no safe interface for it")]
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Lets the allocator of glibc request huge pages, by executing the program again with `GLIBC_TUNABLES`. If the variable
/// is set already, it is left alone.
pub(crate) fn use_huge_pages() {
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
        // Returns only if it fails; everything works without huge pages as well, only slower.
        let _ = command.args(arguments).env(SETTINGS, "glibc.malloc.hugetlb=1").exec();
    }
}
