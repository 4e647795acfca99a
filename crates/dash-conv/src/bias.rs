//! The gradient of the bias.

use crate::Problem;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Vectors that are summed in f32 before they are added up in f64.
const BLOCK: usize = 32;

/// Sum of the output gradient per channel, in a fixed order: vectors in f32 over short blocks, and
/// blocks in f64.
pub(crate) fn bias_gradient(p: &Problem, grad: &[f32]) -> Vec<f32> {
    let (len, pitch, arch) = (p.out_plane(), p.out_plane() * p.c_out, Arch::new());
    (0..p.c_out)
        .into_par_iter()
        .map(|channel| arch.dispatch(Channel { values: &grad[channel * len..], pitch, len }) as f32)
        .collect()
}

/// The sum of a channel: of `len` numbers every `pitch`.
struct Channel<'a> {
    values: &'a [f32],
    pitch: usize,
    len: usize,
}

impl WithSimd for Channel<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (mut total, mut sum, mut room) = (0.0, simd.splat_f32s(0.0), BLOCK);
        for plane in self.values.chunks(self.pitch) {
            let (whole, rest) = S::as_simd_f32s(&plane[..self.len]);
            let last = simd.partial_load_f32s(rest);
            for value in whole.iter().chain([&last]) {
                sum = simd.add_f32s(sum, *value);
                room -= 1;
                if room == 0 {
                    total += f64::from(simd.reduce_sum_f32s(sum));
                    (sum, room) = (simd.splat_f32s(0.0), BLOCK);
                }
            }
        }
        total + f64::from(simd.reduce_sum_f32s(sum))
    }
}
