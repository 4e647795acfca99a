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
        for (f, to) in a.chunks_exact_mut(2).take(self.t.size[0]).enumerate() {
            let from = self.from + f * planes.pitch();
            to.copy_from_slice(&gather::<S>(&self.spectra[from..], planes, &self.bundle));
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
        match self.planes {
            Some(planes) => {
                let bins = Slots { numbers, per_bin, planes, bundle: &self.bundle };
                self.t.inverse_row(simd, &bins, self.work)
            }
            None => self.t.inverse_row(simd, &Places { numbers, per_bin, first: self.first }, self.work),
        }
    }
}
