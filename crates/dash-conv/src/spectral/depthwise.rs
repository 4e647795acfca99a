//! Depthwise layers: products of spectra bin by bin, between the two halves of the column transform.

use super::{
    Spectral,
    buffer::Buffer,
    lanes::Vector,
    planes::{Kernels, Maps, Source},
    transform::{Transform, Work, load, place_rows, store, take_rows},
};
use crate::parallel::Shared;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of what lies between the axes that are worked on at a time: about what a shared cache holds.
const WAVE: usize = 4 << 20;

/// Column bins that are worth a task.
const BINS: usize = 4;

impl Spectral {
    /// Samples that are worked on at a time; fixed by the problem, so that sums are formed in the same
    /// order for any number of threads.
    fn waves(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let batch = self.problem.batch;
        let one = self.inputs(0..1, 0);
        let packed = one.planes().packed;
        let bytes = 4 * self.transform.between(&one).max(1) / packed;
        let samples = (WAVE / bytes.max(1)).next_multiple_of(packed).max(packed);
        (0..batch).step_by(samples).map(move |first| first..(first + samples).min(batch))
    }

    /// Spectra of the kernels, `[column bin][row bin][group of channels]`, for the lanes of the maps.
    fn kernel_lanes(&self, kernels: &Kernels<'_>, weights: &[f32]) -> Buffer {
        let t = &self.transform;
        let rows = t.forward_rows(kernels, weights, false);
        let mut spectra = Buffer::stale(t.half() * t.size[0] * kernels.planes.len());
        t.forward_columns(kernels, &rows, 0..t.half(), &mut spectra);
        // Lanes that several samples share see the same kernels.
        let (channels, packed) = (kernels.planes.channels, t.lanes / kernels.planes.channels);
        if packed > 1 {
            for vector in spectra.chunks_exact_mut(t.lanes) {
                for s in 1..packed {
                    vector.copy_within(..channels, s * channels);
                }
            }
        }
        spectra
    }

    pub(super) fn forward_depthwise(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let t = &self.transform;
        let kernels = self.kernel_lanes(&self.channel_kernels(), weights);
        for samples in self.waves() {
            let (inputs, outputs) = (self.inputs(samples.clone(), 0), self.outputs(samples, 0).with_bias(bias));
            let rows = t.forward_rows(&inputs, x, false);
            let mut results = Buffer::stale(t.between(&outputs));
            let (bundles, groups, live) = (inputs.bundles(), inputs.planes().groups, inputs.live());
            results
                .par_chunks_mut(outputs.live() * t.step())
                .enumerate()
                .with_min_len(BINS)
                .for_each_init(
                    || t.work(),
                    |work, (task, results)| {
                        let (bin, bundle) = (task / bundles, inputs.bundle(task % bundles));
                        let kernel = &kernels[(bin * t.size[0] * groups + bundle.group) * t.step()..];
                        let rows = &rows[task * live * t.step()..][..live * t.step()];
                        let (inputs, outputs) = (&inputs, &outputs);
                        t.arch.dispatch(Filter { t, work, inputs, outputs, rows, kernel, results, index: bundle.index });
                    },
                );
            t.inverse_rows(&outputs, &results, false, false, y);
        }
    }

    pub(super) fn backward_depthwise(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let t = &self.transform;
        let source = self.channel_kernels();
        let kernels = dx.is_some().then(|| self.kernel_lanes(&source, weights));
        let groups = source.planes.groups;
        let in_order = !self.geometry.disjoint();
        if let (true, Some(dx)) = (in_order, dx.as_deref_mut()) {
            dx.fill(0.0);
        }
        let mut sums = Buffer::zeroed(t.half() * t.size[0] * source.planes.len());
        for samples in self.waves() {
            let outputs = self.outputs(samples.clone(), 0);
            let inputs = self.inputs(samples, 0).adding(in_order);
            let grads = t.forward_rows(&outputs, grad, false);
            let rows = t.forward_rows(&inputs, x, false);
            let mut results = Buffer::stale(if dx.is_some() { t.between(&inputs) } else { 0 });
            let to = Shared::new(&mut results);
            let sums_of = Shared::new(&mut sums);
            (0..t.half() * groups).into_par_iter().with_min_len(BINS.div_ceil(groups)).for_each_init(
                || (t.work(), t.work()),
                |(first, second), task| {
                    let (bin, group) = (task / groups, task % groups);
                    t.arch.dispatch(Gradients {
                        t,
                        work: [first, second],
                        inputs: &inputs,
                        outputs: &outputs,
                        rows: &rows,
                        grads: &grads,
                        kernels: kernels.as_deref(),
                        sums: &sums_of,
                        results: &to,
                        bin,
                        group,
                    });
                },
            );
            if let Some(dx) = dx.as_deref_mut() {
                t.inverse_rows(&inputs, &results, false, in_order, dx);
            }
        }
        // Lanes of the same channel belong together.
        let (channels, packed) = (source.planes.channels, t.lanes / source.planes.channels);
        if packed > 1 {
            for vector in sums.chunks_exact_mut(t.lanes) {
                for lane in channels..channels * packed {
                    vector[lane % channels] += vector[lane];
                }
            }
        }
        let mut rows = Buffer::stale(t.between(&source));
        t.inverse_columns(&source, &sums, 0..t.half(), &mut rows);
        t.inverse_rows(&source, &rows, false, false, dw);
    }
}

/// One column bin of one bundle: transform, times the conjugate kernel, back.
struct Filter<'a> {
    t: &'a Transform,
    work: &'a mut Work,
    inputs: &'a Maps<'a>,
    outputs: &'a Maps<'a>,
    rows: &'a [f32],
    /// Beginning at the kernel of the first row bin.
    kernel: &'a [f32],
    results: &'a mut [f32],
    index: usize,
}

impl WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let bundle = self.inputs.bundle(self.index);
        let (a, b) = self.work.vectors::<S>();
        place_rows(simd, self.t, self.inputs, &bundle, self.rows, a);
        let (spectrum, other) = if self.t.rows.run::<S, false>(simd, a, b) { (b, a) } else { (a, b) };
        let per_bin = self.inputs.planes().groups * self.t.step();
        let spectra = spectrum.chunks_exact_mut(2).take(self.t.size[0]);
        for (value, kernel) in spectra.zip(self.kernel.chunks(per_bin)) {
            let k = load::<S>(kernel);
            let product = times_conjugate(simd, [value[0], value[1]], k);
            value.copy_from_slice(&product);
        }
        let result = if self.t.rows.run::<S, true>(simd, spectrum, other) { other } else { spectrum };
        take_rows::<S>(self.outputs, &bundle, result, self.results);
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

/// One column bin of all bundles of one group of channels: the gradients in the inputs, and the sums
/// over samples of those in the kernels.
struct Gradients<'a> {
    t: &'a Transform,
    work: [&'a mut Work; 2],
    inputs: &'a Maps<'a>,
    outputs: &'a Maps<'a>,
    rows: &'a [f32],
    grads: &'a [f32],
    kernels: Option<&'a [f32]>,
    sums: &'a Shared<'a, f32>,
    results: &'a Shared<'a, f32>,
    bin: usize,
    group: usize,
}

impl WithSimd for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (t, step) = (self.t, self.t.step());
        let (bundles, groups) = (self.inputs.bundles(), self.inputs.planes().groups);
        let [in_live, out_live] = [self.inputs.live() * step, self.outputs.live() * step];
        let [first, second] = self.work;
        let ((a, b), (c, d)) = (first.vectors::<S>(), second.vectors::<S>());
        let at = |f: usize| ((self.bin * t.size[0] + f) * groups + self.group) * step;
        for index in (self.group..bundles).step_by(groups) {
            let bundle = self.inputs.bundle(index);
            let from = self.bin * bundles + index;
            let grads = &self.grads[from * out_live..(from + 1) * out_live];
            place_rows(simd, t, self.outputs, &bundle, grads, a);
            let (g, g_other) =
                if t.rows.run::<S, false>(simd, a, b) { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
            let rows = &self.rows[from * in_live..(from + 1) * in_live];
            place_rows(simd, t, self.inputs, &bundle, rows, c);
            let x = if t.rows.run::<S, false>(simd, c, d) { &*d } else { &*c };
            let pairs = g.chunks_exact_mut(2).zip(x.chunks_exact(2)).take(t.size[0]);
            for (f, (g, x)) in pairs.enumerate() {
                let (gs, xs) = ([g[0], g[1]], [x[0], x[1]]);
                // SAFETY: this column bin of this group of channels belongs to this task alone.
                #[allow(unsafe_code)]
                let sum = unsafe { self.sums.slice(at(f), step) };
                let [re, im] = load::<S>(sum);
                let re = simd.mul_add_f32s(gs[1], xs[1], simd.mul_add_f32s(gs[0], xs[0], re));
                let im = simd.negate_mul_add_f32s(gs[1], xs[0], simd.mul_add_f32s(gs[0], xs[1], im));
                store::<S>([re, im], sum);
                if let Some(kernels) = self.kernels {
                    let [kr, ki] = load::<S>(&kernels[at(f)..at(f) + step]);
                    g[0] = simd.negate_mul_add_f32s(gs[1], ki, simd.mul_f32s(gs[0], kr));
                    g[1] = simd.mul_add_f32s(gs[0], ki, simd.mul_f32s(gs[1], kr));
                }
            }
            if self.kernels.is_some() {
                let result = if t.rows.run::<S, true>(simd, g, g_other) { g_other } else { g };
                // SAFETY: as above.
                #[allow(unsafe_code)]
                let to = unsafe { self.results.slice(from * in_live, in_live) };
                take_rows::<S>(self.inputs, &bundle, result, to);
            }
        }
    }
}
