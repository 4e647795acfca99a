//! Two-dimensional real transforms of bundles of planes, axis by axis.
//!
//! Between the axes, numbers are stored `[column bin][bundle][live row][re, im][lane]`, so that the
//! second axis can be transformed for a few column bins at a time: the full spectra of large layers
//! never exist at once. Spectra are `[column bin][row bin][Planes]`.

use super::{
    lanes::{ComplexFft, RealFft},
    vectors::{ForwardColumn, ForwardRow, InverseColumn, InverseRow},
};
use crate::{
    Error,
    buffer::{Buffer, odd},
    maps::{Bundle, Source},
    parallel::Shared,
    simd::{LANES, Vector},
};
use pulp::{Arch, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Rows or columns that are worth a task.
const GRAIN: usize = 4;

/// The transform of one size.
pub(super) struct Transform {
    pub(super) arch: Arch,
    /// Transform rows, and columns.
    pub(super) size: [usize; 2],
    pub(super) rows: ComplexFft,
    pub(super) columns: RealFft,
}

/// Two buffers of one thread.
pub(super) struct Work {
    pub(super) a: Buffer,
    pub(super) b: Buffer,
}

impl Work {
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&mut self) -> (&mut [Vector<S>], &mut [Vector<S>]) {
        (S::as_mut_simd_f32s(&mut self.a).0, S::as_mut_simd_f32s(&mut self.b).0)
    }
}

impl Transform {
    pub(super) fn new(size: [usize; 2], arch: Arch) -> Result<Transform, Error> {
        let unsupported = |axis: usize| Error::TransformLength(size[axis]);
        Ok(Transform {
            arch,
            size,
            rows: ComplexFft::new(size[0]).ok_or_else(|| unsupported(0))?,
            columns: RealFft::new(size[1]).ok_or_else(|| unsupported(1))?,
        })
    }

    /// Column bins.
    pub(super) fn half(&self) -> usize {
        self.columns.bins()
    }

    /// Numbers of a complex number of all lanes.
    pub(super) fn step(&self) -> usize {
        2 * LANES
    }

    pub(super) fn work(&self) -> Work {
        let len = LANES * (2 * self.size[0]).max(self.size[1] + 2);
        Work { a: Buffer::stale(len), b: Buffer::zeroed(len) }
    }

    /// Distance of neighbouring column bins between the axes.
    pub(super) fn pitch(&self, source: &impl Source) -> usize {
        odd(source.bundles() * source.live()) * self.step()
    }

    /// Numbers between the axes, for all column bins.
    pub(super) fn between(&self, source: &impl Source) -> usize {
        self.half() * self.pitch(source)
    }

    /// Transforms the live rows of one bundle into `out`, `[column bin][row]` at distances `pitch`.
    pub(super) fn bundle_rows<R: Source>(
        &self,
        source: &R,
        bundle: Bundle,
        values: &[f32],
        work: &mut Work,
        out: &mut [f32],
        pitch: usize,
    ) {
        let to = Shared::new(out);
        for row in 0..source.rows(bundle.piece) {
            source.fill(&bundle, row, values, &mut work.a[..self.size[1] * LANES]);
            let first = row * self.step();
            self.arch.dispatch(ForwardRow {
                t: self,
                work,
                to: &to,
                per_bin: pitch,
                first,
                planes: None,
                bundle,
            });
        }
    }

    /// The reverse of [`Self::bundle_rows`].
    pub(super) fn read_bundle_rows<R: Source>(
        &self,
        source: &R,
        bundle: Bundle,
        numbers: &[f32],
        work: &mut Work,
        pitch: usize,
        values: &Shared<'_, f32>,
    ) {
        for row in 0..source.rows(bundle.piece) {
            let first = row * self.step();
            let planes = None;
            let in_other = self.arch.dispatch(InverseRow {
                t: self,
                work,
                numbers,
                per_bin: pitch,
                first,
                planes,
                bundle,
            });
            source.read(&bundle, row, if in_other { &work.b } else { &work.a }, values);
        }
    }

    /// Transforms all live rows. The result is `[column bin][bundle][row]`, or, if `planar`, for
    /// transforms of a single row, the spectra `[column bin][Planes]`.
    pub(super) fn forward_rows<R: Source>(&self, source: &R, values: &[f32], planar: bool) -> Buffer {
        let (bundles, live, step) = (source.bundles(), source.live(), self.step());
        let per_bin = if planar { source.planes().pitch() } else { self.pitch(source) };
        let mut out = Buffer::stale(self.half() * per_bin);
        let to = Shared::new(&mut out);
        (0..bundles * live).into_par_iter().with_min_len(GRAIN).for_each_init(
            || self.work(),
            |work, task| {
                let (bundle, row) = (source.bundle(task / live), task % live);
                if row < source.rows(bundle.piece) {
                    source.fill(&bundle, row, values, &mut work.a[..self.size[1] * LANES]);
                    let planes = planar.then(|| source.planes());
                    let first = task * step;
                    self.arch.dispatch(ForwardRow { t: self, work, to: &to, per_bin, first, planes, bundle });
                }
            },
        );
        out
    }

    /// Transforms all columns of the column bins `bins`, whose rows are `rows`, to spectra.
    pub(super) fn forward_columns<R: Source>(
        &self,
        source: &R,
        rows: &[f32],
        bins: Range<usize>,
        spectra: &mut [f32],
    ) {
        let (bundles, live) = (source.bundles(), source.live());
        let to = Shared::new(spectra);
        (0..bins.len() * bundles).into_par_iter().with_min_len(GRAIN).for_each_init(
            || self.work(),
            |work, task| {
                let (bin, bundle) = (task / bundles, source.bundle(task % bundles));
                let from = (bins.start + bin) * self.pitch(source) + bundle.index * live * self.step();
                let rows = &rows[from..from + live * self.step()];
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
                    bundle,
                });
            },
        );
    }

    /// Transforms spectra of the column bins `bins` back along columns; what lies between the axes is
    /// written to `rows`.
    pub(super) fn inverse_columns<R: Source>(
        &self,
        source: &R,
        spectra: &[f32],
        bins: Range<usize>,
        rows: &mut [f32],
    ) {
        let (bundles, live) = (source.bundles(), source.live());
        let to = Shared::new(rows);
        (0..bins.len() * bundles).into_par_iter().with_min_len(GRAIN).for_each_init(
            || self.work(),
            |work, task| {
                let (bin, bundle) = (task / bundles, source.bundle(task % bundles));
                let at = (bins.start + bin) * self.pitch(source) + bundle.index * live * self.step();
                // SAFETY: these rows belong to this bin and bundle alone.
                #[allow(unsafe_code)]
                let rows = unsafe { to.slice(at, live * self.step()) };
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
                    bundle,
                });
            },
        );
    }

    /// Transforms one column bin of all bundles of one group of channels to `[row bin][Planes::group]`.
    pub(super) fn group_columns<R: Source>(
        &self,
        source: &R,
        group: usize,
        rows: &[f32],
        bin: usize,
        work: &mut Work,
        spectra: &mut [f32],
    ) {
        let planes = &source.planes().group(group);
        let live = source.live() * self.step();
        let to = Shared::new(spectra);
        for index in source.in_group(group) {
            let bundle = Bundle { group: 0, ..source.bundle(index) };
            let rows = &rows[bin * self.pitch(source) + index * live..][..live];
            let t = self;
            self.arch.dispatch(ForwardColumn { t, work, source, planes, rows, to: &to, spectra: 0, bundle });
        }
    }

    /// The reverse of [`Self::group_columns`]; the caller promises that no other task writes rows of the
    /// same group and column bin.
    pub(super) fn group_columns_back<R: Source>(
        &self,
        source: &R,
        group: usize,
        spectra: &[f32],
        bin: usize,
        work: &mut Work,
        rows: &Shared<'_, f32>,
    ) {
        let planes = &source.planes().group(group);
        let live = source.live() * self.step();
        for index in source.in_group(group) {
            let bundle = Bundle { group: 0, ..source.bundle(index) };
            // SAFETY: by the caller's promise.
            #[allow(unsafe_code)]
            let rows = unsafe { rows.slice(bin * self.pitch(source) + index * live, live) };
            let t = self;
            self.arch.dispatch(InverseColumn { t, work, source, planes, spectra, from: 0, rows, bundle });
        }
    }

    /// Transforms rows back and hands them to `source`; `numbers` is what lies between the axes, or,
    /// if `planar`, spectra. With `in_order`, the pieces of a plane are read one after the other.
    pub(super) fn inverse_rows<R: Source>(
        &self,
        source: &R,
        numbers: &[f32],
        planar: bool,
        in_order: bool,
        values: &mut [f32],
    ) {
        let (bundles, live, step) = (source.bundles(), source.live(), self.step());
        let per_bin = if planar { source.planes().pitch() } else { self.pitch(source) };
        let values = Shared::new(values);
        let one = |work: &mut Work, index: usize, row: usize| {
            let bundle = source.bundle(index);
            if row < source.rows(bundle.piece) {
                let first = (index * live + row) * step;
                let planes = planar.then(|| source.planes());
                let in_other =
                    self.arch.dispatch(InverseRow { t: self, work, numbers, per_bin, first, planes, bundle });
                let lanes = if in_other { &work.b } else { &work.a };
                source.read(&bundle, row, lanes, &values);
            }
        };
        if in_order {
            let per_piece = source.per_piece();
            (0..per_piece).into_par_iter().for_each_init(
                || self.work(),
                |work, first| {
                    for index in (first..bundles).step_by(per_piece) {
                        (0..live).for_each(|row| one(work, index, row));
                    }
                },
            );
        } else {
            (0..bundles * live)
                .into_par_iter()
                .with_min_len(GRAIN)
                .for_each_init(|| self.work(), |work, task| one(work, task / live, task % live));
        }
    }
}
