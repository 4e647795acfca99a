//! How a convolution will be computed, decided before anything is built.

use crate::{ConvProblem, direct, gemm, spectral::Pieces as Geometry, winograd::Tiles};
use std::fmt;

/// A way to compute a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Real Fourier transforms of the maps and the kernels.
    Fft,
    /// Short correlations by way of polynomials at a few points, for few evenly spaced taps between
    /// many channels, without stride.
    Winograd,
    /// Taps x channels as a matrix product.
    Gemm,
    /// Shift and add over taps.
    Direct,
    /// Fourier transforms as matrix products, in candle tensor operations: for any device.
    Dft,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Fft, Algorithm::Winograd, Algorithm::Gemm, Algorithm::Direct, Algorithm::Dft];

    /// What is chosen from on the CPU; the transforms of [`Algorithm::Dft`] are never cheaper there than
    /// fast ones.
    pub const ON_CPU: [Algorithm; 4] =
        [Algorithm::Fft, Algorithm::Winograd, Algorithm::Gemm, Algorithm::Direct];

    /// Whether the algorithm can compute `problem` at all.
    pub fn suits(self, problem: &ConvProblem) -> bool {
        self != Algorithm::Winograd || !Tiles::candidates(problem).is_empty()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Fft => "fft",
            Algorithm::Winograd => "winograd",
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
    /// Rows and columns of the transforms, or points per axis, if it uses any.
    pub transform: Option<[usize; 2]>,
    /// Pieces per map that are convolved independently (sub-sampled grids of a dilated kernel, tiles).
    pub pieces: usize,
    /// Estimated floating-point operations of one forward and backward pass.
    pub flops: f64,
    /// Estimated bytes of work space.
    pub bytes: f64,
    /// Estimated seconds of one forward and backward pass on one thread.
    pub seconds: f64,
}

// Floating-point operations per second of one thread of the machine that the model was calibrated
// on (AMD Zen 4, 2026). Only their ratios matter for the choice.
/// Real transforms, counted as 2.5 n log2 n.
const FFT_RATE: f64 = 2.4e10;
/// Complex matrix products per frequency.
const COMPLEX_PRODUCT_RATE: f64 = 6.2e10;
/// Pointwise complex products of depthwise layers.
const POINTWISE_RATE: f64 = 1.6e10;
/// Elements of maps brought into and out of vector lanes per second.
const MOVE_RATE: f64 = 8e8;
/// Complex numbers of spectra written and read again per second.
const PASS_RATE: f64 = 1.2e9;
/// Matrix products over taps, from the smaller of the channel counts.
fn product_rate(smallest: usize) -> f64 {
    9e10 * (smallest as f64 / (smallest as f64 + 6.0))
}
/// Real matrix products of tiles at points.
const TILE_PRODUCT_RATE: f64 = 9e10;
/// Numbers at points, and of maps, brought there and back per second.
const TILE_RATE: f64 = 2.5e9;
const TILE_MOVE_RATE: f64 = 2.5e9;
/// How much slower products are where maps are cut into segments that see different taps.
const SEGMENTS_COST: f64 = 2.4;
/// Shift and add over taps.
const DIRECT_RATE: f64 = 4.8e10;
/// Elements of maps read and written per second by the same.
const COPY_RATE: f64 = 5.8e8;
/// Multiply-adds of vectors over taps, planes being in lanes, for maps that fit a first-level cache and
/// for others.
const LANES_RATE: [f64; 2] = [1.4e9, 0.9e9];
/// Elements gathered or scattered per second by the matrix-product algorithm.
const GATHER_RATE: f64 = 2.4e9;

impl Plan {
    /// The plan with the least estimated time on the CPU.
    pub fn choose(problem: &ConvProblem) -> Plan {
        let [first, rest @ ..] = Algorithm::ON_CPU.map(|algorithm| Plan::with(algorithm, problem));
        rest.into_iter().fold(first, |best, plan| if plan.seconds < best.seconds { plan } else { best })
    }

    /// The plan that uses `algorithm`; it takes forever if the algorithm does not suit the problem.
    pub fn with(algorithm: Algorithm, problem: &ConvProblem) -> Plan {
        match algorithm {
            Algorithm::Fft => Plan::fft(problem),
            Algorithm::Winograd => Plan::winograd(problem),
            Algorithm::Gemm => Plan::gemm(problem),
            Algorithm::Direct => Plan::direct(problem),
            Algorithm::Dft => Plan::dft(problem),
        }
    }

    fn direct(p: &ConvProblem) -> Plan {
        if p.is_depthwise() {
            return Plan::direct_lanes(p);
        }
        let flops = 3.0 * 2.0 * p.covered_multiply_adds();
        let pairs = (p.batch * p.c_out * p.group_in()) as f64;
        let moved = (3 * p.batch * p.c_in * p.plane() + 2 * p.batch * p.c_out * p.out_plane()) as f64;
        let padded = (p.size[0] * (p.size[1] + 2 * p.reach()[1] + 32)) as f64;
        // Blocks of a row are computed whole: narrow rows waste lanes.
        let lanes = (p.out_size()[1].next_multiple_of(32) as f64 / p.out_size()[1] as f64).min(4.0);
        Plan {
            algorithm: Algorithm::Direct,
            transform: None,
            pieces: 1,
            flops,
            bytes: 4.0 * padded * p.group_in() as f64,
            seconds: flops * lanes / DIRECT_RATE + pairs * padded / GATHER_RATE + moved / COPY_RATE,
        }
    }

    /// Depthwise: planes in lanes.
    fn direct_lanes(p: &ConvProblem) -> Plan {
        const LANES: usize = 16;
        let bundles = p.batch.div_ceil((LANES / p.c_in).max(1)) * p.c_in.div_ceil(LANES);
        let vectors = 3.0 * bundles as f64 * direct::vector_multiply_adds(p);
        let moved = (p.batch * p.c_in * (3 * p.plane() + 2 * p.out_plane())) as f64;
        Plan {
            algorithm: Algorithm::Direct,
            transform: None,
            pieces: 1,
            flops: 2.0 * LANES as f64 * vectors,
            bytes: (4 * LANES * (2 * p.plane() + p.out_plane())) as f64,
            seconds: vectors / LANES_RATE[usize::from(p.plane() > 512)] + moved / MOVE_RATE,
        }
    }

    fn dft(p: &ConvProblem) -> Plan {
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
            pieces: 1,
            flops,
            bytes: 8.0 * bins * (2.0 * planes + 2.0 * kernels + p.taps as f64),
            seconds: flops / product_rate(p.batch.min(p.group_in())),
        }
    }

    fn fft(p: &ConvProblem) -> Plan {
        Plan::pieces(p).0
    }

    /// The plan that uses transforms, and the way to cut the maps that it found cheapest.
    pub(crate) fn pieces(p: &ConvProblem) -> (Plan, Geometry) {
        let mut plans = Geometry::candidates(p).into_iter().map(|g| (Plan::fft_of(p, &g), g));
        let first = plans.next().unwrap_or_else(|| {
            let whole = Geometry::whole(p);
            (Plan::fft_of(p, &whole), whole)
        });
        plans.fold(first, |best, plan| if plan.0.seconds < best.0.seconds { plan } else { best })
    }

    fn fft_of(p: &ConvProblem, geometry: &Geometry) -> Plan {
        let size = [geometry.rows.len, geometry.columns.len];
        let half = (size[1] / 2 + 1) as f64;
        let bins = size[0] as f64 * half;
        let work = |n: usize| n as f64 * (n as f64).log2().max(1.0);
        // Flops of the transform of one plane with some live rows.
        let plane = |live: f64| {
            let columns = if size[0] == 1 { 0.0 } else { half * 5.0 * work(size[0]) };
            live * 2.5 * work(size[1]) + columns
        };
        let samples = (p.batch * geometry.pieces()) as f64;
        let kernels = (p.c_out * p.group_in()) as f64;
        let rows = |n: usize| n as f64 / geometry.rows.pieces.len().max(1) as f64;
        let tap_rows = {
            let mut rows: Vec<i32> = p.offsets.iter().map(|o| o[0]).collect();
            rows.dedup();
            rows.len() as f64
        };
        // Forward: x, y and kernels. Backward: gradient, x again, input gradient, kernels twice.
        let (inputs, outputs) = (3.0 * samples * p.c_in as f64, 2.0 * samples * p.c_out as f64);
        let transforms = inputs * plane(rows(p.size[0]))
            + outputs * plane(rows(p.out_size()[0]))
            + 3.0 * kernels * plane(tap_rows);
        let products = 3.0 * 8.0 * bins * samples * kernels;
        let moved = (3 * p.batch * p.c_in * p.plane() + 2 * p.batch * p.c_out * p.out_plane()) as f64;
        let (rate, spectra) = if p.is_depthwise() {
            (POINTWISE_RATE, kernels * bins)
        } else {
            let between = half * (tap_rows * kernels + samples * (2.0 * rows(p.size[0]) * p.c_in as f64));
            (COMPLEX_PRODUCT_RATE, 2.0 * between)
        };
        // Spectra of left factors are packed; in others, few channels leave lanes of their vectors idle.
        let lanes = |channels: usize| if p.is_depthwise() { channels } else { channels.next_multiple_of(16) };
        let slots = p.groups * (2 * p.group_in() + lanes(p.group_in()) + 2 * lanes(p.group_out()));
        let passed = (samples * slots as f64 + 3.0 * kernels) * bins;
        Plan {
            algorithm: Algorithm::Fft,
            transform: Some(size),
            pieces: geometry.pieces(),
            flops: transforms + products,
            bytes: 8.0 * spectra,
            seconds: transforms / FFT_RATE + products / rate + moved / MOVE_RATE + passed / PASS_RATE,
        }
    }

    fn winograd(p: &ConvProblem) -> Plan {
        Plan::tiles(p).map_or_else(
            || Plan {
                algorithm: Algorithm::Winograd,
                transform: None,
                pieces: 1,
                flops: f64::INFINITY,
                bytes: 0.0,
                seconds: f64::INFINITY,
            },
            |(plan, _)| plan,
        )
    }

    /// The plan that uses short correlations, and the tiles that it found cheapest; `None` if there are
    /// none.
    pub(crate) fn tiles(p: &ConvProblem) -> Option<(Plan, Tiles)> {
        let plans = Tiles::candidates(p).into_iter().map(|tiles| (Plan::winograd_of(p, &tiles), tiles));
        plans.reduce(|best, plan| if plan.0.seconds < best.0.seconds { plan } else { best })
    }

    fn winograd_of(p: &ConvProblem, tiles: &Tiles) -> Plan {
        let lanes = |channels: usize| channels.next_multiple_of(16) as f64;
        let (groups, points) = (p.groups as f64, tiles.points() as f64);
        let (gi, go) = (p.group_in() as f64, p.group_out() as f64);
        let (inputs, outputs) = (lanes(p.group_in()), lanes(p.group_out()));
        let at_points = groups * points * (p.batch * tiles.tiles()) as f64;
        let flops = 2.0 * at_points * (2.0 * gi * outputs + go * inputs);
        let kernels = groups * points * (2.0 * gi * outputs + go * inputs);
        let passed = 3.0 * at_points * (inputs + outputs) + kernels;
        // Rows of tiles overlap.
        let overlap = 1.0 + 2.0 * (tiles.rows.points > 1) as u8 as f64 / 4.0;
        let moved = 3.0 * overlap * (p.batch * (p.c_in * p.plane() + p.c_out * p.out_plane())) as f64;
        Plan {
            algorithm: Algorithm::Winograd,
            transform: Some([tiles.rows.points, tiles.columns.points]),
            pieces: 1,
            flops,
            bytes: 4.0 * (kernels + 8.0 * (1 << 20) as f64),
            seconds: flops / TILE_PRODUCT_RATE + passed / TILE_RATE + moved / TILE_MOVE_RATE,
        }
    }

    fn gemm(p: &ConvProblem) -> Plan {
        let (products, segments) = gemm::products(p);
        let products = p.batch as f64 * products;
        let flops = 3.0 * 2.0 * products * (p.c_out * p.group_in()) as f64;
        let gathered = products * (2 * p.c_in + p.c_out) as f64;
        // A single tap that skips nothing sees the maps as they are.
        let moved = if p.offsets.len() == 1 && p.stride == [1, 1] { 0.0 } else { gathered };
        let gather = if p.stride == [1, 1] { GATHER_RATE } else { 0.5 * GATHER_RATE };
        let rate = product_rate(p.group_out().min(p.group_in() * p.offsets.len().max(1)));
        Plan {
            algorithm: Algorithm::Gemm,
            transform: None,
            pieces: 1,
            flops,
            bytes: 4.0 * 48.0 * 1024.0,
            seconds: flops / rate * if segments > 1 { SEGMENTS_COST } else { 1.0 } + moved / gather,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.algorithm)?;
        if let Some([rows, columns]) = self.transform {
            write!(f, " {rows}x{columns}")?;
        }
        if self.pieces > 1 {
            write!(f, " of {} pieces", self.pieces)?;
        }
        write!(f, ", {:.3} GFLOP, {:.1} MB", self.flops / 1e9, self.bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TapSet;

    fn problem(kernel: (usize, usize), c_in: usize, c_out: usize, groups: usize, n: usize) -> ConvProblem {
        let taps = TapSet::centred(2, kernel.0, kernel.1).unwrap();
        ConvProblem::new(&taps, 16, c_in, c_out, groups, [n, n], [1, 1]).unwrap()
    }

    #[test]
    fn pointwise_layers_are_matrix_products_and_mixtures_are_transforms() {
        assert_eq!(Plan::choose(&problem((1, 1), 64, 64, 1, 32)).algorithm, Algorithm::Gemm);
        let sets =
            [3, 5, 7, 9].iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()));
        let union = TapSet::union(&sets.collect::<Vec<_>>()).unwrap().0;
        let mixture = |groups| ConvProblem::new(&union, 16, 64, 64, groups, [64, 64], [1, 1]).unwrap();
        assert_eq!(Plan::choose(&mixture(64)).algorithm, Algorithm::Fft);
        assert_eq!(Plan::choose(&mixture(1)).algorithm, Algorithm::Fft);
        assert_eq!(Plan::choose(&problem((9, 1), 64, 64, 1, 64)).algorithm, Algorithm::Fft);
        assert_eq!(Plan::choose(&problem((3, 2), 64, 64, 1, 64)).algorithm, Algorithm::Winograd);
    }

    #[test]
    fn dilated_kernels_of_many_channels_are_cut_into_pieces() {
        // 64 x 64 kernels at the full size of a map would cost more than the products.
        let plan = Plan::with(Algorithm::Fft, &problem((3, 7), 64, 64, 1, 64));
        assert!(plan.pieces > 1, "{plan}");
    }

    #[test]
    fn a_plan_prints_what_it_will_do() {
        let plan = Plan::with(Algorithm::Fft, &problem((3, 1), 4, 4, 4, 31));
        assert!(plan.to_string().starts_with("fft "), "{plan}");
    }
}
