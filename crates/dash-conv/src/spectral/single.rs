//! Long real transforms, one sequence at a time, by RustFFT.
//!
//! Transforms of all lanes at once move buffers as large as all their sequences together. For long rows
//! these leave the cache of a core; one sequence after the other stays in it. The limit follows from
//! sizes of caches, not from a measurement: no layer of the ten tasks comes near it.

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Lengths above this are transformed one by one: the two buffers of sixteen lanes fill 1 MiB.
pub(super) const LONG: usize = 8192;

/// The transform of one length.
pub(super) struct SingleFft {
    len: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl SingleFft {
    pub(super) fn new(len: usize) -> SingleFft {
        // Twiddle factors are shared by all transforms of the process; they depend on the length alone.
        static PLANNER: OnceLock<Mutex<RealFftPlanner<f32>>> = OnceLock::new();
        let planner = PLANNER.get_or_init(|| Mutex::new(RealFftPlanner::new()));
        let mut planner = planner.lock().unwrap_or_else(PoisonError::into_inner);
        SingleFft { len, forward: planner.plan_fft_forward(len), inverse: planner.plan_fft_inverse(len) }
    }

    /// Bins of a half spectrum.
    pub(super) fn bins(&self) -> usize {
        self.len / 2 + 1
    }

    /// Twice the half spectra of `[position][lane]`, as `[bin][re, im][lane]`.
    pub(super) fn forward(&self, values: &[f32], lanes: usize, spectra: &mut [f32]) {
        let (mut row, mut bins) = (self.forward.make_input_vec(), self.forward.make_output_vec());
        let mut scratch = self.forward.make_scratch_vec();
        for lane in 0..lanes {
            for (to, from) in row.iter_mut().zip(values[lane..].iter().step_by(lanes)) {
                *to = *from;
            }
            let done = self.forward.process_with_scratch(&mut row, &mut bins, &mut scratch);
            debug_assert!(done.is_ok(), "buffers have the planned lengths");
            for (to, from) in spectra.chunks_exact_mut(2 * lanes).zip(&bins) {
                (to[lane], to[lanes + lane]) = (2.0 * from.re, 2.0 * from.im);
            }
        }
    }

    /// The sequences `[position][lane]` with half spectra `[bin][re, im][lane]`, times the length.
    pub(super) fn inverse(&self, spectra: &[f32], lanes: usize, values: &mut [f32]) {
        let (mut bins, mut row) = (self.inverse.make_input_vec(), self.inverse.make_output_vec());
        let mut scratch = self.inverse.make_scratch_vec();
        for lane in 0..lanes {
            for (to, from) in bins.iter_mut().zip(spectra.chunks_exact(2 * lanes)) {
                *to = Complex32::new(from[lane], from[lanes + lane]);
            }
            // Real by symmetry; rounding leaves a trace that realfft refuses.
            for end in [0, self.len / 2] {
                bins[end].im = 0.0;
            }
            let done = self.inverse.process_with_scratch(&mut bins, &mut row, &mut scratch);
            debug_assert!(done.is_ok(), "buffers have the planned lengths");
            for (to, from) in values[lane..].iter_mut().step_by(lanes).zip(&row) {
                *to = *from;
            }
        }
    }
}
