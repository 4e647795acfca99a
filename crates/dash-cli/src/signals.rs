//! SIGINT and SIGTERM: the first asks a stage that trains to stop at its next step, where it takes a
//! checkpoint; a second one, or one at any other time, ends the process at once. What was being made then
//! is left under a temporary name, which the next run of the same pipeline removes.

use dash_core::{error::ErrorKind, event::Event};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether a stage is at work that asks [`stopping`] between its steps.
static TRAINING: AtomicBool = AtomicBool::new(false);
/// Whether it is to stop.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Waits for signals from now on.
pub(crate) fn listen() {
    // Without handlers the default action ends the process just as well.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let first = !STOPPING.swap(true, Ordering::SeqCst);
            if first && TRAINING.load(Ordering::SeqCst) {
                let text = "\nstopping after this step; interrupt again to stop at once\n";
                let _ = io::stderr().write_all(text.as_bytes());
                continue;
            }
            let text = "\ninterrupted; finished stages are kept, run again to go on\n";
            let _ = io::stderr().write_all(text.as_bytes());
            std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()));
        }
    });
}

/// Learns from the events of a run what is at work.
pub(crate) fn hear(event: &Event) {
    match event {
        Event::StageStarted { stage, .. } => {
            TRAINING.store(stage != "dataset" && stage != "report", Ordering::SeqCst);
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
