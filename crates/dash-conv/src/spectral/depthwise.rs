//! Computes depthwise layers: products of spectra bin by bin, between the forward and the inverse transform of the rows.
//!
//! Where there are enough plane batches for all threads, one task computes a batch from end to end, so that the
//! intermediate layout stays in the cache of its core. A few large batches are transformed by all threads together, axis
//! by axis.
//!
//! ```text
//! kernel spectra    [column bin][row bin][group of channels][re, im][lane]       the same for all samples
//! rows of a batch   [column bin][live row][re, im][lane]
//! sums              [part][group of channels][column bin][row bin][re, im][lane]
//! ```

use super::{
    kernel_planes::KernelPlanes,
    layer::Spectral,
    lines::{gather_rows, load, scatter_rows, store},
    transform::{COMPLEX_STRIDE, RowLayout, Transform, Work},
};
use crate::{
    buffer::{Buffer, pad_for_cache},
    parallel::Shared,
    planes::{FeatureMaps, PlaneBatch, PlaneSource},
    simd::{LANES, Vector, parts},
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// The number of batches that are enough for all threads, and of tasks into which sums over samples are divided: fixed,
/// so that sums are formed in the same order for any number of threads.
const TASKS: usize = 16;

/// The number of column bins that are worth a task.
const BINS: usize = 4;

impl Spectral {
    /// Spectra of the kernels, `[column bin][row bin][group of channels]`, for the lanes of the feature maps.
    fn kernel_spectra(&self, kernels: &KernelPlanes<'_>, weights: &[f32]) -> Buffer {
        let t = &self.transform;
        let rows = t.forward_rows(kernels, weights, RowLayout::Intermediate);
        let mut spectra = Buffer::scratch(t.bins() * t.size[0] * kernels.planes.pitch());
        t.forward_columns(kernels, &rows, 0..t.bins(), &mut spectra);
        // Samples that share the lanes of a batch see the same kernels.
        let (channels, samples) = (kernels.planes.channels, LANES / kernels.planes.channels);
        if samples > 1 {
            for vector in spectra.chunks_exact_mut(LANES) {
                for s in 1..samples {
                    vector.copy_within(..channels, s * channels);
                }
            }
        }
        spectra
    }

    pub(super) fn forward_depthwise(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (t, samples) = (&self.transform, 0..self.problem.batch);
        let source = self.depthwise_kernels();
        let kernels = self.kernel_spectra(&source, weights);
        let inputs = self.inputs(samples.clone(), 0);
        let outputs = self.outputs(samples, 0).with_bias(bias);
        let (inputs, outputs) = (&inputs, &outputs);
        let pass = FilterPass { t, inputs, outputs, kernels: &kernels, pitch: source.planes.pitch() };
        let (batches, in_len, out_len) =
            (inputs.batches(), inputs.live() * COMPLEX_STRIDE, outputs.live() * COMPLEX_STRIDE);
        if batches >= TASKS {
            let [in_pitch, out_pitch] =
                [inputs.live(), outputs.live()].map(|live| pad_for_cache(live) * COMPLEX_STRIDE);
            let y = Shared::new(y);
            (0..batches).into_par_iter().for_each_init(
                || {
                    let [rows, results] = [in_pitch, out_pitch].map(|p| Buffer::scratch(t.bins() * p));
                    (t.work(), rows, results)
                },
                |(work, rows, results), index| {
                    let batch = inputs.batch(index);
                    t.transform_batch_rows(inputs, batch, x, work, rows, in_pitch);
                    let pitches = [in_pitch, out_pitch];
                    pass.run(work, FilterBins { first: 0, batch, rows, results, pitches });
                    t.inverse_batch_rows(outputs, batch, results, work, out_pitch, &y);
                },
            );
            return;
        }
        let rows = t.forward_rows(inputs, x, RowLayout::Intermediate);
        let mut results = Buffer::scratch(t.intermediate_len(outputs));
        let to = Shared::new(&mut results);
        (0..t.bins() * batches).into_par_iter().with_min_len(BINS).for_each_init(
            || t.work(),
            |work, task| {
                let (bin, index) = (task / batches, task % batches);
                let rows = &rows[bin * t.intermediate_pitch(inputs) + index * in_len..][..in_len];
                let at = bin * t.intermediate_pitch(outputs) + index * out_len;
                // SAFETY: these rows belong to this bin and batch alone.
                #[allow(unsafe_code)]
                let results = unsafe { to.slice(at, out_len) };
                let (batch, pitches) = (inputs.batch(index), [in_len, out_len]);
                pass.run(work, FilterBins { first: bin, batch, rows, results, pitches });
            },
        );
        t.inverse_rows(outputs, &results, RowLayout::Intermediate, y);
    }

    pub(super) fn backward_depthwise(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let (t, samples) = (&self.transform, 0..self.problem.batch);
        let source = self.depthwise_kernels();
        let kernels = dx.is_some().then(|| self.kernel_spectra(&source, weights));
        let in_order = !self.tiling.disjoint();
        if let (true, Some(dx)) = (in_order, dx.as_deref_mut()) {
            dx.fill(0.0);
        }
        let outputs = self.outputs(samples.clone(), 0);
        let inputs = self.inputs(samples, 0).adding(in_order);
        let (inputs, outputs) = (&inputs, &outputs);
        let (groups, pitch) = (source.planes.groups, source.planes.pitch());
        let (batches, per_tile) = (inputs.batches(), inputs.per_tile());
        let column = t.size[0] * COMPLEX_STRIDE;
        let pass = GradientPass { t, inputs, outputs, kernels: kernels.as_deref(), pitch };
        let blocks = per_tile / groups;
        let parts = if batches >= TASKS { TASKS.div_ceil(groups).min(blocks) } else { 1 };
        let per_part = blocks.div_ceil(parts);
        let mut sums = Buffer::zeroed(parts * groups * t.bins() * column);
        if batches >= TASKS {
            let [in_pitch, out_pitch] =
                [inputs.live(), outputs.live()].map(|live| pad_for_cache(live) * COMPLEX_STRIDE);
            let dx = dx.map(Shared::new);
            sums.par_chunks_mut(t.bins() * column).enumerate().for_each_init(
                || {
                    let rows = [in_pitch, out_pitch, in_pitch].map(|p| Buffer::scratch(t.bins() * p));
                    (t.work(), t.work(), rows)
                },
                |(first, second, [rows, grads, results]), (task, sums)| {
                    let (part, group) = (task / groups, task % groups);
                    for block in part * per_part..((part + 1) * per_part).min(blocks) {
                        for tile in 0..inputs.tiles() {
                            let batch = inputs.batch(tile * per_tile + block * groups + group);
                            t.transform_batch_rows(outputs, batch, grad, first, grads, out_pitch);
                            t.transform_batch_rows(inputs, batch, x, first, rows, in_pitch);
                            let bins = GradientBins {
                                first: 0,
                                batch,
                                rows,
                                grads,
                                sums,
                                results,
                                pitches: [in_pitch, out_pitch],
                            };
                            pass.run([first, second], bins);
                            if let Some(dx) = &dx {
                                t.inverse_batch_rows(inputs, batch, results, first, in_pitch, dx);
                            }
                        }
                    }
                },
            );
        } else {
            let grads = t.forward_rows(outputs, grad, RowLayout::Intermediate);
            let rows = t.forward_rows(inputs, x, RowLayout::Intermediate);
            let [in_len, out_len] = [inputs.live(), outputs.live()].map(|live| live * COMPLEX_STRIDE);
            let len = if dx.is_some() { t.intermediate_len(inputs) } else { t.bins() * in_len };
            let mut results = Buffer::scratch(len);
            let to = Shared::new(&mut results);
            let has_dx = dx.is_some();
            let of_groups: Vec<Vec<usize>> =
                (0..groups).map(|g| (g..batches).step_by(groups).collect()).collect();
            sums.par_chunks_mut(column).enumerate().with_min_len(BINS.div_ceil(groups)).for_each_init(
                || (t.work(), t.work()),
                |(first, second), (task, sum)| {
                    let (group, bin) = (task / t.bins(), task % t.bins());
                    for &index in &of_groups[group] {
                        let at = bin * t.intermediate_pitch(inputs) + index * in_len;
                        // SAFETY: these rows belong to this bin and batch alone.
                        #[allow(unsafe_code)]
                        let results = if has_dx { unsafe { to.slice(at, in_len) } } else { &mut [] };
                        let bins = GradientBins {
                            first: bin,
                            batch: inputs.batch(index),
                            rows: &rows[at..at + in_len],
                            grads: &grads[bin * t.intermediate_pitch(outputs) + index * out_len..][..out_len],
                            sums: sum,
                            results,
                            pitches: [in_len, out_len],
                        };
                        pass.run([first, second], bins);
                    }
                },
            );
            if let Some(dx) = dx {
                t.inverse_rows(inputs, &results, RowLayout::Intermediate, dx);
            }
        }
        let spectra = self.kernel_gradient_spectra(&mut sums, groups, pitch, source.planes.channels);
        let mut rows = Buffer::scratch(t.intermediate_len(&source));
        t.inverse_columns(&source, &spectra, 0..t.bins(), &mut rows);
        t.inverse_rows(&source, &rows, RowLayout::Intermediate, dw);
    }

    /// The sum over parts and over the lanes of the same channel, as spectra of kernels.
    fn kernel_gradient_spectra(
        &self,
        sums: &mut [f32],
        groups: usize,
        pitch: usize,
        channels: usize,
    ) -> Buffer {
        let t = &self.transform;
        let (total, rest) = sums.split_at_mut(groups * t.bins() * t.size[0] * COMPLEX_STRIDE);
        for part in rest.chunks_exact(total.len()) {
            for (t, v) in total.iter_mut().zip(part) {
                *t += v;
            }
        }
        let samples = LANES / channels;
        if samples > 1 {
            for vector in total.chunks_exact_mut(LANES) {
                for lane in channels..channels * samples {
                    vector[lane % channels] += vector[lane];
                }
            }
        }
        let mut spectra = Buffer::scratch(t.bins() * t.size[0] * pitch);
        for (group, total) in total.chunks_exact(t.bins() * t.size[0] * COMPLEX_STRIDE).enumerate() {
            for (to, from) in spectra.chunks_exact_mut(pitch).zip(total.chunks_exact(COMPLEX_STRIDE)) {
                to[group * COMPLEX_STRIDE..(group + 1) * COMPLEX_STRIDE].copy_from_slice(from);
            }
        }
        spectra
    }
}

/// The first of the kernel spectra that belong to a batch, from a column bin on.
fn kernels_of<'a>(
    t: &Transform,
    kernels: &'a [f32],
    pitch: usize,
    first: usize,
    batch: &PlaneBatch,
) -> &'a [f32] {
    &kernels[first * t.size[0] * pitch + batch.group * COMPLEX_STRIDE..]
}

/// What all filters of one forward pass share.
struct FilterPass<'a> {
    t: &'a Transform,
    inputs: &'a FeatureMaps<'a>,
    outputs: &'a FeatureMaps<'a>,
    kernels: &'a [f32],
    /// The distance of the kernels of neighbouring row bins.
    pitch: usize,
}

/// Some neighbouring column bins of one batch.
struct FilterBins<'a> {
    /// The first column bin.
    first: usize,
    batch: PlaneBatch,
    rows: &'a [f32],
    results: &'a mut [f32],
    /// The distances of neighbouring column bins in `rows` and in `results`.
    pitches: [usize; 2],
}

impl FilterPass<'_> {
    fn run(&self, work: &mut Work, bins: FilterBins<'_>) {
        self.t.arch.dispatch(Filter { pass: self, work, bins });
    }
}

/// Transforms the rows of some column bins, multiplies them with the conjugate kernels, and transforms them back.
struct Filter<'a> {
    pass: &'a FilterPass<'a>,
    work: &'a mut Work,
    bins: FilterBins<'a>,
}

impl WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let FilterPass { t, inputs, outputs, kernels, pitch } = *self.pass;
        let FilterBins { first, batch, rows, results, pitches } = self.bins;
        let (size, registers) = (t.size[0], parts::<S>());
        let kernels = kernels_of(t, kernels, pitch, first, &batch);
        let rows = rows.chunks(pitches[0]).zip(results.chunks_mut(pitches[1]));
        for ((rows, results), kernel) in rows.zip(kernels.chunks(size * pitch)) {
            if size == 1 {
                for register in 0..registers {
                    let (value, kernel) = (load::<S>(rows, register), load::<S>(kernel, register));
                    store::<S>(times_conjugate(simd, value, kernel), results, register);
                }
                continue;
            }
            scatter_rows(t, inputs, &batch, rows, &mut self.work.a);
            let (a, b) = self.work.vectors::<S>();
            let in_b = t.rows.run::<S, false>(simd, a, b);
            let (spectrum, other) = if in_b { (b, a) } else { (a, b) };
            let values = spectrum.chunks_exact_mut(2 * registers).take(size);
            for (value, kernel) in values.zip(kernel.chunks(pitch)) {
                for register in 0..registers {
                    let of_value = [value[register], value[registers + register]];
                    let product = times_conjugate(simd, of_value, load::<S>(kernel, register));
                    [value[register], value[registers + register]] = product;
                }
            }
            let swapped = t.rows.run::<S, true>(simd, spectrum, other);
            let result = if swapped == in_b { &self.work.a } else { &self.work.b };
            gather_rows(outputs, &batch, result, results);
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

/// What all gradients of one backward pass share.
struct GradientPass<'a> {
    t: &'a Transform,
    inputs: &'a FeatureMaps<'a>,
    outputs: &'a FeatureMaps<'a>,
    /// The kernels, if the gradient of the input is needed.
    kernels: Option<&'a [f32]>,
    /// The distance of the kernels of neighbouring row bins.
    pitch: usize,
}

/// Some neighbouring column bins of one batch.
struct GradientBins<'a> {
    /// The first column bin.
    first: usize,
    batch: PlaneBatch,
    rows: &'a [f32],
    grads: &'a [f32],
    /// `[column bin][row bin]`.
    sums: &'a mut [f32],
    results: &'a mut [f32],
    /// The distances of neighbouring column bins in `rows` and `results`, and in `grads`.
    pitches: [usize; 2],
}

impl GradientPass<'_> {
    fn run(&self, work: [&mut Work; 2], bins: GradientBins<'_>) {
        self.t.arch.dispatch(Gradients { pass: self, work, bins });
    }
}

/// Computes the gradient of the inputs of some column bins, and adds to that of the kernels.
struct Gradients<'a> {
    pass: &'a GradientPass<'a>,
    work: [&'a mut Work; 2],
    bins: GradientBins<'a>,
}

impl WithSimd for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let GradientPass { t, inputs, outputs, kernels, pitch } = *self.pass;
        let GradientBins { first: first_bin, batch, rows, grads, sums, results, pitches } = self.bins;
        let [first, second] = self.work;
        let [in_pitch, out_pitch] = pitches;
        let (size, registers) = (t.size[0], parts::<S>());
        let kernels = kernels.map(|kernels| kernels_of(t, kernels, pitch, first_bin, &batch));
        let rows = rows.chunks(in_pitch).zip(grads.chunks(out_pitch));
        let sums = sums.chunks_mut(size * COMPLEX_STRIDE);
        for (bin, ((rows, grads), sums)) in rows.zip(sums).enumerate() {
            let kernel = kernels.map(|k| &k[bin * size * pitch..]);
            if size == 1 {
                for register in 0..registers {
                    let (g, x) = (load::<S>(grads, register), load::<S>(rows, register));
                    let sum = load::<S>(sums, register);
                    store::<S>(plus_times_conjugate(simd, x, g, sum), sums, register);
                    if let Some(kernel) = kernel {
                        let product = times(simd, g, load::<S>(kernel, register));
                        store::<S>(product, &mut results[bin * in_pitch..], register);
                    }
                }
                continue;
            }
            scatter_rows(t, outputs, &batch, grads, &mut first.a);
            scatter_rows(t, inputs, &batch, rows, &mut second.a);
            let ((a, b), (c, d)) = (first.vectors::<S>(), second.vectors::<S>());
            let in_b = t.rows.run::<S, false>(simd, a, b);
            let (g, g_other) = if in_b { (b, a) } else { (a, b) };
            let x = if t.rows.run::<S, false>(simd, c, d) { &*d } else { &*c };
            let pairs = g.chunks_exact_mut(2 * registers).zip(x.chunks_exact(2 * registers)).take(size);
            for ((f, (g, x)), sum) in pairs.enumerate().zip(sums.chunks_exact_mut(COMPLEX_STRIDE)) {
                for register in 0..registers {
                    let (re, im) = (register, registers + register);
                    let (gs, xs) = ([g[re], g[im]], [x[re], x[im]]);
                    store::<S>(plus_times_conjugate(simd, xs, gs, load::<S>(sum, register)), sum, register);
                    if let Some(kernel) = kernel {
                        let kernel = load::<S>(&kernel[f * pitch..], register);
                        [g[re], g[im]] = times(simd, gs, kernel);
                    }
                }
            }
            if kernel.is_some() {
                let swapped = t.rows.run::<S, true>(simd, g, g_other);
                let result = if swapped == in_b { &first.a } else { &first.b };
                gather_rows(inputs, &batch, result, &mut results[bin * in_pitch..]);
            }
        }
    }
}
