//! Layers that mix channels: one complex matrix product per frequency.
//!
//! Transforms of one axis (planar) leave the rows of the maps as spectra; then all that remains are the
//! products. Transforms of two axes are finished for a few column bins of the maps at a time; a task
//! then takes one column bin and one group of lanes from the rows of the kernels through the products
//! to the rows of the results, all in its cache: spectra of kernels and of results never exist as a
//! whole.

use super::{
    Spectral,
    kernels::Kernels,
    product::{Conjugate, Product},
    transform::Work,
};
use crate::{
    buffer::Buffer,
    maps::{Maps, Planes, Source},
    parallel::Shared,
    simd::LANES,
};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of spectra of maps that exist at a time where two axes are transformed.
const SPECTRA: usize = 8 << 20;

/// Multiply-adds that are worth a task.
const GRAIN: usize = 1 << 17;

/// The side whose channels fill the lanes of kernel spectra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    Inputs,
    Outputs,
}

/// A product of one kind: which rows and columns of its left factor are multiplied, and how.
struct Recipe {
    rows: Vec<usize>,
    columns: Vec<usize>,
    conjugate: Conjugate,
}

/// Buffers of one task: spectra of kernels or their sums, and of maps.
struct Local {
    work: Work,
    kernels: Buffer,
    maps: Buffer,
}

impl Spectral {
    /// Column bins that are worked on at a time, given what the spectra of one take.
    fn batches(&self, numbers: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let half = self.transform.half();
        let bins = (SPECTRA / 4 / numbers.max(1)).clamp(1, half);
        // As even as possible.
        let bins = half.div_ceil(half.div_ceil(bins));
        (0..half).step_by(bins).map(move |first| first..(first + bins).min(half))
    }

    /// Numbers of the spectra of one column bin.
    fn column(&self, planes: &Planes) -> usize {
        self.transform.size[0] * planes.pitch()
    }

    /// The products of all frequencies of transforms of one axis.
    fn planar_products(
        &self,
        recipe: &Recipe,
        [left, right]: [(&Planes, &[f32]); 2],
        out: &Planes,
    ) -> Buffer {
        let (t, step) = (&self.transform, self.transform.step());
        let mut results = Buffer::stale(t.half() * out.pitch());
        let work = recipe.rows.len() * recipe.columns.len() * out.groups * LANES * 4;
        results.par_chunks_mut(out.pitch()).enumerate().with_min_len((GRAIN / work.max(1)).max(1)).for_each(
            |(bin, results)| {
                let left = &left.1[bin * left.0.pitch()..(bin + 1) * left.0.pitch()];
                let right_of = &right.1[bin * right.0.pitch()..(bin + 1) * right.0.pitch()];
                for group in 0..out.groups {
                    t.arch.dispatch(Product {
                        left,
                        left_rows: &recipe.rows,
                        left_columns: &recipe.columns,
                        right: &right_of[group * step..],
                        right_row: right.0.groups * step,
                        out: &mut results[group * step..],
                        out_row: out.groups * step,
                        conjugate: recipe.conjugate,
                    });
                }
            },
        );
        results
    }

    /// The products of one column bin: `left` and `right` begin at its first row bin.
    fn column_products(
        &self,
        recipe: &Recipe,
        left: (&Planes, &[f32]),
        right: (usize, usize, &[f32]),
        out: (&Planes, &mut [f32]),
    ) {
        let (pitch, right_row, values) = right;
        for (f, out_of) in out.1.chunks_exact_mut(out.0.pitch()).take(self.transform.size[0]).enumerate() {
            self.transform.arch.dispatch(Product {
                left: &left.1[f * left.0.pitch()..(f + 1) * left.0.pitch()],
                left_rows: &recipe.rows,
                left_columns: &recipe.columns,
                right: &values[f * pitch..],
                right_row,
                out: out_of,
                out_row: self.transform.step(),
                conjugate: recipe.conjugate,
            });
        }
    }

    fn local(&self, kernels: &Planes, maps: &Planes) -> Local {
        Local {
            work: self.transform.work(),
            kernels: Buffer::stale(self.column(&kernels.group(0))),
            maps: Buffer::stale(self.column(&maps.group(0))),
        }
    }

    /// Multiplies maps with kernels for some column bins: `spectra` of the maps, rows of the kernels, rows
    /// of the results.
    fn filter(
        &self,
        recipe: &Recipe,
        (maps, spectra): (&Maps<'_>, &[f32]),
        (kernels, kernel_rows): (&Kernels<'_>, &[f32]),
        (results, result_rows): (&Maps<'_>, &Shared<'_, f32>),
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
                let pitch = kernels.planes.group(group).pitch();
                self.column_products(
                    recipe,
                    (maps.planes(), &spectra[bin * column..(bin + 1) * column]),
                    (pitch, t.step(), w),
                    (&planes, y),
                );
                t.group_columns_back(results, group, y, bins.start + bin, work, result_rows);
            },
        );
    }

    /// Sums products of two sets of maps over samples for some column bins; rows of the sums.
    fn correlate(
        &self,
        recipe: &Recipe,
        [left, right]: [(&Maps<'_>, &[f32]); 2],
        (sums, sum_rows): (&Kernels<'_>, &Shared<'_, f32>),
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
                    recipe,
                    (left.0.planes(), &left.1[bin * columns[0]..(bin + 1) * columns[0]]),
                    (
                        right_planes.pitch(),
                        right_planes.groups * t.step(),
                        &right.1[bin * columns[1] + group * t.step()..(bin + 1) * columns[1]],
                    ),
                    (&sums.planes.group(group), sum),
                );
                t.group_columns_back(sums, group, sum, bins.start + bin, work, sum_rows);
            },
        );
    }

    pub(super) fn forward_dense(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (p, t, planar) = (&self.problem, &self.transform, self.planar());
        for group in 0..p.groups {
            let inputs = self.inputs(0..p.batch, group).side_by_side();
            let outputs = self.outputs(0..p.batch, group).with_bias(bias);
            let kernels = self.kernels(group, Lanes::Outputs);
            let recipe = Recipe {
                rows: inputs.planes().outer_slots(),
                columns: inputs.planes().channel_slots(),
                conjugate: Conjugate::Right,
            };
            let x_rows = t.forward_rows(&inputs, x, planar);
            let w_rows = t.forward_rows(&kernels, weights, planar);
            if planar {
                let sides = [(inputs.planes(), &*x_rows), (&kernels.planes, &*w_rows)];
                let results = self.planar_products(&recipe, sides, outputs.planes());
                t.inverse_rows(&outputs, &results, true, false, y);
                continue;
            }
            let batches: Vec<_> = self.batches(self.column(inputs.planes())).collect();
            let most = batches.iter().map(Range::len).max().unwrap_or(0);
            let mut xs = Buffer::stale(most * self.column(inputs.planes()));
            let mut y_rows = Buffer::stale(t.between(&outputs));
            let to = Shared::new(&mut y_rows);
            for bins in batches {
                t.forward_columns(&inputs, &x_rows, bins.clone(), &mut xs);
                self.filter(&recipe, (&inputs, &xs), (&kernels, &w_rows), (&outputs, &to), &bins);
            }
            t.inverse_rows(&outputs, &y_rows, false, false, y);
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
        let (p, t, planar) = (&self.problem, &self.transform, self.planar());
        let in_order = !self.geometry.disjoint();
        if let (true, Some(dx)) = (in_order, dx.as_deref_mut()) {
            dx.fill(0.0);
        }
        for group in 0..p.groups {
            // Lanes of the sums go to the side that fills them better; the other side is a left factor only.
            let fill = |channels: usize| channels as f64 / channels.next_multiple_of(LANES) as f64;
            let lanes = if fill(p.group_out()) > fill(p.group_in()) { Lanes::Outputs } else { Lanes::Inputs };
            let sums = self.kernels(group, lanes);
            let results = self.inputs(0..p.batch, group).adding(in_order);
            let (inputs, outputs) = (self.inputs(0..p.batch, group), self.outputs(0..p.batch, group));
            let (inputs, outputs) = match lanes {
                Lanes::Outputs => (inputs.side_by_side(), outputs),
                Lanes::Inputs => (inputs, outputs.side_by_side()),
            };
            let (x_planes, g_planes) = (inputs.planes(), outputs.planes());
            let g_rows = t.forward_rows(&outputs, grad, planar);
            let x_rows = t.forward_rows(&inputs, x, planar);
            let (left_planes, conjugate) = match lanes {
                Lanes::Outputs => (x_planes, Conjugate::Right),
                Lanes::Inputs => (g_planes, Conjugate::Left),
            };
            let (rows, columns) = (left_planes.channel_slots(), left_planes.outer_slots());
            let weight_recipe = Recipe { rows, columns, conjugate };
            let input_recipe = Recipe {
                rows: g_planes.outer_slots(),
                columns: g_planes.channel_slots(),
                conjugate: Conjugate::Neither,
            };
            let kernels = self.kernels(group, Lanes::Inputs);
            let w_rows = dx.is_some().then(|| t.forward_rows(&kernels, weights, planar));
            if planar {
                let (xs, gs) = ((x_planes, &*x_rows), (g_planes, &*g_rows));
                if let (Some(dx), Some(w_rows)) = (dx.as_deref_mut(), &w_rows) {
                    let sides = [gs, (&kernels.planes, &**w_rows)];
                    let spectra = self.planar_products(&input_recipe, sides, results.planes());
                    t.inverse_rows(&results, &spectra, true, in_order, dx);
                }
                let sides = if lanes == Lanes::Outputs { [xs, gs] } else { [gs, xs] };
                let spectra = self.planar_products(&weight_recipe, sides, &sums.planes);
                t.inverse_rows(&sums, &spectra, true, false, dw);
                continue;
            }
            let numbers = [self.column(x_planes), self.column(g_planes)];
            let batches: Vec<_> = self.batches(numbers.iter().sum()).collect();
            let most = batches.iter().map(Range::len).max().unwrap_or(0);
            let [mut xs, mut gs] = numbers.map(|n| Buffer::stale(most * n));
            let mut d_rows = Buffer::stale(if dx.is_some() { t.between(&results) } else { 0 });
            let mut sum_rows = Buffer::stale(t.between(&sums));
            let (to_d, to_sum) = (Shared::new(&mut d_rows), Shared::new(&mut sum_rows));
            for bins in batches {
                t.forward_columns(&inputs, &x_rows, bins.clone(), &mut xs);
                t.forward_columns(&outputs, &g_rows, bins.clone(), &mut gs);
                if let Some(w_rows) = &w_rows {
                    let kernels = (&kernels, &**w_rows);
                    self.filter(&input_recipe, (&outputs, &gs), kernels, (&results, &to_d), &bins);
                }
                let (xs, gs) = ((&inputs, &*xs), (&outputs, &*gs));
                let sides = if lanes == Lanes::Outputs { [xs, gs] } else { [gs, xs] };
                self.correlate(&weight_recipe, sides, (&sums, &to_sum), &bins);
            }
            drop((g_rows, x_rows, w_rows));
            if let Some(dx) = dx.as_deref_mut() {
                t.inverse_rows(&results, &d_rows, false, in_order, dx);
            }
            t.inverse_rows(&sums, &sum_rows, false, false, dw);
        }
    }
}
