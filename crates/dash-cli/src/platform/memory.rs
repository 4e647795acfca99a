//! Limits the memory of this process: when more is requested, the program ends with a message.
//!
//! Large blocks are counted against the memory that was available at the start. Runs survive an end at any moment, so
//! that this one needs no preparation.

use dash_core::error::ErrorKind;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Size of the smallest counted block in bytes. Smaller blocks are a few megabytes together.
const COUNTED: usize = 1 << 16;

/// Bytes of all counted blocks.
static USED: AtomicUsize = AtomicUsize::new(0);
/// The largest allowed value of [`USED`].
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator with a limit.
pub(crate) struct LimitedAllocator;

/// Limits this process to what is available now: memory that is free or can be freed, and swap space, but not more than
/// its control group and `ulimit -v` allow. Where the system does not report these, there is no limit.
pub(crate) fn limit_to_available() {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let group = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let rest = |most: &str, used: &str| -> Option<usize> {
        let number = |text: String| text.trim().parse::<usize>().ok();
        Some(number(group(most)?)?.saturating_sub(number(group(used)?)?))
    };
    // Without a limit, the first file holds the word `max`, or a number larger than any machine.
    let group = rest("memory.max", "memory.current")
        .or_else(|| rest("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"));
    if let Some(limit) = [machine, group, address_space()].into_iter().flatten().min() {
        limit_to(limit);
    }
}

/// The address space that this process may still use (`ulimit -v`), in bytes.
#[cfg(target_os = "linux")]
fn address_space() -> Option<usize> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let used = pages.split_whitespace().next()?.parse::<usize>().ok()?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the system writes to a local value, and returns the size of its pages.
    #[allow(unsafe_code, reason = "the C library has no safe interface for it")]
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

/// Limits this process to this many bytes.
pub(crate) fn limit_to(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// The number of bytes that may still be requested; `None` without a limit.
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

/// Counts a new block, or ends the program.
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

/// Returns a block of the system's allocator, or ends the program if it has none: no part of it could continue.
fn checked(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        refuse(USED.load(Ordering::Relaxed), None);
    }
    block
}

/// Stops counting a block.
fn release(bytes: usize) {
    if bytes >= COUNTED {
        USED.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Prints the reason and ends the program. Nothing here may allocate.
#[cold]
fn refuse(used: usize, limit: Option<usize>) -> ! {
    let mut text = [0u8; 512];
    let mut rest = &mut text[..];
    let mib = |bytes: usize| bytes >> 20;
    // A text that does not fit is truncated.
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
    // SAFETY: the bytes are initialised. Ending without cleaning up is intended.
    #[allow(unsafe_code, reason = "the standard library could allocate here")]
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

// SAFETY: all calls are forwarded to the system's allocator.
#[allow(unsafe_code, reason = "a global allocator cannot be safe code")]
unsafe impl GlobalAlloc for LimitedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller guarantees the same.
        checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller guarantees the same.
        checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist at the same time, but mostly the old one is extended.
        release(layout.size());
        take(size);
        // SAFETY: the caller guarantees the same.
        checked(unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        release(layout.size());
        // SAFETY: the caller guarantees the same.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn available_memory_is_read_from_meminfo() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   1000 kB\nSwapFree:          24 kB\n";
        assert_eq!(available(text), Some(1024 * 1024));
        assert_eq!(available("MemAvailable: 2 kB\n"), Some(2048));
        assert_eq!((available("MemFree: 2 kB\n"), available("MemAvailable: two\n")), (None, None));
    }
}
