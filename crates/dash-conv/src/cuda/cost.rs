//! Estimates the cost of a convolution on a GPU.

use super::{
    GpuRecipe,
    depthwise::MOST_TAPS,
    tiling::{Axis, GpuTiling},
};
use crate::{
    Algorithm, ConvProblem,
    algorithm::Cost,
    dft::{self, DftSize},
    machine::{CpuModel, GpuModel},
};
use std::sync::Arc;

/// All recipes of an algorithm that are worth a comparison; none if there is no kernel for the problem.
pub(crate) fn candidates(algorithm: Algorithm, p: &ConvProblem, gpu: &GpuModel) -> Vec<(GpuRecipe, Cost)> {
    match algorithm {
        // Without taps there is nothing to compute, and a GPU has no buffers without elements.
        _ if p.offsets.is_empty() => Vec::new(),
        Algorithm::Direct if p.is_depthwise() && p.offsets.len() <= MOST_TAPS => {
            vec![(GpuRecipe::Taps, taps(p, gpu))]
        }
        Algorithm::Fft => {
            tilings(p, gpu).into_iter().map(|(tiling, cost)| (GpuRecipe::Fft(tiling), cost)).collect()
        }
        Algorithm::Gemm if !p.is_depthwise() => vec![(GpuRecipe::Columns, columns(p, gpu))],
        _ => Vec::new(),
    }
}

/// Candle's tensor operations. Matrix products write every intermediate result to memory: spectra of maps and kernels,
/// real and imaginary parts, are written and read by about ten products.
pub(crate) fn dft(p: &ConvProblem, gpu: &GpuModel) -> (DftSize, Cost) {
    let (size, cost) = dft::cost::candidate(p, &CpuModel::ZEN4);
    let traffic = (map_bytes(p) + 10.0 * cost.bytes) / gpu.memory_bytes;
    let seconds = cost.flops / gpu.product_flops + traffic + gpu.tensor_launches * gpu.launch_seconds;
    (size, Cost { seconds, ..cost })
}

/// Taps are counted for the outputs at which they meet data, and not by vectors as on the CPU.
fn taps(p: &ConvProblem, gpu: &GpuModel) -> Cost {
    let flops = 6.0 * p.covered_multiply_adds();
    let seconds =
        flops / gpu.tap_flops + map_bytes(p) / gpu.memory_bytes + gpu.fused_launches * gpu.launch_seconds;
    Cost { flops, bytes: 8.0 * (512 * p.offsets.len()) as f64, seconds }
}

/// The tilings whose transforms fit in shared memory.
fn tilings(p: &ConvProblem, gpu: &GpuModel) -> Vec<(GpuTiling, Cost)> {
    let [rows, columns] =
        [0, 1].map(|axis| Axis::candidates(p, axis).into_iter().map(Arc::new).collect::<Vec<_>>());
    let pairs = rows.iter().flat_map(|rows| {
        columns.iter().map(|columns| GpuTiling { rows: rows.clone(), columns: columns.clone() })
    });
    let fitting = pairs.filter(|tiling| 8 * tiling.size()[0] * tiling.size()[1] <= gpu.shared_memory);
    let priced = fitting.filter_map(|tiling| {
        let cost =
            if p.is_depthwise() { Some(depthwise(p, &tiling, gpu)) } else { products(p, &tiling, gpu) };
        Some((tiling, cost?))
    });
    priced.collect()
}

/// Pairs of samples as complex maps: two transforms for the result, two for the gradient of the input and two for
/// that of the weights, whose sums are transformed back once.
fn depthwise(p: &ConvProblem, tiling: &GpuTiling, gpu: &GpuModel) -> Cost {
    let (elements, [forward, back]) = (elements(tiling), tiles(tiling));
    let pairs = (p.c_in * p.batch.div_ceil(2)) as f64;
    let jobs = pairs * (2.0 * forward + back);
    let flops = jobs * (2.0 * transform_flops(elements) + 6.0 * elements);
    // Spectra of kernels are read for every job, mostly from the cache; pieces overlap.
    let moved = map_bytes(p) + 8.0 * jobs * elements;
    let seconds = flops / transform_rate(elements, pairs * forward.min(back), gpu)
        + moved / gpu.memory_bytes
        + gpu.fused_launches * gpu.launch_seconds;
    // Kernels' spectra, and what blocks of the gradient of the weights keep in memory.
    let bytes = 8.0 * elements * (p.c_in + 2 * 512.max(p.c_in)) as f64;
    Cost { flops, bytes, seconds }
}

/// A product per frequency: two channels at a time, x and the gradient are transformed twice, the result and
/// the gradient of x once, kernels twice and their gradient once.
fn products(p: &ConvProblem, tiling: &GpuTiling, gpu: &GpuModel) -> Option<Cost> {
    let (elements, [forward, back]) = (elements(tiling), tiles(tiling));
    let (forward, back) = (forward * p.batch as f64, back * p.batch as f64);
    let pairs = (p.c_out * p.group_in()) as f64;
    let halved = |channels: usize| (p.groups * channels.div_ceil(2)) as f64;
    let (inputs, outputs) = (halved(p.group_in()), halved(p.group_out()));
    let kernels = (p.c_in * p.group_out().div_ceil(2)) as f64;
    let transforms = inputs * (2.0 * forward + back) + outputs * (2.0 * forward + back) + 3.0 * kernels;
    let bins = 0.5 * elements;
    let products = 8.0 * bins * pairs * (2.0 * forward + back);
    let flops = products + transforms * transform_flops(elements);
    // Spectra of maps are written and read; those of kernels are real matrices of twice the size.
    let of_maps = 16.0 * bins * (p.c_in + p.c_out) as f64 * (2.0 * forward + back);
    let of_kernels = 16.0 * bins * pairs;
    if of_kernels > gpu.kernel_spectra_bytes {
        return None;
    }
    let blocks = forward.min(back) * inputs.min(outputs);
    let seconds = (flops - products) / transform_rate(elements, blocks, gpu)
        + products / product_rate([forward.min(back) as usize, 2 * p.group_in(), 2 * p.group_out()], gpu)
        + (map_bytes(p) + of_maps + 6.0 * of_kernels) / gpu.memory_bytes
        + gpu.product_launches * gpu.launch_seconds;
    // Where samples are computed in turn, sums of products are kept beside the products.
    let copies = if of_maps / 6.0 > gpu.chunk_bytes { 4.0 } else { 2.0 };
    let bytes = copies * of_kernels + (of_maps / 6.0).min(gpu.chunk_bytes);
    Some(Cost { flops, bytes, seconds })
}

/// A product per sample of what the taps see, which is written and read three times.
fn columns(p: &ConvProblem, gpu: &GpuModel) -> Cost {
    let columns = (p.batch * p.c_in * p.offsets.len() * p.out_plane()) as f64;
    let flops = 6.0 * columns * p.group_out() as f64;
    let weights = (p.batch * p.c_out * p.group_in() * p.offsets.len()) as f64;
    let moved = map_bytes(p) + 4.0 * (6.0 * columns + 2.0 * weights);
    let rate = product_rate([p.group_out(), p.group_in() * p.offsets.len(), p.out_plane()], gpu);
    let seconds = flops / rate + moved / gpu.memory_bytes + gpu.product_launches * gpu.launch_seconds;
    let bytes = (8.0 * columns).min(gpu.chunk_bytes) + 8.0 * weights;
    Cost { flops, bytes, seconds }
}

/// Bytes of maps that a step reads and writes at least: x, y, their gradients, and x and the gradient of y once more.
fn map_bytes(p: &ConvProblem) -> f64 {
    4.0 * (3 * p.batch * p.c_in * p.plane() + 3 * p.batch * p.c_out * p.out_plane()) as f64
}

/// Elements of a transform.
fn elements(tiling: &GpuTiling) -> f64 {
    tiling.size().map(|len| len as f64).iter().product()
}

/// Tiles of a map, and of a gradient.
fn tiles(GpuTiling { rows, columns }: &GpuTiling) -> [f64; 2] {
    let count = |of: fn(&Axis) -> usize| (of(rows) * of(columns)) as f64;
    [count(|axis| axis.forward.tiles.len()), count(|axis| axis.back.tiles.len())]
}

/// Flops of a complex transform.
fn transform_flops(elements: f64) -> f64 {
    5.0 * elements * elements.log2().max(1.0)
}

/// Flops per second of at least `jobs` transforms of so many elements.
fn transform_rate(elements: f64, jobs: f64, gpu: &GpuModel) -> f64 {
    let blocks = (jobs * elements / gpu.elements_per_block).min(jobs);
    let busy = (blocks / gpu.blocks).min(1.0);
    // A block that leaves no room for a second one waits for its own barriers.
    let alone = if 8.0 * elements > 0.5 * gpu.block_memory as f64 { 0.6 } else { 1.0 };
    gpu.transform_flops * busy.max(1e-3) * alone
}

/// Flops per second of products of matrices of these sizes: tiles of cuBLAS are computed whole.
fn product_rate(sizes: [usize; 3], gpu: &GpuModel) -> f64 {
    let used = sizes.map(|n| n.max(1) as f64 / n.max(1).next_multiple_of(32) as f64);
    gpu.product_flops * used.iter().product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, Plan, TapSet, testing::problem};

    #[test]
    fn few_taps_are_products_and_many_are_transformed() {
        let sets =
            [3, 5, 7, 9].iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()));
        let union = TapSet::union(&sets.collect::<Vec<_>>()).unwrap().0;
        // Seconds of dft, direct, fft and gemm; none where there is no kernel.
        let seconds = |p: &ConvProblem| {
            let machine = Machine::Gpu(GpuModel::H100);
            Algorithm::ON_GPU.map(|algorithm| {
                Plan::choose_among(&[algorithm], p, &machine).ok().map(|plan| plan.cost().seconds)
            })
        };
        let mixture = |groups| problem(&union, [64, 32, 32, groups], [16, 16], [1, 1]);
        let [dft, direct, fft, gemm] = seconds(&mixture(32));
        assert!(direct < dft && fft < dft && gemm.is_none());
        let [dft, direct, fft, gemm] = seconds(&mixture(1));
        assert!(fft < dft && fft < gemm && direct.is_none(), "many taps are transformed");
        let one = TapSet::centred(2, 1, 1).unwrap();
        let p = problem(&one, [64, 32, 32, 1], [16, 16], [1, 1]);
        let [dft, _, fft, gemm] = seconds(&p);
        assert!(gemm < fft && gemm < dft, "one tap is not");
    }

    fn best(p: &ConvProblem, shared_memory: usize) -> Option<(GpuTiling, Cost)> {
        let gpu = GpuModel { shared_memory, ..GpuModel::H100 };
        tilings(p, &gpu).into_iter().reduce(|a, b| if b.1.seconds < a.1.seconds { b } else { a })
    }

    #[test]
    fn maps_that_do_not_fit_in_shared_memory_are_tiled() {
        let union = TapSet::union(&[1, 3, 7, 15].map(|d| TapSet::centred(2, 9, d).unwrap())).unwrap().0;
        for (groups, size) in [(16, [128, 128]), (1, [128, 128]), (16, [1, 100_000])] {
            let taps = if size[0] > 1 { union.clone() } else { TapSet::centred(1, 19, 15).unwrap() };
            let p = problem(&taps, [4, 16, 16, groups], size, [1, 1]);
            // Far taps in two axes do not fit in less.
            let limits: &[usize] = if size[0] > 1 { &[227 << 10] } else { &[227 << 10, 48 << 10] };
            for &shared in limits {
                let (tiling, cost) = best(&p, shared).unwrap();
                assert!(
                    tiling.count() > 1 && 8 * tiling.size()[0] * tiling.size()[1] <= shared,
                    "{tiling:?}"
                );
                assert!(cost.seconds.is_finite());
            }
        }
        let p = problem(&union, [4, 16, 16, 16], [16, 16], [1, 1]);
        assert!(best(&p, 1 << 10).is_none(), "no room for a single tile");
    }

    #[test]
    fn spectra_of_kernels_are_not_larger_than_memory() {
        // As a layer of the retraining network of Darcy Flow may be: 256 x 256 kernels on maps of 85 x 85.
        for (kernel, dilation) in [(9, 15), (9, 1), (5, 3)] {
            let taps = TapSet::centred(2, kernel, dilation).unwrap();
            let p = problem(&taps, [10, 256, 256, 1], [85, 85], [1, 1]);
            let plan = Plan::choose(&p, &Machine::Gpu(GpuModel::H100));
            assert!(plan.cost().bytes < 4e9, "{plan}");
        }
    }
}
