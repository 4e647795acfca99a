//! Layers that mix channels: one complex matrix product per frequency.
//!
//! Transforms of two axes are finished for a few column bins at a time, so that full spectra of all
//! kernels never exist at once. Transforms of one axis have nothing between the axes.

use super::{
    Spectral,
    buffer::Buffer,
    planes::{Planes, Source},
    product::{Conjugate, Product},
};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of spectra that exist at a time where two axes are transformed.
const SPECTRA: usize = 8 << 20;

/// Multiply-adds that are worth a task.
const GRAIN: usize = 1 << 17;

impl Spectral {
    /// Column bins that are worked on at a time, given what the spectra of one column bin take.
    fn batches(&self, numbers: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let half = self.transform.half();
        let bins = if self.planar() { half } else { (SPECTRA / 4 / numbers.max(1)).clamp(1, half) };
        // As even as possible.
        let bins = half.div_ceil(half.div_ceil(bins));
        (0..half).step_by(bins).map(move |first| first..(first + bins).min(half))
    }

    /// Spectra of column bins; `rows` are spectra already if there is one axis.
    fn spectra<'a>(
        &self,
        source: &impl Source,
        rows: &'a [f32],
        bins: Range<usize>,
        buffer: &'a mut Buffer,
    ) -> &'a [f32] {
        let len = source.planes().pitch();
        if self.planar() {
            return &rows[bins.start * len..bins.end * len];
        }
        let spectra = &mut buffer[..bins.len() * self.transform.size[0] * len];
        self.transform.forward_columns(source, rows, bins, spectra);
        spectra
    }

    /// The product of all frequencies of some column bins.
    fn products(&self, product: &Frequencies<'_>, left: &[f32], right: &[f32], out: &mut [f32]) {
        let _g = crate::prof::g("products");
        let [l, r, o] = [product.left.pitch(), product.right.pitch(), product.out.pitch()];
        let work = product.rows.len() * product.columns.len() * product.out.groups * self.transform.lanes * 4;
        let grain = (GRAIN / work.max(1)).max(1);
        out.par_chunks_mut(o).zip(left.par_chunks(l)).zip(right.par_chunks(r)).with_min_len(grain).for_each(
            |((out, left), right)| {
                self.transform.arch.dispatch(Product {
                    left,
                    left_rows: &product.rows,
                    left_columns: &product.columns,
                    right,
                    out,
                    groups: product.out.groups,
                    conjugate: product.conjugate,
                });
            },
        );
    }

    /// Brings the products of column bins back along columns.
    fn back(&self, source: &impl Source, spectra: &[f32], bins: Range<usize>, rows: &mut [f32]) {
        if !self.planar() {
            self.transform.inverse_columns(source, spectra, bins, rows);
        }
    }

    /// A buffer for the spectra of `bins` column bins.
    fn space(&self, source: &impl Source, bins: usize) -> Buffer {
        Buffer::stale(if self.planar() { 0 } else { bins * self.transform.size[0] * source.planes().pitch() })
    }

    pub(super) fn forward_dense(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (p, t, planar) = (&self.problem, &self.transform, self.planar());
        for group in 0..p.groups {
            let inputs = self.inputs(0..p.batch, group);
            let outputs = self.outputs(0..p.batch, group).with_bias(bias);
            let kernels = self.kernels(group, Lanes::Outputs);
            let product = Frequencies {
                rows: inputs.planes().outer_slots(),
                columns: inputs.planes().channel_slots(),
                left: inputs.planes(),
                right: &kernels.planes,
                out: outputs.planes(),
                conjugate: Conjugate::Right,
            };
            let x_rows = t.forward_rows(&inputs, x, planar);
            let w_rows = t.forward_rows(&kernels, weights, planar);
            let numbers = product.left.pitch() + product.right.pitch() + product.out.pitch();
            let batches: Vec<_> = self.batches(numbers * t.size[0]).collect();
            let most = batches.iter().map(Range::len).max().unwrap_or(0);
            let (mut xs, mut ws) = (self.space(&inputs, most), self.space(&kernels, most));
            let mut ys = Buffer::stale(most * t.size[0] * product.out.pitch());
            let mut y_rows = Buffer::stale(if planar { 0 } else { t.between(&outputs) });
            for bins in batches {
                let xs = self.spectra(&inputs, &x_rows, bins.clone(), &mut xs);
                let ws = self.spectra(&kernels, &w_rows, bins.clone(), &mut ws);
                let ys = &mut ys[..bins.len() * t.size[0] * product.out.pitch()];
                self.products(&product, xs, ws, ys);
                self.back(&outputs, ys, bins, &mut y_rows);
            }
            t.inverse_rows(&outputs, if planar { &ys } else { &y_rows }, planar, false, y);
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
            let inputs = self.inputs(0..p.batch, group).adding(in_order);
            let outputs = self.outputs(0..p.batch, group);
            let g_rows = t.forward_rows(&outputs, grad, planar);
            let x_rows = t.forward_rows(&inputs, x, planar);
            // Lanes go to the side that fills them better.
            let fill = |channels: usize| channels as f64 / channels.next_multiple_of(t.lanes) as f64;
            let lanes = if fill(p.group_out()) > fill(p.group_in()) { Lanes::Outputs } else { Lanes::Inputs };
            let sums = self.kernels(group, lanes);
            let (left, right) = match lanes {
                Lanes::Outputs => (inputs.planes(), outputs.planes()),
                Lanes::Inputs => (outputs.planes(), inputs.planes()),
            };
            let weight_product = Frequencies {
                rows: left.channel_slots(),
                columns: left.outer_slots(),
                left,
                right,
                out: &sums.planes,
                conjugate: if lanes == Lanes::Outputs { Conjugate::Right } else { Conjugate::Left },
            };
            let kernels = dx.is_some().then(|| self.kernels(group, Lanes::Inputs));
            let w_rows = kernels.as_ref().map(|kernels| t.forward_rows(kernels, weights, planar));
            let numbers = inputs.planes().pitch() * 2
                + outputs.planes().pitch()
                + sums.planes.pitch()
                + kernels.as_ref().map_or(0, |k| k.planes.pitch());
            let batches: Vec<_> = self.batches(numbers * t.size[0]).collect();
            let most = batches.iter().map(Range::len).max().unwrap_or(0);
            let (mut gs, mut xs) = (self.space(&outputs, most), self.space(&inputs, most));
            let mut ws = kernels.as_ref().map_or(Buffer::stale(0), |k| self.space(k, most));
            let mut sum = Buffer::stale(most * t.size[0] * sums.planes.pitch());
            let has_dx = usize::from(dx.is_some());
            let mut ds = Buffer::stale(has_dx * most * t.size[0] * inputs.planes().pitch());
            let between = |source: &dyn Fn() -> usize| Buffer::stale(if planar { 0 } else { source() });
            let mut d_rows = between(&|| has_dx * t.between(&inputs));
            let mut sum_rows = between(&|| t.between(&sums));
            for bins in batches {
                let len = bins.len() * t.size[0];
                let gs = self.spectra(&outputs, &g_rows, bins.clone(), &mut gs);
                let xs = self.spectra(&inputs, &x_rows, bins.clone(), &mut xs);
                if let (Some(kernels), Some(w_rows)) = (&kernels, &w_rows) {
                    let ws = self.spectra(kernels, w_rows, bins.clone(), &mut ws);
                    let product = Frequencies {
                        rows: outputs.planes().outer_slots(),
                        columns: outputs.planes().channel_slots(),
                        left: outputs.planes(),
                        right: &kernels.planes,
                        out: inputs.planes(),
                        conjugate: Conjugate::Neither,
                    };
                    let ds = &mut ds[..len * inputs.planes().pitch()];
                    self.products(&product, gs, ws, ds);
                    self.back(&inputs, ds, bins.clone(), &mut d_rows);
                }
                let (left, right) = if lanes == Lanes::Outputs { (xs, gs) } else { (gs, xs) };
                let sum = &mut sum[..len * sums.planes.pitch()];
                self.products(&weight_product, left, right, sum);
                self.back(&sums, sum, bins, &mut sum_rows);
            }
            if let Some(dx) = dx.as_deref_mut() {
                t.inverse_rows(&inputs, if planar { &ds } else { &d_rows }, planar, in_order, dx);
            }
            t.inverse_rows(&sums, if planar { &sum } else { &sum_rows }, planar, false, dw);
        }
    }
}

/// The side whose channels fill the lanes of kernel spectra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    Inputs,
    Outputs,
}

/// The products of one kind for all frequencies: layouts of the operands.
struct Frequencies<'a> {
    left: &'a Planes,
    rows: Vec<usize>,
    columns: Vec<usize>,
    right: &'a Planes,
    out: &'a Planes,
    conjugate: Conjugate,
}
