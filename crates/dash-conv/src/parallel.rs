//! Writes to disjoint parts of one buffer from several threads.

use rayon::prelude::*;
use std::marker::PhantomData;

/// A buffer of which several tasks write disjoint parts.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` only hands out pointers; the callers of its unsafe methods guarantee that parts are disjoint.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Borrows `buffer` for several tasks.
    pub(crate) fn new(buffer: &'a mut [T]) -> Self {
        Shared { start: buffer.as_mut_ptr(), len: buffer.len(), life: PhantomData }
    }

    /// The elements `from..from + len`; panics if they are outside the buffer.
    ///
    /// # Safety
    /// No two slices that are alive at the same time may overlap.
    #[allow(unsafe_code)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, from: usize, len: usize) -> &'a mut [T] {
        assert!(from <= self.len && len <= self.len - from, "slice outside the shared buffer");
        // SAFETY: inside the buffer by the assertion, disjoint by the caller's guarantee.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }

    /// A pointer to the element `from` of which `len` elements may be used; panics if they are
    /// outside the buffer.
    pub(crate) fn pointer(&self, from: usize, len: usize) -> *mut T {
        assert!(from <= self.len && len <= self.len - from, "slice outside the shared buffer");
        self.start.wrapping_add(from)
    }
}

/// A vector of zeros, written by all threads: the first write to fresh memory takes as long as a pass over it.
pub fn zeros(len: usize) -> Vec<f32> {
    const GRAIN: usize = 1 << 15;
    let mut values = Vec::new();
    rayon::iter::repeat_n(0f32, len).with_min_len(GRAIN).collect_into_vec(&mut values);
    values
}
