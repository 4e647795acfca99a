//! Two-dimensional real transforms of bundles of planes, axis by axis.
//!
//! Between the axes, numbers are stored `[column bin][bundle][live row][re, im][lane]`, so that the
//! second axis can be transformed for a few column bins at a time: the full spectra of large layers
//! never exist at once. Spectra are `[column bin][row bin][Planes]`.

use super::{
    lanes::{Bins, Complex, ComplexFft, RealFft, Sink},
    single::{LONG, SingleFft},
};
use crate::{
    Error,
    buffer::{Buffer, odd},
    maps::{Bundle, Planes, Source},
    parallel::Shared,
    simd::{self, Vector},
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// The widest vector of any instruction set, in numbers.
const WIDEST: usize = 16;

/// Rows or columns that are worth a task.
const GRAIN: usize = 4;

/// The transform of one size.
pub(super) struct Transform {
    pub(super) arch: Arch,
    /// Numbers per vector.
    pub(super) lanes: usize,
    /// Transform rows, and columns.
    pub(super) size: [usize; 2],
    pub(super) rows: ComplexFft,
    columns: Columns,
}

/// The real transforms along columns.
enum Columns {
    Lanes(RealFft),
    Single(SingleFft),
}

/// Two buffers of one thread.
pub(super) struct Work {
    a: Buffer,
    b: Buffer,
}

impl Work {
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&mut self) -> (&mut [Vector<S>], &mut [Vector<S>]) {
        (S::as_mut_simd_f32s(&mut self.a).0, S::as_mut_simd_f32s(&mut self.b).0)
    }
}

impl Transform {
    pub(super) fn new(size: [usize; 2], arch: Arch) -> Result<Transform, Error> {
        let (lanes, wide) = simd::lanes(arch);
        let unsupported = |axis: usize| Error::TransformLength(size[axis]);
        Ok(Transform {
            arch,
            lanes,
            size,
            rows: ComplexFft::new(size[0], wide).ok_or_else(|| unsupported(0))?,
            columns: if size[1] > LONG {
                Columns::Single(SingleFft::new(size[1]))
            } else {
                Columns::Lanes(RealFft::new(size[1], wide).ok_or_else(|| unsupported(1))?)
            },
        })
    }

    /// Column bins.
    pub(super) fn half(&self) -> usize {
        match &self.columns {
            Columns::Lanes(fft) => fft.bins(),
            Columns::Single(fft) => fft.bins(),
        }
    }

    /// Numbers of a complex number of all lanes.
    pub(super) fn step(&self) -> usize {
        2 * self.lanes
    }

    pub(super) fn work(&self) -> Work {
        let len = self.lanes * (2 * self.size[0]).max(self.size[1] + 2);
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
            source.fill(&bundle, row, values, &mut work.a[..self.size[1] * self.lanes]);
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
                    source.fill(&bundle, row, values, &mut work.a[..self.size[1] * self.lanes]);
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

/// A vector of the planes of a bundle, from the spectra of one bin.
#[inline(always)]
fn gather<S: Simd>(spectra: &[f32], planes: &Planes, bundle: &Bundle) -> [Vector<S>; 2] {
    let lanes = S::F32_LANES;
    let slot = planes.slot(bundle.outer, bundle.group * lanes);
    if planes.whole_bundles() {
        return load::<S>(&spectra[slot..slot + 2 * lanes]);
    }
    let mut packed = [0.0; 2 * WIDEST];
    for s in 0..bundle.count {
        let (from, to) = (&spectra[slot + s * 2 * lanes..][..2 * lanes], s * planes.channels);
        copy(&from[..planes.channels], &mut packed[to..]);
        copy(&from[lanes..lanes + planes.channels], &mut packed[lanes + to..]);
    }
    load::<S>(&packed[..2 * lanes])
}

/// The reverse of [`gather`]; the caller promises that the slots are its own.
#[inline(always)]
fn scatter<S: Simd>(
    value: [Vector<S>; 2],
    spectra: &Shared<'_, f32>,
    from: usize,
    planes: &Planes,
    bundle: &Bundle,
) {
    let lanes = S::F32_LANES;
    let slot = from + planes.slot(bundle.outer, bundle.group * lanes);
    if planes.whole_bundles() {
        // SAFETY: the slot belongs to this bundle and to this bin alone.
        #[allow(unsafe_code)]
        store::<S>(value, unsafe { spectra.slice(slot, 2 * lanes) });
        return;
    }
    let mut packed = [0.0; 2 * WIDEST];
    store::<S>(value, &mut packed[..2 * lanes]);
    for s in 0..bundle.count {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let to = unsafe { spectra.slice(slot + s * 2 * lanes, 2 * lanes) };
        let at = s * planes.channels;
        copy(&packed[at..at + planes.channels], to);
        copy(&packed[lanes + at..lanes + at + planes.channels], &mut to[lanes..]);
    }
}

/// Copies a few numbers; the usual counts without a call.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    match *from {
        [a] => to[0] = a,
        [a, b] => to[..2].copy_from_slice(&[a, b]),
        [a, b, c, d] => to[..4].copy_from_slice(&[a, b, c, d]),
        [a, b, c, d, e, f, g, h] => to[..8].copy_from_slice(&[a, b, c, d, e, f, g, h]),
        _ => to[..from.len()].copy_from_slice(from),
    }
}

#[inline(always)]
pub(super) fn load<S: Simd>(from: &[f32]) -> [Vector<S>; 2] {
    let vectors = S::as_simd_f32s(from).0;
    [vectors[0], vectors[1]]
}

#[inline(always)]
pub(super) fn store<S: Simd>(value: [Vector<S>; 2], to: &mut [f32]) {
    if let [re, im, ..] = S::as_mut_simd_f32s(to).0 {
        [*re, *im] = value;
    }
}

struct ForwardRow<'a> {
    t: &'a Transform,
    work: &'a mut Work,
    to: &'a Shared<'a, f32>,
    per_bin: usize,
    first: usize,
    planes: Option<&'a Planes>,
    bundle: Bundle,
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (numbers, per_bin) = (self.to, self.per_bin);
        match self.planes {
            Some(planes) => {
                let mut to = Slots { numbers, per_bin, planes, bundle: &self.bundle };
                self.t.forward_row(simd, self.work, &mut to);
            }
            None => self.t.forward_row(simd, self.work, &mut Places { numbers, per_bin, first: self.first }),
        }
    }
}

impl Transform {
    /// Transforms the row in the first buffer.
    #[inline(always)]
    fn forward_row<S: Simd>(&self, simd: S, work: &mut Work, to: &mut impl Sink<S>) {
        match &self.columns {
            Columns::Lanes(fft) => {
                let (a, b) = work.vectors::<S>();
                fft.forward(simd, a, b, to);
            }
            Columns::Single(fft) => {
                fft.forward(&work.a, S::F32_LANES, &mut work.b);
                for (bin, value) in work.b.chunks_exact(2 * S::F32_LANES).take(fft.bins()).enumerate() {
                    to.put(bin, load::<S>(value));
                }
            }
        }
    }

    /// Transforms bins back; whether the row is in the second buffer.
    #[inline(always)]
    fn inverse_row<S: Simd>(&self, simd: S, from: &impl Bins<S>, work: &mut Work) -> bool {
        match &self.columns {
            Columns::Lanes(fft) => {
                let (a, b) = work.vectors::<S>();
                fft.inverse(simd, from, a, b)
            }
            Columns::Single(fft) => {
                for (bin, value) in work.a.chunks_exact_mut(2 * S::F32_LANES).take(fft.bins()).enumerate() {
                    store::<S>(from.get(bin), value);
                }
                fft.inverse(&work.a, S::F32_LANES, &mut work.b);
                true
            }
        }
    }
}

/// The bins of one bundle among spectra.
struct Slots<'a, N> {
    numbers: N,
    per_bin: usize,
    planes: &'a Planes,
    bundle: &'a Bundle,
}

impl<S: Simd> Sink<S> for Slots<'_, &Shared<'_, f32>> {
    #[inline(always)]
    fn put(&mut self, bin: usize, value: Complex<S>) {
        scatter::<S>(value, self.numbers, bin * self.per_bin, self.planes, self.bundle);
    }
}

impl<S: Simd> Bins<S> for Slots<'_, &[f32]> {
    #[inline(always)]
    fn get(&self, bin: usize) -> Complex<S> {
        gather::<S>(&self.numbers[bin * self.per_bin..], self.planes, self.bundle)
    }
}

/// The bins of one row among what lies between the axes.
struct Places<N> {
    numbers: N,
    per_bin: usize,
    first: usize,
}

impl<S: Simd> Sink<S> for Places<&Shared<'_, f32>> {
    #[inline(always)]
    fn put(&mut self, bin: usize, value: Complex<S>) {
        // SAFETY: the row of this bundle belongs to this task alone.
        #[allow(unsafe_code)]
        let to = unsafe { self.numbers.slice(bin * self.per_bin + self.first, 2 * S::F32_LANES) };
        store::<S>(value, to);
    }
}

impl<S: Simd> Bins<S> for Places<&[f32]> {
    #[inline(always)]
    fn get(&self, bin: usize) -> Complex<S> {
        load::<S>(&self.numbers[bin * self.per_bin + self.first..][..2 * S::F32_LANES])
    }
}

struct ForwardColumn<'a, R> {
    t: &'a Transform,
    work: &'a mut Work,
    source: &'a R,
    /// Layout of the spectra.
    planes: &'a Planes,
    rows: &'a [f32],
    to: &'a Shared<'a, f32>,
    spectra: usize,
    bundle: Bundle,
}

impl<R: Source> WithSimd for ForwardColumn<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (a, b) = self.work.vectors::<S>();
        place_rows(simd, self.t, self.source, &self.bundle, self.rows, a);
        let result = if self.t.rows.run::<S, false>(simd, a, b) { b } else { a };
        let planes = self.planes;
        for (f, value) in result.chunks_exact(2).take(self.t.size[0]).enumerate() {
            let from = self.spectra + f * planes.pitch();
            scatter::<S>([value[0], value[1]], self.to, from, planes, &self.bundle);
        }
    }
}

/// Puts the rows of one column bin of a bundle to their transform rows, and zeros elsewhere.
#[inline(always)]
pub(super) fn place_rows<S: Simd>(
    simd: S,
    t: &Transform,
    source: &impl Source,
    bundle: &Bundle,
    rows: &[f32],
    out: &mut [Vector<S>],
) {
    out[..2 * t.size[0]].fill(simd.splat_f32s(0.0));
    let rows = S::as_simd_f32s(rows).0;
    for (row, from) in rows.chunks_exact(2).take(source.rows(bundle.piece)).enumerate() {
        let at = 2 * source.position(bundle.piece, row);
        out[at..at + 2].copy_from_slice(from);
    }
}

/// Takes the rows of one column bin of a bundle from their transform rows.
#[inline(always)]
pub(super) fn take_rows<S: Simd>(
    source: &impl Source,
    bundle: &Bundle,
    from: &[Vector<S>],
    rows: &mut [f32],
) {
    let rows = S::as_mut_simd_f32s(rows).0;
    for (row, to) in rows.chunks_exact_mut(2).take(source.rows(bundle.piece)).enumerate() {
        let at = 2 * source.position(bundle.piece, row);
        to.copy_from_slice(&from[at..at + 2]);
    }
}

struct InverseColumn<'a, R> {
    t: &'a Transform,
    work: &'a mut Work,
    source: &'a R,
    /// Layout of the spectra.
    planes: &'a Planes,
    spectra: &'a [f32],
    from: usize,
    rows: &'a mut [f32],
    bundle: Bundle,
}

impl<R: Source> WithSimd for InverseColumn<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (a, b) = self.work.vectors::<S>();
        let planes = self.planes;
        for (f, to) in a.chunks_exact_mut(2).take(self.t.size[0]).enumerate() {
            let from = self.from + f * planes.pitch();
            to.copy_from_slice(&gather::<S>(&self.spectra[from..], planes, &self.bundle));
        }
        let result = if self.t.rows.run::<S, true>(simd, a, b) { b } else { a };
        take_rows::<S>(self.source, &self.bundle, result, self.rows);
    }
}

struct InverseRow<'a> {
    t: &'a Transform,
    work: &'a mut Work,
    numbers: &'a [f32],
    per_bin: usize,
    first: usize,
    planes: Option<&'a Planes>,
    bundle: Bundle,
}

impl WithSimd for InverseRow<'_> {
    /// Whether the row is in the second buffer.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let (numbers, per_bin) = (self.numbers, self.per_bin);
        match self.planes {
            Some(planes) => {
                let bins = Slots { numbers, per_bin, planes, bundle: &self.bundle };
                self.t.inverse_row(simd, &bins, self.work)
            }
            None => self.t.inverse_row(simd, &Places { numbers, per_bin, first: self.first }, self.work),
        }
    }
}
