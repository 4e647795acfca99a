//! Inner loops of batch normalisation over the planes of a channel, in explicit vectors: what a compiler
//! makes of such loops depends on inlining, and short planes would be left to their scalar remainders.

use dash_conv::simd::{self, LANES, Lanes, WithLanes, run_lanes};
use pulp::{Simd, WithSimd, bytemuck};
use std::mem::MaybeUninit;

/// Vectors of [`LANES`] numbers that are summed in f32 before they are added up in f64: with 16 of them a mean is exact to a
/// rounding or so, and hardly any ReLU behind it sees the other sign than in exact arithmetic.
const BLOCK: usize = 16;

/// Runs a kernel that maps number to number with the vectors of the instruction set in use.
pub(super) fn run<K: WithSimd>(kernel: K) -> K::Output {
    simd::arch().dispatch(kernel)
}

/// Runs a kernel that sums: to the same bits on every instruction set.
pub(super) fn sum<K: WithLanes>(kernel: K) -> K::Output {
    run_lanes(simd::arch(), kernel)
}

/// The planes of one channel, one per sample.
#[derive(Clone, Copy)]
pub(super) struct Channel<'a> {
    /// From the first number of the first plane.
    values: &'a [f32],
    /// From one plane to the next.
    pitch: usize,
    len: usize,
    count: usize,
}

impl<'a> Channel<'a> {
    /// A channel of [B, C, n], given the dimensions.
    pub(super) fn of(values: &'a [f32], (b, c, n): (usize, usize, usize), channel: usize) -> Channel<'a> {
        Channel { values: &values[channel * n..], pitch: c * n, len: n, count: b }
    }

    /// One plane alone.
    pub(super) fn plane(plane: &'a [f32]) -> Channel<'a> {
        Channel { values: plane, pitch: 0, len: plane.len(), count: 1 }
    }

    #[inline(always)]
    pub(super) fn sample(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.pitch..][..self.len]
    }
}

/// Cuts planes of equal length into whole vectors and one for what remains.
struct Vectors<'a, S: Simd, const N: usize> {
    simd: S,
    planes: [&'a [f32]; N],
    whole: [&'a [S::f32s]; N],
    /// Numbers outside of whole vectors.
    rest: usize,
}

impl<'a, S: Simd, const N: usize> Vectors<'a, S, N> {
    #[inline(always)]
    fn new(simd: S, planes: [&'a [f32]; N]) -> Self {
        let (mut whole, mut rest) = ([&[] as &[S::f32s]; N], 0);
        for i in 0..N {
            let cut = S::as_simd_f32s(planes[i]);
            (whole[i], rest) = (cut.0, cut.1.len());
        }
        Vectors { simd, planes, whole, rest }
    }

    #[inline(always)]
    fn get(&self, index: usize) -> [S::f32s; N] {
        let mut values = [self.simd.splat_f32s(0.0); N];
        for (value, whole) in values.iter_mut().zip(self.whole) {
            *value = whole[index];
        }
        values
    }

    /// The last numbers: the vector may overlap the one before it, which is faster than to load a part.
    #[inline(always)]
    fn last(&self) -> [S::f32s; N] {
        let mut values = [self.simd.splat_f32s(0.0); N];
        for (value, plane) in values.iter_mut().zip(self.planes) {
            *value = if plane.len() >= S::F32_LANES {
                S::as_simd_f32s(&plane[plane.len() - S::F32_LANES..]).0[0]
            } else {
                self.simd.partial_load_f32s(plane)
            };
        }
        values
    }
}

/// A term of two sums.
trait Terms<const N: usize> {
    fn of<S: Simd>(&self, simd: S, values: [S::f32s; N]) -> [S::f32s; 2];
}

/// The terms of [`LANES`] numbers of some planes, from `first` on; there must be as many.
#[inline(always)]
fn terms_at<S: Simd, const P: usize, const N: usize>(
    simd: S,
    planes: [&[f32]; N],
    first: usize,
    terms: &impl Terms<N>,
) -> [Lanes<S, P>; 2] {
    let mut values = [Lanes::<S, P>::splat(simd, 0.0); N];
    for (values, plane) in values.iter_mut().zip(planes) {
        *values = Lanes::load(&plane[first..first + LANES]);
    }
    each(simd, values, terms)
}

/// The terms of [`LANES`] numbers of some planes, register by register.
#[inline(always)]
fn each<S: Simd, const P: usize, const N: usize>(
    simd: S,
    values: [Lanes<S, P>; N],
    terms: &impl Terms<N>,
) -> [Lanes<S, P>; 2] {
    let mut found = [Lanes::splat(simd, 0.0); 2];
    for part in 0..P {
        let mut of_part = [simd.splat_f32s(0.0); N];
        for (to, values) in of_part.iter_mut().zip(&values) {
            *to = values.0[part];
        }
        [found[0].0[part], found[1].0[part]] = terms.of(simd, of_part);
    }
    found
}

/// Two sums over a channel, in a fixed order: lanes in f32 over short blocks, whatever planes they
/// are of, and blocks in f64.
#[inline(always)]
fn sums<S: Simd, const P: usize, const N: usize>(
    simd: S,
    channels: [Channel<'_>; N],
    terms: &impl Terms<N>,
) -> (f64, f64) {
    let zero = Lanes::splat(simd, 0.0);
    let mut block = Block::<S, P> { sums: [zero; 2], room: BLOCK, totals: [0.0; 2] };
    let len = channels.first().map_or(0, |c| c.len);
    let (count, rest) = (len / LANES, len % LANES);
    for sample in 0..channels.first().map_or(0, |c| c.count) {
        let mut planes = [&[] as &[f32]; N];
        for (plane, channel) in planes.iter_mut().zip(&channels) {
            *plane = channel.sample(sample);
        }
        let mut index = 0;
        while index < count {
            let end = (index + block.room).min(count);
            block.room -= end - index;
            let [mut a, mut b] = block.sums;
            while index < end {
                let [x, y] = terms_at(simd, planes, LANES * index, terms);
                (a, b) = (a.add(simd, x), b.add(simd, y));
                index += 1;
            }
            block.sums = [a, b];
            block.close_if_full(simd);
        }
        if rest > 0 {
            // The last numbers may overlap those before them: these lanes hold what is outside of whole vectors.
            let (found, lanes) = if count > 0 {
                (terms_at(simd, planes, len - LANES, terms), LANES - rest..LANES)
            } else {
                let mut values = [zero; N];
                for (values, plane) in values.iter_mut().zip(planes) {
                    *values = Lanes::load_part(simd, plane);
                }
                (each(simd, values, terms), 0..rest)
            };
            for (sum, found) in block.sums.iter_mut().zip(found) {
                *sum = sum.add(simd, found.only(simd, lanes.clone()));
            }
            block.room -= 1;
            block.close_if_full(simd);
        }
    }
    block.close(simd);
    block.totals.into()
}

/// Sums of a block that is not full yet, and of those before it.
struct Block<S: Simd, const P: usize> {
    sums: [Lanes<S, P>; 2],
    /// Vectors that it still takes.
    room: usize,
    totals: [f64; 2],
}

impl<S: Simd, const P: usize> Block<S, P> {
    #[inline(always)]
    fn close(&mut self, simd: S) {
        for (total, sum) in self.totals.iter_mut().zip(&mut self.sums) {
            *total += f64::from(sum.sum(simd));
            *sum = Lanes::splat(simd, 0.0);
        }
        self.room = BLOCK;
    }

    #[inline(always)]
    fn close_if_full(&mut self, simd: S) {
        if self.room == 0 {
            self.close(simd);
        }
    }
}

/// Sums of the deviations from `shift`, and of their squares.
pub(super) struct Deviations<'a> {
    pub(super) x: Channel<'a>,
    pub(super) shift: f32,
}

struct Deviation(f32);

impl Terms<1> for Deviation {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x]: [S::f32s; 1]) -> [S::f32s; 2] {
        let d = simd.sub_f32s(x, simd.splat_f32s(self.0));
        [d, simd.mul_f32s(d, d)]
    }
}

impl WithLanes for Deviations<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) -> (f64, f64) {
        sums::<S, P, _>(simd, [self.x], &Deviation(self.shift))
    }
}

/// Sums of the gradient that passes the ReLU, and of its products with `x - mean`.
pub(super) struct GradientSums<'a> {
    pub(super) x: Channel<'a>,
    pub(super) grad: Channel<'a>,
    pub(super) affine: Affine,
}

impl Terms<2> for Affine {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x, grad]: [S::f32s; 2]) -> [S::f32s; 2] {
        let centred = simd.sub_f32s(x, simd.splat_f32s(self.mean));
        let grad = self.through(simd, centred, grad);
        [grad, simd.mul_f32s(grad, centred)]
    }
}

impl WithLanes for GradientSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) -> (f64, f64) {
        sums::<S, P, _>(simd, [self.x, self.grad], &self.affine)
    }
}

/// A function of vectors.
trait Map<const N: usize> {
    fn of<S: Simd>(&self, simd: S, values: [S::f32s; N]) -> S::f32s;
}

/// Where the results of a channel go: its place among the channels that a task writes, and those of each
/// sample.
pub(super) struct Out<'a, 'b> {
    pub(super) samples: &'a mut [&'b mut [MaybeUninit<f32>]],
    pub(super) place: usize,
}

#[inline(always)]
fn map<S: Simd, const N: usize>(simd: S, channels: [Channel<'_>; N], out: Out<'_, '_>, f: &impl Map<N>) {
    for (sample, to) in out.samples.iter_mut().enumerate() {
        let mut planes = [&[] as &[f32]; N];
        for (plane, channel) in planes.iter_mut().zip(&channels) {
            *plane = channel.sample(sample);
        }
        let vectors = Vectors::new(simd, planes);
        let len = channels.first().map_or(0, |c| c.len);
        let to = &mut to[out.place * len..][..len];
        for (index, to) in S::as_uninit_mut_simd_f32s(to).0.iter_mut().enumerate() {
            to.write(f.of(simd, vectors.get(index)));
        }
        if vectors.rest > 0 {
            let value = f.of(simd, vectors.last());
            if len >= S::F32_LANES {
                if let [to] = S::as_uninit_mut_simd_f32s(&mut to[len - S::F32_LANES..]).0 {
                    to.write(value);
                }
            } else {
                for (to, value) in to.iter_mut().zip(bytemuck::cast_slice::<_, f32>(&[value])) {
                    to.write(*value);
                }
            }
        }
    }
}

/// `(x - mean) scale + bias`, with a ReLU not below zero; NaN passes, so that a diverged network does not
/// look healthy.
pub(super) struct Normalise<'a, 'b> {
    pub(super) x: Channel<'a>,
    pub(super) out: Out<'a, 'b>,
    pub(super) affine: Affine,
}

#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) mean: f32,
    pub(super) scale: f32,
    pub(super) bias: f32,
    pub(super) relu: bool,
}

impl Affine {
    /// The value before a ReLU, from `x - mean`.
    #[inline(always)]
    fn value<S: Simd>(&self, simd: S, centred: S::f32s) -> S::f32s {
        simd.mul_add_f32s(centred, simd.splat_f32s(self.scale), simd.splat_f32s(self.bias))
    }

    /// The gradient behind the ReLU, if there is one: the sign of its input is worked out again, as it
    /// was, which costs less than reading its output from memory.
    #[inline(always)]
    fn through<S: Simd>(&self, simd: S, centred: S::f32s, grad: S::f32s) -> S::f32s {
        if !self.relu {
            return grad;
        }
        let zero = simd.splat_f32s(0.0);
        let stopped = simd.less_than_or_equal_f32s(self.value(simd, centred), zero);
        simd.select_f32s(stopped, zero, grad)
    }
}

impl Map<1> for Affine {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x]: [S::f32s; 1]) -> S::f32s {
        let value = self.value(simd, simd.sub_f32s(x, simd.splat_f32s(self.mean)));
        if !self.relu {
            return value;
        }
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(value, zero), zero, value)
    }
}

impl WithSimd for Normalise<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        map(simd, [self.x], self.out, &self.affine);
    }
}

/// `scale (g - shift - (x - mean) slope)` with g the gradient that passes the ReLU.
pub(super) struct InputGradient<'a, 'b> {
    pub(super) x: Channel<'a>,
    pub(super) grad: Channel<'a>,
    pub(super) out: Out<'a, 'b>,
    pub(super) factors: Factors,
}

pub(super) struct Factors {
    /// What the forward pass did.
    pub(super) affine: Affine,
    pub(super) shift: f32,
    pub(super) slope: f32,
}

impl Map<2> for Factors {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x, grad]: [S::f32s; 2]) -> S::f32s {
        let centred = simd.sub_f32s(x, simd.splat_f32s(self.affine.mean));
        let grad = simd.sub_f32s(self.affine.through(simd, centred, grad), simd.splat_f32s(self.shift));
        let rest = simd.negate_mul_add_f32s(centred, simd.splat_f32s(self.slope), grad);
        simd.mul_f32s(simd.splat_f32s(self.affine.scale), rest)
    }
}

impl WithSimd for InputGradient<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        map(simd, [self.x, self.grad], self.out, &self.factors);
    }
}

/// The sum of a plane.
pub(super) struct Sum<'a>(pub(super) &'a [f32]);

impl WithLanes for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) -> f64 {
        sums::<S, P, _>(simd, [Channel::plane(self.0)], &Deviation(0.0)).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ramp;
    use dash_conv::InstructionSet;

    /// The same bits on all instruction sets, for planes of any length; and the sums that they should be.
    #[test]
    fn sums_and_maps_are_the_same_on_every_instruction_set() {
        for (b, n) in [(1, 1), (3, 7), (2, 16), (5, 17), (2, 31), (40, 5), (3, 700)] {
            let dims = (b, 2, n);
            let (x, g) = (ramp(2 * b * n, 1), ramp(2 * b * n, 2));
            let affine = Affine { mean: 0.1, scale: 1.7, bias: -0.05, relu: true };
            let results = |set: InstructionSet| {
                let arch = set.arch().unwrap();
                let (x, grad) = (Channel::of(&x, dims, 1), Channel::of(&g, dims, 1));
                let deviations = run_lanes(arch, Deviations { x, shift: 0.25 });
                let sums = run_lanes(arch, GradientSums { x, grad, affine });
                let mapped = |input_gradient: bool| {
                    let mut out = vec![0f32; b * n];
                    let mut memory = vec![MaybeUninit::new(0f32); b * n];
                    let mut samples: Vec<_> = memory.chunks_mut(n).collect();
                    let to = Out { samples: &mut samples, place: 0 };
                    if input_gradient {
                        let factors = Factors { affine, shift: 0.3, slope: -0.7 };
                        arch.dispatch(InputGradient { x, grad, out: to, factors });
                    } else {
                        arch.dispatch(Normalise { x, out: to, affine });
                    }
                    for (out, value) in out.iter_mut().zip(&memory) {
                        // SAFETY: all elements were initialised above.
                        #[allow(unsafe_code)]
                        let value = unsafe { value.assume_init() };
                        *out = value;
                    }
                    out
                };
                (deviations, sums, mapped(false), mapped(true))
            };
            let first = results(InstructionSet::Scalar);
            let channel =
                || (0..b).flat_map(|s| &x[(2 * s + 1) * n..(2 * s + 2) * n]).map(|&x| f64::from(x) - 0.25);
            let (sum, squares) = first.0;
            assert!(
                (sum - channel().sum::<f64>()).abs() < 1e-4
                    && (squares - channel().map(|d| d * d).sum::<f64>()).abs() < 1e-3
            );
            for set in InstructionSet::available() {
                assert_eq!(results(set), first, "{set}: {b} planes of {n}");
            }
        }
    }
}
