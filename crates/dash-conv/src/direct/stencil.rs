//! Finds the taps that meet data for each block of neighbouring outputs, once per problem.

use crate::grid::Grid;
use std::ops::Range;

/// The number of neighbouring outputs of a row that are summed at the same time.
pub(super) const BLOCK: usize = 8;

/// The taps of one row offset.
pub(super) struct TapRow {
    pub(super) shift: i64,
    /// The rows of outputs for which they meet data.
    pub(super) live: Range<usize>,
    /// For each block of outputs, the range of taps that meet data.
    pub(super) blocks: Vec<Range<usize>>,
}

/// A grid with its taps grouped by row offset.
pub(super) struct Stencil {
    pub(super) grid: Grid,
    pub(super) rows: Vec<TapRow>,
    /// The column shift of each tap, row by row, ascending.
    pub(super) shifts: Vec<i64>,
}

impl Stencil {
    pub(super) fn new(grid: Grid) -> Stencil {
        let shifts: Vec<i64> = grid.taps.iter().map(|tap| tap.shift[1]).collect();
        let mut rows: Vec<TapRow> = Vec::new();
        let mut start = 0;
        for taps in grid.taps.chunk_by(|a, b| a.shift[0] == b.shift[0]) {
            let of_row = &shifts[start..start + taps.len()];
            let blocks = (0..grid.count[1]).step_by(BLOCK).map(|first| {
                // The range of taps for which some output t of the block has 0 <= in_step t + shift < size.
                let last = (first + BLOCK).min(grid.count[1]) - 1;
                let [low, high] = [first, last].map(|t| (t * grid.in_step[1]) as i64);
                let from = of_row.partition_point(|shift| high + shift < 0);
                let to = of_row.partition_point(|shift| low + shift < grid.size[1] as i64);
                start + from..start + to.max(from)
            });
            let shift = taps[0].shift[0];
            rows.push(TapRow { shift, live: grid.live(0, shift), blocks: blocks.collect() });
            start += taps.len();
        }
        Stencil { grid, rows, shifts }
    }

    /// The number of multiply-adds over one feature map, counted in whole blocks.
    pub(super) fn multiply_adds(&self) -> f64 {
        let of = |row: &TapRow| row.live.len() * row.blocks.iter().map(Range::len).sum::<usize>();
        (BLOCK * self.rows.iter().map(of).sum::<usize>()) as f64
    }
}
