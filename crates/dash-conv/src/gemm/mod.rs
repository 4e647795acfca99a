//! The matrix-product algorithm: few taps, many channels.
//!
//! A tile of output positions sees, per input channel and tap, one shifted piece of the input; together
//! these pieces are a matrix `[c_in taps, positions]` (im2col) that the weights `[c_out, c_in taps]`
//! multiply. The gradient in the input is the same with the taps turned around.

mod tiles;

use crate::{Problem, buffer::Buffer, grid::Grid, op::Kernel, parallel::Shared};
use gemm::Parallelism;
use rayon::prelude::*;
use tiles::{Segment, Tile, Tiling};

pub(crate) use tiles::products;

/// Bytes that partial weight gradients may take together.
const PARTIALS: usize = 64 << 20;

/// The convolution of one problem as matrix products.
pub(crate) struct Gemm {
    problem: Problem,
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

/// Buffers of one thread.
struct Local {
    matrix: Buffer,
    results: Buffer,
}

impl Gemm {
    pub(crate) fn new(problem: &Problem) -> Self {
        let backward = Grid::backward(problem).into_iter();
        Gemm {
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

    fn local(tiling: &Tiling, from: Side, rows: usize) -> Local {
        Local {
            matrix: Buffer::stale(from.count * tiling.deepest * tiling.widest),
            results: Buffer::stale(rows * tiling.widest),
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
        let mut lines = buffer.chunks_exact_mut(len);
        for channel in 0..side.count {
            for (tap, line) in taps.iter().zip(&mut lines) {
                tiling.gather(tile, tap, &values[side.map(0, channel)..], side.sample(), line);
            }
        }
        (buffer, len)
    }

    /// Convolves the maps of one group.
    fn apply(
        tiling: &Tiling,
        from: (&[f32], Side),
        weights: &[Buffer],
        (to, side): (&Shared<'_, f32>, Side),
        bias: Option<&[f32]>,
    ) {
        let bias = |channel: usize| bias.map_or(0.0, |bias| bias[side.first + channel]);
        let local = || Self::local(tiling, from.1, side.count);
        tiling.tiles.par_iter().for_each_init(local, |Local { matrix, results }, tile| {
            let (len, terms) = (tile.len(), from.1.count * tiling.segment(tile).taps.len());
            let (matrix, row) = Self::matrix(tiling, tile, from, matrix);
            let (weights, size) = (&weights[tile.segment], [side.count, len, terms]);
            if let Some(start) = tiling.contiguous(tile, side.size[1]) {
                let first = side.map(tile.samples.start, 0) + start;
                for channel in 0..side.count {
                    // SAFETY: a tile of an output map belongs to one task; the slice ends here.
                    #[allow(unsafe_code)]
                    unsafe { to.slice(first + channel * side.plane(), len) }.fill(bias(channel));
                }
                let out = Out::Shared { buffer: to, first, row: side.plane() };
                multiply(size, out, (weights, [terms, 1]), (matrix, [row, 1]), true);
                return;
            }
            multiply(
                size,
                Out::Own { buffer: results, row: len },
                (weights, [terms, 1]),
                (matrix, [row, 1]),
                false,
            );
            if terms == 0 {
                results[..side.count * len].fill(0.0);
            }
            for (channel, results) in results.chunks_exact(len).take(side.count).enumerate() {
                let bias = bias(channel);
                Self::rows_of(tiling, tile, side, channel, |at, count, step, row| {
                    let from = &results[row * count..][..count];
                    // SAFETY: these outputs belong to one tile, and so to one task.
                    #[allow(unsafe_code)]
                    let to = unsafe { to.slice(at, (count - 1) * step + 1) };
                    to.iter_mut().step_by(step).zip(from).for_each(|(to, from)| *to = from + bias);
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

    /// The gradients of a tile's outputs with the distance of their rows: a part of the maps, or gathered
    /// in `buffer`.
    fn gradients<'a>(
        tiling: &Tiling,
        tile: &Tile,
        (grad, side): (&'a [f32], Side),
        buffer: &'a mut [f32],
    ) -> (&'a [f32], usize) {
        if let Some(start) = tiling.contiguous(tile, side.size[1]) {
            return (&grad[side.map(tile.samples.start, 0) + start..], side.plane());
        }
        let len = tile.len();
        for (channel, buffer) in buffer.chunks_exact_mut(len).take(side.count).enumerate() {
            Self::rows_of(tiling, tile, side, channel, |at, count, _, row| {
                buffer[row * count..][..count].copy_from_slice(&grad[at..at + count]);
            });
        }
        (buffer, len)
    }

    /// The gradients of the weights of one group.
    fn backward_weights(&self, x: &[f32], grad: &[f32], group: usize, dw: &mut [f32]) {
        let (p, tiling) = (&self.problem, &self.forward);
        let (from, to) = (self.input(group), self.output(group));
        let taps = tiling.grid.taps.len();
        let row = from.count * taps;
        let size = to.count * row;
        // The tiles are divided into parts, each summed in order; then the parts.
        let tiles = tiling.tiles.len();
        let per_part = tiles.div_ceil((PARTIALS / 4 / size.max(1)).clamp(2, 16));
        let parts = tiles.div_ceil(per_part);
        let mut partial = Buffer::zeroed(parts * size);
        let local = || (Self::local(tiling, from, to.count), Buffer::stale(size));
        partial.par_chunks_mut(size.max(1)).zip(tiling.tiles.par_chunks(per_part)).for_each_init(
            local,
            |(local, sub), (sums, tiles)| {
                let Local { matrix, results: grads } = local;
                for tiles in tiles.chunk_by(|a, b| a.segment == b.segment) {
                    let segment = &tiling.segments[tiles[0].segment];
                    let terms = from.count * segment.taps.len();
                    let whole = segment.taps.len() == taps;
                    for (i, tile) in tiles.iter().enumerate() {
                        let (matrix, matrix_row) = Self::matrix(tiling, tile, (x, from), matrix);
                        let (grads, grads_row) = Self::gradients(tiling, tile, (grad, to), grads);
                        let (buffer, row) = if whole { (&mut *sums, row) } else { (&mut **sub, terms) };
                        multiply(
                            [to.count, terms, tile.len()],
                            Out::Own { buffer, row },
                            (grads, [grads_row, 1]),
                            (matrix, [1, matrix_row]),
                            whole || i > 0,
                        );
                    }
                    if whole || terms == 0 {
                        continue;
                    }
                    let pairs = sub.chunks_exact(segment.taps.len());
                    for (sums, pair) in sums.chunks_exact_mut(taps).zip(pairs) {
                        segment.indices.iter().zip(pair).for_each(|(&index, value)| sums[index] += value);
                    }
                }
            },
        );
        let (total, rest) = partial.split_at_mut(size);
        for part in rest.chunks_exact(size.max(1)) {
            total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        let pairs = &mut dw[group * to.count * from.count * p.taps..];
        for (pair, sums) in pairs.chunks_exact_mut(p.taps).zip(total.chunks_exact(taps.max(1))) {
            tiling.grid.taps.iter().zip(sums).for_each(|(tap, sum)| pair[tap.place] = *sum);
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
            Self::apply(tiling, from, &weights, (&y, self.output(group)), Some(bias));
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
                Self::apply(tiling, from, &weights, (dx, self.input(group)), None);
            }
            self.backward_weights(x, grad, group, dw);
        }
    }
}

/// Where a product goes: rows of `n` contiguous elements.
enum Out<'a, 'b> {
    Own { buffer: &'a mut [f32], row: usize },
    Shared { buffer: &'a Shared<'b, f32>, first: usize, row: usize },
}

/// `out = lhs rhs` (or `out += lhs rhs`) for `[m, n, k]`; strides are `[row, column]`.
fn multiply(
    [m, n, k]: [usize; 3],
    out: Out<'_, '_>,
    lhs: (&[f32], [usize; 2]),
    rhs: (&[f32], [usize; 2]),
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, columns: usize, s: [usize; 2]| (rows - 1) * s[0] + (columns - 1) * s[1];
    assert!(
        k == 0 || last(m, k, lhs.1) < lhs.0.len() && last(k, n, rhs.1) < rhs.0.len(),
        "matrix outside its buffer"
    );
    let (pointer, row) = match out {
        Out::Own { buffer, row } => {
            assert!(last(m, n, [row, 1]) < buffer.len(), "matrix outside its buffer");
            (buffer.as_mut_ptr(), row)
        }
        Out::Shared { buffer, first, row } => (buffer.pointer(first, last(m, n, [row, 1]) + 1), row),
    };
    // SAFETY: all elements are inside their buffers by the assertions. The output is borrowed
    // exclusively, or its rows are a tile that belongs to the calling task alone.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            pointer,
            1,
            row as isize,
            add,
            lhs.0.as_ptr(),
            lhs.1[1] as isize,
            lhs.1[0] as isize,
            rhs.0.as_ptr(),
            rhs.1[1] as isize,
            rhs.1[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
