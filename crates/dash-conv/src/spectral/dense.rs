//! Computes layers that mix channels: one complex matrix product per frequency bin.
//!
//! With one spatial axis, the transform of the rows gives the spectra, and only the products remain. With two, the
//! transforms of the feature maps are completed for a few column bins at a time. A task then takes one column bin and one
//! group of lanes from the rows of the kernels through the products to the rows of the outputs, all in its cache: spectra
//! of kernels and of outputs never exist as a whole.
//!
//! ```text
//! product of one bin, forward:    out [sample and tile][c_out]  =  x [sample and tile][c_in]  .  conj w [c_in][c_out]
//!                                                                  left, read by element         right, c_out in lanes
//! gradient of the input:          dx [sample and tile][c_in]    =  g [sample and tile][c_out] .  w [c_out][c_in]
//! gradient of the weights:        sum over samples and tiles of x conj g, or of conj g x, whichever fills lanes better
//! ```

use super::{
    kernel_planes::KernelPlanes,
    layer::{LaneSide, Spectral},
    product::{Conjugate, Product},
    transform::{COMPLEX_STRIDE, RowLayout, Work},
};
use crate::{
    buffer::Buffer,
    parallel::Shared,
    planes::{FeatureMaps, PlaneSource, Planes},
    simd::LANES,
};
use rayon::prelude::*;
use std::ops::Range;

/// The bytes of spectra of feature maps that exist at a time where two axes are transformed.
const SPECTRA: usize = 8 << 20;

/// The number of multiply-adds that are worth a task.
const GRAIN: usize = 1 << 17;

/// The layout of the left factor of a product, and which factor is conjugated.
struct ProductLayout {
    /// The positions of its rows, and of its columns relative to a row.
    rows: Vec<usize>,
    columns: Vec<usize>,
    conjugate: Conjugate,
}

/// The right factors of the products of one column bin.
struct RightFactor<'a> {
    values: &'a [f32],
    /// The distances of neighbouring row bins, and of the rows of a matrix.
    bin_pitch: usize,
    row_pitch: usize,
}

/// Buffers of one thread: spectra of kernels or of their gradients, and of feature maps.
struct Local {
    work: Work,
    kernels: Buffer,
    maps: Buffer,
}

impl Spectral {
    /// Divides the column bins into ranges that are computed one after the other; `elements` is the size of the spectra of
    /// one bin.
    fn bin_ranges(&self, elements: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let all = self.transform.bins();
        let bins = (SPECTRA / 4 / elements.max(1)).clamp(1, all);
        // As even as possible.
        let bins = all.div_ceil(all.div_ceil(bins));
        (0..all).step_by(bins).map(move |first| first..(first + bins).min(all))
    }

    /// The number of elements of the spectra of one column bin.
    fn column(&self, planes: &Planes) -> usize {
        self.transform.size[0] * planes.pitch()
    }

    /// The products of all bins of transforms of one axis.
    fn row_products(
        &self,
        layout: &ProductLayout,
        [left, right]: [(&Planes, &[f32]); 2],
        out: &Planes,
    ) -> Buffer {
        let t = &self.transform;
        let mut results = Buffer::scratch(t.bins() * out.pitch());
        let work = layout.rows.len() * layout.columns.len() * out.groups * LANES * 4;
        results.par_chunks_mut(out.pitch()).enumerate().with_min_len((GRAIN / work.max(1)).max(1)).for_each(
            |(bin, results)| {
                let left = &left.1[bin * left.0.pitch()..(bin + 1) * left.0.pitch()];
                let right_of = &right.1[bin * right.0.pitch()..(bin + 1) * right.0.pitch()];
                for group in 0..out.groups {
                    t.arch.dispatch(Product {
                        left,
                        left_rows: &layout.rows,
                        left_columns: &layout.columns,
                        right: &right_of[group * COMPLEX_STRIDE..],
                        right_row: right.0.groups * COMPLEX_STRIDE,
                        out: &mut results[group * COMPLEX_STRIDE..],
                        out_row: out.groups * COMPLEX_STRIDE,
                        conjugate: layout.conjugate,
                    });
                }
            },
        );
        results
    }

    /// The products of one column bin: `left` and `right` begin at its first row bin.
    fn column_products(
        &self,
        layout: &ProductLayout,
        left: (&Planes, &[f32]),
        right: &RightFactor<'_>,
        out: (&Planes, &mut [f32]),
    ) {
        for (f, out_of) in out.1.chunks_exact_mut(out.0.pitch()).take(self.transform.size[0]).enumerate() {
            self.transform.arch.dispatch(Product {
                left: &left.1[f * left.0.pitch()..(f + 1) * left.0.pitch()],
                left_rows: &layout.rows,
                left_columns: &layout.columns,
                right: &right.values[f * right.bin_pitch..],
                right_row: right.row_pitch,
                out: out_of,
                out_row: COMPLEX_STRIDE,
                conjugate: layout.conjugate,
            });
        }
    }

    fn local(&self, kernels: &Planes, maps: &Planes) -> Local {
        Local {
            work: self.transform.work(),
            kernels: Buffer::scratch(self.column(&kernels.group(0))),
            maps: Buffer::scratch(self.column(&maps.group(0))),
        }
    }

    /// Multiplies the `spectra` of feature maps with kernels for some column bins. Kernels and results have the intermediate
    /// layout.
    fn filter(
        &self,
        layout: &ProductLayout,
        (maps, spectra): (&FeatureMaps<'_>, &[f32]),
        (kernels, kernel_rows): (&KernelPlanes<'_>, &[f32]),
        (results, result_rows): (&FeatureMaps<'_>, &Shared<'_, f32>),
        bins: &Range<usize>,
    ) {
        let t = &self.transform;
        let groups = results.planes().groups;
        let column = self.column(maps.planes());
        (0..bins.len() * groups).into_par_iter().for_each_init(
            || self.local(&kernels.planes, results.planes()),
            |Local { work, kernels: w, maps: y }, task| {
                let (bin, group) = (task / groups, task % groups);
                t.group_columns(kernels, group, kernel_rows, bins.start + bin, work, w);
                let planes = results.planes().group(group);
                let bin_pitch = kernels.planes.group(group).pitch();
                self.column_products(
                    layout,
                    (maps.planes(), &spectra[bin * column..(bin + 1) * column]),
                    &RightFactor { values: w, bin_pitch, row_pitch: COMPLEX_STRIDE },
                    (&planes, y),
                );
                t.inverse_group_columns(results, group, y, bins.start + bin, work, result_rows);
            },
        );
    }

    /// Sums the products of two sets of feature maps over samples for some column bins; the sums get the intermediate layout.
    fn correlate(
        &self,
        layout: &ProductLayout,
        [left, right]: [(&FeatureMaps<'_>, &[f32]); 2],
        (sums, sum_rows): (&KernelPlanes<'_>, &Shared<'_, f32>),
        bins: &Range<usize>,
    ) {
        let t = &self.transform;
        let groups = sums.planes.groups;
        let columns = [left, right].map(|side| self.column(side.0.planes()));
        (0..bins.len() * groups).into_par_iter().for_each_init(
            || self.local(&sums.planes, &sums.planes),
            |Local { work, kernels: sum, .. }, task| {
                let (bin, group) = (task / groups, task % groups);
                let right_planes = right.0.planes();
                self.column_products(
                    layout,
                    (left.0.planes(), &left.1[bin * columns[0]..(bin + 1) * columns[0]]),
                    &RightFactor {
                        values: &right.1[bin * columns[1] + group * COMPLEX_STRIDE..(bin + 1) * columns[1]],
                        bin_pitch: right_planes.pitch(),
                        row_pitch: right_planes.groups * COMPLEX_STRIDE,
                    },
                    (&sums.planes.group(group), sum),
                );
                t.inverse_group_columns(sums, group, sum, bins.start + bin, work, sum_rows);
            },
        );
    }

    pub(super) fn forward_dense(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (p, t, layout) = (&self.problem, &self.transform, self.row_layout());
        for group in 0..p.groups {
            let inputs = self.inputs(0..p.batch, group).side_by_side();
            let outputs = self.outputs(0..p.batch, group).with_bias(bias);
            let kernels = self.kernels(group, LaneSide::Outputs);
            let product = ProductLayout {
                rows: inputs.planes().outer_slots(),
                columns: inputs.planes().channel_slots(),
                conjugate: Conjugate::Right,
            };
            let x_rows = t.forward_rows(&inputs, x, layout);
            let w_rows = t.forward_rows(&kernels, weights, layout);
            if layout == RowLayout::Spectra {
                let sides = [(inputs.planes(), &*x_rows), (&kernels.planes, &*w_rows)];
                let results = self.row_products(&product, sides, outputs.planes());
                t.inverse_rows(&outputs, &results, layout, y);
                continue;
            }
            let ranges: Vec<_> = self.bin_ranges(self.column(inputs.planes())).collect();
            let most = ranges.iter().map(Range::len).max().unwrap_or(0);
            let mut xs = Buffer::scratch(most * self.column(inputs.planes()));
            let mut y_rows = Buffer::scratch(t.intermediate_len(&outputs));
            let to = Shared::new(&mut y_rows);
            for bins in ranges {
                t.forward_columns(&inputs, &x_rows, bins.clone(), &mut xs);
                self.filter(&product, (&inputs, &xs), (&kernels, &w_rows), (&outputs, &to), &bins);
            }
            t.inverse_rows(&outputs, &y_rows, RowLayout::Intermediate, y);
        }
    }

    pub(super) fn backward_dense(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let (p, t, layout) = (&self.problem, &self.transform, self.row_layout());
        let in_order = !self.tiling.disjoint();
        if let (true, Some(dx)) = (in_order, dx.as_deref_mut()) {
            dx.fill(0.0);
        }
        for group in 0..p.groups {
            // The lanes of the sums go to the side that fills them better; the other side is only a left factor.
            let fill = |channels: usize| channels as f64 / channels.next_multiple_of(LANES) as f64;
            let lanes =
                if fill(p.group_out()) > fill(p.group_in()) { LaneSide::Outputs } else { LaneSide::Inputs };
            let sums = self.kernels(group, lanes);
            let results = self.inputs(0..p.batch, group).adding(in_order);
            let (inputs, outputs) = (self.inputs(0..p.batch, group), self.outputs(0..p.batch, group));
            let (inputs, outputs) = match lanes {
                LaneSide::Outputs => (inputs.side_by_side(), outputs),
                LaneSide::Inputs => (inputs, outputs.side_by_side()),
            };
            let (x_planes, g_planes) = (inputs.planes(), outputs.planes());
            let g_rows = t.forward_rows(&outputs, grad, layout);
            let x_rows = t.forward_rows(&inputs, x, layout);
            let (left_planes, conjugate) = match lanes {
                LaneSide::Outputs => (x_planes, Conjugate::Right),
                LaneSide::Inputs => (g_planes, Conjugate::Left),
            };
            let (rows, columns) = (left_planes.channel_slots(), left_planes.outer_slots());
            let weight_product = ProductLayout { rows, columns, conjugate };
            let input_product = ProductLayout {
                rows: g_planes.outer_slots(),
                columns: g_planes.channel_slots(),
                conjugate: Conjugate::Neither,
            };
            let kernels = self.kernels(group, LaneSide::Inputs);
            let w_rows = dx.is_some().then(|| t.forward_rows(&kernels, weights, layout));
            if layout == RowLayout::Spectra {
                let (xs, gs) = ((x_planes, &*x_rows), (g_planes, &*g_rows));
                if let (Some(dx), Some(w_rows)) = (dx.as_deref_mut(), &w_rows) {
                    let sides = [gs, (&kernels.planes, &**w_rows)];
                    let spectra = self.row_products(&input_product, sides, results.planes());
                    t.inverse_rows(&results, &spectra, layout, dx);
                }
                let sides = if lanes == LaneSide::Outputs { [xs, gs] } else { [gs, xs] };
                let spectra = self.row_products(&weight_product, sides, &sums.planes);
                t.inverse_rows(&sums, &spectra, layout, dw);
                continue;
            }
            let elements = [self.column(x_planes), self.column(g_planes)];
            let ranges: Vec<_> = self.bin_ranges(elements.iter().sum()).collect();
            let most = ranges.iter().map(Range::len).max().unwrap_or(0);
            let [mut xs, mut gs] = elements.map(|n| Buffer::scratch(most * n));
            let mut d_rows = Buffer::scratch(if dx.is_some() { t.intermediate_len(&results) } else { 0 });
            let mut sum_rows = Buffer::scratch(t.intermediate_len(&sums));
            let (to_d, to_sum) = (Shared::new(&mut d_rows), Shared::new(&mut sum_rows));
            for bins in ranges {
                t.forward_columns(&inputs, &x_rows, bins.clone(), &mut xs);
                t.forward_columns(&outputs, &g_rows, bins.clone(), &mut gs);
                if let Some(w_rows) = &w_rows {
                    let kernels = (&kernels, &**w_rows);
                    self.filter(&input_product, (&outputs, &gs), kernels, (&results, &to_d), &bins);
                }
                let (xs, gs) = ((&inputs, &*xs), (&outputs, &*gs));
                let sides = if lanes == LaneSide::Outputs { [xs, gs] } else { [gs, xs] };
                self.correlate(&weight_product, sides, (&sums, &to_sum), &bins);
            }
            drop((g_rows, x_rows, w_rows));
            if let Some(dx) = dx.as_deref_mut() {
                t.inverse_rows(&results, &d_rows, RowLayout::Intermediate, dx);
            }
            t.inverse_rows(&sums, &sum_rows, RowLayout::Intermediate, dw);
        }
    }
}
