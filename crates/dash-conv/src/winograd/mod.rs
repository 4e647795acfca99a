//! Winograd's algorithm computes short correlations with few multiplications (minimal filtering): for kernels of two or
//! three evenly spaced taps per axis between many channels.
//!
//! Feature maps are divided into tiles ([`tiling`]). Each tile is transformed to its values at a few points ([`points`],
//! [`transform`]), where all that remains is one real matrix product per point ([`crate::product`]), with two to four times
//! fewer multiplications than taps ask for. Channels are in the lanes. The gradient of the input is the convolution with
//! the mirrored kernels.
//!
//! ```text
//! rows of a strip   [row][column][channel in lanes]        a strip is a row of tiles of one sample
//! inputs at points  [point][tile][c_in in lanes]
//! kernels           [point][c_in][c_out in lanes]
//! outputs at points [point][tile][c_out in lanes] = inputs . kernels, point by point
//! ```

pub(crate) mod cost;
mod layer;
mod points;
mod tiling;
mod transform;

use crate::{algorithm::CpuConvolution, parallel::Shared, side::Side};
use layer::GroupMaps;

pub(crate) use layer::Winograd;
pub(crate) use tiling::Tiling;

impl CpuConvolution for Winograd {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let y = Shared::new(y);
        for group in 0..self.problem.groups {
            let kernels = self.kernels(&self.forward, weights, group, false);
            let maps = GroupMaps { values: x, side: Side::input(&self.problem, group) };
            self.convolve(
                &self.forward,
                &maps,
                &kernels,
                (&y, Side::output(&self.problem, group)),
                Some(bias),
            );
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], mut dx: Option<&mut [f32]>, dw: &mut [f32]) {
        dw.fill(0.0);
        for group in 0..self.problem.groups {
            let maps = GroupMaps { values: x, side: Side::input(&self.problem, group) };
            let grads = GroupMaps { values: grad, side: Side::output(&self.problem, group) };
            if let Some(dx) = &mut dx {
                let kernels = self.kernels(&self.backward, weights, group, true);
                let dx = Shared::new(dx);
                self.convolve(&self.backward, &grads, &kernels, (&dx, maps.side), None);
            }
            self.weight_gradients(&maps, &grads, group, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TapSet,
        testing::{against_oracle, problem},
    };

    #[test]
    fn every_tiling_equals_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        // Channels below, at and above the width of vectors; dilations beyond the map; groups; many strips.
        for (taps, [batch, c_in, c_out, groups], size) in [
            (one(3, 1), [3, 1, 2, 1], [1, 37]),
            (one(3, 3), [2, 33, 50, 1], [1, 40]),
            (one(3, 7), [40, 17, 16, 1], [1, 21]),
            (TapSet::causal(3, 3).unwrap(), [2, 8, 12, 2], [1, 33]),
            (TapSet::causal(2, 1).unwrap(), [2, 3, 9, 1], [1, 12]),
            (two(3, 1), [2, 5, 18, 1], [9, 14]),
            (two(3, 2), [2, 24, 40, 1], [11, 6]),
            (two(3, 3), [1, 20, 20, 1], [10, 13]),
            (two(3, 1), [3, 6, 6, 3], [8, 9]),
            (two(9, 5), [2, 4, 6, 1], [8, 8]),
        ] {
            let problem = problem(&taps, [batch, c_in, c_out, groups], size, [1, 1]);
            let tilings = Tiling::candidates(&problem);
            assert!(!tilings.is_empty());
            for tiles in tilings {
                against_oracle(&problem, &format!("{tiles:?}"), 3e-6, |arch| {
                    Winograd::with_arch(&problem, tiles.clone(), arch)
                });
            }
        }
    }
}
