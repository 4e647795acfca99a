//! Fourier transforms written as matrix products, in candle's tensor operations only: this algorithm runs on every
//! device that candle knows, and candle derives its gradients.
//!
//! Matrices may be rectangular: the product of an input of n positions and an `n x N` matrix pads and transforms at
//! once, and the inverse computes only the positions that the stride keeps. No length is slow, so that N = n + r exactly
//! (r = receptive radius).

pub(crate) mod cost;

use crate::ConvProblem;
use candle_core::{Device, Result, Tensor};
use std::f64::consts::TAU;

/// A complex tensor: real and imaginary part.
type Complex = (Tensor, Tensor);

/// Rows and columns of the transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DftSize {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl DftSize {
    /// The smallest size at which nothing that wraps around reaches an output.
    fn of(p: &ConvProblem) -> DftSize {
        let [rows, columns] = p.receptive_radius();
        DftSize { rows: p.size[0] + rows, columns: p.size[1] + columns }
    }
}

/// The matrices of one problem on one device.
pub(crate) struct Dft {
    problem: ConvProblem,
    /// Rows of a spectrum (N of the row axis), and kept bins of the column axis.
    bins: [usize; 2],
    /// Forward along columns: `[width, bins]`, cos and -sin.
    column: Complex,
    /// Inverse along columns: `[bins, output width]`, cos and -sin with the weights of the half spectrum.
    column_inverse: Complex,
    /// Forward along rows, `[height, N]`, and inverse, `[N, output height]`; `None` for a single row.
    row: Option<(Complex, Complex)>,
    /// From taps to bins: `[taps, bins x N]`, cos and -sin; zero for taps that meet no data.
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
    pub(crate) fn new(p: &ConvProblem, size: DftSize, device: &Device) -> Result<Dft> {
        let ([height, width], DftSize { rows, columns }) = (p.size, size);
        let half = columns / 2 + 1;
        let [out_rows, out_columns] = p.out_size();
        let one = |_: usize, _: usize| 1.0;
        let column = twiddles([width, half], device, |i, k| turn(i, k, columns), one)?;
        // All bins but the first, and the last of an even length, stand for two.
        let double = |k: usize| if k == 0 || 2 * k == columns { 1.0 } else { 2.0 };
        let scale = 1.0 / (rows * columns) as f64;
        let column_inverse = twiddles(
            [half, out_columns],
            device,
            |k, j| turn(k, j * p.stride[1], columns),
            |k, _| scale * double(k),
        )?;
        let row = if rows == 1 {
            None
        } else {
            let forward = twiddles([height, rows], device, |i, q| turn(i, q, rows), one)?;
            let inverse =
                twiddles([rows, out_rows], device, |q, j| 1.0 - turn(q, j * p.stride[0], rows), one)?;
            Some((forward, inverse))
        };
        let wrap = |offset: i32, n: usize| i64::from(offset).rem_euclid(n as i64) as usize;
        let mut placed: Vec<Option<[usize; 2]>> = vec![None; p.taps];
        for (offset, &tap_index) in p.offsets.iter().zip(&p.tap_indices) {
            placed[tap_index] = Some([wrap(offset[0], rows), wrap(offset[1], columns)]);
        }
        let taps = twiddles(
            [p.taps, half * rows],
            device,
            |tap, bin| {
                placed[tap].map_or(0.0, |[r, c]| turn(r, bin % rows, rows) + turn(c, bin / rows, columns))
            },
            |tap, _| if placed[tap].is_some() { 1.0 } else { 0.0 },
        )?;
        Ok(Dft { problem: p.clone(), bins: [rows, half], column, column_inverse, row, taps })
    }

    /// Spectra `[planes, bins x N]` of maps `[planes, height, width]`.
    fn transform(&self, maps: &Tensor, planes: usize) -> Result<Complex> {
        let ([height, width], [rows, half]) = (self.problem.size, self.bins);
        let flat = maps.reshape((planes * height, width))?;
        let spectrum = both(&self.column, |twiddle| flat.matmul(twiddle))?;
        let Some((forward, _)) = &self.row else { return Ok(spectrum) };
        let transposed = both(&spectrum, |part| {
            let part = part.reshape((planes, height, half))?.transpose(1, 2)?;
            part.contiguous()?.reshape((planes * half, height))
        })?;
        both(&times(&transposed, forward)?, |part| part.reshape((planes, half * rows)))
    }

    /// The outputs `[planes, output rows, output columns]` in spectra `[planes, bins x N]`.
    fn inverse(&self, spectra: &Complex, planes: usize) -> Result<Tensor> {
        let ([rows, half], [out_rows, out_columns]) = (self.bins, self.problem.out_size());
        let columns = match &self.row {
            None => spectra.clone(),
            Some((_, inverse)) => {
                let flat = both(spectra, |part| part.reshape((planes * half, rows)))?;
                both(&times(&flat, inverse)?, |part| {
                    let part = part.reshape((planes, half, out_rows))?.transpose(1, 2)?;
                    part.contiguous()?.reshape((planes * out_rows, half))
                })?
            }
        };
        // Re(z e^{+i a}) = Re z cos a - Im z sin a, and the table holds -sin.
        let (cos, minus_sin) = &self.column_inverse;
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
        self.inverse(&y, planes)?.reshape((p.batch, p.c_out, p.out_plane()))
    }
}
