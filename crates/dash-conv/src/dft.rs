//! The Fourier algorithm with its transforms written as matrix products, in candle tensor operations
//! only: it runs on every device that candle knows, and candle derives its gradients.
//!
//! Matrices may be rectangular: an input of n positions times an `n x N` matrix is padded and
//! transformed at once, and the way back computes only the positions that the stride keeps. No length
//! is slow, so N = n + r exactly (r = largest reachable offset).

use crate::ConvProblem;
use candle_core::{Device, Result, Tensor};
use std::f64::consts::TAU;

/// A complex tensor: real and imaginary part.
type Complex = (Tensor, Tensor);

/// The matrices of one problem on one device.
pub(crate) struct Dft {
    problem: ConvProblem,
    /// Rows of a spectrum (N of the row axis), and kept bins of the column axis.
    bins: [usize; 2],
    /// Columns: `[width, bins]`, cos and -sin.
    column: Complex,
    /// Columns back: `[bins, output width]`, cos and -sin with the weights of the half spectrum.
    column_back: Complex,
    /// Rows: `[height, N]`, and back: `[N, output height]`; absent for a single row.
    row: Option<(Complex, Complex)>,
    /// Taps to bins: `[taps, bins x N]`, cos and -sin; unreachable taps are zero.
    taps: Complex,
}

/// `[rows, columns]` of `weight(i, j) cos` and `-weight(i, j) sin` of 2 pi `turns(i, j)`.
fn twiddles(
    [rows, columns]: [usize; 2],
    device: &Device,
    turns: impl Fn(usize, usize) -> f64,
    weight: impl Fn(usize, usize) -> f64,
) -> Result<Complex> {
    let part = |f: fn(f64) -> f64| {
        let values: Vec<f32> = (0..rows * columns)
            .map(|index| {
                let (i, j) = (index / columns, index % columns);
                (weight(i, j) * f(TAU * turns(i, j))) as f32
            })
            .collect();
        Tensor::from_vec(values, (rows, columns), device)
    };
    Ok((part(f64::cos)?, part(|angle| -angle.sin())?))
}

/// (i j / n) modulo 1, without losing digits.
fn turn(i: usize, j: usize, n: usize) -> f64 {
    (i as u64 * j as u64 % n as u64) as f64 / n as f64
}

/// Product of complex matrices.
fn times(a: &Complex, b: &Complex) -> Result<Complex> {
    Ok(((a.0.matmul(&b.0)? - a.1.matmul(&b.1)?)?, (a.0.matmul(&b.1)? + a.1.matmul(&b.0)?)?))
}

/// The same function of both parts.
fn both(z: &Complex, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Complex> {
    Ok((f(&z.0)?, f(&z.1)?))
}

impl Dft {
    pub(crate) fn new(p: &ConvProblem, device: &Device) -> Result<Dft> {
        let ([height, width], [reach_rows, reach_columns]) = (p.size, p.reach());
        let (rows, columns) = (height + reach_rows, width + reach_columns);
        let half = columns / 2 + 1;
        let [out_rows, out_columns] = p.out_size();
        let one = |_: usize, _: usize| 1.0;
        let column = twiddles([width, half], device, |i, k| turn(i, k, columns), one)?;
        // All bins but the first, and the last of an even length, stand for two.
        let double = |k: usize| if k == 0 || 2 * k == columns { 1.0 } else { 2.0 };
        let scale = 1.0 / (rows * columns) as f64;
        let column_back = twiddles(
            [half, out_columns],
            device,
            |k, j| turn(k, j * p.stride[1], columns),
            |k, _| scale * double(k),
        )?;
        let row = if rows == 1 {
            None
        } else {
            let there = twiddles([height, rows], device, |i, q| turn(i, q, rows), one)?;
            let back = twiddles([rows, out_rows], device, |q, j| 1.0 - turn(q, j * p.stride[0], rows), one)?;
            Some((there, back))
        };
        let wrap = |offset: i32, n: usize| i64::from(offset).rem_euclid(n as i64) as usize;
        let mut placed: Vec<Option<[usize; 2]>> = vec![None; p.taps];
        for (offset, &place) in p.offsets.iter().zip(&p.tap_indices) {
            placed[place] = Some([wrap(offset[0], rows), wrap(offset[1], columns)]);
        }
        let taps = twiddles(
            [p.taps, half * rows],
            device,
            |tap, bin| {
                placed[tap].map_or(0.0, |[r, c]| turn(r, bin % rows, rows) + turn(c, bin / rows, columns))
            },
            |tap, _| if placed[tap].is_some() { 1.0 } else { 0.0 },
        )?;
        Ok(Dft { problem: p.clone(), bins: [rows, half], column, column_back, row, taps })
    }

    /// Spectra `[planes, bins x N]` of maps `[planes, height, width]`.
    fn transform(&self, maps: &Tensor, planes: usize) -> Result<Complex> {
        let ([height, width], [rows, half]) = (self.problem.size, self.bins);
        let flat = maps.reshape((planes * height, width))?;
        let spectrum = both(&self.column, |twiddle| flat.matmul(twiddle))?;
        let Some((there, _)) = &self.row else { return Ok(spectrum) };
        let turned = both(&spectrum, |part| {
            let part = part.reshape((planes, height, half))?.transpose(1, 2)?;
            part.contiguous()?.reshape((planes * half, height))
        })?;
        both(&times(&turned, there)?, |part| part.reshape((planes, half * rows)))
    }

    /// The outputs `[planes, output rows, output columns]` in spectra `[planes, bins x N]`.
    fn back(&self, spectra: &Complex, planes: usize) -> Result<Tensor> {
        let ([rows, half], [out_rows, out_columns]) = (self.bins, self.problem.out_size());
        let columns = match &self.row {
            None => spectra.clone(),
            Some((_, back)) => {
                let flat = both(spectra, |part| part.reshape((planes * half, rows)))?;
                both(&times(&flat, back)?, |part| {
                    let part = part.reshape((planes, half, out_rows))?.transpose(1, 2)?;
                    part.contiguous()?.reshape((planes * out_rows, half))
                })?
            }
        };
        // Re(z e^{+i a}) = Re z cos a - Im z sin a, and the table holds -sin.
        let (cos, minus_sin) = &self.column_back;
        (columns.0.matmul(cos)? + columns.1.matmul(minus_sin)?)?.reshape((planes, out_rows, out_columns))
    }

    /// `[batch, c_out, output plane]`, without the bias.
    pub(crate) fn forward(&self, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let p = &self.problem;
        let (groups, gi, go) = (p.groups, p.group_in(), p.group_out());
        let bins = self.bins[0] * self.bins[1];
        let x = self.transform(&x.reshape((p.batch * p.c_in, p.size[0], p.size[1]))?, p.batch * p.c_in)?;
        let flat = weights.reshape((p.c_out * gi, p.taps))?;
        let w = both(&self.taps, |twiddle| flat.matmul(twiddle))?;
        // Y = X conj(W).
        let y = if p.is_depthwise() {
            let x = both(&x, |part| part.reshape((p.batch, p.c_in, bins)))?;
            let w = both(&w, |part| part.reshape((1, p.c_in, bins)))?;
            let real = (x.0.broadcast_mul(&w.0)? + x.1.broadcast_mul(&w.1)?)?;
            (real, (x.1.broadcast_mul(&w.0)? - x.0.broadcast_mul(&w.1)?)?)
        } else {
            // One product per bin and group: [bins groups, batch, gi] x [bins groups, gi, go].
            let x = both(&x, |part| {
                let part = part.reshape((p.batch, groups, gi, bins))?.permute((3, 1, 0, 2))?;
                part.contiguous()?.reshape((bins * groups, p.batch, gi))
            })?;
            let w = both(&w, |part| {
                let part = part.reshape((groups, go, gi, bins))?.permute((3, 0, 2, 1))?;
                part.contiguous()?.reshape((bins * groups, gi, go))
            })?;
            let y = times(&x, &(w.0, w.1.neg()?))?;
            both(&y, |part| {
                let part = part.reshape((bins, groups, p.batch, go))?.permute((2, 1, 3, 0))?;
                part.contiguous()
            })?
        };
        let planes = p.batch * p.c_out;
        let y = both(&y, |part| part.reshape((planes, bins)))?;
        self.back(&y, planes)?.reshape((p.batch, p.c_out, p.out_plane()))
    }
}
