//! Depthwise layers: products of spectra bin by bin, between the two halves of the column transform.
//!
//! Where there are bundles enough for all threads, one task takes a bundle all the way, so that what
//! lies between the axes stays in the cache of its core. A few large bundles are transformed by all
//! threads together, axis by axis.

use super::{
    Spectral,
    kernels::Kernels,
    transform::{Transform, Work},
    vectors::{load, place_rows, store, take_rows},
};
use crate::{
    buffer::{Buffer, odd},
    maps::{Bundle, Maps, Source},
    parallel::Shared,
    simd::{LANES, Vector, parts},
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Bundles that are enough for all threads, and tasks into which sums over samples are divided; fixed,
/// so that sums are formed in the same order for any number of threads.
const TASKS: usize = 16;

/// Column bins that are worth a task.
const BINS: usize = 4;

impl Spectral {
    /// Spectra of the kernels, `[column bin][row bin][group of channels]`, for the lanes of the maps.
    fn kernel_lanes(&self, kernels: &Kernels<'_>, weights: &[f32]) -> Buffer {
        let t = &self.transform;
        let rows = t.forward_rows(kernels, weights, false);
        let mut spectra = Buffer::stale(t.half() * t.size[0] * kernels.planes.pitch());
        t.forward_columns(kernels, &rows, 0..t.half(), &mut spectra);
        // Lanes that several samples share see the same kernels.
        let (channels, packed) = (kernels.planes.channels, LANES / kernels.planes.channels);
        if packed > 1 {
            for vector in spectra.chunks_exact_mut(LANES) {
                for s in 1..packed {
                    vector.copy_within(..channels, s * channels);
                }
            }
        }
        spectra
    }

    pub(super) fn forward_depthwise(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (t, batch) = (&self.transform, self.problem.batch);
        let source = self.channel_kernels();
        let (kernels, pitch) = (self.kernel_lanes(&source, weights), source.planes.pitch());
        let (inputs, outputs) = (self.inputs(0..batch, 0), self.outputs(0..batch, 0).with_bias(bias));
        // `first` is the first column bin, `pitches` the distances of the rows of neighbouring bins.
        let filter = |work: &mut Work,
                      first: usize,
                      bundle: Bundle,
                      rows: &[f32],
                      results: &mut [f32],
                      pitches: [usize; 2]| {
            let kernel = &kernels[first * t.size[0] * pitch + bundle_step(&bundle, t)..];
            let (inputs, outputs) = (&inputs, &outputs);
            t.arch.dispatch(Filter {
                t,
                work,
                inputs,
                outputs,
                rows,
                kernel,
                pitch,
                results,
                pitches,
                bundle,
            });
        };
        let (bundles, in_len, out_len) =
            (inputs.bundles(), inputs.live() * t.step(), outputs.live() * t.step());
        if bundles >= TASKS {
            let (in_pitch, out_pitch) = (odd(inputs.live()) * t.step(), odd(outputs.live()) * t.step());
            let y = Shared::new(y);
            (0..bundles).into_par_iter().for_each_init(
                || (t.work(), Buffer::stale(t.half() * in_pitch), Buffer::stale(t.half() * out_pitch)),
                |(work, rows, results), index| {
                    let bundle = inputs.bundle(index);
                    t.bundle_rows(&inputs, bundle, x, work, rows, in_pitch);
                    filter(work, 0, bundle, rows, results, [in_pitch, out_pitch]);
                    t.read_bundle_rows(&outputs, bundle, results, work, out_pitch, &y);
                },
            );
            return;
        }
        let rows = t.forward_rows(&inputs, x, false);
        let mut results = Buffer::stale(t.between(&outputs));
        let to = Shared::new(&mut results);
        (0..t.half() * bundles).into_par_iter().with_min_len(BINS).for_each_init(
            || t.work(),
            |work, task| {
                let (bin, index) = (task / bundles, task % bundles);
                let rows = &rows[bin * t.pitch(&inputs) + index * in_len..][..in_len];
                // SAFETY: these rows belong to this bin and bundle alone.
                #[allow(unsafe_code)]
                let results = unsafe { to.slice(bin * t.pitch(&outputs) + index * out_len, out_len) };
                filter(work, bin, inputs.bundle(index), rows, results, [in_len, out_len]);
            },
        );
        t.inverse_rows(&outputs, &results, false, false, y);
    }

    pub(super) fn backward_depthwise(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let (t, batch) = (&self.transform, self.problem.batch);
        let source = self.channel_kernels();
        let kernels = dx.is_some().then(|| self.kernel_lanes(&source, weights));
        let in_order = !self.geometry.disjoint();
        if let (true, Some(dx)) = (in_order, dx.as_deref_mut()) {
            dx.fill(0.0);
        }
        let outputs = self.outputs(0..batch, 0);
        let inputs = self.inputs(0..batch, 0).adding(in_order);
        let (groups, pitch, live) = (source.planes.groups, source.planes.pitch(), inputs.live() * t.step());
        let (bundles, per_piece) = (inputs.bundles(), inputs.per_piece());
        let column = t.size[0] * t.step();
        let gradients = |work: [&mut Work; 2],
                         first: usize,
                         bundle: Bundle,
                         [rows, grads]: [&[f32]; 2],
                         sums: &mut [f32],
                         results: &mut [f32],
                         pitches: [usize; 2]| {
            let at = |k: &'_ Buffer| first * t.size[0] * pitch + bundle_step(&bundle, t)..k.len();
            let kernel = kernels.as_ref().map(|k| &k[at(k)]);
            let (inputs, outputs) = (&inputs, &outputs);
            t.arch.dispatch(Gradients {
                t,
                work,
                inputs,
                outputs,
                rows,
                grads,
                kernel,
                pitch,
                sums,
                results,
                pitches,
                bundle,
            });
        };
        // Sums, `[part][group][column bin][row bin]`.
        let blocks = per_piece / groups;
        let parts = if bundles >= TASKS { TASKS.div_ceil(groups).min(blocks) } else { 1 };
        let per_part = blocks.div_ceil(parts);
        let mut sums = Buffer::zeroed(parts * groups * t.half() * column);
        if bundles >= TASKS {
            let (in_pitch, out_pitch) = (odd(inputs.live()) * t.step(), odd(outputs.live()) * t.step());
            let dx = dx.map(Shared::new);
            sums.par_chunks_mut(t.half() * column).enumerate().for_each_init(
                || {
                    let rows = [in_pitch, out_pitch, in_pitch].map(|p| Buffer::stale(t.half() * p));
                    (t.work(), t.work(), rows)
                },
                |(first, second, [rows, grads, results]), (task, sums)| {
                    let (part, group) = (task / groups, task % groups);
                    for block in part * per_part..((part + 1) * per_part).min(blocks) {
                        for piece in 0..inputs.pieces() {
                            let bundle = inputs.bundle(piece * per_piece + block * groups + group);
                            t.bundle_rows(&outputs, bundle, grad, first, grads, out_pitch);
                            t.bundle_rows(&inputs, bundle, x, first, rows, in_pitch);
                            let pitches = [in_pitch, out_pitch];
                            gradients([first, second], 0, bundle, [rows, grads], sums, results, pitches);
                            if let Some(dx) = &dx {
                                t.read_bundle_rows(&inputs, bundle, results, first, in_pitch, dx);
                            }
                        }
                    }
                },
            );
        } else {
            let grads = t.forward_rows(&outputs, grad, false);
            let rows = t.forward_rows(&inputs, x, false);
            let mut results = Buffer::stale(if dx.is_some() { t.between(&inputs) } else { t.half() * live });
            let to = Shared::new(&mut results);
            let (has_dx, grad_live) = (dx.is_some(), outputs.live() * t.step());
            let in_groups: Vec<Vec<usize>> =
                (0..groups).map(|g| (g..bundles).step_by(groups).collect()).collect();
            sums.par_chunks_mut(column).enumerate().with_min_len(BINS.div_ceil(groups)).for_each_init(
                || (t.work(), t.work()),
                |(first, second), (task, sum)| {
                    let (group, bin) = (task / t.half(), task % t.half());
                    for &index in &in_groups[group] {
                        let at = bin * t.pitch(&inputs) + index * live;
                        let grads = &grads[bin * t.pitch(&outputs) + index * grad_live..][..grad_live];
                        // SAFETY: these rows belong to this bin and bundle alone.
                        #[allow(unsafe_code)]
                        let results = if has_dx { unsafe { to.slice(at, live) } } else { &mut [] };
                        let rows = [&rows[at..at + live], grads];
                        gradients(
                            [first, second],
                            bin,
                            inputs.bundle(index),
                            rows,
                            sum,
                            results,
                            [live, grad_live],
                        );
                    }
                },
            );
            if let Some(dx) = dx {
                t.inverse_rows(&inputs, &results, false, in_order, dx);
            }
        }
        let spectra = self.total(&mut sums, groups, pitch, source.planes.channels);
        let mut rows = Buffer::stale(t.between(&source));
        t.inverse_columns(&source, &spectra, 0..t.half(), &mut rows);
        t.inverse_rows(&source, &rows, false, false, dw);
    }

    /// The sum over parts and over lanes of the same channel, as spectra of kernels.
    fn total(&self, sums: &mut [f32], groups: usize, pitch: usize, channels: usize) -> Buffer {
        let t = &self.transform;
        let (total, rest) = sums.split_at_mut(groups * t.half() * t.size[0] * t.step());
        for part in rest.chunks_exact(total.len()) {
            for (t, v) in total.iter_mut().zip(part) {
                *t += v;
            }
        }
        let packed = LANES / channels;
        if packed > 1 {
            for vector in total.chunks_exact_mut(LANES) {
                for lane in channels..channels * packed {
                    vector[lane % channels] += vector[lane];
                }
            }
        }
        let mut spectra = Buffer::stale(t.half() * t.size[0] * pitch);
        for (group, total) in total.chunks_exact(t.half() * t.size[0] * t.step()).enumerate() {
            for (to, from) in spectra.chunks_exact_mut(pitch).zip(total.chunks_exact(t.step())) {
                to[group * t.step()..(group + 1) * t.step()].copy_from_slice(from);
            }
        }
        spectra
    }
}

/// Where the numbers of a bundle's group of channels begin.
fn bundle_step(bundle: &Bundle, t: &Transform) -> usize {
    bundle.group * t.step()
}

/// Column bins of one bundle: transform, times the conjugate kernel, back.
struct Filter<'a> {
    t: &'a Transform,
    work: &'a mut Work,
    inputs: &'a Maps<'a>,
    outputs: &'a Maps<'a>,
    rows: &'a [f32],
    /// Beginning at the kernel of the first row bin.
    kernel: &'a [f32],
    /// Distance of the kernels of neighbouring row bins.
    pitch: usize,
    results: &'a mut [f32],
    /// Distances of neighbouring column bins in `rows` and in `results`.
    pitches: [usize; 2],
    bundle: Bundle,
}

impl WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (size, registers) = (self.t.size[0], parts::<S>());
        let rows = self.rows.chunks(self.pitches[0]).zip(self.results.chunks_mut(self.pitches[1]));
        for ((rows, results), kernel) in rows.zip(self.kernel.chunks(size * self.pitch)) {
            if size == 1 {
                for register in 0..registers {
                    let (value, kernel) = (load::<S>(rows, register), load::<S>(kernel, register));
                    store::<S>(times_conjugate(simd, value, kernel), results, register);
                }
                continue;
            }
            place_rows(self.t, self.inputs, &self.bundle, rows, &mut self.work.a);
            let (a, b) = self.work.vectors::<S>();
            let in_b = self.t.rows.run::<S, false>(simd, a, b);
            let (spectrum, other) = if in_b { (b, a) } else { (a, b) };
            let values = spectrum.chunks_exact_mut(2 * registers).take(size);
            for (value, kernel) in values.zip(kernel.chunks(self.pitch)) {
                for register in 0..registers {
                    let of_value = [value[register], value[registers + register]];
                    let product = times_conjugate(simd, of_value, load::<S>(kernel, register));
                    [value[register], value[registers + register]] = product;
                }
            }
            let swapped = self.t.rows.run::<S, true>(simd, spectrum, other);
            let result = if swapped == in_b { &self.work.a } else { &self.work.b };
            take_rows(self.outputs, &self.bundle, result, results);
        }
    }
}

/// a times the conjugate of b.
#[inline(always)]
fn times_conjugate<S: Simd>(simd: S, a: [Vector<S>; 2], b: [Vector<S>; 2]) -> [Vector<S>; 2] {
    [
        simd.mul_add_f32s(a[0], b[0], simd.mul_f32s(a[1], b[1])),
        simd.negate_mul_add_f32s(a[0], b[1], simd.mul_f32s(a[1], b[0])),
    ]
}

/// a times the conjugate of b, plus c.
#[inline(always)]
fn plus_times_conjugate<S: Simd>(
    simd: S,
    a: [Vector<S>; 2],
    b: [Vector<S>; 2],
    c: [Vector<S>; 2],
) -> [Vector<S>; 2] {
    [
        simd.mul_add_f32s(a[1], b[1], simd.mul_add_f32s(a[0], b[0], c[0])),
        simd.negate_mul_add_f32s(a[0], b[1], simd.mul_add_f32s(a[1], b[0], c[1])),
    ]
}

/// a times b.
#[inline(always)]
fn times<S: Simd>(simd: S, a: [Vector<S>; 2], b: [Vector<S>; 2]) -> [Vector<S>; 2] {
    [
        simd.negate_mul_add_f32s(a[1], b[1], simd.mul_f32s(a[0], b[0])),
        simd.mul_add_f32s(a[0], b[1], simd.mul_f32s(a[1], b[0])),
    ]
}

/// Column bins of one bundle: the gradient in the inputs, and what is added to that in the kernels.
struct Gradients<'a> {
    t: &'a Transform,
    work: [&'a mut Work; 2],
    inputs: &'a Maps<'a>,
    outputs: &'a Maps<'a>,
    rows: &'a [f32],
    grads: &'a [f32],
    /// Beginning at the kernel of the first row bin, if the gradient in the inputs is wanted.
    kernel: Option<&'a [f32]>,
    pitch: usize,
    /// `[column bin][row bin]`.
    sums: &'a mut [f32],
    results: &'a mut [f32],
    /// Distances of neighbouring column bins in `rows` and `results`, and in `grads`.
    pitches: [usize; 2],
    bundle: Bundle,
}

impl WithSimd for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (t, size, step, registers) = (self.t, self.t.size[0], 2 * LANES, parts::<S>());
        let [first, second] = self.work;
        let [in_pitch, out_pitch] = self.pitches;
        let rows = self.rows.chunks(in_pitch).zip(self.grads.chunks(out_pitch));
        for (bin, ((rows, grads), sums)) in rows.zip(self.sums.chunks_mut(size * step)).enumerate() {
            let kernel = self.kernel.map(|k| &k[bin * size * self.pitch..]);
            if size == 1 {
                for register in 0..registers {
                    let (g, x) = (load::<S>(grads, register), load::<S>(rows, register));
                    let sum = load::<S>(sums, register);
                    store::<S>(plus_times_conjugate(simd, x, g, sum), sums, register);
                    if let Some(kernel) = kernel {
                        let product = times(simd, g, load::<S>(kernel, register));
                        store::<S>(product, &mut self.results[bin * in_pitch..], register);
                    }
                }
                continue;
            }
            place_rows(t, self.outputs, &self.bundle, grads, &mut first.a);
            place_rows(t, self.inputs, &self.bundle, rows, &mut second.a);
            let ((a, b), (c, d)) = (first.vectors::<S>(), second.vectors::<S>());
            let in_b = t.rows.run::<S, false>(simd, a, b);
            let (g, g_other) = if in_b { (b, a) } else { (a, b) };
            let x = if t.rows.run::<S, false>(simd, c, d) { &*d } else { &*c };
            let pairs = g.chunks_exact_mut(2 * registers).zip(x.chunks_exact(2 * registers)).take(size);
            for ((f, (g, x)), sum) in pairs.enumerate().zip(sums.chunks_exact_mut(step)) {
                for register in 0..registers {
                    let (re, im) = (register, registers + register);
                    let (gs, xs) = ([g[re], g[im]], [x[re], x[im]]);
                    store::<S>(plus_times_conjugate(simd, xs, gs, load::<S>(sum, register)), sum, register);
                    if let Some(kernel) = kernel {
                        let kernel = load::<S>(&kernel[f * self.pitch..], register);
                        [g[re], g[im]] = times(simd, gs, kernel);
                    }
                }
            }
            if kernel.is_some() {
                let swapped = t.rows.run::<S, true>(simd, g, g_other);
                let result = if swapped == in_b { &first.a } else { &first.b };
                take_rows(self.inputs, &self.bundle, result, &mut self.results[bin * in_pitch..]);
            }
        }
    }
}
