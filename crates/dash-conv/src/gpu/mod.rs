//! What a convolution costs on a GPU: a model of one H100 (SXM), from its data sheet, not from measurements.
//!
//! Assumed: 67 Tflop/s in f32, of which taps in shared memory reach a quarter (one load per multiply-add), transforms in shared memory an eighth, and cuBLAS without TF32 six tenths where its matrices have many rows
//! and columns; 3.35 TB/s, of which streaming kernels reach four fifths; 132 multiprocessors, each with work for two
//! blocks at least; 4 us from one launch to the next. Matrix products of candle write every intermediate result to memory.

mod tiling;

use crate::{Algorithm, ConvProblem, Plan};
use dash_cuda::{MOST_TAPS, Tiling};
use tiling::Axis;

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
/// Blocks at work at once, where each leaves room for a second one on its multiprocessor.
const BLOCKS: f64 = 264.0;
/// Numbers of a transform that are worth a block; smaller ones share blocks.
const PER_BLOCK: f64 = 2048.0;
/// Launches of a step of kernels, of [`Algorithm::Dft`] with its gradients, and of kernels around products.
const LAUNCHES: [f64; 3] = [8.0, 90.0, 14.0];
/// Shared memory of a block of an H100, in bytes.
const SHARED: usize = 227 << 10;
/// Bytes of the spectra of kernels that are not thought about.
const MOST_SPECTRA: f64 = (4_u64 << 30) as f64;
/// Bytes that kernels around products keep at a time.
const AT_A_TIME: f64 = (1_u64 << 30) as f64;

impl Algorithm {
    /// What is chosen from on a GPU.
    pub const ON_GPU: [Algorithm; 4] = [Algorithm::Dft, Algorithm::Direct, Algorithm::Fft, Algorithm::Gemm];
}

impl Plan {
    /// The plan that uses `algorithm` on an H100; it takes forever if there is no kernel for the problem.
    pub fn on_gpu(algorithm: Algorithm, p: &ConvProblem) -> Plan {
        Plan::on_gpu_of(algorithm, p, SHARED)
    }

    /// The plan with the least estimated time on a GPU whose blocks may have `shared` bytes of shared memory.
    pub fn choose_on_gpu(p: &ConvProblem, shared: usize) -> Plan {
        let [first, rest @ ..] = Algorithm::ON_GPU.map(|algorithm| Plan::on_gpu_of(algorithm, p, shared));
        rest.into_iter().fold(first, |best, plan| if plan.seconds < best.seconds { plan } else { best })
    }

    /// The plan that uses `algorithm` on such a GPU.
    pub(crate) fn on_gpu_of(algorithm: Algorithm, p: &ConvProblem, shared: usize) -> Plan {
        let maps = map_bytes(p);
        match algorithm {
            // Without taps there is nothing to compute, and on a GPU no memory without numbers.
            Algorithm::Direct | Algorithm::Fft | Algorithm::Gemm if p.offsets.is_empty() => {
                Plan::no_kernel(algorithm)
            }
            Algorithm::Direct if p.is_depthwise() && p.offsets.len() <= MOST_TAPS => {
                // Taps are counted for the outputs at which they meet data, and not by vectors as on the CPU.
                let flops = 6.0 * p.covered_multiply_adds();
                let seconds = flops / TAPS_RATE + maps / MEMORY_RATE + LAUNCHES[0] * LAUNCH;
                Plan {
                    flops,
                    bytes: 8.0 * (512 * p.offsets.len()) as f64,
                    seconds,
                    ..Plan::no_kernel(algorithm)
                }
            }
            // Spectra of maps and kernels, real and imaginary parts, are written and read by about ten products.
            Algorithm::Dft => {
                let plan = Plan::with(algorithm, p);
                let traffic = (maps + 10.0 * plan.bytes) / MEMORY_RATE;
                let seconds = plan.flops / PRODUCT_RATE + traffic + LAUNCHES[1] * LAUNCH;
                Plan { seconds, ..plan }
            }
            Algorithm::Fft => {
                Plan::cut_on_gpu(p, shared).map_or_else(|| Plan::no_kernel(algorithm), |(plan, _)| plan)
            }
            Algorithm::Gemm if !p.is_depthwise() => Plan::columns(p),
            _ => Plan::no_kernel(algorithm),
        }
    }

    fn no_kernel(algorithm: Algorithm) -> Plan {
        let (flops, seconds) = (f64::INFINITY, f64::INFINITY);
        Plan { algorithm, transform: None, pieces: 1, flops, bytes: 0.0, seconds }
    }

    /// The plan that uses transforms, and the way to cut the maps that is expected to be fastest; `None` if there is no
    /// kernel for the problem.
    pub(crate) fn cut_on_gpu(p: &ConvProblem, shared: usize) -> Option<(Plan, Tiling)> {
        let [rows, columns] = [0, 1].map(|axis| Axis::candidates(p, axis));
        let mut best: Option<(Plan, &Axis, &Axis)> = None;
        for (rows, columns) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
            if 8 * rows.len() * columns.len() > shared {
                continue;
            }
            let plan = if p.is_depthwise() {
                Plan::depthwise(p, [rows, columns])
            } else {
                Plan::products(p, [rows, columns])
            };
            if plan.seconds < best.as_ref().map_or(f64::INFINITY, |(best, ..)| best.seconds) {
                best = Some((plan, rows, columns));
            }
        }
        best.map(|(plan, rows, columns)| (plan, tiling::tiling(rows, columns)))
    }

    /// Pairs of samples as complex maps: two transforms for the result, two for the gradient of the input and two for
    /// that of the weights, whose sums are transformed back once.
    fn depthwise(p: &ConvProblem, axes: [&Axis; 2]) -> Plan {
        let (numbers, [forward, back]) = (numbers(axes), pieces(axes));
        let pairs = (p.c_in * p.batch.div_ceil(2)) as f64;
        let jobs = pairs * (2.0 * forward + back);
        let flops = jobs * (2.0 * transform_flops(numbers) + 6.0 * numbers);
        // Spectra of kernels are read for every job, mostly from the cache; pieces overlap.
        let moved = map_bytes(p) + 8.0 * jobs * numbers;
        let seconds = flops / transform_rate(numbers, pairs * forward.min(back))
            + moved / MEMORY_RATE
            + LAUNCHES[0] * LAUNCH;
        // Kernels' spectra, and what blocks of the gradient of the weights keep in memory.
        let bytes = 8.0 * numbers * (p.c_in + 2 * 512.max(p.c_in)) as f64;
        Plan { flops, bytes, seconds, ..Plan::transforms(axes) }
    }

    /// A product per frequency: two channels at a time, x and the gradient are transformed twice, the result and
    /// the gradient of x once, kernels twice and their gradient once.
    fn products(p: &ConvProblem, axes: [&Axis; 2]) -> Plan {
        let (numbers, [forward, back]) = (numbers(axes), pieces(axes));
        let (forward, back) = (forward * p.batch as f64, back * p.batch as f64);
        let pairs = (p.c_out * p.group_in()) as f64;
        let halved = |channels: usize| (p.groups * channels.div_ceil(2)) as f64;
        let (inputs, outputs) = (halved(p.group_in()), halved(p.group_out()));
        let kernels = (p.c_in * p.group_out().div_ceil(2)) as f64;
        let transforms = inputs * (2.0 * forward + back) + outputs * (2.0 * forward + back) + 3.0 * kernels;
        let bins = 0.5 * numbers;
        let products = 8.0 * bins * pairs * (2.0 * forward + back);
        let flops = products + transforms * transform_flops(numbers);
        // Spectra of maps are written and read; those of kernels are real matrices of twice the size.
        let of_maps = 16.0 * bins * (p.c_in + p.c_out) as f64 * (2.0 * forward + back);
        let of_kernels = 16.0 * bins * pairs;
        let blocks = forward.min(back) * inputs.min(outputs);
        let seconds = (flops - products) / transform_rate(numbers, blocks)
            + products / product_rate([forward.min(back) as usize, 2 * p.group_in(), 2 * p.group_out()])
            + (map_bytes(p) + of_maps + 6.0 * of_kernels) / MEMORY_RATE
            + LAUNCHES[2] * LAUNCH;
        let seconds = if of_kernels > MOST_SPECTRA { f64::INFINITY } else { seconds };
        // Where samples are computed in turn, sums of products are kept beside the products.
        let copies = if of_maps / 6.0 > AT_A_TIME { 4.0 } else { 2.0 };
        let bytes = copies * of_kernels + (of_maps / 6.0).min(AT_A_TIME);
        Plan { flops, bytes, seconds, ..Plan::transforms(axes) }
    }

    fn transforms(axes: [&Axis; 2]) -> Plan {
        let [forward, _] = pieces(axes);
        let transform = Some(axes.map(Axis::len));
        Plan { transform, pieces: forward as usize, ..Plan::no_kernel(Algorithm::Fft) }
    }

    /// A product per sample of what the taps see, which is written and read three times.
    fn columns(p: &ConvProblem) -> Plan {
        let columns = (p.batch * p.c_in * p.offsets.len() * p.out_plane()) as f64;
        let flops = 6.0 * columns * p.group_out() as f64;
        let weights = (p.batch * p.c_out * p.group_in() * p.offsets.len()) as f64;
        let moved = map_bytes(p) + 4.0 * (6.0 * columns + 2.0 * weights);
        let rate = product_rate([p.group_out(), p.group_in() * p.offsets.len(), p.out_plane()]);
        let seconds = flops / rate + moved / MEMORY_RATE + LAUNCHES[2] * LAUNCH;
        let bytes = (8.0 * columns).min(AT_A_TIME) + 8.0 * weights;
        Plan { flops, bytes, seconds, ..Plan::no_kernel(Algorithm::Gemm) }
    }
}

/// Bytes of maps that a step reads and writes at least: x, y, their gradients, and x and the gradient of y once more.
fn map_bytes(p: &ConvProblem) -> f64 {
    4.0 * (3 * p.batch * p.c_in * p.plane() + 3 * p.batch * p.c_out * p.out_plane()) as f64
}

/// Numbers of a transform.
fn numbers(axes: [&Axis; 2]) -> f64 {
    axes.map(|axis| axis.len() as f64).iter().product()
}

/// Pieces of a map, and of a gradient.
fn pieces([rows, columns]: [&Axis; 2]) -> [f64; 2] {
    let count = |of: fn(&Axis) -> usize| (of(rows) * of(columns)) as f64;
    [count(|axis| axis.forward.pieces.len()), count(|axis| axis.back.pieces.len())]
}

/// Flops of a complex transform.
fn transform_flops(numbers: f64) -> f64 {
    5.0 * numbers * numbers.log2().max(1.0)
}

/// Flops per second of at least `jobs` transforms of so many numbers.
fn transform_rate(numbers: f64, jobs: f64) -> f64 {
    let blocks = (jobs * numbers / PER_BLOCK).min(jobs);
    let busy = (blocks / BLOCKS).min(1.0);
    // A block that leaves no room for a second one waits for its own barriers.
    let alone = if 8.0 * numbers > 0.5 * SHARED as f64 { 0.6 } else { 1.0 };
    TRANSFORM_RATE * busy.max(1e-3) * alone
}

/// Flops per second of products of matrices of these sizes: tiles of cuBLAS are computed whole.
fn product_rate(sizes: [usize; 3]) -> f64 {
    let used = sizes.map(|n| n.max(1) as f64 / n.max(1).next_multiple_of(32) as f64);
    PRODUCT_RATE * used.iter().product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, oracle};
    use candle_core::{Device, Tensor};
    use dash_cuda::Gpu;

    #[test]
    fn few_taps_are_products_and_many_are_transformed() {
        let sets =
            [3, 5, 7, 9].iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()));
        let union = TapSet::union(&sets.collect::<Vec<_>>()).unwrap().0;
        let plan = |groups| {
            let p = ConvProblem::new(&union, 64, 32, 32, groups, [16, 16], [1, 1]).unwrap();
            Algorithm::ON_GPU.map(|algorithm| Plan::on_gpu(algorithm, &p).seconds)
        };
        let ([dft, direct, fft, columns], [dense_dft, dense_direct, dense_fft, many]) = (plan(32), plan(1));
        assert!(direct < dft && fft < dft && dense_dft.is_finite());
        assert!(dense_fft < dense_dft && dense_fft < many, "many taps are transformed");
        assert_eq!([dense_direct, columns], [f64::INFINITY; 2]);
        let few = TapSet::centred(2, 1, 1).unwrap();
        let p = ConvProblem::new(&few, 64, 32, 32, 1, [16, 16], [1, 1]).unwrap();
        let [dft, _, fft, columns] = Algorithm::ON_GPU.map(|algorithm| Plan::on_gpu(algorithm, &p).seconds);
        assert!(columns < fft && columns < dft, "few taps are not");
    }

    #[test]
    fn maps_that_have_no_room_are_cut() {
        let union = TapSet::union(&[1, 3, 7, 15].map(|d| TapSet::centred(2, 9, d).unwrap())).unwrap().0;
        for (groups, size) in [(16, [128, 128]), (1, [128, 128]), (16, [1, 100_000])] {
            let taps = if size[0] > 1 { union.clone() } else { TapSet::centred(1, 19, 15).unwrap() };
            let p = ConvProblem::new(&taps, 4, 16, 16, groups, size, [1, 1]).unwrap();
            // Maps of far taps in two axes have no room in less.
            let limits: &[usize] = if size[0] > 1 { &[SHARED] } else { &[SHARED, 48 << 10] };
            for &shared in limits {
                let (plan, tiling) = Plan::cut_on_gpu(&p, shared).unwrap();
                assert!(plan.pieces > 1 && 8 * tiling.size[0] * tiling.size[1] <= shared, "{plan}");
                assert!(plan.seconds.is_finite());
            }
        }
        let p = ConvProblem::new(&union, 4, 16, 16, 16, [16, 16], [1, 1]).unwrap();
        assert!(Plan::cut_on_gpu(&p, 1 << 10).is_none(), "no room for a single piece");
    }

    /// Every way to cut maps gives what the definition says, on the emulator.
    #[test]
    fn pieces_together_are_the_whole_convolution() {
        let device = Device::Cpu;
        let gpu = Gpu::Emulator(dash_cuda::Emulator::default());
        for (groups, channels, size, stride, kernel, dilation) in [
            (3, [3, 3], [1, 40], [1, 1], 3, 4),
            (2, [2, 2], [13, 16], [2, 1], 3, 1),
            (3, [3, 3], [9, 12], [2, 3], 3, 2),
            (1, [3, 2], [12, 15], [1, 1], 5, 1),
            (2, [4, 6], [10, 14], [2, 2], 3, 3),
            (1, [1, 5], [1, 50], [1, 2], 7, 2),
        ] {
            let taps = TapSet::centred(if size[0] > 1 { 2 } else { 1 }, kernel, dilation).unwrap();
            let p = ConvProblem::new(&taps, 3, channels[0], channels[1], groups, size, stride).unwrap();
            let [x_len, w_len, y_len] = p.lens();
            let [x, w, b, g] = [x_len, w_len, p.c_out, y_len].map(|len| {
                let value = |i: usize| ((i * i + 7 * len + 3 * i) % 23) as f32 / 11.5 - 1.0;
                (0..len).map(value).collect::<Vec<f32>>()
            });
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let y = oracle::forward(&p, &wide(&x), &wide(&w), &wide(&b));
            let expected = oracle::backward(&p, &wide(&x), &wide(&w), &wide(&g));
            let [x, w, b, g] = [x, w, b, g].map(|v| Tensor::from_slice(&v, v.len(), &device).unwrap());
            let (mut ways, mut most) = (0, 1);
            let [rows, columns] = [0, 1].map(|axis| Axis::candidates(&p, axis));
            for (rows, columns) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
                let conv = crate::op::transforms_on(&gpu, &p, tiling::tiling(rows, columns)).unwrap();
                let (dx, dw) = conv.gradients(&gpu, &x, &w, &g, true).unwrap();
                let got = [conv.forward(&gpu, &x, &w, &b).unwrap(), dx.unwrap(), dw];
                for (got, expected) in got.iter().zip([&y, &expected.input, &expected.weights]) {
                    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    let size = expected.iter().fold(1f64, |m, v| m.max(v.abs()));
                    let far =
                        |(got, expected): (&f32, &f64)| (f64::from(*got) - expected).abs() > 2e-6 * size;
                    assert_eq!(got.len(), expected.len());
                    assert!(!got.iter().zip(expected).any(far), "{p}: {rows:?} {columns:?}");
                }
                ways += 1;
                most = most.max(rows.forward.pieces.len() * columns.forward.pieces.len());
            }
            assert!(ways > 3 && most > 3, "{ways} ways, {most} pieces");
        }
    }

    #[test]
    fn spectra_of_kernels_are_not_larger_than_memory() {
        // As a layer of the retraining network of Darcy Flow may be: 256 x 256 kernels on maps of 85 x 85.
        for (kernel, dilation) in [(9, 15), (9, 1), (5, 3)] {
            let taps = TapSet::centred(2, kernel, dilation).unwrap();
            let p = ConvProblem::new(&taps, 10, 256, 256, 1, [85, 85], [1, 1]).unwrap();
            let plan = Plan::choose_on_gpu(&p, SHARED);
            assert!(plan.bytes < 4e9, "{plan}");
        }
    }
}
