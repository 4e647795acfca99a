//! What a convolution costs on a card: a model of one H100 (SXM), from its data sheet, not from measurements.
//!
//! Assumed: 67 Tflop/s in f32, of which taps in shared memory reach a quarter (one load per multiply-add, bounds
//! compared) and cuBLAS without TF32 six tenths; 3.35 TB/s, of which streaming kernels reach four fifths; 4 us from one
//! launch to the next. Matrix products of candle write every intermediate result to memory.

use crate::{Algorithm, Plan, Problem};
use dash_kernels::transform_size;

/// Multiply-adds over taps, in flop/s.
const TAPS_RATE: f64 = 0.25 * 67e12;
/// Matrix products, in flop/s.
const PRODUCT_RATE: f64 = 0.6 * 67e12;
/// Bytes read or written per second.
const MEMORY_RATE: f64 = 0.8 * 3.35e12;
/// Seconds per launch.
const LAUNCH: f64 = 4e-6;
/// Arithmetic of transforms in shared memory, in flop/s.
const TRANSFORM_RATE: f64 = 0.12 * 67e12;
/// Launches of a step of kernels, and of [`Algorithm::Dft`] with its gradients.
const LAUNCHES: [f64; 2] = [8.0, 90.0];
/// Shared memory of a block of an H100, in bytes.
const SHARED: usize = 227 << 10;
/// Taps that a block of a kernel has room for.
const MOST_TAPS: usize = 4096;

impl Algorithm {
    /// What is chosen from on a card.
    pub const ON_CARD: [Algorithm; 3] = [Algorithm::Dft, Algorithm::Direct, Algorithm::Fft];
}

impl Plan {
    /// The plan that uses `algorithm` on an H100; it takes forever if there is no kernel for the problem.
    pub fn on_card(algorithm: Algorithm, p: &Problem) -> Plan {
        Plan::on_card_of(algorithm, p, SHARED)
    }

    /// The same on a card whose blocks may have `shared` bytes of shared memory.
    pub(crate) fn on_card_of(algorithm: Algorithm, p: &Problem, shared: usize) -> Plan {
        let plan = match algorithm {
            Algorithm::Fft if p.is_depthwise() => Plan::transforms(p),
            _ => Plan::with(algorithm, p),
        };
        let maps = 4.0 * (3 * p.batch * p.c_in * p.plane() + 2 * p.batch * p.c_out * p.out_plane()) as f64;
        let seconds = match algorithm {
            Algorithm::Direct if p.is_depthwise() && p.offsets.len() <= MOST_TAPS => {
                6.0 * p.covered_multiply_adds() / TAPS_RATE + maps / MEMORY_RATE + LAUNCHES[0] * LAUNCH
            }
            // Spectra of maps and kernels, real and imaginary parts, are written and read by about ten products.
            Algorithm::Dft => {
                plan.flops / PRODUCT_RATE + (maps + 10.0 * plan.bytes) / MEMORY_RATE + LAUNCHES[1] * LAUNCH
            }
            Algorithm::Fft if p.is_depthwise() && plan.bytes <= shared as f64 => {
                plan.flops / TRANSFORM_RATE + 1.5 * maps / MEMORY_RATE + LAUNCHES[0] * LAUNCH
            }
            _ => f64::INFINITY,
        };
        // Taps are counted for the outputs at which they meet data, and not by vectors as on the processor.
        let flops = if algorithm == Algorithm::Direct { 6.0 * p.covered_multiply_adds() } else { plan.flops };
        Plan { flops, seconds, ..plan }
    }

    /// Transforms of whole maps, two samples at a time: two for the result, two for the gradient of the input and two
    /// for that of the weights, whose sums are transformed back once.
    fn transforms(p: &Problem) -> Plan {
        let size = transform_size(p.size, p.reach());
        let numbers = (size[0] * size[1]) as f64;
        let pairs = (p.c_in * p.batch.div_ceil(2)) as f64;
        let flops = pairs * (6.0 * 5.0 * numbers * numbers.log2().max(1.0) + 3.0 * 6.0 * numbers);
        let (transform, bytes) = (Some(size), 8.0 * numbers);
        Plan { algorithm: Algorithm::Fft, transform, pieces: 1, flops, bytes, seconds: f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TapSet;

    #[test]
    fn depthwise_layers_have_kernels_and_others_are_transformed() {
        let sets =
            [3, 5, 7, 9].iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()));
        let union = TapSet::union(&sets.collect::<Vec<_>>()).unwrap().0;
        let plan = |groups| {
            let p = Problem::new(&union, 64, 32, 32, groups, [16, 16], [1, 1]).unwrap();
            Algorithm::ON_CARD.map(|algorithm| Plan::on_card(algorithm, &p).seconds)
        };
        let ([dft, direct, fft], [dense_dft, dense_direct, dense_fft]) = (plan(32), plan(1));
        assert!(direct < dft && fft < dft && dense_dft.is_finite());
        assert_eq!([dense_direct, dense_fft], [f64::INFINITY; 2]);
    }

    #[test]
    fn transforms_that_have_no_room_are_not_chosen() {
        let taps = TapSet::centred(2, 9, 15).unwrap();
        let p = Problem::new(&taps, 4, 16, 16, 16, [64, 64], [1, 1]).unwrap();
        let seconds = |shared| Plan::on_card_of(Algorithm::Fft, &p, shared).seconds;
        assert!(seconds(227 << 10).is_finite());
        assert_eq!(seconds(48 << 10), f64::INFINITY);
    }
}
