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
/// Launches of a step of kernels, of [`Algorithm::Dft`] with its gradients, and of kernels around products.
const LAUNCHES: [f64; 3] = [8.0, 90.0, 14.0];
/// Shared memory of a block of an H100, in bytes.
const SHARED: usize = 227 << 10;
/// Taps that a block of a kernel has room for.
const MOST_TAPS: usize = 4096;

impl Algorithm {
    /// What is chosen from on a card.
    pub const ON_CARD: [Algorithm; 4] = [Algorithm::Dft, Algorithm::Direct, Algorithm::Fft, Algorithm::Gemm];
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
            Algorithm::Fft => Plan::products(p),
            Algorithm::Gemm => Plan::columns(p),
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
            Algorithm::Fft if 8.0 * Plan::numbers(p) <= shared as f64 && !p.offsets.is_empty() => {
                let transforms = plan.flops - Plan::product_flops(p);
                transforms / TRANSFORM_RATE
                    + Plan::product_flops(p) / PRODUCT_RATE
                    + (maps + plan.bytes) / MEMORY_RATE
                    + LAUNCHES[2] * LAUNCH
            }
            Algorithm::Gemm if !p.is_depthwise() && !p.offsets.is_empty() => {
                plan.flops / PRODUCT_RATE + (maps + plan.bytes) / MEMORY_RATE + LAUNCHES[2] * LAUNCH
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
        let (size, numbers) = (transform_size(p.size, p.reach()), Plan::numbers(p));
        let pairs = (p.c_in * p.batch.div_ceil(2)) as f64;
        let flops = pairs * (6.0 * 5.0 * numbers * numbers.log2().max(1.0) + 3.0 * 6.0 * numbers);
        let (transform, bytes) = (Some(size), 8.0 * numbers);
        Plan { algorithm: Algorithm::Fft, transform, pieces: 1, flops, bytes, seconds: f64::INFINITY }
    }

    /// Numbers of a transform in shared memory.
    fn numbers(p: &Problem) -> f64 {
        let size = transform_size(p.size, p.reach());
        (size[0] * size[1]) as f64
    }

    /// Multiply-adds of complex numbers for half of the frequencies: the result and both gradients.
    fn product_flops(p: &Problem) -> f64 {
        3.0 * 8.0 * 0.5 * Plan::numbers(p) * (p.batch * p.c_out * p.group_in()) as f64
    }

    /// A product per frequency: two channels at a time, x and the gradient are transformed twice, the result and
    /// the gradient of x once, kernels twice and their gradient once.
    fn products(p: &Problem) -> Plan {
        let (size, numbers) = (transform_size(p.size, p.reach()), Plan::numbers(p));
        let pairs = (p.c_out * p.group_in()) as f64;
        let (inputs, outputs) = ((p.batch * p.c_in) as f64, (p.batch * p.c_out) as f64);
        let transforms = 0.5 * (3.0 * inputs + 2.0 * outputs + 3.0 * pairs);
        let flops = Plan::product_flops(p) + transforms * 5.0 * numbers * numbers.log2().max(1.0);
        // Spectra of maps are written and read, scattered; those of kernels are real matrices of twice the size.
        let bytes = 4.0 * numbers * 3.0 * (3.0 * inputs + 2.0 * outputs + 2.0 * 3.0 * pairs);
        Plan {
            algorithm: Algorithm::Fft,
            transform: Some(size),
            pieces: 1,
            flops,
            bytes,
            seconds: f64::INFINITY,
        }
    }

    /// A product per sample of what the taps see, which is written and read three times.
    fn columns(p: &Problem) -> Plan {
        let columns = (p.batch * p.c_in * p.offsets.len() * p.out_plane()) as f64;
        let flops = 6.0 * columns * p.group_out() as f64;
        let weights = (p.batch * p.c_out * p.group_in() * p.offsets.len()) as f64;
        let bytes = 4.0 * (6.0 * columns + 2.0 * weights);
        Plan { algorithm: Algorithm::Gemm, transform: None, pieces: 1, flops, bytes, seconds: f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TapSet;

    #[test]
    fn few_taps_are_products_and_many_are_transformed() {
        let sets =
            [3, 5, 7, 9].iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()));
        let union = TapSet::union(&sets.collect::<Vec<_>>()).unwrap().0;
        let plan = |groups| {
            let p = Problem::new(&union, 64, 32, 32, groups, [16, 16], [1, 1]).unwrap();
            Algorithm::ON_CARD.map(|algorithm| Plan::on_card(algorithm, &p).seconds)
        };
        let ([dft, direct, fft, columns], [dense_dft, dense_direct, dense_fft, many]) = (plan(32), plan(1));
        assert!(direct < dft && fft < dft && dense_dft.is_finite());
        assert!(dense_fft < dense_dft && dense_fft < many, "many taps are transformed");
        assert_eq!([dense_direct, columns], [f64::INFINITY; 2]);
        let few = TapSet::centred(2, 1, 1).unwrap();
        let p = Problem::new(&few, 64, 32, 32, 1, [16, 16], [1, 1]).unwrap();
        let [dft, _, fft, columns] = Algorithm::ON_CARD.map(|algorithm| Plan::on_card(algorithm, &p).seconds);
        assert!(columns < fft && columns < dft, "few taps are not");
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
