//! The matrix-product algorithm multiplies the weights with the inputs under all taps (im2col): best for few taps between
//! many channels, strides, and taps that reach far beyond the feature map.
//!
//! ```text
//! matrix of a tile  [input channel, tap][position]      one shifted part of the input per channel and tap ([`tiles`])
//! weights           [output channel][input channel, tap]
//! outputs           [output channel][position] = weights . matrix
//! ```
//!
//! The gradient of the input is the same with the taps mirrored, that of the weights a product over positions
//! ([`weights`]). Products are those of [`crate::product`]: an output is one sum over its terms, in their order, and a
//! weight's gradient one per tile.

pub(crate) mod cost;
mod dots;
mod layer;
mod rows;
mod tiles;
mod weights;

use crate::{algorithm::CpuConvolution, buffer::Buffer, parallel::Shared, side::Side};

pub(crate) use layer::Gemm;
pub(crate) use tiles::Segment;

impl CpuConvolution for Gemm {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (y, tiling) = (Shared::new(y), &self.forward);
        let by_residue = tiling.by_residue(x);
        let x = by_residue.as_deref().unwrap_or(x);
        for group in 0..self.problem.groups {
            let of = |segment: &Segment| self.weights(weights, group, segment, false);
            let weights: Vec<Buffer> = tiling.segments.iter().map(of).collect();
            let from = (x, Side::input(&self.problem, group));
            self.apply(tiling, from, &weights, (&y, Side::output(&self.problem, group)), Some(bias));
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        let dx = dx.map(Shared::new);
        let by_residue = self.forward.by_residue(x);
        let x = by_residue.as_deref().unwrap_or(x);
        dw.fill(0.0);
        for group in 0..self.problem.groups {
            for tiling in &self.backward {
                let Some(dx) = &dx else { break };
                let of = |segment: &Segment| self.weights(weights, group, segment, true);
                let weights: Vec<Buffer> = tiling.segments.iter().map(of).collect();
                let from = (grad, Side::output(&self.problem, group));
                self.apply(tiling, from, &weights, (dx, Side::input(&self.problem, group)), None);
            }
            self.backward_weights(x, grad, group, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{tiles::segments, *};
    use crate::{
        TapSet,
        grid::Grid,
        testing::{against_oracle, problem},
    };

    #[test]
    fn matrix_products_equal_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        // A single tap, strides, segments, groups, channels below and above the width of vectors, taps that see nothing.
        for (taps, [batch, c_in, c_out, groups], size, stride) in [
            (two(1, 1), [3, 20, 17, 1], [5, 7], 1),
            (two(1, 1), [2, 3, 70, 1], [8, 8], 2),
            (one(1, 1), [40, 9, 1, 1], [1, 1], 1),
            (one(5, 3), [3, 4, 33, 1], [1, 61], 1),
            (one(3, 90), [2, 2, 5, 1], [1, 40], 1),
            (two(3, 1), [2, 6, 12, 2], [9, 14], 2),
            (two(3, 15), [2, 5, 8, 1], [16, 16], 1),
            (two(3, 15), [2, 5, 20, 1], [16, 16], 1),
            (two(5, 3), [1, 3, 16, 1], [20, 20], 3),
            (TapSet::causal(4, 3).unwrap(), [2, 8, 8, 1], [1, 300], 1),
        ] {
            let problem = problem(&taps, [batch, c_in, c_out, groups], size, [stride; 2]);
            against_oracle(&problem, "matrix products", 3e-6, |arch| {
                Gemm::with_arch(&problem, segments(&Grid::forward(&problem)), arch)
            });
        }
    }
}
