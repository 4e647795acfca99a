//! Computes the gradient of the bias.

use crate::{
    ConvProblem,
    simd::{self, LANES, Lanes, WithLanes, run_lanes},
};
use pulp::{Arch, Simd};
use rayon::prelude::*;

/// The number of vectors of [`LANES`] elements that are summed in f32 before the sum is added in f64.
const BLOCK: usize = 32;

/// The sum of the gradient of the output over each channel, in a fixed order: lanes in f32 over short blocks, and blocks in
/// f64.
pub(crate) fn bias_gradient(p: &ConvProblem, grad: &[f32]) -> Vec<f32> {
    bias_gradient_with(p, grad, simd::arch())
}

/// The same with the vectors of a given instruction set.
fn bias_gradient_with(p: &ConvProblem, grad: &[f32], arch: Arch) -> Vec<f32> {
    let (len, pitch) = (p.out_plane(), p.out_plane() * p.c_out);
    (0..p.c_out)
        .into_par_iter()
        .map(|channel| run_lanes(arch, Channel { values: &grad[channel * len..], pitch, len }) as f32)
        .collect()
}

/// The sum of a channel: of the first `len` of every `pitch` elements.
struct Channel<'a> {
    values: &'a [f32],
    pitch: usize,
    len: usize,
}

impl WithLanes for Channel<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) -> f64 {
        let zero = Lanes::<S, P>::splat(simd, 0.0);
        let (mut total, mut sum, mut room) = (0.0, zero, BLOCK);
        for plane in self.values.chunks(self.pitch) {
            let (whole, rest) = plane[..self.len].as_chunks::<LANES>();
            for values in whole {
                sum = sum.add(simd, Lanes::load(values));
                room -= 1;
                if room == 0 {
                    total += f64::from(sum.sum(simd));
                    (sum, room) = (zero, BLOCK);
                }
            }
            if !rest.is_empty() {
                sum = sum.add(simd, Lanes::load_part(simd, rest));
                room -= 1;
                if room == 0 {
                    total += f64::from(sum.sum(simd));
                    (sum, room) = (zero, BLOCK);
                }
            }
        }
        total + f64::from(sum.sum(simd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstructionSet, TapSet, testing::problem};

    #[test]
    fn the_gradient_of_the_bias_is_the_same_on_every_instruction_set() {
        for (batch, width) in [(1, 1), (3, 15), (2, 16), (40, 33), (9, 700)] {
            let taps = TapSet::centred(1, 1, 1).unwrap();
            let p = problem(&taps, [batch, 2, 3, 1], [1, width], [1, 1]);
            let grad: Vec<f32> = (0..batch * 3 * width).map(|i| (i as f32 * 0.7).sin()).collect();
            let of = |set: InstructionSet| bias_gradient_with(&p, &grad, set.arch().unwrap());
            let exact = (0..3).map(|channel| {
                let planes = grad.chunks(width).skip(channel).step_by(3);
                planes.flatten().map(|&g| f64::from(g)).sum::<f64>()
            });
            for (found, exact) in of(InstructionSet::Scalar).iter().zip(exact) {
                assert!((f64::from(*found) - exact).abs() < 1e-4, "{found} {exact}");
            }
            for set in InstructionSet::available() {
                assert_eq!(of(set), of(InstructionSet::Scalar), "{set}, {batch} x {width}");
            }
        }
    }
}
