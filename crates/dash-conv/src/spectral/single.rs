//! Real transforms of planes, on rustfft and realfft.
//!
//! A plane of `rows x columns` becomes its half spectrum, stored transposed: bin `(k, r)` is at
//! `k * rows + r` for `k` in `0..=columns / 2`. Products of spectra do not care, and one transpose
//! is saved each way. Rows known to be zero are not transformed, rows that nobody reads are not
//! transformed back.

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, num_complex::Complex32};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Rows that are transposed together: eight complex numbers fill a cache line.
const BLOCK: usize = 8;

/// The transform of planes of one size.
pub(crate) struct RealFft2 {
    rows: usize,
    columns: usize,
    forward_row: Arc<dyn RealToComplex<f32>>,
    inverse_row: Arc<dyn ComplexToReal<f32>>,
    forward_column: Arc<dyn Fft<f32>>,
    inverse_column: Arc<dyn Fft<f32>>,
}

/// Work space of one thread.
pub(crate) struct Scratch {
    row: Vec<f32>,
    block: Vec<Complex32>,
    fft: Vec<Complex32>,
}

impl RealFft2 {
    /// The transform of `rows x columns`; `columns` must be even, `rows` may be 1.
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        // Twiddle factors are shared by all transforms of the process; they depend on sizes alone.
        static PLANNER: OnceLock<Mutex<RealFftPlanner<f32>>> = OnceLock::new();
        static COMPLEX: OnceLock<Mutex<rustfft::FftPlanner<f32>>> = OnceLock::new();
        let mut real = PLANNER
            .get_or_init(|| Mutex::new(RealFftPlanner::new()))
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut complex = COMPLEX
            .get_or_init(|| Mutex::new(rustfft::FftPlanner::new()))
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        RealFft2 {
            rows,
            columns,
            forward_row: real.plan_fft_forward(columns),
            inverse_row: real.plan_fft_inverse(columns),
            forward_column: complex.plan_fft_forward(rows),
            inverse_column: complex.plan_fft_inverse(rows),
        }
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Length of a spectrum.
    pub(crate) fn bins(&self) -> usize {
        self.half() * self.rows
    }

    fn half(&self) -> usize {
        self.columns / 2 + 1
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let fft = [
            self.forward_row.get_scratch_len(),
            self.inverse_row.get_scratch_len(),
            self.forward_column.get_inplace_scratch_len(),
            self.inverse_column.get_inplace_scratch_len(),
        ];
        Scratch {
            row: vec![0.0; self.columns],
            block: vec![Complex32::ZERO; BLOCK * self.half()],
            fft: vec![Complex32::ZERO; fft.into_iter().max().unwrap_or(0)],
        }
    }

    /// Transforms the plane whose rows `live` are written by `fill(index in live, row)` into zeroed
    /// buffers; all other rows are zero. Unscaled.
    pub(crate) fn forward(
        &self,
        live: &[usize],
        spectrum: &mut [Complex32],
        scratch: &mut Scratch,
        mut fill: impl FnMut(usize, &mut [f32]),
    ) {
        let half = self.half();
        let Scratch { row, block, fft } = scratch;
        if live.len() < self.rows {
            spectrum.fill(Complex32::ZERO);
        }
        for (number, rows) in live.chunks(BLOCK).enumerate() {
            for (slot, out) in block.chunks_exact_mut(half).take(rows.len()).enumerate() {
                row.fill(0.0);
                fill(number * BLOCK + slot, row);
                let done = self.forward_row.process_with_scratch(row, out, fft);
                debug_assert!(done.is_ok(), "buffers have the planned lengths");
            }
            for (k, column) in spectrum.chunks_exact_mut(self.rows).enumerate() {
                for (slot, &r) in rows.iter().enumerate() {
                    column[r] = block[slot * half + k];
                }
            }
        }
        if self.rows > 1 {
            self.forward_column.process_with_scratch(spectrum, fft);
        }
    }

    /// Transforms a spectrum back (it is destroyed) and hands each of the rows `wanted` to
    /// `read(index in wanted, row)`. Unscaled: a round trip multiplies by rows x columns.
    pub(crate) fn inverse(
        &self,
        wanted: &[usize],
        spectrum: &mut [Complex32],
        scratch: &mut Scratch,
        mut read: impl FnMut(usize, &[f32]),
    ) {
        let half = self.half();
        let Scratch { row, block, fft } = scratch;
        if self.rows > 1 {
            self.inverse_column.process_with_scratch(spectrum, fft);
        }
        for (number, rows) in wanted.chunks(BLOCK).enumerate() {
            for (k, column) in spectrum.chunks_exact(self.rows).enumerate() {
                for (slot, &r) in rows.iter().enumerate() {
                    block[slot * half + k] = column[r];
                }
            }
            for (slot, bins) in block.chunks_exact_mut(half).take(rows.len()).enumerate() {
                // Real by symmetry; rounding leaves a trace that realfft refuses.
                bins[0].im = 0.0;
                bins[half - 1].im = 0.0;
                let done = self.inverse_row.process_with_scratch(bins, row, fft);
                debug_assert!(done.is_ok(), "buffers have the planned lengths");
                read(number * BLOCK + slot, row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    #[test]
    fn the_transform_is_the_discrete_fourier_sum_and_comes_back() {
        for (rows, columns) in [(1, 12), (6, 10), (16, 8), (15, 2)] {
            let fft = RealFft2::new(rows, columns);
            let value = |r: usize, c: usize| ((r * 31 + c * 17) % 11) as f32 - 4.0;
            // Every third row stays zero.
            let live: Vec<usize> = (0..rows).filter(|r| r % 3 != 1).collect();
            let mut spectrum = vec![Complex32::new(9.0, 9.0); fft.bins()];
            let mut scratch = fft.scratch();
            fft.forward(&live, &mut spectrum, &mut scratch, |i, row| {
                for (c, v) in row.iter_mut().enumerate() {
                    *v = value(live[i], c);
                }
            });
            for k in 0..=columns / 2 {
                for q in 0..rows {
                    let mut sum = rustfft::num_complex::Complex64::ZERO;
                    for &r in &live {
                        for c in 0..columns {
                            let angle = (q * r) as f64 / rows as f64 + (k * c) as f64 / columns as f64;
                            sum +=
                                f64::from(value(r, c)) * rustfft::num_complex::Complex64::cis(-TAU * angle);
                        }
                    }
                    let got = spectrum[k * rows + q];
                    let error = (f64::from(got.re) - sum.re).hypot(f64::from(got.im) - sum.im);
                    assert!(error < 1e-3, "{rows}x{columns} bin ({k}, {q}): {got} against {sum}");
                }
            }
            let all: Vec<usize> = (0..rows).collect();
            let scale = (rows * columns) as f32;
            fft.inverse(&all, &mut spectrum, &mut scratch, |r, row| {
                for (c, v) in row.iter().enumerate() {
                    let expected = if live.contains(&r) { value(r, c) } else { 0.0 };
                    assert!((v / scale - expected).abs() < 1e-5);
                }
            });
        }
    }
}
