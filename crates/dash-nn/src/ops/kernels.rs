//! Inner loops of batch normalisation over the planes of a channel, in explicit vectors: what a compiler
//! makes of such loops depends on inlining, and short planes would be left to their scalar remainders.

use pulp::{Arch, Simd, WithSimd, bytemuck};
use std::mem::MaybeUninit;

/// Vectors that are summed in f32 before they are added up in f64: with 16 of them a mean is exact to a
/// rounding or so, and hardly any ReLU behind it sees the other sign than in exact arithmetic.
const BLOCK: usize = 16;

/// Runs a kernel with the widest vectors of this machine.
pub(super) fn run<K: WithSimd>(kernel: K) -> K::Output {
    Arch::new().dispatch(kernel)
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

    /// Whole vectors.
    #[inline(always)]
    fn count(&self) -> usize {
        self.whole.first().map_or(0, |w| w.len())
    }

    #[inline(always)]
    fn get(&self, index: usize) -> [S::f32s; N] {
        let mut values = [self.simd.splat_f32s(0.0); N];
        for (value, whole) in values.iter_mut().zip(self.whole) {
            *value = whole[index];
        }
        values
    }

    /// The last numbers, and which lanes hold what is outside of whole vectors: the vector may overlap
    /// the one before it, which is faster than to load a part.
    #[inline(always)]
    fn last(&self) -> ([S::f32s; N], S::m32s) {
        let mut values = [self.simd.splat_f32s(0.0); N];
        let mut lanes = (0, self.rest);
        for (value, plane) in values.iter_mut().zip(self.planes) {
            if plane.len() >= S::F32_LANES {
                *value = S::as_simd_f32s(&plane[plane.len() - S::F32_LANES..]).0[0];
                lanes = (S::F32_LANES - self.rest, S::F32_LANES);
            } else {
                *value = self.simd.partial_load_f32s(plane);
            }
        }
        (values, self.simd.mask_between_m32s(lanes.0 as u32, lanes.1 as u32).mask())
    }
}

/// A term of two sums.
trait Terms<const N: usize> {
    fn of<S: Simd>(&self, simd: S, values: [S::f32s; N]) -> [S::f32s; 2];
}

/// Two sums over a channel, in a fixed order: vectors in f32 over short blocks, whatever planes they
/// are of, and blocks in f64.
#[inline(always)]
fn sums<S: Simd, const N: usize>(simd: S, channels: [Channel<'_>; N], terms: &impl Terms<N>) -> (f64, f64) {
    let mut block = Block { sums: [simd.splat_f32s(0.0); 2], room: BLOCK, totals: [0.0; 2] };
    for sample in 0..channels.first().map_or(0, |c| c.count) {
        let mut planes = [&[] as &[f32]; N];
        for (plane, channel) in planes.iter_mut().zip(&channels) {
            *plane = channel.sample(sample);
        }
        let vectors = Vectors::new(simd, planes);
        let mut index = 0;
        while index < vectors.count() {
            let end = (index + block.room).min(vectors.count());
            block.room -= end - index;
            let [mut a, mut b] = block.sums;
            while index < end {
                let [x, y] = terms.of(simd, vectors.get(index));
                (a, b) = (simd.add_f32s(a, x), simd.add_f32s(b, y));
                index += 1;
            }
            block.sums = [a, b];
            block.close_if_full(simd);
        }
        if vectors.rest > 0 {
            let (values, lanes) = vectors.last();
            let terms = terms.of(simd, values);
            for (sum, term) in block.sums.iter_mut().zip(terms) {
                *sum = simd.add_f32s(*sum, simd.select_f32s(lanes, term, simd.splat_f32s(0.0)));
            }
            block.room -= 1;
            block.close_if_full(simd);
        }
    }
    block.close(simd);
    block.totals.into()
}

/// Sums of a block that is not full yet, and of those before it.
struct Block<S: Simd> {
    sums: [S::f32s; 2],
    /// Vectors that it still takes.
    room: usize,
    totals: [f64; 2],
}

impl<S: Simd> Block<S> {
    #[inline(always)]
    fn close(&mut self, simd: S) {
        for (total, sum) in self.totals.iter_mut().zip(&mut self.sums) {
            *total += f64::from(simd.reduce_sum_f32s(*sum));
            *sum = simd.splat_f32s(0.0);
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

impl WithSimd for Deviations<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        sums(simd, [self.x], &Deviation(self.shift))
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

impl WithSimd for GradientSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        sums(simd, [self.x, self.grad], &self.affine)
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
            let value = f.of(simd, vectors.last().0);
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

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        sums(simd, [Channel::plane(self.0)], &Deviation(0.0)).0
    }
}
