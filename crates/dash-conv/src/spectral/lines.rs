//! Transforms one row or one column of a plane batch, in vectors: from lanes to spectra and back.

use super::{
    batched_fft::{Bins, Complex, Sink},
    transform::{COMPLEX_STRIDE, Transform, Work},
};
use crate::{
    parallel::Shared,
    planes::{PlaneBatch, PlaneSource, Planes},
    simd::{LANES, parts},
};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// The position of the spectra of a batch among those of one bin, if they are contiguous vectors.
#[inline(always)]
fn contiguous_slot(planes: &Planes, batch: &PlaneBatch) -> Option<usize> {
    planes.whole_batches().then(|| planes.slot(batch.outer, batch.group * LANES))
}

/// For batches of several outer indices: the lanes of each of them that are among `lanes`, and the position of their first
/// channel among the spectra of one bin.
#[inline(always)]
fn shared_lanes(
    planes: &Planes,
    batch: &PlaneBatch,
    lanes: Range<usize>,
) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
    let (channels, slot) = (planes.channels, planes.slot(batch.outer, batch.group * LANES));
    (0..batch.count).filter_map(move |s| {
        let first = s * channels;
        let held = lanes.start.max(first)..lanes.end.min(first + channels);
        (!held.is_empty()).then(|| (held.clone(), slot + s * COMPLEX_STRIDE + held.start - first))
    })
}

/// Copies the planes of a batch from the spectra of one bin to lanes.
#[inline(always)]
fn gather(spectra: &[f32], planes: &Planes, batch: &PlaneBatch, out: &mut [f32; COMPLEX_STRIDE]) {
    *out = [0.0; COMPLEX_STRIDE];
    for (held, from) in shared_lanes(planes, batch, 0..LANES) {
        let (re, im) = out.split_at_mut(LANES);
        copy(&spectra[from..from + held.len()], &mut re[held.clone()]);
        copy(&spectra[LANES + from..LANES + from + held.len()], &mut im[held]);
    }
}

/// The inverse of [`gather`] for some of the lanes. The caller guarantees that no other task writes these slots.
#[inline(always)]
fn scatter(
    [re, im]: [&[f32]; 2],
    lanes: Range<usize>,
    spectra: &Shared<'_, f32>,
    first: usize,
    of: (&Planes, &PlaneBatch),
) {
    for (held, to) in shared_lanes(of.0, of.1, lanes.clone()) {
        // SAFETY: the slots belong to this batch and to this bin alone.
        #[allow(unsafe_code)]
        let to = unsafe { spectra.slice(first + to, LANES + held.len()) };
        let held = held.start - lanes.start..held.end - lanes.start;
        copy(&re[held.clone()], to);
        copy(&im[held], &mut to[LANES..]);
    }
}

/// Copies a few elements; the usual counts compile to moves without a call.
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
    let registers = S::as_simd_f32s(&from[..COMPLEX_STRIDE]).0;
    [registers[register], registers[parts::<S>() + register]]
}

#[inline(always)]
pub(super) fn store<S: Simd>([re, im]: Complex<S>, to: &mut [f32], register: usize) {
    let registers = S::as_mut_simd_f32s(&mut to[..COMPLEX_STRIDE]).0;
    registers[register] = re;
    registers[parts::<S>() + register] = im;
}

/// Transforms the row in the first buffer.
pub(super) struct ForwardRow<'a> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) to: &'a Shared<'a, f32>,
    /// The distance of neighbouring bins, and the position of the row within its bin in the intermediate layout.
    pub(super) per_bin: usize,
    pub(super) first: usize,
    /// The layout of the spectra, if the row goes there directly.
    pub(super) planes: Option<&'a Planes>,
    pub(super) batch: PlaneBatch,
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (elements, per_bin) = (self.to, self.per_bin);
        match bins(self.planes, &self.batch, self.first) {
            Ok(first) => self.t.forward_row(simd, self.work, &mut Contiguous { elements, per_bin, first }),
            Err(planes) => {
                let mut to = Scattered { elements, per_bin, planes, batch: &self.batch };
                self.t.forward_row(simd, self.work, &mut to);
            }
        }
    }
}

impl Transform {
    /// Transforms the row in the first buffer to bins.
    #[inline(always)]
    fn forward_row<S: Simd>(&self, simd: S, work: &mut Work, to: &mut impl Sink<S>) {
        let (a, b) = work.vectors::<S>();
        self.columns.forward(simd, a, b, to);
    }

    /// Transforms bins back; returns whether the row is in the second buffer.
    #[inline(always)]
    fn inverse_row<S: Simd>(&self, simd: S, from: &impl Bins<S>, work: &mut Work) -> bool {
        let (a, b) = work.vectors::<S>();
        self.columns.inverse(simd, from, a, b)
    }
}

/// The position of a row within each bin: one index in the intermediate layout and where batches are contiguous, or else
/// the layout that scatters them.
#[inline(always)]
fn bins<'a>(planes: Option<&'a Planes>, batch: &PlaneBatch, between: usize) -> Result<usize, &'a Planes> {
    planes.map_or(Ok(between), |planes| contiguous_slot(planes, batch).ok_or(planes))
}

/// The bins of a batch whose planes are scattered among the spectra.
struct Scattered<'a, N> {
    elements: N,
    per_bin: usize,
    planes: &'a Planes,
    batch: &'a PlaneBatch,
}

impl<S: Simd> Sink<S> for Scattered<'_, &Shared<'_, f32>> {
    #[inline(always)]
    fn put(&mut self, bin: usize, register: usize, [re, im]: Complex<S>) {
        let mut held = [0.0; COMPLEX_STRIDE];
        let (to_re, to_im) = held.split_at_mut(LANES);
        S::as_mut_simd_f32s(to_re).0[0] = re;
        S::as_mut_simd_f32s(to_im).0[0] = im;
        let lanes = register * S::F32_LANES..(register + 1) * S::F32_LANES;
        scatter([to_re, to_im], lanes, self.elements, bin * self.per_bin, (self.planes, self.batch));
    }
}

impl<S: Simd> Bins<S> for Scattered<'_, &[f32]> {
    #[inline(always)]
    fn get(&self, bin: usize, register: usize) -> Complex<S> {
        let mut held = [0.0; COMPLEX_STRIDE];
        gather(&self.elements[bin * self.per_bin..], self.planes, self.batch, &mut held);
        load::<S>(&held, register)
    }
}

/// The bins of one row where they are contiguous vectors.
struct Contiguous<N> {
    elements: N,
    per_bin: usize,
    first: usize,
}

impl<S: Simd> Sink<S> for Contiguous<&Shared<'_, f32>> {
    #[inline(always)]
    fn put(&mut self, bin: usize, register: usize, value: Complex<S>) {
        // SAFETY: the row of this batch belongs to this task alone.
        #[allow(unsafe_code)]
        let to = unsafe { self.elements.slice(bin * self.per_bin + self.first, COMPLEX_STRIDE) };
        store::<S>(value, to, register);
    }
}

impl<S: Simd> Bins<S> for Contiguous<&[f32]> {
    #[inline(always)]
    fn get(&self, bin: usize, register: usize) -> Complex<S> {
        load::<S>(&self.elements[bin * self.per_bin + self.first..], register)
    }
}

/// Transforms one column bin of a batch to spectra.
pub(super) struct ForwardColumn<'a, R> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) source: &'a R,
    /// The layout of the spectra.
    pub(super) planes: &'a Planes,
    pub(super) rows: &'a [f32],
    pub(super) to: &'a Shared<'a, f32>,
    pub(super) spectra: usize,
    pub(super) batch: PlaneBatch,
}

impl<R: PlaneSource> WithSimd for ForwardColumn<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        scatter_rows(self.t, self.source, &self.batch, self.rows, &mut self.work.a);
        let (a, b) = self.work.vectors::<S>();
        let in_b = self.t.rows.run::<S, false>(simd, a, b);
        let result = if in_b { &self.work.b } else { &self.work.a };
        let planes = self.planes;
        let values = result.as_chunks::<COMPLEX_STRIDE>().0[..self.t.size[0]].iter().enumerate();
        let pitch = planes.pitch();
        if let Some(slot) = contiguous_slot(planes, &self.batch) {
            for (f, value) in values {
                // SAFETY: the slot belongs to this batch and to this bin alone.
                #[allow(unsafe_code)]
                let to = unsafe { self.to.slice(self.spectra + f * pitch + slot, COMPLEX_STRIDE) };
                to.copy_from_slice(value);
            }
        } else {
            for (f, value) in values {
                let (re, im) = value.split_at(LANES);
                let of = (planes, &self.batch);
                scatter([re, im], 0..LANES, self.to, self.spectra + f * pitch, of);
            }
        }
    }
}

/// Copies the rows of one column bin of a batch to their transform rows, and zeros elsewhere.
#[inline(always)]
pub(super) fn scatter_rows(
    t: &Transform,
    source: &impl PlaneSource,
    batch: &PlaneBatch,
    rows: &[f32],
    out: &mut [f32],
) {
    let out = &mut out.as_chunks_mut::<COMPLEX_STRIDE>().0[..t.size[0]];
    out.fill([0.0; COMPLEX_STRIDE]);
    for (from, at) in rows.as_chunks::<COMPLEX_STRIDE>().0.iter().zip(source.positions(batch.tile)) {
        out[at] = *from;
    }
}

/// Copies the rows of one column bin of a batch from their transform rows.
#[inline(always)]
pub(super) fn gather_rows(source: &impl PlaneSource, batch: &PlaneBatch, from: &[f32], rows: &mut [f32]) {
    let from = from.as_chunks::<COMPLEX_STRIDE>().0;
    for (to, at) in rows.as_chunks_mut::<COMPLEX_STRIDE>().0.iter_mut().zip(source.positions(batch.tile)) {
        *to = from[at];
    }
}

/// Transforms one column bin of a batch back from spectra.
pub(super) struct InverseColumn<'a, R> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) source: &'a R,
    /// The layout of the spectra.
    pub(super) planes: &'a Planes,
    pub(super) spectra: &'a [f32],
    pub(super) from: usize,
    pub(super) rows: &'a mut [f32],
    pub(super) batch: PlaneBatch,
}

impl<R: PlaneSource> WithSimd for InverseColumn<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let planes = self.planes;
        let values = self.work.a.as_chunks_mut::<COMPLEX_STRIDE>().0[..self.t.size[0]].iter_mut().enumerate();
        let pitch = planes.pitch();
        if let Some(slot) = contiguous_slot(planes, &self.batch) {
            for (f, to) in values {
                to.copy_from_slice(&self.spectra[self.from + f * pitch + slot..][..COMPLEX_STRIDE]);
            }
        } else {
            for (f, to) in values {
                gather(&self.spectra[self.from + f * pitch..], planes, &self.batch, to);
            }
        }
        let (a, b) = self.work.vectors::<S>();
        let in_b = self.t.rows.run::<S, true>(simd, a, b);
        let result = if in_b { &self.work.b } else { &self.work.a };
        gather_rows(self.source, &self.batch, result, self.rows);
    }
}

/// Transforms a row back into one of the buffers.
pub(super) struct InverseRow<'a> {
    pub(super) t: &'a Transform,
    pub(super) work: &'a mut Work,
    pub(super) elements: &'a [f32],
    /// The distance of neighbouring bins, and the position of the row within its bin in the intermediate layout.
    pub(super) per_bin: usize,
    pub(super) first: usize,
    /// The layout of the spectra, if the row goes there directly.
    pub(super) planes: Option<&'a Planes>,
    pub(super) batch: PlaneBatch,
}

impl WithSimd for InverseRow<'_> {
    /// Whether the result is in the second buffer.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let (elements, per_bin) = (self.elements, self.per_bin);
        match bins(self.planes, &self.batch, self.first) {
            Ok(first) => self.t.inverse_row(simd, &Contiguous { elements, per_bin, first }, self.work),
            Err(planes) => {
                let bins = Scattered { elements, per_bin, planes, batch: &self.batch };
                self.t.inverse_row(simd, &bins, self.work)
            }
        }
    }
}
