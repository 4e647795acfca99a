//! Estimates the cost of the matrix-product algorithm on the CPU.

use super::tiles::{Segment, segments};
use crate::{ConvProblem, algorithm::Cost, grid::Grid, machine::CpuModel};

/// The segments of the outputs, and what they cost.
pub(crate) fn candidates(p: &ConvProblem, machine: &CpuModel) -> Vec<(Vec<Segment>, Cost)> {
    let segments = segments(&Grid::forward(p));
    let products = p.batch as f64 * multiply_adds(&segments);
    let flops = 3.0 * 2.0 * products * (p.c_out * p.group_in()) as f64;
    let gathered = products * (2 * p.c_in + p.c_out) as f64;
    // A single tap that skips nothing sees the maps as they are.
    let moved = if p.offsets.len() == 1 && p.stride == [1, 1] { 0.0 } else { gathered };
    let gather = if p.stride == [1, 1] { machine.gathered_elements } else { 0.5 * machine.gathered_elements };
    let rate = machine.product_rate(p.group_out().min(p.group_in() * p.offsets.len().max(1)));
    let slowdown = if segments.len() > 1 { machine.segments_slowdown } else { 1.0 };
    let cost = Cost { flops, bytes: 4.0 * 48.0 * 1024.0, seconds: flops / rate * slowdown + moved / gather };
    vec![(segments, cost)]
}

/// Multiply-adds per sample and pair of channels.
fn multiply_adds(segments: &[Segment]) -> f64 {
    let of = |s: &Segment| (s.rows.len() * s.columns.len() * s.taps.len()) as f64;
    segments.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::problem};

    #[test]
    fn far_taps_are_multiplied_only_where_they_meet_data() {
        let products = |kernel_size, dilation, n| {
            let taps = TapSet::centred(2, kernel_size, dilation).unwrap();
            let problem = problem(&taps, [1, 1, 1, 1], [n, n], [1, 1]);
            let segments = segments(&Grid::forward(&problem));
            (multiply_adds(&segments), segments.len())
        };
        // Nothing to gain: all nine taps meet data everywhere.
        assert_eq!(products(3, 1, 32), ((9 * 32 * 32) as f64, 1));
        // Offsets -15, 0 and 15 meet 1 + 16 + 1 of 16 positions per axis.
        assert_eq!(products(3, 15, 16), ((18 * 18) as f64, 9));
    }
}
