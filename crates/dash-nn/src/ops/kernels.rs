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
    pub(super) y: &'a [f32],
    pub(super) grad: &'a [f32],
    pub(super) mean: f32,
    pub(super) relu: bool,
}

/// The gradient behind a ReLU whose output is `y`.
#[inline(always)]
fn through<S: Simd>(simd: S, relu: bool, y: S::f32s, grad: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    if relu { simd.select_f32s(simd.less_than_or_equal_f32s(y, zero), zero, grad) } else { grad }
}

struct GradientTerms {
    mean: f32,
    relu: bool,
}

impl Terms<3> for GradientTerms {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x, y, grad]: [S::f32s; 3], _: usize) -> [S::f32s; 2] {
        let grad = through(simd, self.relu, y, grad);
        [grad, simd.mul_f32s(grad, simd.sub_f32s(x, simd.splat_f32s(self.mean)))]
    }
}

impl WithSimd for GradientSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        sums(simd, [self.x, self.y, self.grad], &GradientTerms { mean: self.mean, relu: self.relu })
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

/// `(x - mean) scale + bias`, and at least `floor`; NaN passes, so that a diverged network does not
/// look healthy.
pub(super) struct Normalise<'a> {
    pub(super) x: &'a [f32],
    pub(super) out: &'a mut [f32],
    pub(super) affine: Affine,
}

pub(super) struct Affine {
    pub(super) mean: f32,
    pub(super) scale: f32,
    pub(super) bias: f32,
    pub(super) floor: f32,
}

impl Map<1> for Affine {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x]: [S::f32s; 1]) -> S::f32s {
        let floor = simd.splat_f32s(self.floor);
        let centred = simd.sub_f32s(x, simd.splat_f32s(self.mean));
        let value = simd.mul_add_f32s(centred, simd.splat_f32s(self.scale), simd.splat_f32s(self.bias));
        simd.select_f32s(simd.less_than_f32s(value, floor), floor, value)
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
    pub(super) planes: [&'a [f32]; 3],
    pub(super) out: &'a mut [f32],
    pub(super) factors: Factors,
}

pub(super) struct Factors {
    pub(super) mean: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
    pub(super) slope: f32,
    pub(super) relu: bool,
}

impl Map<3> for Factors {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, [x, y, grad]: [S::f32s; 3]) -> S::f32s {
        let grad = simd.sub_f32s(through(simd, self.relu, y, grad), simd.splat_f32s(self.shift));
        let centred = simd.sub_f32s(x, simd.splat_f32s(self.mean));
        let rest = simd.negate_mul_add_f32s(centred, simd.splat_f32s(self.slope), grad);
        simd.mul_f32s(simd.splat_f32s(self.scale), rest)
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
