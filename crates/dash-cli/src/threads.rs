//! Threads: how many this process starts, and whether the system has them.
//!
//! Libraries start pools of their own, as large as the machine, where they are first used, and panic if the
//! system refuses a thread (`ulimit -u`, or the limit of tasks of a container). So their number is bounded
//! before anything else happens, and all of them are started before the work is.

use crate::error::Error;
use std::{
    io,
    num::NonZeroUsize,
    panic,
    sync::Mutex,
    thread::{self, Builder},
    time::Duration,
};

/// Bytes of stack of a worker thread; as much as the first thread of a program usually has.
const STACK: usize = 8 << 20;

/// Threads beside the workers: two of the library of tables, one that redraws the progress, one that
/// prepares batches or waits for a network, and one to spare.
const BESIDE: usize = 5;

/// Bounds the pools that libraries start by themselves; must come before there is a second thread. The few
/// rows of a report's tables need one thread, and candle's pool would busy-wait on pinned cores beside the
/// threads that do the work, for the few element-wise operations that are left to candle.
pub(crate) fn bound_pools() {
    for (name, threads) in [
        ("CANDLE_NUM_THREADS", "1"),
        ("POLARS_MAX_THREADS", "1"),
        ("POLARS_ASYNC_THREAD_COUNT", "1"),
        // One that is at work and one that it waits for; started where they are needed only.
        ("POLARS_MAX_BLOCKING_THREAD_COUNT", "2"),
    ] {
        // SAFETY: this is the first statement of the program; no other thread exists that could read the
        // environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(name, threads);
        }
    }
}

/// Starts all threads that a run needs: workers, and those of tables, which it needs at its end.
///
/// # Errors
/// The system has fewer: nothing was begun then.
pub(crate) fn start(threads: Option<NonZeroUsize>) -> Result<(), Error> {
    start_workers(threads)?;
    start_tables()
}

/// Starts the workers: `threads` of them, or one per core.
///
/// # Errors
/// The system has fewer.
pub(crate) fn start_workers(threads: Option<NonZeroUsize>) -> Result<(), Error> {
    let threads = threads.map_or_else(cores, NonZeroUsize::get);
    build(rayon::ThreadPoolBuilder::new().num_threads(threads), threads)
}

/// Starts the workers of a command that computes little: as many as the system has, and none if need be.
///
/// # Errors
/// The system changes its mind.
pub(crate) fn start_some() -> Result<(), Error> {
    match possible(cores() + BESIDE).0.saturating_sub(BESIDE) {
        0 => build(rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread(), 1),
        workers => build(rayon::ThreadPoolBuilder::new().num_threads(workers), workers),
    }
}

/// Starts the threads with which tables of results are computed.
///
/// # Errors
/// The system does not have them.
pub(crate) fn start_tables() -> Result<(), Error> {
    need(BESIDE)?;
    // Where the system changes its mind between the question and the answer, the library panics.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let started = panic::catch_unwind(dash_report::start);
    panic::set_hook(hook);
    match started {
        Ok(result) => Ok(result?),
        Err(_) => Err(refused(BESIDE, io::ErrorKind::WouldBlock.into())),
    }
}

/// Asks whether the system has this many threads more.
///
/// # Errors
/// It has not.
pub(crate) fn need(threads: usize) -> Result<(), Error> {
    match possible(threads) {
        (_, None) => Ok(()),
        (_, Some(source)) => Err(refused(threads, source)),
    }
}

/// Builds the pool of all parallel loops. A pool that was refused cannot be asked for again: whoever gets
/// this error must end.
fn build(builder: rayon::ThreadPoolBuilder, threads: usize) -> Result<(), Error> {
    builder.stack_size(STACK).build_global().map_err(|e| refused(threads, io::Error::other(e.to_string())))
}

fn refused(threads: usize, source: io::Error) -> Error {
    Error::Threads { threads, source }
}

/// Cores that this process may use, or fewer if the variable of rayon says so.
fn cores() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse::<usize>().ok());
    wanted.filter(|&wanted| wanted > 0).map_or(cores, |wanted| wanted.min(cores))
}

/// How many threads up to `wanted` can live at the same time, and why no more. They are gone afterwards.
fn possible(wanted: usize) -> (usize, Option<io::Error>) {
    let before = alive();
    let gate = Mutex::new(());
    let mut refusal = None;
    let started = thread::scope(|scope| {
        // Nobody passes until all are there.
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
    // The system counts a thread a little longer than it can be waited for.
    for _ in 0..1000 {
        if alive() <= before {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    (started, refusal)
}

/// Threads of this process, as the system counts them; 0 if it does not tell.
fn alive() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_the_system_has_are_counted() {
        let (started, refusal) = possible(3);
        assert_eq!((started, refusal.is_none()), (3, true));
        assert!(need(2).is_ok());
    }
}
