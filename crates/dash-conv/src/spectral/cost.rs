//! Estimates the cost of Fourier transforms on the CPU.

use super::tiling::Tiling;
use crate::{ConvProblem, algorithm::Cost, machine::CpuModel};

/// All tilings that are worth a comparison.
pub(crate) fn candidates(p: &ConvProblem, machine: &CpuModel) -> Vec<(Tiling, Cost)> {
    Tiling::candidates(p).into_iter().map(|tiling| (tiling.clone(), cost(p, &tiling, machine))).collect()
}

fn cost(p: &ConvProblem, tiling: &Tiling, machine: &CpuModel) -> Cost {
    let size = [tiling.rows.len, tiling.columns.len];
    let half = (size[1] / 2 + 1) as f64;
    let bins = size[0] as f64 * half;
    let work = |n: usize| n as f64 * (n as f64).log2().max(1.0);
    // Flops of the transform of one plane of which some rows hold data.
    let plane = |live: f64| {
        let columns = if size[0] == 1 { 0.0 } else { half * 5.0 * work(size[0]) };
        live * 2.5 * work(size[1]) + columns
    };
    let samples = (p.batch * tiling.count()) as f64;
    let kernels = (p.c_out * p.group_in()) as f64;
    let rows = |n: usize| n as f64 / tiling.rows.tiles.len().max(1) as f64;
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
        (machine.pointwise_flops, kernels * bins)
    } else {
        let intermediate = half * (tap_rows * kernels + samples * (2.0 * rows(p.size[0]) * p.c_in as f64));
        (machine.complex_product_flops, 2.0 * intermediate)
    };
    // Spectra of left factors are packed; in others, few channels leave lanes of their vectors idle.
    let lanes = |channels: usize| if p.is_depthwise() { channels } else { channels.next_multiple_of(16) };
    let slots = p.groups * (2 * p.group_in() + lanes(p.group_in()) + 2 * lanes(p.group_out()));
    let passed = (samples * slots as f64 + 3.0 * kernels) * bins;
    Cost {
        flops: transforms + products,
        bytes: 8.0 * spectra,
        seconds: transforms / machine.fft_flops
            + products / rate
            + moved / machine.transposed_elements
            + passed / machine.spectrum_elements,
    }
}
