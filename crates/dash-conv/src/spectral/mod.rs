//! Convolution by Fourier transforms (DASH, section 4.2).
//!
//! With the kernel's tap `o` at index `o mod N`, spectra obey `Y = X conj(W)`, `dX = G W` and `dW = conj(G) X`
//! (section 4.3). Taps that meet no data are dropped, transforms are as short as the receptive radius allows, and feature
//! maps are divided into tiles where that is cheaper ([`tiling`]).
//!
//! ```text
//! feature maps   [sample][channel][row][column]        kernels   [c_out][c_in / groups][tap]
//!      | tiles, LANES planes side by side ([`crate::planes`])        | ([`kernel_planes`])
//! real rows      [column][lane]                                      |
//!      | real transform along columns ([`batched_fft`], [`lines`])   |
//! intermediate   [column bin][plane batch][live row][re, im][lane]   |
//!      | complex transform along rows ([`passes`])                   |
//! spectra        [column bin][row bin][planes]                       |
//!      '---------------------- products ------------------------------'
//!        depthwise layers: bin by bin ([`depthwise`]); others: a matrix product per bin ([`dense`])
//!      | the same way back
//! ```
//!
//! The transform itself is in [`transform`], what is built once per problem in [`layer`].

mod batched_fft;
pub(crate) mod cost;
mod dense;
mod depthwise;
mod kernel_planes;
mod layer;
mod lines;
mod passes;
mod product;
mod tiling;
mod transform;

use crate::algorithm::CpuConvolution;

pub(crate) use layer::Spectral;
pub(crate) use tiling::{AxisTiling, TiledAxis, Tiling, gcd};

impl CpuConvolution for Spectral {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        if self.problem.is_depthwise() {
            self.forward_depthwise(x, weights, bias, y);
        } else {
            self.forward_dense(x, weights, bias, y);
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        if self.problem.is_depthwise() {
            self.backward_depthwise(x, weights, grad, dx, dw);
        } else {
            self.backward_dense(x, weights, grad, dx, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ConvProblem, TapSet,
        testing::{against_oracle, problem},
    };

    fn check(problem: &ConvProblem, tiling: Tiling) {
        against_oracle(problem, &format!("{tiling:?}"), 3e-6, |arch| {
            Spectral::with_arch(problem, tiling.clone(), arch).unwrap()
        });
    }

    #[test]
    fn every_tiling_equals_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        // Channels below, at and above the width of vectors; strides; dilations; maps longer than they are wide.
        for (taps, [batch, c_in, c_out, groups], size, stride) in [
            (one(3, 1), [3, 1, 2, 1], [1, 37], [1, 1]),
            (one(5, 3), [2, 3, 5, 1], [1, 40], [1, 2]),
            (one(7, 2), [5, 17, 3, 1], [1, 21], [1, 1]),
            (TapSet::causal(4, 3).unwrap(), [2, 4, 4, 4], [1, 33], [1, 1]),
            (two(3, 1), [2, 5, 18, 1], [9, 14], [1, 1]),
            (two(3, 2), [2, 3, 4, 1], [11, 6], [2, 2]),
            (two(5, 3), [1, 20, 20, 20], [10, 13], [1, 1]),
            (two(3, 4), [4, 3, 3, 3], [9, 9], [2, 2]),
            (two(3, 1), [2, 4, 6, 2], [8, 12], [1, 1]),
        ] {
            let problem = problem(&taps, [batch, c_in, c_out, groups], size, stride);
            for tiling in Tiling::candidates(&problem) {
                check(&problem, tiling);
            }
        }
    }

    /// So many plane batches that each is computed from end to end by one task.
    #[test]
    fn many_depthwise_maps_equal_the_oracle() {
        for (batch, channels, size) in [(40, 8, [1, 30]), (9, 33, [6, 7]), (70, 5, [4, 4])] {
            let dims = if size[0] == 1 { 1 } else { 2 };
            let taps = TapSet::centred(dims, 3, 2).unwrap();
            let problem = problem(&taps, [batch, channels, channels, channels], size, [1, 1]);
            check(&problem, Tiling::candidates(&problem)[0].clone());
        }
    }

    #[test]
    fn long_rows_equal_the_oracle() {
        let taps = TapSet::centred(1, 5, 1000).unwrap();
        for (c_out, groups) in [(2, 1), (3, 3)] {
            let problem = problem(&taps, [1, 3, c_out, groups], [1, 9000], [1, 1]);
            check(&problem, Tiling::candidates(&problem)[0].clone());
        }
    }
}
