//! A convolution as matrix products: what is built once per problem, and the products of one direction.

use super::{
    rows::{Plus, ToPanels},
    tiles::{Segment, Tile, Tiling, segments},
};
use crate::{
    ConvProblem,
    buffer::Buffer,
    grid::Grid,
    parallel::Shared,
    product::{Product, Right},
    side::Side,
    simd::{self, LANES},
};
use pulp::Arch;
use rayon::prelude::*;

/// The convolution of one problem as matrix products.
pub(crate) struct Gemm {
    pub(super) problem: ConvProblem,
    pub(super) arch: Arch,
    /// The number of elements per register.
    pub(super) register: usize,
    pub(super) forward: Tiling,
    pub(super) backward: Vec<Tiling>,
}

/// Buffers of one thread: the matrix of a tile, row by row or in panels; a row of it; and its other factor or the results.
pub(super) struct Local {
    pub(super) matrix: Buffer,
    line: Buffer,
    pub(super) results: Buffer,
}

impl Gemm {
    /// Builds the convolution; `segments` are those of the outputs.
    pub(crate) fn new(problem: &ConvProblem, segments: Vec<Segment>) -> Self {
        Gemm::with_arch(problem, segments, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    pub(super) fn with_arch(problem: &ConvProblem, segments_of_outputs: Vec<Segment>, arch: Arch) -> Self {
        let backward = Grid::backward(problem).into_iter();
        Gemm {
            arch,
            register: simd::register(arch),
            forward: Tiling::new(
                Grid::forward(problem),
                segments_of_outputs,
                problem.batch,
                problem.group_in(),
            ),
            backward: backward
                .map(|grid| {
                    let segments = segments(&grid);
                    Tiling::new(grid, segments, problem.batch, problem.group_out())
                })
                .collect(),
            problem: problem.clone(),
        }
    }

    /// The weights of the taps of a segment, `[output, input taps]`, or with `transposed` `[input, output taps]`.
    pub(super) fn weights(
        &self,
        weights: &[f32],
        group: usize,
        segment: &Segment,
        transposed: bool,
    ) -> Buffer {
        let (p, taps) = (&self.problem, &segment.taps);
        let (gi, go) = (p.group_in(), p.group_out());
        let (rows, terms) = if transposed { (gi, go) } else { (go, gi) };
        let row = terms * taps.len();
        let mut out = Buffer::scratch(rows * row);
        out.par_chunks_mut(row.max(1)).with_min_len(4).enumerate().for_each(|(r, out)| {
            for (term, out) in out.chunks_exact_mut(taps.len()).enumerate() {
                let (output, input) = if transposed { (term, r) } else { (r, term) };
                let pair = &weights[((group * go + output) * gi + input) * p.taps..][..p.taps];
                out.iter_mut().zip(taps).for_each(|(to, tap)| *to = pair[tap.tap_index]);
            }
        });
        out
    }

    /// Buffers for the matrices of tiles of `from`, and for `others` rows of their other factor or results.
    pub(super) fn local(&self, tiling: &Tiling, from: Side, others: usize) -> Local {
        let widest = tiling.widest.next_multiple_of(LANES);
        Local {
            matrix: Buffer::scratch(from.count * tiling.deepest * widest),
            line: Buffer::scratch(widest),
            results: Buffer::scratch(others * widest),
        }
    }

    /// The matrix of a tile in panels, its columns padded to whole vectors.
    fn panels(&self, tiling: &Tiling, tile: &Tile, (values, side): (&[f32], Side), local: &mut Local) {
        let (taps, len) = (&tiling.segment(tile).taps, tile.len());
        let padded = len.next_multiple_of(LANES);
        let rows = side.count * taps.len();
        let line = &mut local.line[..padded];
        line[len..].fill(0.0);
        let to_panels = |line: &[f32], index: usize, matrix: &mut [f32]| {
            self.arch.dispatch(ToPanels { line, index, rows, matrix });
        };
        for channel in 0..side.count {
            if let Some(start) = tiling.direct(tile) {
                let map = &values[side.map(tile.samples.start, channel) + start..][..len];
                if len == padded {
                    to_panels(map, channel, &mut local.matrix);
                } else {
                    line[..len].copy_from_slice(map);
                    to_panels(line, channel, &mut local.matrix);
                }
                continue;
            }
            for (index, tap) in taps.iter().enumerate() {
                let maps = &values[side.map(0, channel)..];
                tiling.gather(tile, tap, maps, side.sample(), &mut line[..len]);
                to_panels(line, channel * taps.len() + index, &mut local.matrix);
            }
        }
    }

    /// The matrix of a tile with the distance of its rows: a part of the feature maps, or gathered in `buffer`.
    pub(super) fn matrix<'a>(
        tiling: &Tiling,
        tile: &Tile,
        (values, side): (&'a [f32], Side),
        buffer: &'a mut [f32],
    ) -> (&'a [f32], usize) {
        if let Some(start) = tiling.direct(tile) {
            return (&values[side.map(tile.samples.start, 0) + start..], side.plane());
        }
        let (taps, len) = (&tiling.segment(tile).taps, tile.len());
        let row = len.next_multiple_of(LANES);
        let mut lines = buffer.chunks_exact_mut(row);
        for channel in 0..side.count {
            for (tap, line) in taps.iter().zip(&mut lines) {
                tiling.gather(tile, tap, &values[side.map(0, channel)..], side.sample(), &mut line[..len]);
            }
        }
        (buffer, row)
    }

    /// Convolves the feature maps of one group.
    pub(super) fn apply(
        &self,
        tiling: &Tiling,
        from: (&[f32], Side),
        weights: &[Buffer],
        (to, side): (&Shared<'_, f32>, Side),
        bias: Option<&[f32]>,
    ) {
        let bias = |channel: usize| bias.map_or(0.0, |bias| bias[side.first + channel]);
        let local = || self.local(tiling, from.1, side.count);
        tiling.tiles.par_iter().for_each_init(local, |local, tile| {
            let (len, terms) = (tile.len(), from.1.count * tiling.segment(tile).taps.len());
            let row = len.next_multiple_of(LANES);
            if terms == 0 {
                local.results[..side.count * row].fill(0.0);
            } else {
                self.panels(tiling, tile, from, local);
                self.arch.dispatch(Product {
                    left: &weights[tile.segment],
                    left_strides: [terms, 1],
                    right: &local.matrix,
                    right_as: Right::Panels,
                    out: &mut local.results,
                    out_row: row,
                    size: [side.count, row / self.register, terms],
                    add: false,
                });
            }
            for (channel, results) in local.results.chunks_exact(row).take(side.count).enumerate() {
                let bias = bias(channel);
                let put = |at: usize, count: usize, step: usize, from: &[f32]| {
                    // SAFETY: these outputs belong to one tile, and so to one task.
                    #[allow(unsafe_code)]
                    let to = unsafe { to.slice(at, (count - 1) * step + 1) };
                    if step == 1 {
                        self.arch.dispatch(Plus { from, bias, to });
                    } else {
                        to.iter_mut().step_by(step).zip(from).for_each(|(to, from)| *to = from + bias);
                    }
                };
                if let Some(start) = tiling.contiguous(tile, side.size[1]) {
                    put(side.map(tile.samples.start, channel) + start, len, 1, &results[..len]);
                    continue;
                }
                Self::rows_of(tiling, tile, side, channel, |at, count, step, row| {
                    put(at, count, step, &results[row * count..][..count]);
                });
            }
        });
    }

    /// Calls `f(start, count, step, row)` for every row of the outputs of a tile in one channel: the index of the first, the
    /// number and distance of outputs, and the index of the row.
    pub(super) fn rows_of(
        tiling: &Tiling,
        tile: &Tile,
        side: Side,
        channel: usize,
        mut f: impl FnMut(usize, usize, usize, usize),
    ) {
        let grid = &tiling.grid;
        let mut row = 0;
        for sample in tile.samples.clone() {
            for r in tile.rows.clone() {
                let at = (grid.out_start[0] + grid.out_step[0] * r) * side.size[1]
                    + grid.out_start[1]
                    + grid.out_step[1] * tile.columns.start;
                f(side.map(sample, channel) + at, tile.columns.len(), grid.out_step[1], row);
                row += 1;
            }
        }
    }
}
