//! Computes layers that mix channels row by row.
//!
//! Every pass reduces to one inner loop: a block of neighbouring results, held in registers, receives weight times a
//! contiguous part of a source row for each of a list of terms. For that, source rows are padded with zeros once per
//! feature map, and with stride s their elements are sorted by phase (index modulo s), so that the parts are contiguous.
//! Rows outside of the feature map are skipped.

use crate::{
    ConvProblem,
    algorithm::CpuConvolution,
    parallel::Shared,
    simd::{self, LANES, Lanes, WithLanes, run_lanes},
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// The number of results that the inner loop holds in registers.
const BLOCK: usize = 32;

/// The number of tasks into which the batch of the weight gradient is divided at least: fixed, so that sums are formed in
/// the same order for any number of threads.
const TASKS: usize = 16;

/// The convolution of one problem, row by row.
pub(crate) struct Rows {
    problem: ConvProblem,
    arch: Arch,
    /// The taps by row offset: `(row offset, [(column offset, tap index)])`.
    rows: Vec<(i32, Vec<(i32, usize)>)>,
}

/// The rows of one feature map, padded with zeros, by phase of their columns.
struct Padded {
    values: Vec<f32>,
    /// The zeros on the left, in elements of the feature map; a multiple of the stride.
    border: usize,
    /// The number of elements of a phase of a row.
    phase: usize,
    stride: usize,
}

impl Padded {
    fn new(rows: usize, columns: usize, radius: usize, stride: usize) -> Padded {
        let border = radius.next_multiple_of(stride);
        let phase = (border + columns + radius).div_ceil(stride) + BLOCK;
        Padded { values: vec![0.0; rows * stride * phase], border, phase, stride }
    }

    /// Copies a feature map; the padding stays zero.
    fn fill(&mut self, map: &[f32], columns: usize) {
        let rows = self.values.chunks_exact_mut(self.phase * self.stride);
        for (row, from) in rows.zip(map.chunks_exact(columns)) {
            if self.stride == 1 {
                row[self.border..self.border + columns].copy_from_slice(from);
            } else {
                for (column, value) in from.iter().enumerate() {
                    let column = column + self.border;
                    row[column % self.stride * self.phase + column / self.stride] = *value;
                }
            }
        }
    }

    /// The index at which the elements `column`, `column + stride`, ... of a row begin.
    fn at(&self, row: usize, column: i64) -> usize {
        let column = (column + self.border as i64) as usize;
        (row * self.stride + column % self.stride) * self.phase + column / self.stride
    }
}

/// A term of the inner loop: `weight` times the elements that begin at `from`.
#[derive(Clone, Copy)]
struct Term {
    from: usize,
    weight: f32,
}

/// `out[j] = sum over terms of weight source[from + j]`; the source extends [`BLOCK`] beyond.
struct Accumulate<'a> {
    terms: &'a [Term],
    source: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (block, out) in self.out.chunks_mut(BLOCK).enumerate() {
            // Only the first BLOCK / S::F32_LANES are used; they stay in registers.
            let mut sums = [simd.splat_f32s(0.0); BLOCK];
            for term in self.terms {
                let from = term.from + block * BLOCK;
                let Some(piece) = self.source.get(from..from + BLOCK) else { continue };
                let weight = simd.splat_f32s(term.weight);
                for (sum, &values) in sums.iter_mut().zip(S::as_simd_f32s(piece).0) {
                    *sum = simd.mul_add_f32s(values, weight, *sum);
                }
            }
            let mut results = [0f32; BLOCK];
            for (result, sum) in S::as_mut_simd_f32s(&mut results).0.iter_mut().zip(sums) {
                *result = sum;
            }
            out.copy_from_slice(&results[..out.len()]);
        }
    }
}

/// `sums[tap index] += <row, source[from..]>` for each of `taps = [(from, tap index)]`.
struct Inner<'a> {
    row: &'a [f32],
    source: &'a [f32],
    taps: &'a [(usize, usize)],
    sums: &'a mut [f32],
}

impl WithLanes for Inner<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) {
        let (row, row_rest) = self.row.as_chunks::<LANES>();
        // Four taps share each load of the row.
        for taps in self.taps.chunks(4) {
            let piece = |slot: usize| {
                let (from, _) = taps[slot.min(taps.len() - 1)];
                self.source[from..from + self.row.len()].as_chunks::<LANES>()
            };
            let pieces = [piece(0), piece(1), piece(2), piece(3)];
            let mut sums = [Lanes::<S, P>::splat(simd, 0.0); 4];
            for (at, row) in row.iter().enumerate() {
                let row = Lanes::load(row);
                for (sum, piece) in sums.iter_mut().zip(&pieces) {
                    *sum = sum.add_product(simd, row, Lanes::load(&piece.0[at]));
                }
            }
            if !row_rest.is_empty() {
                let row = Lanes::load_part(simd, row_rest);
                for (sum, piece) in sums.iter_mut().zip(&pieces) {
                    *sum = sum.add_product(simd, row, Lanes::load_part(simd, piece.1));
                }
            }
            for (&(_, tap_index), sum) in taps.iter().zip(sums) {
                self.sums[tap_index] += sum.sum(simd);
            }
        }
    }
}

impl Rows {
    pub(crate) fn new(problem: &ConvProblem) -> Self {
        Rows::with_arch(problem, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    fn with_arch(problem: &ConvProblem, arch: Arch) -> Self {
        let mut rows: Vec<(i32, Vec<(i32, usize)>)> = Vec::new();
        for (offset, &tap_index) in problem.offsets.iter().zip(&problem.tap_indices) {
            match rows.last_mut() {
                Some((row, taps)) if *row == offset[0] => taps.push((offset[1], tap_index)),
                _ => rows.push((offset[0], vec![(offset[1], tap_index)])),
            }
        }
        Rows { problem: problem.clone(), arch, rows }
    }

    /// The terms of output row `r`.
    fn terms(&self, map: &Padded, r: usize, weights: &[f32], terms: &mut Vec<Term>) {
        terms.clear();
        for (offset, taps) in &self.rows {
            let source = (r * self.problem.stride[0]) as i64 + i64::from(*offset);
            if (0..self.problem.size[0] as i64).contains(&source) {
                terms.extend(taps.iter().map(|&(column, tap_index)| Term {
                    from: map.at(source as usize, i64::from(column)),
                    weight: weights[tap_index],
                }));
            }
        }
    }

    /// The gradient of the input. Position u receives from the outputs (u - offset) / stride that are integers: for each
    /// phase of u, this is a convolution of the gradient with some of the taps.
    fn backward_input(&self, weights: &[f32], grad: &[f32], dx: &mut [f32]) {
        let (p, [out_rows, out_columns]) = (&self.problem, self.problem.out_size());
        let (gi, go) = (p.group_in(), p.group_out());
        let [stride_rows, stride] = p.stride.map(|s| s as i64);
        let width = p.size[1];
        let radius = p.receptive_radius()[1].div_ceil(p.stride[1]) + 1;
        dx.par_chunks_mut(gi * p.plane()).enumerate().for_each_init(
            || {
                let maps: Vec<Padded> =
                    (0..go).map(|_| Padded::new(out_rows, out_columns, radius, 1)).collect();
                (maps, Vec::new(), vec![0.0f32; width.div_ceil(p.stride[1])])
            },
            |(maps, terms, line), (task, dx)| {
                let (sample, group) = (task / p.groups, task % p.groups);
                for (o, map) in maps.iter_mut().enumerate() {
                    let plane = sample * p.c_out + group * go + o;
                    map.fill(&grad[plane * p.out_plane()..(plane + 1) * p.out_plane()], out_columns);
                }
                dx.fill(0.0);
                for (i, dx) in dx.chunks_exact_mut(p.plane()).enumerate() {
                    for (u, dx) in dx.chunks_exact_mut(width).enumerate() {
                        for phase in 0..p.stride[1].min(width) {
                            let count = (width - phase).div_ceil(p.stride[1]);
                            for (o, map) in maps.iter().enumerate() {
                                let pair = (group * go + o) * gi + i;
                                let weights = &weights[pair * p.taps..(pair + 1) * p.taps];
                                terms.clear();
                                for (offset, taps) in &self.rows {
                                    let row = u as i64 - i64::from(*offset);
                                    if row.rem_euclid(stride_rows) != 0 {
                                        continue;
                                    }
                                    let row = row.div_euclid(stride_rows);
                                    if !(0..out_rows as i64).contains(&row) {
                                        continue;
                                    }
                                    for &(offset, tap_index) in taps {
                                        let column = phase as i64 - i64::from(offset);
                                        if column.rem_euclid(stride) == 0 {
                                            let from = map.at(row as usize, column.div_euclid(stride));
                                            terms.push(Term { from, weight: weights[tap_index] });
                                        }
                                    }
                                }
                                let out = &mut line[..count];
                                self.arch.dispatch(Accumulate { terms, source: &map.values, out });
                                let to = dx[phase..].iter_mut().step_by(p.stride[1]);
                                for (to, from) in to.zip(&line[..count]) {
                                    *to += from;
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    fn backward_weights(&self, x: &[f32], grad: &[f32], dw: &mut [f32]) {
        let (p, [out_rows, out_columns]) = (&self.problem, self.problem.out_size());
        let (gi, go) = (p.group_in(), p.group_out());
        let ([height, width], radius) = (p.size, p.receptive_radius()[1]);
        // One task owns the kernels that see one input map, for one block of the batch.
        let blocks = TASKS.div_ceil(p.c_in).min(p.batch);
        let per_block = p.batch.div_ceil(blocks);
        let size = go * p.taps;
        let mut parts = vec![0f32; p.c_in * blocks * size];
        parts.par_chunks_mut(size).enumerate().for_each_init(
            || (Padded::new(height, width, radius, p.stride[1]), Vec::new()),
            |(map, pieces), (task, sums)| {
                let (channel, block) = (task / blocks, task % blocks);
                let group = channel / gi;
                for sample in block * per_block..((block + 1) * per_block).min(p.batch) {
                    let plane = sample * p.c_in + channel;
                    map.fill(&x[plane * p.plane()..(plane + 1) * p.plane()], width);
                    for (o, sums) in sums.chunks_exact_mut(p.taps).enumerate() {
                        let plane = sample * p.c_out + group * go + o;
                        let grad = &grad[plane * p.out_plane()..(plane + 1) * p.out_plane()];
                        for (r, grad) in grad.chunks_exact(out_columns).take(out_rows).enumerate() {
                            for (offset, taps) in &self.rows {
                                let source = (r * p.stride[0]) as i64 + i64::from(*offset);
                                if !(0..height as i64).contains(&source) {
                                    continue;
                                }
                                pieces.clear();
                                pieces.extend(taps.iter().map(|&(column, tap_index)| {
                                    (map.at(source as usize, i64::from(column)), tap_index)
                                }));
                                let (source, taps) = (map.values.as_slice(), pieces.as_slice());
                                run_lanes(self.arch, Inner { row: grad, source, taps, sums: &mut *sums });
                            }
                        }
                    }
                }
            },
        );
        let dw = Shared::new(dw);
        parts.par_chunks_mut(blocks * size).enumerate().for_each(|(channel, parts)| {
            let (total, rest) = parts.split_at_mut(size);
            for part in rest.chunks_exact(size) {
                for (t, v) in total.iter_mut().zip(part) {
                    *t += v;
                }
            }
            let (group, i) = (channel / gi, channel % gi);
            for (o, total) in total.chunks_exact(p.taps).enumerate() {
                let pair = (group * go + o) * gi + i;
                // SAFETY: a kernel belongs to one input channel, and so to one task.
                #[allow(unsafe_code)]
                unsafe { dw.slice(pair * p.taps, p.taps) }.copy_from_slice(total);
            }
        });
    }
}

impl CpuConvolution for Rows {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let (p, [out_rows, out_columns]) = (&self.problem, self.problem.out_size());
        let (gi, go) = (p.group_in(), p.group_out());
        let ([height, width], radius) = (p.size, p.receptive_radius()[1]);
        y.par_chunks_mut(go * p.out_plane()).enumerate().for_each_init(
            || {
                let maps: Vec<Padded> =
                    (0..gi).map(|_| Padded::new(height, width, radius, p.stride[1])).collect();
                (maps, Vec::new(), vec![0.0; out_columns])
            },
            |(maps, terms, row), (task, y)| {
                let (sample, group) = (task / p.groups, task % p.groups);
                for (i, map) in maps.iter_mut().enumerate() {
                    let plane = sample * p.c_in + group * gi + i;
                    map.fill(&x[plane * p.plane()..(plane + 1) * p.plane()], width);
                }
                for (o, y) in y.chunks_exact_mut(p.out_plane()).enumerate() {
                    let o = group * go + o;
                    for (r, y) in y.chunks_exact_mut(out_columns).take(out_rows).enumerate() {
                        y.fill(bias[o]);
                        for (i, map) in maps.iter().enumerate() {
                            let weights = &weights[(o * gi + i) * p.taps..(o * gi + i + 1) * p.taps];
                            self.terms(map, r, weights, terms);
                            self.arch.dispatch(Accumulate { terms, source: &map.values, out: row });
                            for (y, v) in y.iter_mut().zip(&*row) {
                                *y += v;
                            }
                        }
                    }
                }
            },
        );
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        if let Some(dx) = dx {
            self.backward_input(weights, grad, dx);
        }
        self.backward_weights(x, grad, dw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TapSet,
        testing::{against_oracle, problem},
    };

    #[test]
    fn rows_equal_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        for (taps, [batch, c_in, c_out, groups], size, stride) in [
            (one(5, 3), [3, 2, 3, 1], [1, 61], 1),
            (one(3, 1), [20, 1, 2, 1], [1, 16], 2),
            (two(3, 2), [2, 4, 6, 2], [9, 37], 1),
            (two(5, 1), [2, 3, 2, 1], [7, 50], 3),
            (TapSet::causal(4, 3).unwrap(), [2, 2, 2, 1], [1, 33], 1),
        ] {
            let problem = problem(&taps, [batch, c_in, c_out, groups], size, [stride; 2]);
            against_oracle(&problem, "row by row", 3e-6, |arch| Rows::with_arch(&problem, arch));
        }
    }
}
