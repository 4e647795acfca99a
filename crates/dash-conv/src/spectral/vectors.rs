//! One row or one column of a bundle of planes, in vectors: from the maps' lanes to spectra and back.

use super::{
    lanes::{Bins, Complex, Sink},
    transform::{Transform, Work},
};
use crate::{
    maps::{Bundle, Planes, Source},
    parallel::Shared,
    simd::{LANES, parts},
};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// The numbers of a complex number of all lanes.
const STEP: usize = 2 * LANES;

/// Where the spectra of a bundle begin among those of one bin, if they are one vector after the other.
#[inline(always)]
fn place(planes: &Planes, bundle: &Bundle) -> Option<usize> {
    planes.whole_bundles().then(|| planes.slot(bundle.outer, bundle.group * LANES))
}

/// The lanes of each outer index of a bundle that are among `lanes`, and where their channels begin among the spectra of
/// one bin, where those of several outer indices share the lanes.
#[inline(always)]
fn shared_lanes(
    planes: &Planes,
    bundle: &Bundle,
    lanes: Range<usize>,
) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
    let (channels, slot) = (planes.channels, planes.slot(bundle.outer, bundle.group * LANES));
    (0..bundle.count).filter_map(move |s| {
        let first = s * channels;
        let held = lanes.start.max(first)..lanes.end.min(first + channels);
        (!held.is_empty()).then(|| (held.clone(), slot + s * STEP + held.start - first))
    })
}

/// The planes of a bundle from the spectra of one bin to lanes.
#[inline(always)]
fn gather(spectra: &[f32], planes: &Planes, bundle: &Bundle, out: &mut [f32; STEP]) {
    *out = [0.0; STEP];
    for (held, from) in shared_lanes(planes, bundle, 0..LANES) {
        let (re, im) = out.split_at_mut(LANES);
        copy(&spectra[from..from + held.len()], &mut re[held.clone()]);
        copy(&spectra[LANES + from..LANES + from + held.len()], &mut im[held]);
    }
}

/// The reverse of [`gather`], of the lanes that a register holds; the caller promises that the slots are its own.
#[inline(always)]
fn scatter(
    [re, im]: [&[f32]; 2],
    lanes: Range<usize>,
    spectra: &Shared<'_, f32>,
    first: usize,
    of: (&Planes, &Bundle),
) {
    for (held, to) in shared_lanes(of.0, of.1, lanes.clone()) {
        // SAFETY: the slots belong to this bundle and to this bin alone.
        #[allow(unsafe_code)]
        let to = unsafe { spectra.slice(first + to, LANES + held.len()) };
        let held = held.start - lanes.start..held.end - lanes.start;
        copy(&re[held.clone()], to);
        copy(&im[held], &mut to[LANES..]);
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

/// One register of a complex number of all lanes.
#[inline(always)]
pub(super) fn load<S: Simd>(from: &[f32], register: usize) -> Complex<S> {
    let registers = S::as_simd_f32s(&from[..STEP]).0;
    [registers[register], registers[parts::<S>() + register]]
}

#[inline(always)]
pub(super) fn store<S: Simd>([re, im]: Complex<S>, to: &mut [f32], register: usize) {
    let registers = S::as_mut_simd_f32s(&mut to[..STEP]).0;
    registers[register] = re;
    registers[parts::<S>() + register] = im;
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
        match bins(self.planes, &self.bundle, self.first) {
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
        let (a, b) = work.vectors::<S>();
        self.columns.forward(simd, a, b, to);
    }

    /// Transforms bins back; whether the row is in the second buffer.
    #[inline(always)]
    fn inverse_row<S: Simd>(&self, simd: S, from: &impl Bins<S>, work: &mut Work) -> bool {
        let (a, b) = work.vectors::<S>();
        self.columns.inverse(simd, from, a, b)
    }
}

/// Where the bins of a row are among the numbers of their bin: at one place between the axes and among
/// spectra of whole bundles, or else where the planes say.
#[inline(always)]
fn bins<'a>(planes: Option<&'a Planes>, bundle: &Bundle, between: usize) -> Result<usize, &'a Planes> {
    planes.map_or(Ok(between), |planes| place(planes, bundle).ok_or(planes))
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
    fn put(&mut self, bin: usize, register: usize, [re, im]: Complex<S>) {
        let mut held = [0.0; STEP];
        let (to_re, to_im) = held.split_at_mut(LANES);
        S::as_mut_simd_f32s(to_re).0[0] = re;
        S::as_mut_simd_f32s(to_im).0[0] = im;
        let lanes = register * S::F32_LANES..(register + 1) * S::F32_LANES;
        scatter([to_re, to_im], lanes, self.numbers, bin * self.per_bin, (self.planes, self.bundle));
    }
}

impl<S: Simd> Bins<S> for Slots<'_, &[f32]> {
    #[inline(always)]
    fn get(&self, bin: usize, register: usize) -> Complex<S> {
        let mut held = [0.0; STEP];
        gather(&self.numbers[bin * self.per_bin..], self.planes, self.bundle, &mut held);
        load::<S>(&held, register)
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
    fn put(&mut self, bin: usize, register: usize, value: Complex<S>) {
        // SAFETY: the row of this bundle belongs to this task alone.
        #[allow(unsafe_code)]
        let to = unsafe { self.numbers.slice(bin * self.per_bin + self.first, STEP) };
        store::<S>(value, to, register);
    }
}

impl<S: Simd> Bins<S> for Places<&[f32]> {
    #[inline(always)]
    fn get(&self, bin: usize, register: usize) -> Complex<S> {
        load::<S>(&self.numbers[bin * self.per_bin + self.first..], register)
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
        place_rows(self.t, self.source, &self.bundle, self.rows, &mut self.work.a);
        let (a, b) = self.work.vectors::<S>();
        let in_b = self.t.rows.run::<S, false>(simd, a, b);
        let result = if in_b { &self.work.b } else { &self.work.a };
        let planes = self.planes;
        let values = result.as_chunks::<STEP>().0[..self.t.size[0]].iter().enumerate();
        let pitch = planes.pitch();
        if let Some(slot) = place(planes, &self.bundle) {
            for (f, value) in values {
                // SAFETY: the slot belongs to this bundle and to this bin alone.
                #[allow(unsafe_code)]
                let to = unsafe { self.to.slice(self.spectra + f * pitch + slot, STEP) };
                to.copy_from_slice(value);
            }
        } else {
            for (f, value) in values {
                let (re, im) = value.split_at(LANES);
                let of = (planes, &self.bundle);
                scatter([re, im], 0..LANES, self.to, self.spectra + f * pitch, of);
            }
        }
    }
}

/// Puts the rows of one column bin of a bundle to their transform rows, and zeros elsewhere.
#[inline(always)]
pub(super) fn place_rows(
    t: &Transform,
    source: &impl Source,
    bundle: &Bundle,
    rows: &[f32],
    out: &mut [f32],
) {
    let out = &mut out.as_chunks_mut::<STEP>().0[..t.size[0]];
    out.fill([0.0; STEP]);
    for (from, at) in rows.as_chunks::<STEP>().0.iter().zip(source.positions(bundle.piece)) {
        out[at] = *from;
    }
}

/// Takes the rows of one column bin of a bundle from their transform rows.
#[inline(always)]
pub(super) fn take_rows(source: &impl Source, bundle: &Bundle, from: &[f32], rows: &mut [f32]) {
    let from = from.as_chunks::<STEP>().0;
    for (to, at) in rows.as_chunks_mut::<STEP>().0.iter_mut().zip(source.positions(bundle.piece)) {
        *to = from[at];
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
        let planes = self.planes;
        let values = self.work.a.as_chunks_mut::<STEP>().0[..self.t.size[0]].iter_mut().enumerate();
        let pitch = planes.pitch();
        if let Some(slot) = place(planes, &self.bundle) {
            for (f, to) in values {
                to.copy_from_slice(&self.spectra[self.from + f * pitch + slot..][..STEP]);
            }
        } else {
            for (f, to) in values {
                gather(&self.spectra[self.from + f * pitch..], planes, &self.bundle, to);
            }
        }
        let (a, b) = self.work.vectors::<S>();
        let in_b = self.t.rows.run::<S, true>(simd, a, b);
        let result = if in_b { &self.work.b } else { &self.work.a };
        take_rows(self.source, &self.bundle, result, self.rows);
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
        match bins(self.planes, &self.bundle, self.first) {
            Ok(first) => self.t.inverse_row(simd, &Places { numbers, per_bin, first }, self.work),
            Err(planes) => {
                let bins = Slots { numbers, per_bin, planes, bundle: &self.bundle };
                self.t.inverse_row(simd, &bins, self.work)
            }
        }
    }
}
