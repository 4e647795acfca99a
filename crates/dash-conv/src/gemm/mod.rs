//! The matrix-product algorithm: few taps, many channels.
//!
//! A tile of output positions sees, per input channel and tap, one shifted piece of the input; together
//! these pieces are a matrix `[c_in taps, positions]` (im2col) that the weights `[c_out, c_in taps]`
//! multiply. The gradient in the input is the same with the taps turned around. Products are those of [`crate::product`]:
//! an output is one sum over its terms, in their order, and a weight's gradient one per tile.

mod dots;
mod rows;
mod tiles;
mod weights;

use crate::{
    ConvProblem,
    buffer::Buffer,
    grid::Grid,
    op::Kernel,
    parallel::Shared,
    product::{Product, Right},
    simd::{self, LANES},
};
use pulp::Arch;
use rayon::prelude::*;
use rows::{Plus, ToPanels};
use tiles::{Segment, Tile, Tiling};

pub(crate) use tiles::products;

/// Bytes that partial weight gradients may take together.
const PARTIALS: usize = 64 << 20;

/// The convolution of one problem as matrix products.
pub(crate) struct Gemm {
    problem: ConvProblem,
    arch: Arch,
    /// Numbers per register.
    register: usize,
    forward: Tiling,
    backward: Vec<Tiling>,
}

/// One side of a convolution: maps of a group of channels.
#[derive(Clone, Copy)]
struct Side {
    /// Channels of a sample, the first of the group and the channels of the group.
    all: usize,
    first: usize,
    count: usize,
    /// Rows and columns of a map.
    size: [usize; 2],
}

impl Side {
    fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Where the map of a channel of a sample begins.
    fn map(&self, sample: usize, channel: usize) -> usize {
        (sample * self.all + self.first + channel) * self.plane()
    }

    /// Elements from one sample to the next.
    fn sample(&self) -> usize {
        self.all * self.plane()
    }
}

/// Buffers of one thread: the matrix of a tile, row by row or in panels, a row of it, and what it is multiplied with or
/// its results.
struct Local {
    matrix: Buffer,
    line: Buffer,
    results: Buffer,
}

impl Gemm {
    pub(crate) fn new(problem: &ConvProblem) -> Self {
        Gemm::with_arch(problem, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    fn with_arch(problem: &ConvProblem, arch: Arch) -> Self {
        let backward = Grid::backward(problem).into_iter();
        Gemm {
            arch,
            register: simd::register(arch),
            forward: Tiling::new(Grid::forward(problem), problem.batch, problem.group_in()),
            backward: backward.map(|grid| Tiling::new(grid, problem.batch, problem.group_out())).collect(),
            problem: problem.clone(),
        }
    }

    fn input(&self, group: usize) -> Side {
        let (p, count) = (&self.problem, self.problem.group_in());
        Side { all: p.c_in, first: group * count, count, size: p.size }
    }

    fn output(&self, group: usize) -> Side {
        let (p, count) = (&self.problem, self.problem.group_out());
        Side { all: p.c_out, first: group * count, count, size: p.out_size() }
    }

    /// The weights of the taps of a segment, `[output, input taps]`, or, turned around, `[input,
    /// output taps]`.
    fn weights(&self, weights: &[f32], group: usize, segment: &Segment, turned: bool) -> Buffer {
        let (p, taps) = (&self.problem, &segment.taps);
        let (gi, go) = (p.group_in(), p.group_out());
        let (rows, terms) = if turned { (gi, go) } else { (go, gi) };
        let row = terms * taps.len();
        let mut out = Buffer::stale(rows * row);
        out.par_chunks_mut(row.max(1)).with_min_len(4).enumerate().for_each(|(r, out)| {
            for (term, out) in out.chunks_exact_mut(taps.len()).enumerate() {
                let (output, input) = if turned { (term, r) } else { (r, term) };
                let pair = &weights[((group * go + output) * gi + input) * p.taps..][..p.taps];
                out.iter_mut().zip(taps).for_each(|(to, tap)| *to = pair[tap.place]);
            }
        });
        out
    }

    /// Buffers for tiles of maps of `from`, and for `others` rows that meet them.
    fn local(&self, tiling: &Tiling, from: Side, others: usize) -> Local {
        let widest = tiling.widest.next_multiple_of(LANES);
        Local {
            matrix: Buffer::stale(from.count * tiling.deepest * widest),
            line: Buffer::stale(widest),
            results: Buffer::stale(others * widest),
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

    /// The matrix of a tile with the distance of its rows: a part of the maps, or gathered in `buffer`.
    fn matrix<'a>(
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

    /// Convolves the maps of one group.
    fn apply(
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

    /// Calls `f` for every row of the outputs of a tile in one channel's maps: where it begins, how many
    /// there are and how far apart, and the number of the row.
    fn rows_of(
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

impl Kernel for Gemm {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (y, tiling) = (Shared::new(y), &self.forward);
        let by_residue = tiling.by_residue(x);
        let x = by_residue.as_deref().unwrap_or(x);
        for group in 0..self.problem.groups {
            let of = |segment: &Segment| self.weights(weights, group, segment, false);
            let weights: Vec<Buffer> = tiling.segments.iter().map(of).collect();
            let from = (x, self.input(group));
            self.apply(tiling, from, &weights, (&y, self.output(group)), Some(bias));
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        let dx = dx.map(Shared::new);
        let by_residue = self.forward.by_residue(x);
        let x = by_residue.as_deref().unwrap_or(x);
        dw.fill(0.0);
        for group in 0..self.problem.groups {
            for tiling in &self.backward {
                let Some(dx) = &dx else { break };
                let of = |segment: &Segment| self.weights(weights, group, segment, true);
                let weights: Vec<Buffer> = tiling.segments.iter().map(of).collect();
                let from = (grad, self.output(group));
                self.apply(tiling, from, &weights, (dx, self.input(group)), None);
            }
            self.backward_weights(x, grad, group, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::against_oracle};

    #[test]
    fn matrix_products_equal_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        // A single tap, strides, segments, groups, channels below and above the width of vectors, taps that see nothing.
        for (taps, [batch, c_in, c_out, groups], size, stride) in [
            (two(1, 1), [3, 20, 17, 1], [5, 7], 1),
            (two(1, 1), [2, 3, 70, 1], [8, 8], 2),
            (one(1, 1), [40, 9, 1, 1], [1, 1], 1),
            (one(5, 3), [3, 4, 33, 1], [1, 61], 1),
            (one(3, 90), [2, 2, 5, 1], [1, 40], 1),
            (two(3, 1), [2, 6, 12, 2], [9, 14], 2),
            (two(3, 15), [2, 5, 8, 1], [16, 16], 1),
            (two(3, 15), [2, 5, 20, 1], [16, 16], 1),
            (two(5, 3), [1, 3, 16, 1], [20, 20], 3),
            (TapSet::causal(4, 3).unwrap(), [2, 8, 8, 1], [1, 300], 1),
        ] {
            let problem = ConvProblem::new(&taps, batch, c_in, c_out, groups, size, [stride; 2]).unwrap();
            against_oracle(&problem, "matrix products", 3e-6, |arch| Gemm::with_arch(&problem, arch));
        }
    }
}
