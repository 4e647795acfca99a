//! The Fourier algorithm: DASH, section 4.2, with the reachable crop and short transforms.
//!
//! An axis of n positions whose reachable taps look at most r away is transformed at any length
//! N >= n + r: what wraps around falls outside the kept region (section 4.2, second shortcut).
//! With the kernel's tap `o` at index `o mod N`, spectra obey `Y = X conj(W)`, `dX = G W` and
//! `dW = conj(G) X` (section 4.3).
//!
//! Depthwise layers are computed plane by plane, so that a spectrum never leaves the cache. Layers
//! that mix channels are one complex matrix product per frequency; for that, spectra are stored
//! `[sample][bin][channel]` and products `[bin][sample][channel]`.

use crate::{
    Problem,
    fast_size::fast_size,
    fft::{RealFft2, Scratch},
    op::Kernel,
    parallel::Shared,
};
use gemm::Parallelism;
use rayon::prelude::*;
use rustfft::num_complex::Complex32;
use std::ops::Range;

/// Planes that are brought into or out of the channel-innermost layout together.
const PLANES: usize = 8;

/// Tasks into which the batch of a depthwise backward pass is divided at least; fixed, so that sums
/// are formed in the same order for any number of threads.
const TASKS: usize = 16;

/// The convolution of one problem in the Fourier domain.
pub(crate) struct Spectral {
    problem: Problem,
    fft: RealFft2,
    /// Reachable taps by transform row: `(column, place in the weights)`.
    taps: Vec<Vec<(usize, usize)>>,
    /// Transform rows that hold taps, aligned with `taps`.
    tap_rows: Vec<usize>,
    /// Transform rows of the input maps.
    in_rows: Vec<usize>,
    /// Transform rows of the outputs.
    out_rows: Vec<usize>,
}

/// Rows and columns of the transforms for maps of `size` and taps that reach `reach` far.
pub(crate) fn transform_size(size: [usize; 2], reach: [usize; 2]) -> [usize; 2] {
    [fast_size(size[0] + reach[0]), fast_size((size[1] + reach[1]).max(2))]
}

impl Spectral {
    pub(crate) fn new(problem: &Problem) -> Self {
        let [rows, columns] = transform_size(problem.size, problem.reach());
        let wrap = |offset: i32, n: usize| i64::from(offset).rem_euclid(n as i64) as usize;
        let mut by_row: Vec<Vec<(usize, usize)>> = vec![Vec::new(); rows];
        for (offset, &place) in problem.offsets.iter().zip(&problem.places) {
            by_row[wrap(offset[0], rows)].push((wrap(offset[1], columns), place));
        }
        let tap_rows = (0..rows).filter(|&r| !by_row[r].is_empty()).collect();
        by_row.retain(|taps| !taps.is_empty());
        let out_rows = (0..problem.out_size()[0]).map(|r| r * problem.stride[0]).collect();
        Spectral {
            fft: RealFft2::new(rows, columns),
            taps: by_row,
            tap_rows,
            in_rows: (0..problem.size[0]).collect(),
            out_rows,
            problem: problem.clone(),
        }
    }

    /// 1 / (rows x columns): what a round trip must be scaled with.
    fn scale(&self) -> f32 {
        let [rows, columns] = self.fft.size();
        1.0 / (rows * columns) as f32
    }

    /// Spectrum of an input map.
    fn input_spectrum(&self, map: &[f32], spectrum: &mut [Complex32], scratch: &mut Scratch) {
        let width = self.problem.size[1];
        self.fft.forward(&self.in_rows, spectrum, scratch, |r, row| {
            row[..width].copy_from_slice(&map[r * width..(r + 1) * width]);
        });
    }

    /// Spectrum of an output gradient, put back to its strided place.
    fn grad_spectrum(&self, map: &[f32], spectrum: &mut [Complex32], scratch: &mut Scratch) {
        let (width, stride) = (self.problem.out_size()[1], self.problem.stride[1]);
        self.fft.forward(&self.out_rows, spectrum, scratch, |r, row| {
            let source = &map[r * width..(r + 1) * width];
            for (to, from) in row.iter_mut().step_by(stride).zip(source) {
                *to = *from;
            }
        });
    }

    /// Spectrum of the taps of one kernel, with the scale of the round trip.
    fn kernel_spectrum(&self, weights: &[f32], spectrum: &mut [Complex32], scratch: &mut Scratch) {
        let scale = self.scale();
        self.fft.forward(&self.tap_rows, spectrum, scratch, |r, row| {
            for &(column, place) in &self.taps[r] {
                row[column] = scale * weights[place];
            }
        });
    }

    /// The outputs in a product spectrum, which is destroyed.
    fn read_output(&self, spectrum: &mut [Complex32], bias: f32, map: &mut [f32], scratch: &mut Scratch) {
        let (width, stride) = (self.problem.out_size()[1], self.problem.stride[1]);
        self.fft.inverse(&self.out_rows, spectrum, scratch, |r, row| {
            for (to, from) in map[r * width..(r + 1) * width].iter_mut().zip(row.iter().step_by(stride)) {
                *to = from + bias;
            }
        });
    }

    /// The input gradient in a product spectrum, which is destroyed.
    fn read_input(&self, spectrum: &mut [Complex32], map: &mut [f32], scratch: &mut Scratch) {
        let width = self.problem.size[1];
        self.fft.inverse(&self.in_rows, spectrum, scratch, |r, row| {
            map[r * width..(r + 1) * width].copy_from_slice(&row[..width]);
        });
    }

    /// The gradient of the taps in a product spectrum, which is destroyed.
    fn read_taps(&self, spectrum: &mut [Complex32], weights: &mut [f32], scratch: &mut Scratch) {
        let scale = self.scale();
        self.fft.inverse(&self.tap_rows, spectrum, scratch, |r, row| {
            for &(column, place) in &self.taps[r] {
                weights[place] = scale * row[column];
            }
        });
    }

    /// Spectra of all kernels, one after the other.
    fn kernel_spectra(&self, weights: &[f32]) -> Vec<Complex32> {
        let mut spectra = vec![Complex32::ZERO; weights.len() / self.problem.taps * self.fft.bins()];
        spectra.par_chunks_mut(self.fft.bins()).zip(weights.par_chunks(self.problem.taps)).for_each_init(
            || self.fft.scratch(),
            |scratch, (spectrum, taps)| self.kernel_spectrum(taps, spectrum, scratch),
        );
        spectra
    }

    fn forward_depthwise(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (p, bins) = (&self.problem, self.fft.bins());
        let kernels = self.kernel_spectra(weights);
        y.par_chunks_mut(p.out_plane()).zip(x.par_chunks(p.plane())).enumerate().for_each_init(
            || (vec![Complex32::ZERO; bins], self.fft.scratch()),
            |(spectrum, scratch), (plane, (y, x))| {
                let channel = plane % p.c_in;
                self.input_spectrum(x, spectrum, scratch);
                for (s, k) in spectrum.iter_mut().zip(&kernels[channel * bins..]) {
                    *s *= k.conj();
                }
                self.read_output(spectrum, bias[channel], y, scratch);
            },
        );
    }

    fn backward_depthwise(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let (p, bins) = (&self.problem, self.fft.bins());
        let dx = dx.map(Shared::new);
        let blocks = TASKS.div_ceil(p.c_in).min(p.batch);
        let per_block = p.batch.div_ceil(blocks);
        let mut sums = vec![Complex32::ZERO; p.c_in * blocks * bins];
        sums.par_chunks_mut(bins).enumerate().for_each_init(
            || (vec![Complex32::ZERO; bins], vec![Complex32::ZERO; bins], self.fft.scratch()),
            |(g, other, scratch), (task, sum)| {
                let (channel, block) = (task / blocks, task % blocks);
                if dx.is_some() {
                    // `sum` is still free: it holds the kernel until the first sample is added.
                    self.kernel_spectrum(&weights[channel * p.taps..(channel + 1) * p.taps], other, scratch);
                }
                let kernel = dx.is_some().then(|| other.clone());
                for sample in block * per_block..((block + 1) * per_block).min(p.batch) {
                    let plane = sample * p.c_in + channel;
                    self.grad_spectrum(&grad[plane * p.out_plane()..][..p.out_plane()], g, scratch);
                    self.input_spectrum(&x[plane * p.plane()..][..p.plane()], other, scratch);
                    for ((s, g), x) in sum.iter_mut().zip(&*g).zip(&*other) {
                        *s += g.conj() * x;
                    }
                    if let (Some(dx), Some(kernel)) = (&dx, &kernel) {
                        for (g, k) in g.iter_mut().zip(kernel) {
                            *g *= k;
                        }
                        // SAFETY: each (sample, channel) plane belongs to exactly one task.
                        #[allow(unsafe_code)]
                        let map = unsafe { dx.slice(plane * p.plane(), p.plane()) };
                        self.read_input(g, map, scratch);
                    }
                }
            },
        );
        dw.par_chunks_mut(p.taps).zip(sums.par_chunks_mut(blocks * bins)).for_each_init(
            || self.fft.scratch(),
            |scratch, (dw, sums)| {
                let (total, rest) = sums.split_at_mut(bins);
                for part in rest.chunks_exact(bins) {
                    for (t, s) in total.iter_mut().zip(part) {
                        *t += s;
                    }
                }
                self.read_taps(total, dw, scratch);
            },
        );
    }

    /// Spectra of `count` planes in layout `[bin][plane]`; `transform(plane, spectrum, scratch)`
    /// makes one.
    fn interleaved(
        &self,
        count: usize,
        out: &mut [Complex32],
        work: &mut Work,
        transform: impl Fn(usize, &mut [Complex32], &mut Scratch),
    ) {
        let bins = self.fft.bins();
        for first in (0..count).step_by(PLANES) {
            let planes = PLANES.min(count - first);
            for (slot, spectrum) in work.spectra.chunks_exact_mut(bins).take(planes).enumerate() {
                transform(first + slot, spectrum, &mut work.scratch);
            }
            for (bin, to) in out.chunks_exact_mut(count).enumerate() {
                for (slot, to) in to[first..first + planes].iter_mut().enumerate() {
                    *to = work.spectra[slot * bins + bin];
                }
            }
        }
    }

    /// Hands the spectra of the `planes` of `products`, laid out `[bin][stride]`, to `read(plane,
    /// spectrum, scratch)`.
    fn separated(
        &self,
        products: &[Complex32],
        stride: usize,
        planes: Range<usize>,
        work: &mut Work,
        mut read: impl FnMut(usize, &mut [Complex32], &mut Scratch),
    ) {
        let bins = self.fft.bins();
        for first in planes.clone().step_by(PLANES) {
            let count = PLANES.min(planes.end - first);
            for (bin, from) in products.chunks_exact(stride).enumerate() {
                for (slot, from) in from[first..first + count].iter().enumerate() {
                    work.spectra[slot * bins + bin] = *from;
                }
            }
            for (slot, spectrum) in work.spectra.chunks_exact_mut(bins).take(count).enumerate() {
                read(first + slot, spectrum, &mut work.scratch);
            }
        }
    }

    fn work(&self) -> Work {
        Work { spectra: vec![Complex32::ZERO; PLANES * self.fft.bins()], scratch: self.fft.scratch() }
    }

    /// Spectra of all maps, `[sample][bin][channel]`.
    fn map_spectra(
        &self,
        maps: &[f32],
        channels: usize,
        plane: usize,
        one: impl Fn(&Self, &[f32], &mut [Complex32], &mut Scratch) + Sync,
    ) -> Vec<Complex32> {
        let mut spectra = vec![Complex32::ZERO; self.problem.batch * channels * self.fft.bins()];
        spectra
            .par_chunks_mut(channels * self.fft.bins())
            .zip(maps.par_chunks(channels * plane))
            .for_each_init(
                || self.work(),
                |work, (spectra, maps)| {
                    self.interleaved(channels, spectra, work, |c, spectrum, scratch| {
                        one(self, &maps[c * plane..(c + 1) * plane], spectrum, scratch);
                    });
                },
            );
        spectra
    }

    /// Spectra of all kernels, `[output][bin][input of the group]`.
    fn dense_kernels(&self, weights: &[f32]) -> Vec<Complex32> {
        let (p, inputs) = (&self.problem, self.problem.group_in());
        let mut spectra = vec![Complex32::ZERO; p.c_out * inputs * self.fft.bins()];
        spectra
            .par_chunks_mut(inputs * self.fft.bins())
            .zip(weights.par_chunks(inputs * p.taps))
            .for_each_init(
                || self.work(),
                |work, (spectra, weights)| {
                    self.interleaved(inputs, spectra, work, |i, spectrum, scratch| {
                        self.kernel_spectrum(&weights[i * p.taps..(i + 1) * p.taps], spectrum, scratch);
                    });
                },
            );
        spectra
    }

    fn forward_dense(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (p, bins) = (&self.problem, self.fft.bins());
        let (gi, go) = (p.group_in(), p.group_out());
        let xs = self.map_spectra(x, p.c_in, p.plane(), Self::input_spectrum);
        let ws = self.dense_kernels(weights);
        let ys = per_frequency(bins, p.batch * p.c_out, |bin, out| {
            for group in 0..p.groups {
                product(
                    [p.batch, go, gi],
                    Matrix { data: &mut out[group * go..], strides: [p.c_out, 1] },
                    Matrix { data: &xs[bin * p.c_in + group * gi..], strides: [bins * p.c_in, 1] },
                    Matrix { data: &ws[(group * go * bins + bin) * gi..], strides: [1, bins * gi] },
                    [false, true],
                );
            }
        });
        y.par_chunks_mut(p.c_out * p.out_plane()).enumerate().for_each_init(
            || self.work(),
            |work, (sample, y)| {
                let planes = sample * p.c_out..(sample + 1) * p.c_out;
                self.separated(&ys, p.batch * p.c_out, planes, work, |plane, spectrum, scratch| {
                    let channel = plane % p.c_out;
                    let map = &mut y[channel * p.out_plane()..(channel + 1) * p.out_plane()];
                    self.read_output(spectrum, bias[channel], map, scratch);
                });
            },
        );
    }

    fn backward_dense(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let (p, bins) = (&self.problem, self.fft.bins());
        let (gi, go) = (p.group_in(), p.group_out());
        let gs = self.map_spectra(grad, p.c_out, p.out_plane(), Self::grad_spectrum);
        if let Some(dx) = dx {
            let ws = self.dense_kernels(weights);
            let products = per_frequency(bins, p.batch * p.c_in, |bin, out| {
                for group in 0..p.groups {
                    product(
                        [p.batch, gi, go],
                        Matrix { data: &mut out[group * gi..], strides: [p.c_in, 1] },
                        Matrix { data: &gs[bin * p.c_out + group * go..], strides: [bins * p.c_out, 1] },
                        Matrix { data: &ws[(group * go * bins + bin) * gi..], strides: [bins * gi, 1] },
                        [false, false],
                    );
                }
            });
            dx.par_chunks_mut(p.c_in * p.plane()).enumerate().for_each_init(
                || self.work(),
                |work, (sample, dx)| {
                    let planes = sample * p.c_in..(sample + 1) * p.c_in;
                    self.separated(&products, p.batch * p.c_in, planes, work, |plane, spectrum, scratch| {
                        let channel = plane % p.c_in;
                        let map = &mut dx[channel * p.plane()..(channel + 1) * p.plane()];
                        self.read_input(spectrum, map, scratch);
                    });
                },
            );
        }
        let xs = self.map_spectra(x, p.c_in, p.plane(), Self::input_spectrum);
        let products = per_frequency(bins, p.c_out * gi, |bin, out| {
            for group in 0..p.groups {
                product(
                    [go, gi, p.batch],
                    Matrix { data: &mut out[group * go * gi..], strides: [gi, 1] },
                    Matrix { data: &gs[bin * p.c_out + group * go..], strides: [1, bins * p.c_out] },
                    Matrix { data: &xs[bin * p.c_in + group * gi..], strides: [bins * p.c_in, 1] },
                    [true, false],
                );
            }
        });
        dw.par_chunks_mut(gi * p.taps).enumerate().for_each_init(
            || self.work(),
            |work, (o, dw)| {
                let kernels = o * gi..(o + 1) * gi;
                self.separated(&products, p.c_out * gi, kernels, work, |kernel, spectrum, scratch| {
                    let i = kernel % gi;
                    self.read_taps(spectrum, &mut dw[i * p.taps..(i + 1) * p.taps], scratch);
                });
            },
        );
    }
}

impl Kernel for Spectral {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        if self.problem.is_depthwise() {
            self.forward_depthwise(x, weights, bias, y);
        } else {
            self.forward_dense(x, weights, bias, y);
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        if self.problem.is_depthwise() {
            self.backward_depthwise(x, weights, grad, dx, dw);
        } else {
            self.backward_dense(x, weights, grad, dx, dw);
        }
    }
}

/// Work space of one thread for layers that mix channels.
struct Work {
    spectra: Vec<Complex32>,
    scratch: Scratch,
}

/// Fills `[bin][len]` in parallel over bins.
fn per_frequency(bins: usize, len: usize, fill: impl Fn(usize, &mut [Complex32]) + Sync) -> Vec<Complex32> {
    let mut out = vec![Complex32::ZERO; bins * len];
    out.par_chunks_mut(len).enumerate().with_min_len(16).for_each(|(bin, out)| fill(bin, out));
    out
}

/// A strided matrix: element (i, j) is at `i strides[0] + j strides[1]`.
struct Matrix<D> {
    data: D,
    strides: [usize; 2],
}

/// `out = lhs rhs` for `[m, n, k]`, conjugating lhs or rhs.
fn product(
    [m, n, k]: [usize; 3],
    out: Matrix<&mut [Complex32]>,
    lhs: Matrix<&[Complex32]>,
    rhs: Matrix<&[Complex32]>,
    conj: [bool; 2],
) {
    let last = |rows: usize, columns: usize, s: [usize; 2]| (rows - 1) * s[0] + (columns - 1) * s[1];
    assert!(
        last(m, n, out.strides) < out.data.len()
            && last(m, k, lhs.strides) < lhs.data.len()
            && last(k, n, rhs.strides) < rhs.data.len(),
        "matrix outside its buffer"
    );
    // SAFETY: all elements are inside the buffers by the assertion; `out` is borrowed exclusively.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            out.strides[1] as isize,
            out.strides[0] as isize,
            false,
            lhs.data.as_ptr(),
            lhs.strides[1] as isize,
            lhs.strides[0] as isize,
            rhs.data.as_ptr(),
            rhs.strides[1] as isize,
            rhs.strides[0] as isize,
            Complex32::ZERO,
            Complex32::ONE,
            false,
            conj[0],
            conj[1],
            Parallelism::None,
        );
    }
}
