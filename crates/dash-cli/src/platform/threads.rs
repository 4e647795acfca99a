//! Bounds and starts the threads of this process.
//!
//! Libraries start pools as large as the machine where they are first used, and panic if the system refuses a thread
//! (`ulimit -u`, or the task limit of a container). Therefore, their sizes are bounded before anything else happens, and
//! all threads are started before the work begins.

use crate::error::Error;
use std::{
    io,
    num::NonZeroUsize,
    panic,
    sync::Mutex,
    thread::{self, Builder},
    time::Duration,
};

/// Stack size of a worker thread in bytes, the usual one of the first thread of a program.
const STACK: usize = 8 << 20;

/// Number of threads besides the workers: two of polars, one that redraws the progress bar, one that prefetches batches
/// or waits for a network, and one to spare.
const BESIDE: usize = 5;

/// Bounds the pools that libraries start by themselves. This must happen before there is a second thread. The small tables
/// of a report need one thread. Candle's pool would busy-wait on pinned cores beside the worker threads, for the few
/// element-wise operations that candle computes.
pub(crate) fn bound_pools() {
    for (name, threads) in [
        ("CANDLE_NUM_THREADS", "1"),
        ("POLARS_MAX_THREADS", "1"),
        ("POLARS_ASYNC_THREAD_COUNT", "1"),
        // One that works and one that it waits for; they are started only where they are needed.
        ("POLARS_MAX_BLOCKING_THREAD_COUNT", "2"),
    ] {
        // SAFETY: this is the first statement of the program; no other thread exists that could read the
        // environment.
        #[allow(unsafe_code, reason = "setting a variable is unsafe while other threads exist")]
        unsafe {
            std::env::set_var(name, threads);
        }
    }
}

/// Starts all threads that a run needs: the workers, and the threads of polars, which the report needs.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start(threads: Option<NonZeroUsize>) -> Result<(), Error> {
    start_workers(threads)?;
    start_tables()
}

/// Starts the workers: `threads` of them, or one per core.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start_workers(threads: Option<NonZeroUsize>) -> Result<(), Error> {
    let threads = threads.map_or_else(cores, NonZeroUsize::get);
    build(rayon::ThreadPoolBuilder::new().num_threads(threads), threads)
}

/// Starts the workers of a command that computes little: as many as the system allows, none if necessary.
///
/// # Errors
/// If the system refuses a thread that it allowed before.
pub(crate) fn start_some() -> Result<(), Error> {
    match possible(cores() + BESIDE).0.saturating_sub(BESIDE) {
        0 => build(rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread(), 1),
        workers => build(rayon::ThreadPoolBuilder::new().num_threads(workers), workers),
    }
}

/// Starts the threads of polars, which computes tables of results.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start_tables() -> Result<(), Error> {
    require(BESIDE)?;
    // If the system refuses a thread that it allowed a moment ago, the library panics.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let started = panic::catch_unwind(dash_report::start);
    panic::set_hook(hook);
    match started {
        Ok(result) => Ok(result?),
        Err(_) => Err(refused(BESIDE, io::ErrorKind::WouldBlock.into())),
    }
}

/// Checks that the system allows this many more threads.
///
/// # Errors
/// If it does not.
pub(crate) fn require(threads: usize) -> Result<(), Error> {
    match possible(threads) {
        (_, None) => Ok(()),
        (_, Some(source)) => Err(refused(threads, source)),
    }
}

/// Builds the thread pool of all parallel loops. After an error the program must end, since the pool cannot be built
/// again.
fn build(builder: rayon::ThreadPoolBuilder, threads: usize) -> Result<(), Error> {
    builder.stack_size(STACK).build_global().map_err(|e| refused(threads, io::Error::other(e.to_string())))
}

fn refused(threads: usize, source: io::Error) -> Error {
    Error::Threads { threads, source }
}

/// Number of cores that this process may use, or less if `RAYON_NUM_THREADS` says so.
fn cores() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse::<usize>().ok());
    wanted.filter(|&wanted| wanted > 0).map_or(cores, |wanted| wanted.min(cores))
}

/// The number of threads up to `wanted` that can exist at the same time, and why not more. They have ended afterwards.
fn possible(wanted: usize) -> (usize, Option<io::Error>) {
    let before = alive();
    let gate = Mutex::new(());
    let mut refusal = None;
    let started = thread::scope(|scope| {
        // The threads wait until all have been started.
        let closed = gate.lock();
        let mut started = 0;
        while started < wanted && refusal.is_none() {
            match Builder::new().stack_size(STACK).spawn_scoped(scope, || drop(gate.lock())) {
                Ok(_) => started += 1,
                Err(error) => refusal = Some(error),
            }
        }
        drop(closed);
        started
    });
    // The system counts a thread for a short time after it was joined.
    for _ in 0..1000 {
        if alive() <= before {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    (started, refusal)
}

/// Number of threads of this process according to the system; 0 if it does not report it.
fn alive() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_threads_are_counted() {
        let (started, refusal) = possible(3);
        assert_eq!((started, refusal.is_none()), (3, true));
        assert!(require(2).is_ok());
    }
}
