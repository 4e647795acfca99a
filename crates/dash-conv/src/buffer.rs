//! Buffers aligned to cache lines, so that no vector straddles two of them, and used again and again:
//! fresh memory costs a page fault per page, which is more than transforming what is put there.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin at a cache line.
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

/// What was given back. Never more is kept than was in use at one time.
struct Pool {
    free: Vec<Vec<Line>>,
    /// Lines in `free`, in use, and the most that were in use.
    kept: usize,
    used: usize,
    most: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), kept: 0, used: 0, most: 0 });

impl Buffer {
    /// `len` numbers of any value: for what is written before it is read.
    pub(crate) fn stale(len: usize) -> Buffer {
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
        let mut buffer = Buffer::stale(len);
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
        // SAFETY: lines are arrays of 16 numbers without padding, and at least `len` numbers exist.
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

/// At least `count`, and odd: at distances that are multiples of a power of two, all parts of a
/// transform would fall into the same few sets of a cache.
pub(crate) fn odd(count: usize) -> usize {
    count | 1
}
