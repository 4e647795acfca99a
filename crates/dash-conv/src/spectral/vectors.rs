//! One row or one column of a bundle of planes, in vectors: from the maps' lanes to spectra and back.

use super::{
    lanes::{Bins, Complex, Sink},
    transform::{Columns, Transform, Work},
};
use crate::{
    maps::{Bundle, Planes, Source},
    parallel::Shared,
    simd::Vector,
};
use pulp::{Simd, WithSimd};

/// The widest vector of any instruction set, in numbers.
const WIDEST: usize = 16;

/// Where the spectra of a bundle begin among those of one bin, if they are one vector after the other.
#[inline(always)]
fn place<S: Simd>(planes: &Planes, bundle: &Bundle) -> Option<usize> {
    planes.whole_bundles().then(|| planes.slot(bundle.outer, bundle.group * S::F32_LANES))
}

/// A vector of the planes of a bundle, from the spectra of one bin, where those of several outer indices
/// share the lanes.
#[inline(always)]
fn gather<S: Simd>(spectra: &[f32], planes: &Planes, bundle: &Bundle) -> [Vector<S>; 2] {
    let lanes = S::F32_LANES;
    let slot = planes.slot(bundle.outer, bundle.group * lanes);
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
    [re, im]: [Vector<S>; 2],
    spectra: &Shared<'_, f32>,
    from: usize,
    planes: &Planes,
    bundle: &Bundle,
) {
    let lanes = S::F32_LANES;
    let slot = from + planes.slot(bundle.outer, bundle.group * lanes);
    let mut packed = [0.0; 2 * WIDEST];
    store::<S>([re, im], &mut packed[..2 * lanes]);
    for s in 0..bundle.count {
        // SAFETY: the slots belong to this bundle and to this bin alone.
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
pub(super) fn store<S: Simd>([re, im]: [Vector<S>; 2], to: &mut [f32]) {
    if let [to_re, to_im, ..] = S::as_mut_simd_f32s(to).0 {
        *to_re = re;
        *to_im = im;
    }
}

pub(super) struct ForwardRow<'a> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) to: &'a Shared<'a, f32>,
    pub(super) per_bin: usize,
    pub(super) first: usize,
    pub(super) planes: Option<&'a Planes>,
    pub(super) bundle: Bundle,
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (numbers, per_bin) = (self.to, self.per_bin);
        match bins::<S>(self.planes, &self.bundle, self.first) {
            Ok(first) => self.t.forward_row(simd, self.work, &mut Places { numbers, per_bin, first }),
            Err(planes) => {
                let mut to = Slots { numbers, per_bin, planes, bundle: &self.bundle };
                self.t.forward_row(simd, self.work, &mut to);
            }
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

/// Where the bins of a row are among the numbers of their bin: at one place between the axes and among
/// spectra of whole bundles, or else where the planes say.
#[inline(always)]
fn bins<'a, S: Simd>(
    planes: Option<&'a Planes>,
    bundle: &Bundle,
    between: usize,
) -> Result<usize, &'a Planes> {
    planes.map_or(Ok(between), |planes| place::<S>(planes, bundle).ok_or(planes))
}

/// The bins of one bundle that shares its lanes among spectra.
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

/// The bins of one row where they are one vector after the other.
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

pub(super) struct ForwardColumn<'a, R> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) source: &'a R,
    /// Layout of the spectra.
    pub(super) planes: &'a Planes,
    pub(super) rows: &'a [f32],
    pub(super) to: &'a Shared<'a, f32>,
    pub(super) spectra: usize,
    pub(super) bundle: Bundle,
}

impl<R: Source> WithSimd for ForwardColumn<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (a, b) = self.work.vectors::<S>();
        place_rows(simd, self.t, self.source, &self.bundle, self.rows, a);
        let result = if self.t.rows.run::<S, false>(simd, a, b) { b } else { a };
        let planes = self.planes;
        let values = result.chunks_exact(2).take(self.t.size[0]).enumerate();
        let pitch = planes.pitch();
        if let Some(slot) = place::<S>(planes, &self.bundle) {
            for (f, value) in values {
                // SAFETY: the slot belongs to this bundle and to this bin alone.
                #[allow(unsafe_code)]
                let to = unsafe { self.to.slice(self.spectra + f * pitch + slot, 2 * S::F32_LANES) };
                S::as_mut_simd_f32s(to).0.copy_from_slice(value);
            }
        } else {
            for (f, value) in values {
                scatter::<S>([value[0], value[1]], self.to, self.spectra + f * pitch, planes, &self.bundle);
            }
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
    for (from, at) in rows.chunks_exact(2).zip(source.positions(bundle.piece)) {
        out[2 * at..2 * at + 2].copy_from_slice(from);
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
    for (to, at) in rows.chunks_exact_mut(2).zip(source.positions(bundle.piece)) {
        to.copy_from_slice(&from[2 * at..2 * at + 2]);
    }
}

pub(super) struct InverseColumn<'a, R> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) source: &'a R,
    /// Layout of the spectra.
    pub(super) planes: &'a Planes,
    pub(super) spectra: &'a [f32],
    pub(super) from: usize,
    pub(super) rows: &'a mut [f32],
    pub(super) bundle: Bundle,
}

impl<R: Source> WithSimd for InverseColumn<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (a, b) = self.work.vectors::<S>();
        let planes = self.planes;
        let values = a.chunks_exact_mut(2).take(self.t.size[0]).enumerate();
        let pitch = planes.pitch();
        if let Some(slot) = place::<S>(planes, &self.bundle) {
            for (f, to) in values {
                let from = &self.spectra[self.from + f * pitch + slot..][..2 * S::F32_LANES];
                to.copy_from_slice(S::as_simd_f32s(from).0);
            }
        } else {
            for (f, to) in values {
                let from = &self.spectra[self.from + f * pitch..];
                to.copy_from_slice(&gather::<S>(from, planes, &self.bundle));
            }
        }
        let result = if self.t.rows.run::<S, true>(simd, a, b) { b } else { a };
        take_rows::<S>(self.source, &self.bundle, result, self.rows);
    }
}

pub(super) struct InverseRow<'a> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) numbers: &'a [f32],
    pub(super) per_bin: usize,
    pub(super) first: usize,
    pub(super) planes: Option<&'a Planes>,
    pub(super) bundle: Bundle,
}

impl WithSimd for InverseRow<'_> {
    /// Whether the row is in the second buffer.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let (numbers, per_bin) = (self.numbers, self.per_bin);
        match bins::<S>(self.planes, &self.bundle, self.first) {
            Ok(first) => self.t.inverse_row(simd, &Places { numbers, per_bin, first }, self.work),
            Err(planes) => {
                let bins = Slots { numbers, per_bin, planes, bundle: &self.bundle };
                self.t.inverse_row(simd, &bins, self.work)
            }
        }
    }
}
