//! Memory that is not there: the program says so and ends, instead of being killed by the system in the middle
//! of something, or taking the machine into swapping.
//!
//! What is asked for is counted against what was available at the start. Runs survive an end at any moment,
//! so that this one needs no preparation.

use dash_core::error::ErrorKind;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Smaller blocks are not counted: together they are a few megabytes.
const COUNTED: usize = 1 << 16;

/// Bytes of counted blocks, and how many there may be.
static USED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator with a limit.
pub(crate) struct Limited;

/// Lets this process use what is available now: memory that is free or can be freed, swap space, and no more
/// than its control group may have. Where the system does not tell, there is no limit.
pub(crate) fn limit_to_available() {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let group = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let rest = |most: &str, used: &str| -> Option<usize> {
        let number = |text: String| text.trim().parse::<usize>().ok();
        Some(number(group(most)?)?.saturating_sub(number(group(used)?)?))
    };
    // Without a limit, the first of these is the word `max`, or larger than any machine.
    let group = rest("memory.max", "memory.current")
        .or_else(|| rest("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"));
    if let Some(limit) = [machine, group, address_space()].into_iter().flatten().min() {
        limit_to(limit);
    }
}

/// What is left of the address space that this process may have (`ulimit -v`).
#[cfg(target_os = "linux")]
fn address_space() -> Option<usize> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let used = pages.split_whitespace().next()?.parse::<usize>().ok()?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the system writes to a value of this function, and tells the size of its pages.
    #[allow(unsafe_code)]
    let (failed, page) =
        unsafe { (libc::getrlimit(libc::RLIMIT_AS, &raw mut limit), libc::sysconf(libc::_SC_PAGESIZE)) };
    if failed != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    let used = used.saturating_mul(usize::try_from(page).ok()?);
    Some(usize::try_from(limit.rlim_cur).ok()?.saturating_sub(used))
}

#[cfg(not(target_os = "linux"))]
fn address_space() -> Option<usize> {
    None
}

/// Lets this process use this many bytes.
pub(crate) fn limit_to(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// How many bytes may still be asked for; `None` without a limit.
pub(crate) fn left() -> Option<usize> {
    let limit = LIMIT.load(Ordering::Relaxed);
    (limit != usize::MAX).then(|| limit.saturating_sub(USED.load(Ordering::Relaxed)))
}

/// Available memory and free swap space, in bytes.
fn available(meminfo: &str) -> Option<usize> {
    let field = |name: &str| -> Option<usize> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
    };
    field("MemAvailable")?.checked_add(field("SwapFree").unwrap_or(0))
}

/// Counts a block, or ends the program.
fn take(bytes: usize) {
    if bytes < COUNTED {
        return;
    }
    let used = USED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    let limit = LIMIT.load(Ordering::Relaxed);
    if used > limit {
        refuse(used, Some(limit));
    }
}

/// A block that the system gave, or the end of the program: nothing in it can go on without.
fn given(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        refuse(USED.load(Ordering::Relaxed), None);
    }
    block
}

fn give(bytes: usize) {
    if bytes >= COUNTED {
        USED.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Says what is missing and ends the program. Nothing here may ask for memory.
#[cold]
fn refuse(used: usize, limit: Option<usize>) -> ! {
    let mut text = [0u8; 512];
    let mut rest = &mut text[..];
    let mib = |bytes: usize| bytes >> 20;
    // A text that does not fit is cut.
    let _ = match limit {
        Some(limit) => {
            write!(rest, "\nerror: {} MiB of memory are needed, {} MiB may be used", mib(used), mib(limit))
        }
        None => write!(rest, "\nerror: {} MiB of memory are needed, the system has less", mib(used)),
    };
    let _ = rest.write_all(
        b"\nhint: make batch sizes or the network smaller, or see --memory; finished stages and checkpoints are kept\n",
    );
    let left = rest.len();
    let length = text.len() - left;
    let code = i32::from(ErrorKind::Device.exit_code());
    #[cfg(unix)]
    // SAFETY: the bytes are initialised; ending without cleaning up is what is wanted.
    #[allow(unsafe_code)]
    unsafe {
        libc::write(2, text.as_ptr().cast(), length);
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    {
        let _ = std::io::stderr().write_all(text.get(..length).unwrap_or_default());
        std::process::exit(code)
    }
}

// SAFETY: everything is done by the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: by the caller's promise.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: by the caller's promise.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old block is still there while a new one is filled, but mostly it only grows.
        give(layout.size());
        take(size);
        // SAFETY: by the caller's promise.
        given(unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: by the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn what_the_system_tells_is_read() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   1000 kB\nSwapFree:          24 kB\n";
        assert_eq!(available(text), Some(1024 * 1024));
        assert_eq!(available("MemAvailable: 2 kB\n"), Some(2048));
        assert_eq!((available("MemFree: 2 kB\n"), available("MemAvailable: two\n")), (None, None));
    }
}
