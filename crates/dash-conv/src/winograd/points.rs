//! The bilinear algorithms of Toom and Cook, as used by Winograd for short correlations.
//!
//! `m` outputs of a correlation with `k` taps need `n = m + k - 1` inputs and, instead of `m k`
//! products, `n`: values of polynomials at `n` points, one of which is infinity. With the matrices
//! `E_k` (values of a polynomial with `k` coefficients), `B` (which depends on the points alone) and
//! the scales `S` (one over the derivative of the polynomial that vanishes at the points),
//!
//! `y = E_m^T [(S E_k w) . (B x)]`, and so `dw = E_k^T S [(E_m g) . (B x)]`
//!
//! (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, section 4.1; Blahut, Fast
//! Algorithms for Signal Processing, section 5.2). The points are 0, 1, -1 and infinity, or 0,
//! +-sqrt(1/2), +-sqrt 2 and infinity: as they are reciprocal in pairs, all matrices have small entries, and
//! rounding errors grow less than with the usual +-1 and +-2.

use crate::simd::Vector;
use pulp::Simd;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// The largest number of points.
pub(super) const MOST: usize = 6;

/// Values or coefficients; elements beyond the length are ignored.
pub(super) type Line<S> = [Vector<S>; MOST];

/// One factor of the bilinear algorithm along one axis, applied to many sequences at once.
pub(super) trait Linear {
    /// The number of values that are read.
    const FROM: usize;
    /// The number of values that are written.
    const TO: usize;

    fn apply<S: Simd>(simd: S, x: Line<S>) -> Line<S>;
}

/// An axis that is not transformed.
pub(super) struct Identity;

impl Linear for Identity {
    const FROM: usize = 1;
    const TO: usize = 1;

    #[inline(always)]
    fn apply<S: Simd>(_: S, x: Line<S>) -> Line<S> {
        x
    }
}

/// `B` for `N` points.
pub(super) struct Input<const N: usize>;

impl Linear for Input<4> {
    const FROM: usize = 4;
    const TO: usize = 4;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: Line<S>) -> Line<S> {
        [
            simd.sub_f32s(x[2], x[0]),
            simd.add_f32s(x[2], x[1]),
            simd.sub_f32s(x[2], x[1]),
            simd.sub_f32s(x[3], x[1]),
            x[4],
            x[5],
        ]
    }
}

impl Linear for Input<6> {
    const FROM: usize = 6;
    const TO: usize = 6;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: Line<S>) -> Line<S> {
        let (a, b) = (simd.splat_f32s(FRAC_1_SQRT_2), simd.splat_f32s(SQRT_2));
        let (half, two, sum) = (simd.splat_f32s(0.5), simd.splat_f32s(2.0), simd.splat_f32s(2.5));
        let even_a = simd.negate_mul_add_f32s(two, x[2], x[4]);
        let odd_a = simd.mul_f32s(a, simd.negate_mul_add_f32s(two, x[1], x[3]));
        let even_b = simd.negate_mul_add_f32s(half, x[2], x[4]);
        let odd_b = simd.mul_f32s(b, simd.negate_mul_add_f32s(half, x[1], x[3]));
        [
            simd.negate_mul_add_f32s(sum, x[2], simd.add_f32s(x[0], x[4])),
            simd.add_f32s(even_a, odd_a),
            simd.sub_f32s(even_a, odd_a),
            simd.add_f32s(even_b, odd_b),
            simd.sub_f32s(even_b, odd_b),
            simd.negate_mul_add_f32s(sum, x[3], simd.add_f32s(x[1], x[5])),
        ]
    }
}

/// `E_K` for `N` points; 2 or 3 coefficients for 4 points, 3 or 4 for 6.
pub(super) struct Evaluate<const N: usize, const K: usize>;

impl<const K: usize> Linear for Evaluate<4, K> {
    const FROM: usize = K;
    const TO: usize = 4;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: Line<S>) -> Line<S> {
        let even = if K > 2 { simd.add_f32s(x[0], x[2]) } else { x[0] };
        [x[0], simd.add_f32s(even, x[1]), simd.sub_f32s(even, x[1]), x[K - 1], x[4], x[5]]
    }
}

impl<const K: usize> Linear for Evaluate<6, K> {
    const FROM: usize = K;
    const TO: usize = 6;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: Line<S>) -> Line<S> {
        let (a, b) = (simd.splat_f32s(FRAC_1_SQRT_2), simd.splat_f32s(SQRT_2));
        let (half, two) = (simd.splat_f32s(0.5), simd.splat_f32s(2.0));
        let even_a = simd.mul_add_f32s(half, x[2], x[0]);
        let even_b = simd.mul_add_f32s(two, x[2], x[0]);
        let (mut odd_a, mut odd_b) = (x[1], x[1]);
        if K > 3 {
            odd_a = simd.mul_add_f32s(half, x[3], x[1]);
            odd_b = simd.mul_add_f32s(two, x[3], x[1]);
        }
        let (odd_a, odd_b) = (simd.mul_f32s(a, odd_a), simd.mul_f32s(b, odd_b));
        [
            x[0],
            simd.add_f32s(even_a, odd_a),
            simd.sub_f32s(even_a, odd_a),
            simd.add_f32s(even_b, odd_b),
            simd.sub_f32s(even_b, odd_b),
            x[K - 1],
        ]
    }
}

/// The transpose of `E_K` for `N` points; for the same `N` and `K`.
pub(super) struct Interpolate<const N: usize, const K: usize>;

impl<const K: usize> Linear for Interpolate<4, K> {
    const FROM: usize = 4;
    const TO: usize = K;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, z: Line<S>) -> Line<S> {
        let (sum, difference) = (simd.add_f32s(z[1], z[2]), simd.sub_f32s(z[1], z[2]));
        let mut y = [simd.add_f32s(z[0], sum), difference, sum, difference, z[4], z[5]];
        y[K - 1] = simd.add_f32s(y[K - 1], z[3]);
        y
    }
}

impl<const K: usize> Linear for Interpolate<6, K> {
    const FROM: usize = 6;
    const TO: usize = K;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, z: Line<S>) -> Line<S> {
        let (a, b) = (simd.splat_f32s(FRAC_1_SQRT_2), simd.splat_f32s(SQRT_2));
        let (half, two) = (simd.splat_f32s(0.5), simd.splat_f32s(2.0));
        let (sum_a, sum_b) = (simd.add_f32s(z[1], z[2]), simd.add_f32s(z[3], z[4]));
        let odd_a = simd.mul_f32s(a, simd.sub_f32s(z[1], z[2]));
        let odd_b = simd.mul_f32s(b, simd.sub_f32s(z[3], z[4]));
        let mut y = [
            simd.add_f32s(simd.add_f32s(z[0], sum_a), sum_b),
            simd.add_f32s(odd_a, odd_b),
            simd.mul_add_f32s(half, sum_a, simd.mul_f32s(two, sum_b)),
            simd.mul_add_f32s(half, odd_a, simd.mul_f32s(two, odd_b)),
            z[4],
            z[5],
        ];
        y[K - 1] = simd.add_f32s(y[K - 1], z[5]);
        y
    }
}

/// The diagonal of `S`, in the order in which the factors above number the points.
pub(super) fn scales(points: usize) -> &'static [f32] {
    match points {
        4 => &[-1.0, 0.5, 0.5, 1.0],
        6 => &[1.0, -2.0 / 3.0, -2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 1.0],
        _ => &[1.0],
    }
}

/// A factor of the bilinear algorithm, known at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    Input,
    Evaluate,
    Interpolate,
}

/// A computation that is generic in a [`Linear`] which is known at run time.
pub(super) trait Visitor {
    fn visit<L: Linear>(self);
}

/// Calls `visitor` with the factor for `points` points and `coefficients` coefficients (outputs or taps).
#[inline(always)]
pub(super) fn with(factor: Factor, points: usize, coefficients: usize, visitor: impl Visitor) {
    match (factor, points, coefficients) {
        (Factor::Input, 4, _) => visitor.visit::<Input<4>>(),
        (Factor::Input, 6, _) => visitor.visit::<Input<6>>(),
        (Factor::Evaluate, 4, 2) => visitor.visit::<Evaluate<4, 2>>(),
        (Factor::Evaluate, 4, 3) => visitor.visit::<Evaluate<4, 3>>(),
        (Factor::Evaluate, 6, 3) => visitor.visit::<Evaluate<6, 3>>(),
        (Factor::Evaluate, 6, 4) => visitor.visit::<Evaluate<6, 4>>(),
        (Factor::Interpolate, 4, 2) => visitor.visit::<Interpolate<4, 2>>(),
        (Factor::Interpolate, 4, 3) => visitor.visit::<Interpolate<4, 3>>(),
        (Factor::Interpolate, 6, 3) => visitor.visit::<Interpolate<6, 3>>(),
        (Factor::Interpolate, 6, 4) => visitor.visit::<Interpolate<6, 4>>(),
        _ => visitor.visit::<Identity>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Scalar;

    struct Apply<'a>(&'a [f32], &'a mut Line<Scalar>);

    impl Visitor for Apply<'_> {
        fn visit<L: Linear>(self) {
            let mut x = [0.0; MOST];
            x[..self.0.len()].copy_from_slice(self.0);
            *self.1 = L::apply(Scalar::new(), x);
        }
    }

    fn apply(factor: Factor, points: usize, coefficients: usize, x: &[f32]) -> Vec<f32> {
        let mut out = [0.0; MOST];
        with(factor, points, coefficients, Apply(x, &mut out));
        out.to_vec()
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() < 2e-5 * b.abs().max(1.0)
    }

    #[test]
    fn short_correlations_and_their_weight_gradients() {
        for (points, kernels) in [(4usize, 2..=3usize), (6, 3..=3)] {
            for k in kernels {
                let m = points - k + 1;
                let x: Vec<f32> = (0..points).map(|i| ((5 * i + 2) % 7) as f32 - 2.5).collect();
                let w: Vec<f32> = (0..k).map(|i| ((3 * i + 1) % 5) as f32 - 1.75).collect();
                let g: Vec<f32> = (0..m).map(|i| ((2 * i + 3) % 5) as f32 - 0.5).collect();
                let bx = apply(Factor::Input, points, 0, &x);
                let ew = apply(Factor::Evaluate, points, k, &w);
                let s = scales(points);
                let product: Vec<f32> = (0..points).map(|p| s[p] * ew[p] * bx[p]).collect();
                let y = apply(Factor::Interpolate, points, m, &product);
                for t in 0..m {
                    let expected = (0..k).map(|j| w[j] * x[t + j]).sum();
                    assert!(close(y[t], expected), "{points} {k}: y[{t}] {} for {expected}", y[t]);
                }
                let eg = apply(Factor::Evaluate, points, m, &g);
                let product: Vec<f32> = (0..points).map(|p| s[p] * eg[p] * bx[p]).collect();
                let dw = apply(Factor::Interpolate, points, k, &product);
                for j in 0..k {
                    let expected = (0..m).map(|t| g[t] * x[t + j]).sum();
                    assert!(close(dw[j], expected), "{points} {k}: dw[{j}] {} for {expected}", dw[j]);
                }
            }
        }
    }
}
