//! How a convolution will be computed, decided before anything is built.

use crate::{Problem, spectral};
use std::fmt;

/// A way to compute a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Real Fourier transforms of the maps and the kernels.
    Fft,
    /// Taps x channels as a matrix product.
    Gemm,
    /// Shift and add over taps.
    Direct,
    /// Fourier transforms as matrix products, in candle tensor operations: for any device.
    Dft,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 4] = [Algorithm::Fft, Algorithm::Gemm, Algorithm::Direct, Algorithm::Dft];
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Fft => "fft",
            Algorithm::Gemm => "gemm",
            Algorithm::Direct => "direct",
            Algorithm::Dft => "dft",
        })
    }
}

/// The chosen algorithm with its sizes and costs. Chosen by a cost model, not by the clock, so that
/// the same problem gets the same plan, and the same numbers, on every machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Rows and columns of the transforms, if it uses any.
    pub transform: Option<[usize; 2]>,
    /// Estimated floating-point operations of one forward and backward pass.
    pub flops: f64,
    /// Estimated bytes of work space.
    pub bytes: f64,
    /// Estimated seconds of one forward and backward pass on one thread.
    pub seconds: f64,
}

// Floating-point operations per second of one thread of the machine that the model was calibrated
// on (AVX2, about 3 GHz). Only their ratios matter for the choice.
/// Real transforms, counted as 2.5 n log2 n, rows and columns with their transposes.
const FFT_RATE: f64 = 2.4e10;
/// Complex matrix products per frequency, from the smallest of their three sizes.
fn complex_product_rate(smallest: usize) -> f64 {
    7e10 * (smallest as f64 / (smallest as f64 + 6.0))
}
/// Pointwise complex products of depthwise layers.
const POINTWISE_RATE: f64 = 2e10;
/// Matrix products over taps, from the smaller of the channel counts.
fn product_rate(smallest: usize) -> f64 {
    1.3e11 * (smallest as f64 / (smallest as f64 + 6.0))
}
/// Shift and add over taps.
const DIRECT_RATE: f64 = 7e9;
/// Elements gathered or scattered per second by the matrix-product algorithm.
const GATHER_RATE: f64 = 2.4e9;
/// Elements moved per second into and out of the channel-innermost layout.
const TRANSPOSE_RATE: f64 = 8e8;

impl Plan {
    /// The plan with the least estimated time on the CPU. The transforms of [`Algorithm::Dft`] are
    /// never cheaper there than fast ones.
    pub fn choose(problem: &Problem) -> Plan {
        let plans = [Plan::fft(problem), Plan::gemm(problem), Plan::direct(problem)];
        let [first, rest @ ..] = plans;
        rest.into_iter().fold(first, |best, plan| if plan.seconds < best.seconds { plan } else { best })
    }

    /// The plan that uses `algorithm`.
    pub fn with(algorithm: Algorithm, problem: &Problem) -> Plan {
        match algorithm {
            Algorithm::Fft => Plan::fft(problem),
            Algorithm::Gemm => Plan::gemm(problem),
            Algorithm::Direct => Plan::direct(problem),
            Algorithm::Dft => Plan::dft(problem),
        }
    }

    fn direct(p: &Problem) -> Plan {
        let flops = 3.0 * 2.0 * p.covered_multiply_adds();
        let pairs = (p.batch * p.c_out * p.group_in()) as f64;
        let padded = (p.size[0] * (p.size[1] + 2 * p.reach()[1] + 32)) as f64;
        // Blocks of a row are computed whole: narrow rows waste lanes.
        let lanes = (p.out_size()[1].next_multiple_of(32) as f64 / p.out_size()[1] as f64).min(4.0);
        Plan {
            algorithm: Algorithm::Direct,
            transform: None,
            flops,
            bytes: 4.0 * padded * p.group_in() as f64,
            seconds: flops * lanes / DIRECT_RATE + pairs * padded / GATHER_RATE,
        }
    }

    fn dft(p: &Problem) -> Plan {
        let reach = p.reach();
        let [rows, columns] = [p.size[0] + reach[0], p.size[1] + reach[1]];
        let half = (columns / 2 + 1) as f64;
        let bins = rows as f64 * half;
        let planes = (p.batch * (p.c_in + p.c_out)) as f64;
        let kernels = (p.c_out * p.group_in()) as f64;
        let row_products = if rows == 1 { 0.0 } else { 4.0 * half * (p.size[0] * rows) as f64 };
        let transforms = planes * (2.0 * (p.size[0] * p.size[1]) as f64 * half + row_products);
        let multiply_adds =
            transforms + 2.0 * kernels * p.taps as f64 * bins + 4.0 * p.batch as f64 * kernels * bins;
        let flops = 3.0 * 2.0 * multiply_adds;
        Plan {
            algorithm: Algorithm::Dft,
            transform: Some([rows, columns]),
            flops,
            bytes: 8.0 * bins * (2.0 * planes + 2.0 * kernels + p.taps as f64),
            seconds: flops / product_rate(p.batch.min(p.group_in())),
        }
    }

    fn fft(p: &Problem) -> Plan {
        let size = spectral::transform_size(p.size, p.reach());
        let n = (size[0] * size[1]) as f64;
        let bins = (size[0] * (size[1] / 2 + 1)) as f64;
        let planes = (p.batch * (p.c_in + p.c_out)) as f64;
        let kernels = (p.c_out * p.group_in()) as f64;
        let pairs = p.batch as f64 * kernels;
        // Forward: x, y and kernels. Backward: gradient, x again, input gradient, kernels twice.
        let inputs = 3.0 * (p.batch * p.c_in) as f64;
        let outputs = 2.0 * (p.batch * p.c_out) as f64;
        let transforms = (inputs + outputs + 3.0 * kernels) * 2.5 * n * n.log2().max(1.0);
        let products = 3.0 * 8.0 * bins * pairs;
        let (seconds, spectra) = if p.is_depthwise() {
            (transforms / FFT_RATE + products / POINTWISE_RATE, kernels + 16.0)
        } else {
            let smallest = p.batch.min(p.group_in()).min(p.group_out());
            let moved = (inputs + outputs + 3.0 * kernels) * bins;
            let time =
                transforms / FFT_RATE + products / complex_product_rate(smallest) + moved / TRANSPOSE_RATE;
            (time, planes + 2.0 * kernels)
        };
        Plan {
            algorithm: Algorithm::Fft,
            transform: Some(size),
            flops: transforms + products,
            bytes: 8.0 * bins * spectra,
            seconds,
        }
    }

    fn gemm(p: &Problem) -> Plan {
        let flops = 3.0 * 2.0 * p.direct_multiply_adds();
        let positions = (p.batch * p.out_plane()) as f64;
        let gathered = 3.0 * positions * (p.c_in * p.offsets.len()) as f64;
        let moved = if p.plane() == 1 { 0.0 } else { gathered };
        let rate = product_rate(p.group_out().min(p.group_in() * p.offsets.len().max(1)));
        Plan {
            algorithm: Algorithm::Gemm,
            transform: None,
            flops,
            bytes: 4.0 * 48.0 * 1024.0,
            seconds: flops / rate + moved / GATHER_RATE,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.algorithm)?;
        if let Some([rows, columns]) = self.transform {
            write!(f, " {rows}x{columns}")?;
        }
        write!(f, ", {:.3} GFLOP, {:.1} MB", self.flops / 1e9, self.bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TapSet;

    fn problem(kernel: (usize, usize), c_in: usize, c_out: usize, groups: usize, n: usize) -> Problem {
        let taps = TapSet::centred(2, kernel.0, kernel.1).unwrap();
        Problem::new(&taps, 16, c_in, c_out, groups, [n, n], [1, 1]).unwrap()
    }

    #[test]
    fn few_taps_are_matrix_products_and_many_are_transforms() {
        assert_eq!(Plan::choose(&problem((3, 1), 64, 64, 1, 32)).algorithm, Algorithm::Gemm);
        let wide = Plan::choose(&problem((9, 7), 64, 64, 1, 64));
        assert_eq!((wide.algorithm, wide.transform), (Algorithm::Fft, Some([96, 96])));
        assert_eq!(Plan::choose(&problem((9, 7), 64, 64, 64, 64)).algorithm, Algorithm::Fft);
    }

    #[test]
    fn a_plan_prints_what_it_will_do() {
        let plan = Plan::with(Algorithm::Fft, &problem((3, 1), 4, 4, 4, 31));
        assert!(plan.to_string().starts_with("fft 32x32, "), "{plan}");
    }
}
