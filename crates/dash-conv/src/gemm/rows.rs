//! Copies rows into the factor of a product, and its results to the outputs, in explicit vectors.

use crate::product::panels;
use pulp::{Simd, WithSimd};

/// Copies a line, padded to whole vectors, to row `index` of a matrix of `rows` rows in panels.
pub(super) struct ToPanels<'a> {
    pub(super) line: &'a [f32],
    pub(super) index: usize,
    pub(super) rows: usize,
    pub(super) matrix: &'a mut [f32],
}

impl WithSimd for ToPanels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let line = S::as_simd_f32s(self.line).0;
        let matrix = S::as_mut_simd_f32s(self.matrix).0;
        for (vector, width) in panels(line.len()) {
            let to = &mut matrix[vector * self.rows + self.index * width..][..width];
            for (to, from) in to.iter_mut().zip(&line[vector..]) {
                *to = *from;
            }
        }
    }
}

/// `to = from + bias` for the elements of `from`.
pub(super) struct Plus<'a> {
    pub(super) from: &'a [f32],
    pub(super) bias: f32,
    pub(super) to: &'a mut [f32],
}

impl WithSimd for Plus<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (from, from_rest) = S::as_simd_f32s(self.from);
        let (to, to_rest) = S::as_mut_simd_f32s(&mut self.to[..self.from.len()]);
        let bias = simd.splat_f32s(self.bias);
        for (to, from) in to.iter_mut().zip(from) {
            *to = simd.add_f32s(*from, bias);
        }
        for (to, from) in to_rest.iter_mut().zip(from_rest) {
            *to = from + self.bias;
        }
    }
}
