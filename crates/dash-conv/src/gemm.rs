//! The matrix-product algorithm: few taps, many channels.
//!
//! A tile of output positions of one sample sees, per input channel and tap, one shifted piece of
//! the input; together these pieces are a matrix `[c_in taps, positions]` (im2col) that the weights
//! `[c_out, c_in taps]` multiply. Tiles are small enough for the cache, and fixed by the problem
//! alone, so that results do not depend on the number of threads.

use crate::{Problem, op::Kernel, parallel::Shared};
use gemm::Parallelism;
use rayon::prelude::*;

/// Elements of a tile's matrix that still fit the second-level cache.
const TILE: usize = 48 * 1024;

/// Bytes that partial weight gradients may take together.
const PARTIALS: usize = 64 << 20;

/// The convolution of one problem as matrix products.
pub(crate) struct Gemm {
    problem: Problem,
    /// Tiles of an output map: rows and columns.
    tiles: Vec<Tile>,
}

#[derive(Clone, Copy)]
struct Tile {
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Tile {
    fn width(&self) -> usize {
        self.columns[1] - self.columns[0]
    }

    fn len(&self) -> usize {
        (self.rows[1] - self.rows[0]) * self.width()
    }
}

impl Gemm {
    pub(crate) fn new(problem: &Problem) -> Self {
        let [rows, columns] = problem.out_size();
        let depth = problem.group_in() * problem.offsets.len().max(1);
        let positions = (TILE / depth).clamp(64, 4096);
        // A tile is whole rows, or, where a row alone is too long, a piece of one row: either way its
        // positions are contiguous in the output map.
        let (tile_rows, tile_columns) =
            if columns >= positions { (1, positions) } else { ((positions / columns).max(1), columns) };
        let mut tiles = Vec::new();
        for r in (0..rows).step_by(tile_rows) {
            for c in (0..columns).step_by(tile_columns) {
                tiles.push(Tile {
                    rows: [r, (r + tile_rows).min(rows)],
                    columns: [c, (c + tile_columns).min(columns)],
                });
            }
        }
        Gemm { problem: problem.clone(), tiles }
    }

    /// The weights of the reachable taps, `[c_out, c_in / groups, reachable taps]`.
    fn reachable(&self, weights: &[f32]) -> Vec<f32> {
        let p = &self.problem;
        weights.chunks_exact(p.taps).flat_map(|w| p.places.iter().map(|&place| w[place])).collect()
    }

    /// The part of output row `r` whose source under `offset` is inside the map: the columns of the
    /// tile that see data, and the index of the first source element; `None` if there is none.
    fn source(&self, tile: &Tile, r: usize, offset: [i32; 2]) -> Option<(usize, usize, usize)> {
        let (p, [h, w]) = (&self.problem, self.problem.size);
        let y = (r * p.stride[0]) as i64 + i64::from(offset[0]);
        if y < 0 || y >= h as i64 {
            return None;
        }
        let (stride, o) = (p.stride[1] as i64, i64::from(offset[1]));
        // Columns c with 0 <= stride c + o < w.
        let first = (-o).div_euclid(stride) + i64::from((-o).rem_euclid(stride) != 0);
        let end = (w as i64 - 1 - o).div_euclid(stride) + 1;
        let first = first.clamp(tile.columns[0] as i64, tile.columns[1] as i64);
        let end = end.clamp(first, tile.columns[1] as i64);
        let start = y * w as i64 + stride * first + o;
        (first < end).then_some((first as usize, end as usize, start as usize))
    }

    /// Writes the matrix of a tile: the pieces of `channels` (maps of one group of one sample).
    fn gather(&self, tile: &Tile, channels: &[f32], matrix: &mut [f32]) {
        let (p, len, width) = (&self.problem, tile.len(), tile.width());
        let stride = p.stride[1];
        let mut lines = matrix.chunks_exact_mut(len);
        for map in channels.chunks_exact(p.plane()) {
            for (offset, line) in p.offsets.iter().zip(&mut lines) {
                for (r, row) in (tile.rows[0]..tile.rows[1]).zip(line.chunks_exact_mut(width)) {
                    let Some((first, end, start)) = self.source(tile, r, *offset) else {
                        row.fill(0.0);
                        continue;
                    };
                    let (first, end) = (first - tile.columns[0], end - tile.columns[0]);
                    row[..first].fill(0.0);
                    row[end..].fill(0.0);
                    if stride == 1 {
                        row[first..end].copy_from_slice(&map[start..start + end - first]);
                    } else {
                        let source = map[start..].iter().step_by(stride);
                        for (to, from) in row[first..end].iter_mut().zip(source) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }

    /// Adds the matrix of a tile to the maps its pieces came from.
    fn scatter(&self, tile: &Tile, matrix: &[f32], channels: &mut [f32]) {
        let (p, len, width) = (&self.problem, tile.len(), tile.width());
        let stride = p.stride[1];
        let mut lines = matrix.chunks_exact(len);
        for map in channels.chunks_exact_mut(p.plane()) {
            for (offset, line) in p.offsets.iter().zip(&mut lines) {
                for (r, row) in (tile.rows[0]..tile.rows[1]).zip(line.chunks_exact(width)) {
                    let Some((first, end, start)) = self.source(tile, r, *offset) else { continue };
                    let from = &row[first - tile.columns[0]..end - tile.columns[0]];
                    for (to, from) in map[start..].iter_mut().step_by(stride).zip(from) {
                        *to += *from;
                    }
                }
            }
        }
    }

    /// Position of a tile in an output map.
    fn start(&self, tile: &Tile) -> usize {
        tile.rows[0] * self.problem.out_size()[1] + tile.columns[0]
    }

    /// Rows of a tile's matrix.
    fn depth(&self) -> usize {
        self.problem.group_in() * self.problem.offsets.len()
    }

    fn widest(&self) -> usize {
        self.tiles.iter().map(Tile::len).max().unwrap_or(0)
    }

    /// Maps of group `group` of sample `sample`, as a range of the elements of all maps.
    fn maps(&self, sample: usize, group: usize) -> std::ops::Range<usize> {
        let p = &self.problem;
        let first = (sample * p.c_in + group * p.group_in()) * p.plane();
        first..first + p.group_in() * p.plane()
    }

    fn backward_input(&self, weights: &[f32], grad: &[f32], dx: &mut [f32]) {
        let p = &self.problem;
        let weights = self.reachable(weights);
        let (taps, go, gi, plane) = (p.offsets.len(), p.group_out(), p.group_in(), p.out_plane());
        // One task owns a few input maps of one sample and goes through the tiles in order.
        let block = gi.min(8);
        let blocks = gi.div_ceil(block);
        let dx = Shared::new(dx);
        (0..p.batch * p.groups * blocks).into_par_iter().for_each_init(
            || vec![0.0; block * taps * self.widest()],
            |matrix, task| {
                let (sample, group, first) =
                    (task / blocks / p.groups, task / blocks % p.groups, task % blocks * block);
                let channels = block.min(gi - first);
                let start = (sample * p.c_in + group * gi + first) * p.plane();
                // SAFETY: these maps belong to this task alone.
                #[allow(unsafe_code)]
                let maps = unsafe { dx.slice(start, channels * p.plane()) };
                maps.fill(0.0);
                for tile in &self.tiles {
                    let len = tile.len();
                    let grad = &grad[(sample * p.c_out + group * go) * plane + self.start(tile)..];
                    multiply(
                        [channels * taps, len, go],
                        Out::Own { buffer: matrix, row: len },
                        (&weights[(group * go * gi + first) * taps..], [1, gi * taps]),
                        (grad, [plane, 1]),
                        false,
                    );
                    self.scatter(tile, &matrix[..channels * taps * len], maps);
                }
            },
        );
    }

    fn backward_weights(&self, x: &[f32], grad: &[f32], dw: &mut [f32]) {
        let p = &self.problem;
        let (depth, go, plane) = (self.depth(), p.group_out(), p.out_plane());
        let size = go * depth;
        // The tiles of all samples are divided into parts, each summed in order; then the parts.
        let tasks = p.batch * self.tiles.len();
        let parts = tasks.min((PARTIALS / 4 / (size * p.groups).max(1)).clamp(2, 16));
        let per_part = tasks.div_ceil(parts);
        let mut partial = vec![0.0f32; parts * p.groups * size];
        partial.par_chunks_mut(size.max(1)).enumerate().for_each_init(
            || vec![0.0; depth * self.widest()],
            |matrix, (index, sum)| {
                let (part, group) = (index / p.groups, index % p.groups);
                for task in part * per_part..((part + 1) * per_part).min(tasks) {
                    let (sample, tile) = (task / self.tiles.len(), &self.tiles[task % self.tiles.len()]);
                    let len = tile.len();
                    self.gather(tile, &x[self.maps(sample, group)], &mut matrix[..depth * len]);
                    let grad = &grad[(sample * p.c_out + group * go) * plane + self.start(tile)..];
                    multiply(
                        [go, depth, len],
                        Out::Own { buffer: sum, row: depth },
                        (grad, [plane, 1]),
                        (matrix, [1, len]),
                        true,
                    );
                }
            },
        );
        let total = p.groups * size;
        for part in 1..parts {
            let (sum, rest) = partial.split_at_mut(total);
            for (s, v) in sum.iter_mut().zip(&rest[(part - 1) * total..]) {
                *s += v;
            }
        }
        self.spread(&partial[..total], dw);
    }

    /// Writes the gradients of the reachable taps to their places; the others are zero.
    fn spread(&self, reachable: &[f32], dw: &mut [f32]) {
        let p = &self.problem;
        dw.fill(0.0);
        if p.offsets.is_empty() {
            return;
        }
        for (to, from) in dw.chunks_exact_mut(p.taps).zip(reachable.chunks_exact(p.offsets.len())) {
            for (&place, value) in p.places.iter().zip(from) {
                to[place] = *value;
            }
        }
    }

    /// Maps of a single position with a single reachable tap, one group: a linear layer, for which
    /// the batch takes the part of the positions.
    fn is_product(&self) -> bool {
        let p = &self.problem;
        p.groups == 1 && p.plane() == 1 && p.offsets.len() == 1
    }

    fn forward_product(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let p = &self.problem;
        let weights = self.reachable(weights);
        for y in y.chunks_exact_mut(p.c_out) {
            y.copy_from_slice(bias);
        }
        multiply(
            [p.batch, p.c_out, p.c_in],
            Out::Own { buffer: y, row: p.c_out },
            (x, [p.c_in, 1]),
            (&weights, [1, p.c_in]),
            true,
        );
    }

    fn backward_product(
        &self,
        x: &[f32],
        weights: &[f32],
        grad: &[f32],
        dx: Option<&mut [f32]>,
        dw: &mut [f32],
    ) {
        let p = &self.problem;
        if let Some(dx) = dx {
            multiply(
                [p.batch, p.c_in, p.c_out],
                Out::Own { buffer: dx, row: p.c_in },
                (grad, [p.c_out, 1]),
                (&self.reachable(weights), [p.c_in, 1]),
                false,
            );
        }
        let mut sum = vec![0.0; p.c_out * p.c_in];
        multiply(
            [p.c_out, p.c_in, p.batch],
            Out::Own { buffer: &mut sum, row: p.c_in },
            (grad, [1, p.c_out]),
            (x, [p.c_in, 1]),
            false,
        );
        self.spread(&sum, dw);
    }
}

impl Kernel for Gemm {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let p = &self.problem;
        if self.is_product() {
            return self.forward_product(x, weights, bias, y);
        }
        let weights = self.reachable(weights);
        let (depth, go, plane) = (self.depth(), p.group_out(), p.out_plane());
        let y = Shared::new(y);
        let tasks = p.batch * p.groups * self.tiles.len();
        (0..tasks).into_par_iter().for_each_init(
            || vec![0.0; depth * self.widest()],
            |matrix, task| {
                let tile = &self.tiles[task % self.tiles.len()];
                let (sample, group) =
                    (task / self.tiles.len() / p.groups, task / self.tiles.len() % p.groups);
                let len = tile.len();
                self.gather(tile, &x[self.maps(sample, group)], &mut matrix[..depth * len]);
                let weights = &weights[group * go * depth..];
                let first = (sample * p.c_out + group * go) * plane + self.start(tile);
                for o in 0..go {
                    // SAFETY: a tile of an output map belongs to one task; the slice ends here.
                    #[allow(unsafe_code)]
                    unsafe { y.slice(first + o * plane, len) }.fill(bias[group * go + o]);
                }
                multiply(
                    [go, len, depth],
                    Out::Shared { buffer: &y, first, row: plane },
                    (weights, [depth, 1]),
                    (matrix, [len, 1]),
                    true,
                );
            },
        );
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        if self.is_product() {
            return self.backward_product(x, weights, grad, dx, dw);
        }
        if let Some(dx) = dx {
            self.backward_input(weights, grad, dx);
        }
        self.backward_weights(x, grad, dw);
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
