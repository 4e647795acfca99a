//! Provides scratch buffers from a pool, aligned to cache lines.
//!
//! No vector straddles two cache lines. Buffers are reused because fresh memory costs a page fault per page, which takes
//! longer than transforming the values that are written to it.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A slice of f32 that begins at a cache line; its memory returns to the pool when it is dropped.
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

/// The memory of dropped buffers: never more than was in use at one time.
struct Pool {
    free: Vec<Vec<Line>>,
    /// The number of lines in `free`, in use, and in use at most so far.
    kept: usize,
    used: usize,
    most: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), kept: 0, used: 0, most: 0 });

impl Buffer {
    /// `len` elements with unspecified values, for scratch space that is written before it is read.
    pub(crate) fn scratch(len: usize) -> Buffer {
        let needed = len.div_ceil(16);
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, unless it is far too large.
        let fits = |lines: &Vec<Line>| (needed..=2 * needed + 64).contains(&lines.len());
        let found = (0..pool.free.len()).filter(|&i| fits(&pool.free[i])).min_by_key(|&i| pool.free[i].len());
        let kept = found.map(|i| pool.free.swap_remove(i));
        pool.kept -= kept.as_ref().map_or(0, Vec::len);
        pool.used += kept.as_ref().map_or(needed, Vec::len);
        pool.most = pool.most.max(pool.used);
        drop(pool);
        let lines = kept.unwrap_or_else(|| vec![Line([0.0; 16]); needed]);
        Buffer { lines, len }
    }

    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Buffer {
        let mut buffer = Buffer::scratch(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.used -= lines.len();
        // The oldest go first: layers come back in the same order step by step.
        while pool.kept + lines.len() > pool.most && !pool.free.is_empty() {
            let gone = pool.free.remove(0);
            pool.kept -= gone.len();
        }
        pool.kept += lines.len();
        pool.free.push(lines);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: lines are arrays of 16 elements without padding, and hold at least `len` elements.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len)
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; the borrow is exclusive.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len)
        }
    }
}

/// Pads a pitch to an odd number: at distances that are multiples of a power of two, all elements of a transform would
/// fall into the same few sets of a cache.
pub(crate) fn pad_for_cache(count: usize) -> usize {
    count | 1
}
