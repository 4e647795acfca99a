//! Signals. SIGINT, SIGTERM and SIGHUP: the first asks a stage that trains to stop at its next step, where
//! it takes a checkpoint; a second one, or one at any other time, ends the process at once. What was being
//! made then is left under a temporary name, which the next run of the same pipeline removes. SIGXCPU, which
//! the system repeats every second once the time of `ulimit -t` is over, only asks.
//!
//! SIGXFSZ is ignored, so that a file that would become larger than it may is an error of the write that
//! knows the file, instead of the end of the process.
//!
//! All is done in handlers, without a thread: there may be none left.

use dash_core::{error::ErrorKind, event::Event};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a stage is at work that asks [`stopping`] between its steps.
static TRAINING: AtomicBool = AtomicBool::new(false);
/// Whether it is to stop.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Answers signals from now on.
pub(crate) fn listen() {
    handle(SIGINT, false);
    handle(SIGTERM, false);
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGXCPU, SIGXFSZ};
        // `nohup` has it ignored.
        if !is_ignored(SIGHUP) {
            handle(SIGHUP, false);
        }
        handle(SIGXCPU, true);
        ignore(SIGXFSZ);
    }
}

/// Answers one signal; `repeats` says that the system sends it again by itself.
fn handle(signal: i32, repeats: bool) {
    // SAFETY: what is called in the handler works on atomics and makes system calls that are allowed there:
    // write and _exit.
    #[allow(unsafe_code)]
    let registered = unsafe { low_level::register(signal, move || came(repeats)) };
    // Without a handler the default action ends the process just as well.
    drop(registered);
}

/// In the handler: nothing here may allocate, lock, or panic.
fn came(repeats: bool) {
    let first = !STOPPING.swap(true, Ordering::SeqCst);
    if TRAINING.load(Ordering::SeqCst) && (first || repeats) {
        if first {
            tell(b"\nstopping after this step; interrupt again to stop at once\n");
        }
        return;
    }
    tell(b"\ninterrupted; finished stages are kept, run again to go on\n");
    low_level::exit(i32::from(ErrorKind::Interrupted.exit_code()));
}

/// Writes to standard error without its lock, which the interrupted thread may hold.
#[cfg(unix)]
fn tell(text: &[u8]) {
    // SAFETY: the bytes are initialised, and there are as many. There is nowhere to tell that it failed.
    #[allow(unsafe_code)]
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
    }
}

/// Elsewhere handlers run on threads of their own, which may wait for a lock.
#[cfg(not(unix))]
fn tell(text: &[u8]) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text);
}

/// Whether whoever started this process had a signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the system fills the value; if it does not, the zeros are the default action.
    #[allow(unsafe_code)]
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

#[cfg(unix)]
fn ignore(signal: i32) {
    // SAFETY: no handler is involved.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// Learns from the events of a run what is at work.
pub(crate) fn hear(event: &Event) {
    match event {
        Event::StageStarted { stage, .. } => {
            TRAINING.store(stage.is_training(), Ordering::SeqCst);
        }
        Event::StageFinished { .. } | Event::StageFailed { .. } | Event::StageStopped { .. } => {
            TRAINING.store(false, Ordering::SeqCst);
        }
        _ => {}
    }
}

/// Whether the work should stop where it can be gone on with.
pub(crate) fn stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}
