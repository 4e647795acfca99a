//! Handles signals.
//!
//! The first SIGINT, SIGTERM or SIGHUP asks a training stage to take a checkpoint after the current step and stop. A
//! second one, or one at any other time, ends the process at once; unfinished files keep a temporary name, and the next
//! run of the same pipeline removes them. SIGXCPU, which the system repeats every second after the time of `ulimit -t`
//! has passed, only asks.
//!
//! SIGXFSZ is ignored, so that a file that exceeds the allowed size is an error of the write that knows the file, instead
//! of the end of the process.
//!
//! Everything happens in handlers, without a thread, because the system may not allow another one.

use dash_core::{error::ErrorKind, event::Event};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a training stage is running, which asks [`stopping`] between its steps.
static TRAINING: AtomicBool = AtomicBool::new(false);
/// Whether it should stop.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Handles signals from now on.
pub(crate) fn listen() {
    handle(SIGINT, false);
    handle(SIGTERM, false);
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGXCPU, SIGXFSZ};
        // `nohup` ignores it.
        if !is_ignored(SIGHUP) {
            handle(SIGHUP, false);
        }
        handle(SIGXCPU, true);
        ignore(SIGXFSZ);
    }
}

/// Handles one signal. `repeats` says that the system sends it repeatedly.
fn handle(signal: i32, repeats: bool) {
    // SAFETY: the handler only uses atomics and the async-signal-safe system calls write and _exit.
    #[allow(unsafe_code, reason = "signal handlers are restricted in what they may call")]
    let registered = unsafe { low_level::register(signal, move || received(repeats)) };
    // Without a handler the default action ends the process just as well.
    drop(registered);
}

/// The handler. Nothing here may allocate, lock, or panic.
fn received(repeats: bool) {
    let first = !STOPPING.swap(true, Ordering::SeqCst);
    if TRAINING.load(Ordering::SeqCst) && (first || repeats) {
        if first {
            write_error(b"\nstopping after this step; interrupt again to stop at once\n");
        }
        return;
    }
    write_error(b"\ninterrupted; finished stages are kept, run the same command again to continue\n");
    low_level::exit(i32::from(ErrorKind::Interrupted.exit_code()));
}

/// Writes to standard error without its lock, which the interrupted thread may hold.
#[cfg(unix)]
fn write_error(text: &[u8]) {
    // SAFETY: the pointer and the length are those of the slice. A failure cannot be reported anywhere.
    #[allow(unsafe_code, reason = "the standard library takes a lock")]
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
    }
}

/// On other systems, handlers run on threads of their own, which may wait for a lock.
#[cfg(not(unix))]
fn write_error(text: &[u8]) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text);
}

/// Whether the parent process made this one ignore a signal.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the system fills the value; if it does not, zeros are the default action.
    #[allow(unsafe_code, reason = "the C library has no safe interface for it")]
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

#[cfg(unix)]
fn ignore(signal: i32) {
    // SAFETY: no handler is involved.
    #[allow(unsafe_code, reason = "the C library has no safe interface for it")]
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// Observes the events of a run to know whether a training stage is running.
pub(crate) fn observe(event: &Event) {
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

/// Whether training should stop at a checkpoint.
pub(crate) fn stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}
