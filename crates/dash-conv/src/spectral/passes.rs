//! The transforms of all planes of a source: loops over rows and columns, divided among threads.

use super::{
    lines::{ForwardColumn, ForwardRow, InverseColumn, InverseRow},
    transform::{COMPLEX_STRIDE, RowLayout, Transform, Work},
};
use crate::{
    buffer::Buffer,
    parallel::Shared,
    planes::{PlaneBatch, PlaneSource},
    simd::LANES,
};
use rayon::prelude::*;
use std::ops::Range;

/// The number of rows or columns that are worth a task.
const GRAIN: usize = 4;

impl Transform {
    /// Transforms the live rows of one batch into `out`, `[column bin][live row]` with `pitch` elements per bin.
    pub(super) fn transform_batch_rows<R: PlaneSource>(
        &self,
        source: &R,
        batch: PlaneBatch,
        values: &[f32],
        work: &mut Work,
        out: &mut [f32],
        pitch: usize,
    ) {
        let to = Shared::new(out);
        for row in 0..source.rows(batch.tile) {
            source.load(&batch, row, values, &mut work.a[..self.size[1] * LANES]);
            let first = row * COMPLEX_STRIDE;
            self.arch.dispatch(ForwardRow {
                t: self,
                work,
                to: &to,
                per_bin: pitch,
                first,
                planes: None,
                batch,
            });
        }
    }

    /// The inverse of [`Self::transform_batch_rows`]: stores the rows in `values`.
    pub(super) fn inverse_batch_rows<R: PlaneSource>(
        &self,
        source: &R,
        batch: PlaneBatch,
        elements: &[f32],
        work: &mut Work,
        pitch: usize,
        values: &Shared<'_, f32>,
    ) {
        for row in 0..source.rows(batch.tile) {
            let first = row * COMPLEX_STRIDE;
            let planes = None;
            let in_other = self.arch.dispatch(InverseRow {
                t: self,
                work,
                elements,
                per_bin: pitch,
                first,
                planes,
                batch,
            });
            source.store(&batch, row, if in_other { &work.b } else { &work.a }, values);
        }
    }

    /// Transforms all live rows to `layout`.
    pub(super) fn forward_rows<R: PlaneSource>(
        &self,
        source: &R,
        values: &[f32],
        layout: RowLayout,
    ) -> Buffer {
        let (batches, live) = (source.batches(), source.live());
        let per_bin = self.row_pitch(source, layout);
        let mut out = Buffer::scratch(self.bins() * per_bin);
        let to = Shared::new(&mut out);
        (0..batches * live).into_par_iter().with_min_len(GRAIN).for_each_init(
            || self.work(),
            |work, task| {
                let (batch, row) = (source.batch(task / live), task % live);
                if row < source.rows(batch.tile) {
                    source.load(&batch, row, values, &mut work.a[..self.size[1] * LANES]);
                    let planes = (layout == RowLayout::Spectra).then(|| source.planes());
                    let first = task * COMPLEX_STRIDE;
                    self.arch.dispatch(ForwardRow { t: self, work, to: &to, per_bin, first, planes, batch });
                }
            },
        );
        out
    }

    /// Transforms all columns of the column bins `bins` from the intermediate layout `rows` to spectra.
    pub(super) fn forward_columns<R: PlaneSource>(
        &self,
        source: &R,
        rows: &[f32],
        bins: Range<usize>,
        spectra: &mut [f32],
    ) {
        let (batches, live) = (source.batches(), source.live());
        let to = Shared::new(spectra);
        (0..bins.len() * batches).into_par_iter().with_min_len(GRAIN).for_each_init(
            || self.work(),
            |work, task| {
                let (bin, batch) = (task / batches, source.batch(task % batches));
                let from = (bins.start + bin) * self.intermediate_pitch(source)
                    + batch.index * live * COMPLEX_STRIDE;
                let rows = &rows[from..from + live * COMPLEX_STRIDE];
                let spectra = bin * self.size[0] * source.planes().pitch();
                let planes = source.planes();
                self.arch.dispatch(ForwardColumn {
                    t: self,
                    work,
                    source,
                    planes,
                    rows,
                    to: &to,
                    spectra,
                    batch,
                });
            },
        );
    }

    /// Transforms spectra of the column bins `bins` back to the intermediate layout `rows`.
    pub(super) fn inverse_columns<R: PlaneSource>(
        &self,
        source: &R,
        spectra: &[f32],
        bins: Range<usize>,
        rows: &mut [f32],
    ) {
        let (batches, live) = (source.batches(), source.live());
        let to = Shared::new(rows);
        (0..bins.len() * batches).into_par_iter().with_min_len(GRAIN).for_each_init(
            || self.work(),
            |work, task| {
                let (bin, batch) = (task / batches, source.batch(task % batches));
                let at = (bins.start + bin) * self.intermediate_pitch(source)
                    + batch.index * live * COMPLEX_STRIDE;
                // SAFETY: these rows belong to this bin and batch alone.
                #[allow(unsafe_code)]
                let rows = unsafe { to.slice(at, live * COMPLEX_STRIDE) };
                let from = bin * self.size[0] * source.planes().pitch();
                let planes = source.planes();
                self.arch.dispatch(InverseColumn {
                    t: self,
                    work,
                    source,
                    planes,
                    spectra,
                    from,
                    rows,
                    batch,
                });
            },
        );
    }

    /// Transforms one column bin of all batches of one group of channels to `[row bin][planes of the group]`.
    pub(super) fn group_columns<R: PlaneSource>(
        &self,
        source: &R,
        group: usize,
        rows: &[f32],
        bin: usize,
        work: &mut Work,
        spectra: &mut [f32],
    ) {
        let planes = &source.planes().group(group);
        let live = source.live() * COMPLEX_STRIDE;
        let to = Shared::new(spectra);
        for index in source.of_group(group) {
            let batch = PlaneBatch { group: 0, ..source.batch(index) };
            let rows = &rows[bin * self.intermediate_pitch(source) + index * live..][..live];
            let t = self;
            self.arch.dispatch(ForwardColumn { t, work, source, planes, rows, to: &to, spectra: 0, batch });
        }
    }

    /// The inverse of [`Self::group_columns`]. The caller guarantees that no other task writes rows of the same group and
    /// column bin at the same time.
    pub(super) fn inverse_group_columns<R: PlaneSource>(
        &self,
        source: &R,
        group: usize,
        spectra: &[f32],
        bin: usize,
        work: &mut Work,
        rows: &Shared<'_, f32>,
    ) {
        let planes = &source.planes().group(group);
        let live = source.live() * COMPLEX_STRIDE;
        for index in source.of_group(group) {
            let batch = PlaneBatch { group: 0, ..source.batch(index) };
            // SAFETY: the caller guarantees that no other task writes these rows.
            #[allow(unsafe_code)]
            let rows = unsafe { rows.slice(bin * self.intermediate_pitch(source) + index * live, live) };
            let t = self;
            self.arch.dispatch(InverseColumn { t, work, source, planes, spectra, from: 0, rows, batch });
        }
    }

    /// Transforms rows back from `layout` and stores them in `values`. Tiles of a plane that overlap are stored one after the
    /// other.
    pub(super) fn inverse_rows<R: PlaneSource>(
        &self,
        source: &R,
        elements: &[f32],
        layout: RowLayout,
        values: &mut [f32],
    ) {
        let (batches, live) = (source.batches(), source.live());
        let per_bin = self.row_pitch(source, layout);
        let values = Shared::new(values);
        let one = |work: &mut Work, index: usize, row: usize| {
            let batch = source.batch(index);
            if row < source.rows(batch.tile) {
                let first = (index * live + row) * COMPLEX_STRIDE;
                let planes = (layout == RowLayout::Spectra).then(|| source.planes());
                let in_other =
                    self.arch.dispatch(InverseRow { t: self, work, elements, per_bin, first, planes, batch });
                let lanes = if in_other { &work.b } else { &work.a };
                source.store(&batch, row, lanes, &values);
            }
        };
        if source.overlapping() {
            let per_tile = source.per_tile();
            (0..per_tile).into_par_iter().for_each_init(
                || self.work(),
                |work, first| {
                    for index in (first..batches).step_by(per_tile) {
                        (0..live).for_each(|row| one(work, index, row));
                    }
                },
            );
        } else {
            (0..batches * live)
                .into_par_iter()
                .with_min_len(GRAIN)
                .for_each_init(|| self.work(), |work, task| one(work, task / live, task % live));
        }
    }
}
