//! Inner loops of batch normalisation over one plane, in explicit vectors: what a compiler makes of
//! such loops depends on inlining, and short planes would be left to their scalar remainders.

use pulp::{Arch, Simd, WithSimd};

/// Vectors that are summed in f32 before they are added up in f64.
const BLOCK: usize = 32;

/// Runs a kernel with the widest vectors of this machine.
pub(super) fn run<K: WithSimd>(kernel: K) -> K::Output {
    Arch::new().dispatch(kernel)
}

/// Numbers of the widest vector there is.
const WIDEST: usize = 16;

/// Cuts planes of equal length into whole vectors and one padded with zeros.
struct Vectors<'a, S: Simd, const N: usize> {
    simd: S,
    whole: [&'a [S::f32s]; N],
    rest: [&'a [f32]; N],
}

impl<'a, S: Simd, const N: usize> Vectors<'a, S, N> {
    #[inline(always)]
    fn new(simd: S, planes: [&'a [f32]; N]) -> Self {
        let len = planes.iter().map(|p| p.len()).min().unwrap_or(0);
        let (mut whole, mut rest) = ([&[] as &[S::f32s]; N], [&[] as &[f32]; N]);
        for i in 0..N {
            (whole[i], rest[i]) = S::as_simd_f32s(&planes[i][..len]);
        }
        Vectors { simd, whole, rest }
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

    /// The padded vector and how many of its numbers are real.
    #[inline(always)]
    fn last(&self) -> ([S::f32s; N], usize) {
        let mut values = [self.simd.splat_f32s(0.0); N];
        for (value, rest) in values.iter_mut().zip(self.rest) {
            *value = self.simd.partial_load_f32s(rest);
        }
        (values, self.rest.first().map_or(0, |r| r.len()))
    }
}

/// A term of two sums; zero wherever all inputs but those in `padded` are zero.
trait Terms<const N: usize> {
    fn of<S: Simd>(&self, simd: S, values: [S::f32s; N], padded: usize) -> [S::f32s; 2];
}

/// Two sums over a plane, in a fixed order: vectors in f32 over short blocks, blocks in f64.
#[inline(always)]
fn sums<S: Simd, const N: usize>(simd: S, planes: [&[f32]; N], terms: &impl Terms<N>) -> (f64, f64) {
    let vectors = Vectors::new(simd, planes);
    let (mut first, mut second) = (0.0, 0.0);
    let zero = simd.splat_f32s(0.0);
    let mut index = 0;
    loop {
        let (mut a, mut b) = (zero, zero);
        let end = (index + BLOCK).min(vectors.count());
        while index < end {
            let [x, y] = terms.of(simd, vectors.get(index), S::F32_LANES);
            (a, b) = (simd.add_f32s(a, x), simd.add_f32s(b, y));
            index += 1;
        }
        let last = index == vectors.count();
        if last {
            let (values, real) = vectors.last();
            if real > 0 {
                let [x, y] = terms.of(simd, values, real);
                (a, b) = (simd.add_f32s(a, x), simd.add_f32s(b, y));
            }
        }
        first += f64::from(simd.reduce_sum_f32s(a));
        second += f64::from(simd.reduce_sum_f32s(b));
        if last {
            return (first, second);
        }
    }
}

/// Sums of the deviations from `shift`, and of their squares.
pub(super) struct Deviations<'a> {
    pub(super) x: &'a [f32],
    pub(super) shift: f32,
}

struct Deviation(f32);

impl Terms<1> for Deviation {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x]: [S::f32s; 1], real: usize) -> [S::f32s; 2] {
        let shift = if real == S::F32_LANES {
            simd.splat_f32s(self.0)
        } else {
            simd.partial_load_f32s(&[self.0; WIDEST][..real])
        };
        let d = simd.sub_f32s(x, shift);
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
    pub(super) x: &'a [f32],
    pub(super) grad: &'a [f32],
    pub(super) affine: Affine,
}

impl Terms<2> for Affine {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x, grad]: [S::f32s; 2], _: usize) -> [S::f32s; 2] {
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

#[inline(always)]
fn map<S: Simd, const N: usize>(simd: S, planes: [&[f32]; N], out: &mut [f32], f: &impl Map<N>) {
    let vectors = Vectors::new(simd, planes);
    let (whole, rest) = S::as_mut_simd_f32s(out);
    for (index, to) in whole.iter_mut().enumerate().take(vectors.count()) {
        *to = f.of(simd, vectors.get(index));
    }
    if !rest.is_empty() {
        simd.partial_store_f32s(rest, f.of(simd, vectors.last().0));
    }
}

/// `(x - mean) scale + bias`, with a ReLU not below zero; NaN passes, so that a diverged network does not
/// look healthy.
pub(super) struct Normalise<'a> {
    pub(super) x: &'a [f32],
    pub(super) out: &'a mut [f32],
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

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        map(simd, [self.x], self.out, &self.affine);
    }
}

/// `scale (g - shift - (x - mean) slope)` with g the gradient that passes the ReLU.
pub(super) struct InputGradient<'a> {
    pub(super) planes: [&'a [f32]; 2],
    pub(super) out: &'a mut [f32],
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

impl WithSimd for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        map(simd, self.planes, self.out, &self.factors);
    }
}

/// The sum of a plane.
pub(super) struct Sum<'a>(pub(super) &'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        sums(simd, [self.0], &Deviation(0.0)).0
    }
}
