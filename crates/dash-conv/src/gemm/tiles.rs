//! Divides outputs into segments, rectangles that see the same taps, and these into tiles.
//!
//! Where the taps of a dilated kernel reach far beyond the middle of a feature map, most outputs see few of them: the
//! matrices of a segment hold only the taps that meet data in it.

use crate::{
    buffer::Buffer,
    grid::{Grid, Tap},
};
use rayon::prelude::*;
use std::ops::Range;

/// The number of elements of a tile's matrix: it fits the second-level cache.
const TILE: usize = 48 * 1024;

/// The number of positions of a tile: fewer are not worth a matrix product.
const POSITIONS: Range<usize> = 128..4096;

/// The number of tiles that keep many threads busy, if there are enough samples.
const TILES: usize = 16;

/// An axis is divided where taps begin or cease to meet data if at most this share of its products meets data, and if the
/// parts have at least this length on average.
const DIVIDED_BELOW: f64 = 0.75;
const SHORTEST: usize = 3;

/// A rectangle of outputs with the taps that meet data in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    pub(super) taps: Vec<Tap>,
    /// The positions of the taps among those of the grid.
    pub(super) indices: Vec<usize>,
}

/// A part of a segment, for some samples.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) segment: usize,
    pub(super) samples: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl Tile {
    /// The number of outputs.
    pub(super) fn len(&self) -> usize {
        self.samples.len() * self.rows.len() * self.columns.len()
    }
}

/// A grid divided into tiles. Tiles follow from the problem alone, so that results do not depend on the number of threads.
#[derive(Debug)]
pub(super) struct Tiling {
    pub(super) grid: Grid,
    pub(super) segments: Vec<Segment>,
    pub(super) tiles: Vec<Tile>,
    /// The largest number of outputs of a tile, and of rows per channel of a tile's matrix.
    pub(super) widest: usize,
    pub(super) deepest: usize,
}

/// The parts of one axis.
fn parts(grid: &Grid, axis: usize) -> Vec<Range<usize>> {
    let count = grid.count[axis];
    let mut shifts: Vec<i64> = grid.taps.iter().map(|tap| tap.shift[axis]).collect();
    shifts.sort_unstable();
    shifts.dedup();
    let live: Vec<Range<usize>> = shifts.iter().map(|&shift| grid.live(axis, shift)).collect();
    let mut bounds: Vec<usize> = live.iter().flat_map(|range| [range.start, range.end]).collect();
    bounds.extend([0, count]);
    bounds.sort_unstable();
    bounds.dedup();
    let covered: usize = live.iter().map(Range::len).sum();
    let share = covered as f64 / (count * shifts.len().max(1)) as f64;
    if share > DIVIDED_BELOW || count < SHORTEST * (bounds.len() - 1) {
        bounds = vec![0, count];
    }
    bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The segments of a grid.
pub(super) fn segments(grid: &Grid) -> Vec<Segment> {
    let meet = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start) < a.end.min(b.end);
    let mut found = Vec::new();
    let (all_rows, all_columns) = (parts(grid, 0), parts(grid, 1));
    for rows in &all_rows {
        for columns in &all_columns {
            let (indices, taps) = grid
                .taps
                .iter()
                .enumerate()
                .filter(|(_, tap)| {
                    meet(&grid.live(0, tap.shift[0]), rows) && meet(&grid.live(1, tap.shift[1]), columns)
                })
                .unzip();
            found.push(Segment { rows: rows.clone(), columns: columns.clone(), taps, indices });
        }
    }
    found
}

impl Tiling {
    /// Divides the segments of `grid` into tiles, for maps of `channels` channels of `batch` samples.
    pub(super) fn new(grid: Grid, segments: Vec<Segment>, batch: usize, channels: usize) -> Tiling {
        let mut tiles = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let depth = channels * segment.taps.len().max(1);
            let positions = (TILE / depth).clamp(POSITIONS.start, POSITIONS.end);
            let (height, width) = (segment.rows.len(), segment.columns.len());
            // As many whole rows as fit, of several samples if a sample has fewer, or a part of a row.
            let columns = width.min(positions);
            let rows = if columns < width { 1 } else { (positions / width).clamp(1, height) };
            let enough = batch * segments.len() / TILES;
            let samples = (positions / (height * width)).min(enough).clamp(1, batch);
            for sample in (0..batch).step_by(samples) {
                for r in segment.rows.clone().step_by(rows) {
                    for c in segment.columns.clone().step_by(columns) {
                        tiles.push(Tile {
                            segment: index,
                            samples: sample..(sample + samples).min(batch),
                            rows: r..(r + rows).min(segment.rows.end),
                            columns: c..(c + columns).min(segment.columns.end),
                        });
                    }
                }
            }
        }
        let widest = tiles.iter().map(Tile::len).max().unwrap_or(0);
        let deepest = segments.iter().map(|s| s.taps.len()).max().unwrap_or(0);
        Tiling { grid, segments, tiles, widest, deepest }
    }

    /// The segment of a tile.
    pub(super) fn segment(&self, tile: &Tile) -> &Segment {
        &self.segments[tile.segment]
    }

    /// The position of the first output of a tile in a feature map of `width` columns, if its outputs are contiguous there.
    pub(super) fn contiguous(&self, tile: &Tile, width: usize) -> Option<usize> {
        let whole_rows = tile.columns.len() == width || tile.rows.len() == 1;
        (tile.samples.len() == 1 && self.grid.out_step == [1, 1] && whole_rows)
            .then(|| tile.rows.start * width + tile.columns.start)
    }

    /// The position of the first input of a tile in its feature map, if the inputs are the matrix as they are: those of a
    /// single tap that is inside the map and skips none.
    pub(super) fn direct(&self, tile: &Tile) -> Option<usize> {
        let [tap] = *self.segment(tile).taps else { return None };
        let grid = &self.grid;
        let ranges = [&tile.rows, &tile.columns];
        let inside = (0..2).all(|axis| {
            let live = grid.live(axis, tap.shift[axis]);
            live.start <= ranges[axis].start && ranges[axis].end <= live.end
        });
        let start = self.contiguous(tile, grid.size[1]).filter(|_| inside && grid.in_step == [1, 1])?;
        Some((start as i64 + tap.shift[0] * grid.size[1] as i64 + tap.shift[1]) as usize)
    }

    /// The position of a column in the order that [`Self::gather`] reads: columns of the same residue modulo the distance of
    /// inputs are side by side.
    fn sorted_column(&self, column: usize) -> usize {
        let (width, step) = (self.grid.size[1], self.grid.in_step[1]);
        let (residue, index) = (column % step, column / step);
        // One column more in each of the first residues, if they do not come out even.
        residue * (width / step) + residue.min(width % step) + index
    }

    /// Sorts the columns of feature maps by residue, so that taps read contiguous elements; `None` with a distance of 1,
    /// where they are sorted. Columns that no tap sees are left out.
    pub(super) fn by_residue(&self, maps: &[f32]) -> Option<Buffer> {
        let (grid, [height, width], [row_step, step]) = (&self.grid, self.grid.size, self.grid.in_step);
        if step == 1 {
            return None;
        }
        let seen = |axis: usize, residue: usize| {
            let step = grid.in_step[axis] as i64;
            grid.taps.iter().any(|tap| tap.shift[axis].rem_euclid(step) as usize == residue)
        };
        let seen_rows: Vec<bool> = (0..row_step).map(|residue| seen(0, residue)).collect();
        let residues: Vec<usize> = (0..step.min(width)).filter(|&residue| seen(1, residue)).collect();
        let mut out = Buffer::scratch(maps.len());
        out.par_chunks_mut(height * width).zip(maps.par_chunks(height * width)).for_each(|(out, map)| {
            let rows = out.chunks_exact_mut(width).zip(map.chunks_exact(width)).enumerate();
            for (_, (out, row)) in rows.filter(|(r, _)| seen_rows[r % row_step]) {
                for &residue in &residues {
                    let from = row[residue..].iter().step_by(step);
                    out[self.sorted_column(residue)..]
                        .iter_mut()
                        .zip(from)
                        .for_each(|(to, from)| *to = *from);
                }
            }
        });
        Some(out)
    }

    /// Writes one line of a tile's matrix: the inputs under `tap` in one channel of each sample. Feature maps of consecutive
    /// samples are `distance` apart in `values`, whose columns are sorted by [`Self::by_residue`].
    pub(super) fn gather(&self, tile: &Tile, tap: &Tap, values: &[f32], distance: usize, line: &mut [f32]) {
        let grid = &self.grid;
        let live = [grid.live(0, tap.shift[0]), grid.live(1, tap.shift[1])];
        let columns = live[1].start.clamp(tile.columns.start, tile.columns.end)
            ..live[1].end.clamp(tile.columns.start, tile.columns.end);
        let (first, end) = (
            columns.start - tile.columns.start,
            (columns.end - tile.columns.start).max(columns.start - tile.columns.start),
        );
        let mut lines = line.chunks_exact_mut(tile.columns.len());
        for sample in tile.samples.clone() {
            let map = &values[sample * distance..];
            for (r, line) in tile.rows.clone().zip(&mut lines) {
                if !live[0].contains(&r) || first == end {
                    line.fill(0.0);
                    continue;
                }
                let row = ((grid.in_step[0] * r) as i64 + tap.shift[0]) as usize * grid.size[1];
                let column = ((grid.in_step[1] * columns.start) as i64 + tap.shift[1]) as usize;
                let start = row + self.sorted_column(column);
                line[..first].fill(0.0);
                line[end..].fill(0.0);
                line[first..end].copy_from_slice(&map[start..start + end - first]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::problem};

    #[test]
    fn every_output_of_every_sample_belongs_to_one_tile() {
        for (k, d, size, stride, batch) in
            [(3, 1, [9, 300], 1, 40), (3, 15, [16, 32], 1, 50), (5, 6, [14, 13], 2, 3)]
        {
            let taps = TapSet::centred(2, k, d).unwrap();
            let problem = problem(&taps, [batch, 8, 8, 1], size, [stride; 2]);
            for grid in Grid::backward(&problem).into_iter().chain([Grid::forward(&problem)]) {
                let [rows, columns] = grid.count;
                let segments = segments(&grid);
                let tiling = Tiling::new(grid, segments, batch, 8);
                let mut seen = vec![0; batch * rows * columns];
                for tile in &tiling.tiles {
                    assert!(tile.len() <= tiling.widest);
                    for s in tile.samples.clone() {
                        for r in tile.rows.clone() {
                            tile.columns.clone().for_each(|c| seen[(s * rows + r) * columns + c] += 1);
                        }
                    }
                }
                assert!(seen.iter().all(|&n| n == 1));
            }
        }
    }
}
