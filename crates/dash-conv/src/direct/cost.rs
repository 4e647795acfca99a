//! Estimates the cost of the direct algorithm on the CPU.

use super::{Layout, stencil::Stencil};
use crate::{ConvProblem, algorithm::Cost, grid::Grid, machine::CpuModel, simd::LANES};

/// The layout that suits the problem.
pub(crate) fn candidates(p: &ConvProblem, machine: &CpuModel) -> Vec<(Layout, Cost)> {
    vec![if p.is_depthwise() {
        (Layout::Depthwise, depthwise(p, machine))
    } else {
        (Layout::Rows, rows(p, machine))
    }]
}

fn rows(p: &ConvProblem, machine: &CpuModel) -> Cost {
    let flops = 3.0 * 2.0 * p.covered_multiply_adds();
    let pairs = (p.batch * p.c_out * p.group_in()) as f64;
    let moved = (3 * p.batch * p.c_in * p.plane() + 2 * p.batch * p.c_out * p.out_plane()) as f64;
    let padded = (p.size[0] * (p.size[1] + 2 * p.receptive_radius()[1] + 32)) as f64;
    // Blocks of a row are computed whole: narrow rows waste lanes.
    let lanes = (p.out_size()[1].next_multiple_of(32) as f64 / p.out_size()[1] as f64).min(4.0);
    Cost {
        flops,
        bytes: 4.0 * padded * p.group_in() as f64,
        seconds: flops * lanes / machine.direct_flops
            + pairs * padded / machine.gathered_elements
            + moved / machine.direct_elements,
    }
}

fn depthwise(p: &ConvProblem, machine: &CpuModel) -> Cost {
    let batches = p.batch.div_ceil((LANES / p.c_in).max(1)) * p.c_in.div_ceil(LANES);
    let multiply_adds = Stencil::new(Grid::forward(p)).multiply_adds();
    let vectors = 3.0 * batches as f64 * multiply_adds;
    let moved = (p.batch * p.c_in * (3 * p.plane() + 2 * p.out_plane())) as f64;
    Cost {
        flops: 2.0 * LANES as f64 * vectors,
        bytes: (4 * LANES * (2 * p.plane() + p.out_plane())) as f64,
        seconds: vectors / machine.direct_vectors[usize::from(p.plane() > 512)]
            + moved / machine.transposed_elements,
    }
}
