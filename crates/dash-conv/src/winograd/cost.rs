//! Estimates the cost of Winograd's algorithm on the CPU.

use super::tiling::Tiling;
use crate::{ConvProblem, algorithm::Cost, machine::CpuModel};

/// All tilings of a problem; none if its taps are not a small even grid.
pub(crate) fn candidates(p: &ConvProblem, machine: &CpuModel) -> Vec<(Tiling, Cost)> {
    Tiling::candidates(p).into_iter().map(|tiling| (tiling.clone(), cost(p, &tiling, machine))).collect()
}

fn cost(p: &ConvProblem, tiling: &Tiling, machine: &CpuModel) -> Cost {
    let lanes = |channels: usize| channels.next_multiple_of(16) as f64;
    let (groups, points) = (p.groups as f64, tiling.points() as f64);
    let (gi, go) = (p.group_in() as f64, p.group_out() as f64);
    let (inputs, outputs) = (lanes(p.group_in()), lanes(p.group_out()));
    let at_points = groups * points * (p.batch * tiling.tiles()) as f64;
    let flops = 2.0 * at_points * (2.0 * gi * outputs + go * inputs);
    let kernels = groups * points * (2.0 * gi * outputs + go * inputs);
    let passed = 3.0 * at_points * (inputs + outputs) + kernels;
    // Rows of tiles overlap.
    let overlap = 1.0 + 2.0 * (tiling.rows.points > 1) as u8 as f64 / 4.0;
    let moved = 3.0 * overlap * (p.batch * (p.c_in * p.plane() + p.c_out * p.out_plane())) as f64;
    Cost {
        flops,
        bytes: 4.0 * (kernels + 8.0 * (1 << 20) as f64),
        seconds: flops / machine.winograd_product_flops
            + passed / machine.winograd_tile_elements
            + moved / machine.winograd_map_elements,
    }
}
