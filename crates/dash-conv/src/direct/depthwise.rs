//! Depthwise layers, vectorised across feature maps: each lane holds one map.
//!
//! A tap is one multiply-add of vectors per position whatever its offset, and neighbouring outputs share the load of its
//! weights.

use super::stencil::{BLOCK, Stencil};
use crate::{
    ConvProblem,
    algorithm::CpuConvolution,
    buffer::Buffer,
    grid::Grid,
    parallel::Shared,
    planes::{FeatureMaps, PlaneBatch, PlaneSource, Planes, Segment},
    simd::{self, LANES, Vector, parts},
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// The number of tasks into which the gradients of the weights are divided at least, if there are enough samples: fixed, so
/// that sums are formed in the same order for any number of threads.
const TASKS: usize = 64;

/// A depthwise convolution with a feature map per lane.
pub(crate) struct Depthwise {
    problem: ConvProblem,
    arch: Arch,
    forward: Stencil,
    backward: Vec<Stencil>,
    in_segments: [Vec<Segment>; 2],
    out_segments: [Vec<Segment>; 2],
}

/// The rows of a plane batch, `[row][column][lane]`, with columns of zeros on both sides for the taps that reach outside.
struct Rows {
    values: Buffer,
    /// The number of columns of zeros on each side.
    border: usize,
    /// The number of columns, zeros included.
    width: usize,
}

impl Rows {
    fn new(size: [usize; 2], border: usize) -> Rows {
        let width = size[1] + 2 * border;
        Rows { values: Buffer::zeroed(size[0] * width * LANES), border, width }
    }

    /// Copies the rows of a batch to lanes.
    fn load(&mut self, source: &FeatureMaps<'_>, batch: &PlaneBatch, values: &[f32]) {
        let (start, end) = (self.border * LANES, (self.width - self.border) * LANES);
        for (row, out) in self.values.chunks_exact_mut(self.width * LANES).enumerate() {
            source.load(batch, row, values, &mut out[start..end]);
        }
    }

    /// Copies the rows from lanes to their places in `values`.
    fn store(&self, source: &FeatureMaps<'_>, batch: &PlaneBatch, values: &Shared<'_, f32>) {
        for (row, from) in self.values.chunks_exact(self.width * LANES).enumerate() {
            source.store(batch, row, &from[self.border * LANES..], values);
        }
    }
}

/// All positions of an axis as one segment.
fn whole(len: usize) -> Vec<Segment> {
    vec![Segment { start: 0, step: 1, len, at: 0, stride: 1 }]
}

impl Depthwise {
    pub(crate) fn new(problem: &ConvProblem) -> Depthwise {
        Depthwise::with_arch(problem, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    fn with_arch(problem: &ConvProblem, arch: Arch) -> Depthwise {
        Depthwise {
            arch,
            forward: Stencil::new(Grid::forward(problem)),
            backward: Grid::backward(problem).into_iter().map(Stencil::new).collect(),
            in_segments: problem.size.map(whole),
            out_segments: problem.out_size().map(whole),
            problem: problem.clone(),
        }
    }

    fn inputs(&self) -> FeatureMaps<'_> {
        let p = &self.problem;
        FeatureMaps::new(0..p.batch, p.c_in, 0..p.c_in, p.size, &self.in_segments)
    }

    fn outputs(&self) -> FeatureMaps<'_> {
        let p = &self.problem;
        FeatureMaps::new(0..p.batch, p.c_out, 0..p.c_out, p.out_size(), &self.out_segments)
    }

    /// The weights of a stencil's taps for the lanes of the feature maps, `[group of channels][tap][lane]`.
    fn weights(&self, stencil: &Stencil, planes: &Planes, weights: &[f32]) -> Buffer {
        let per_group = stencil.shifts.len() * LANES;
        let mut out = Buffer::zeroed(planes.groups * per_group);
        for (group, out) in out.chunks_exact_mut(per_group.max(1)).enumerate() {
            for (out, tap) in out.chunks_exact_mut(LANES).zip(&stencil.grid.taps) {
                for (channel, lanes) in planes.lanes_of_channels(group) {
                    for lane in lanes {
                        out[lane] = weights[channel * self.problem.taps + tap.tap_index];
                    }
                }
            }
        }
        out
    }

    /// The zeros that a stencil of `step` reads on each side of a row.
    fn border(step: usize) -> usize {
        (BLOCK - 1) * step
    }
}

impl CpuConvolution for Depthwise {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let p = &self.problem;
        let (inputs, outputs) = (self.inputs(), self.outputs().with_bias(bias));
        let taps = self.weights(&self.forward, inputs.planes(), weights);
        let per_group = self.forward.shifts.len() * LANES;
        let y = Shared::new(y);
        let local = || {
            let source = Rows::new(p.size, Self::border(p.stride[1]));
            (source, Rows::new(p.out_size(), 0))
        };
        (0..inputs.batches()).into_par_iter().for_each_init(local, |(source, out), index| {
            let batch = inputs.batch(index);
            source.load(&inputs, &batch, x);
            let weights = &taps[batch.group * per_group..][..per_group];
            self.arch.dispatch(Filter { stencil: &self.forward, weights, source, out });
            out.store(&outputs, &batch, &y);
        });
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        let p = &self.problem;
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let taps: Vec<Buffer> =
            self.backward.iter().map(|s| self.weights(s, inputs.planes(), weights)).collect();
        let per_group = self.forward.shifts.len() * LANES;
        let (groups, blocks) = (inputs.planes().groups, inputs.batches() / inputs.planes().groups);
        let parts = TASKS.div_ceil(groups).min(blocks);
        let per_part = blocks.div_ceil(parts);
        let mut sums = Buffer::zeroed(groups * parts * per_group);
        let dx = dx.map(Shared::new);
        let local = || {
            (
                Rows::new(p.size, Self::border(p.stride[1])),
                Rows::new(p.out_size(), Self::border(1)),
                Rows::new(p.size, 0),
            )
        };
        sums.par_chunks_mut(per_group.max(1)).enumerate().for_each_init(
            local,
            |(source, grads, out), (task, sums)| {
                let (group, part) = (task / parts, task % parts);
                for block in part * per_part..((part + 1) * per_part).min(blocks) {
                    let batch = inputs.batch(block * groups + group);
                    source.load(&inputs, &batch, x);
                    grads.load(&outputs, &batch, grad);
                    self.arch.dispatch(Correlate { stencil: &self.forward, source, grads, sums });
                    let Some(dx) = &dx else { continue };
                    for (stencil, taps) in self.backward.iter().zip(&taps) {
                        let len = stencil.shifts.len() * LANES;
                        let weights = &taps[group * len..][..len];
                        self.arch.dispatch(Filter { stencil, weights, source: grads, out });
                    }
                    out.store(&inputs, &batch, dx);
                }
            },
        );
        dw.fill(0.0);
        let planes = inputs.planes();
        for (group, parts) in sums.chunks_exact((parts * per_group).max(1)).enumerate() {
            for (channel, lanes) in planes.lanes_of_channels(group) {
                for (index, tap) in self.forward.grid.taps.iter().enumerate() {
                    let of_part = |part: &[f32]| -> f64 {
                        lanes.clone().map(|lane| f64::from(part[index * LANES + lane])).sum()
                    };
                    let sum: f64 = parts.chunks_exact(per_group).map(of_part).sum();
                    dw[channel * p.taps + tap.tap_index] = sum as f32;
                }
            }
        }
    }
}

/// Computes the outputs of a batch: for each block of them, sums over the taps that meet data.
struct Filter<'a> {
    stencil: &'a Stencil,
    weights: &'a [f32],
    source: &'a Rows,
    out: &'a mut Rows,
}

/// The rows of a plane batch as vectors.
struct View<'a, S: Simd> {
    vectors: &'a [Vector<S>],
    border: usize,
    width: usize,
}

impl<'a, S: Simd> View<'a, S> {
    #[inline(always)]
    fn new(rows: &'a Rows) -> Self {
        View { vectors: S::as_simd_f32s(&rows.values).0, border: rows.border, width: rows.width }
    }

    /// The registers from those of `column` to those of the last of a block of columns every `step` of a row.
    #[inline(always)]
    fn block(&self, row: usize, column: i64, step: usize) -> &'a [Vector<S>] {
        let start = row * self.width + (column + self.border as i64) as usize;
        &self.vectors[parts::<S>() * start..parts::<S>() * (start + (BLOCK - 1) * step + 1)]
    }
}

impl WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.stencil.grid.in_step[1] == 1 { self.run::<S, 1>(simd) } else { self.run::<S, 0>(simd) }
    }
}

impl Filter<'_> {
    /// `STEP`: the distance of neighbouring inputs, or 0 if it is known at run time only.
    #[inline(always)]
    fn run<S: Simd, const STEP: usize>(self, simd: S) {
        let (stencil, grid, source) = (self.stencil, &self.stencil.grid, View::<S>::new(self.source));
        let step = if STEP > 0 { STEP } else { grid.in_step[1] };
        let weights = S::as_simd_f32s(self.weights).0;
        let (border, width) = (self.out.border, self.out.width);
        let out = S::as_mut_simd_f32s(&mut self.out.values).0;
        let registers = parts::<S>();
        for r in 0..grid.count[0] {
            let to = (grid.out_start[0] + grid.out_step[0] * r) * width + border + grid.out_start[1];
            for (block, first) in (0..grid.count[1]).step_by(BLOCK).enumerate() {
                for register in 0..registers {
                    let mut sums = [simd.splat_f32s(0.0); BLOCK];
                    for row in &stencil.rows {
                        if !row.live.contains(&r) {
                            continue;
                        }
                        let y = (grid.in_step[0] * r) as i64 + row.shift;
                        let taps = row.blocks[block].clone();
                        let of_taps = &weights[registers * taps.start..registers * taps.end];
                        let of_taps = of_taps.chunks_exact(registers);
                        for (weight, shift) in of_taps.zip(&stencil.shifts[taps]) {
                            let values = source.block(y as usize, (step * first) as i64 + shift, step);
                            for j in 0..BLOCK {
                                let value = values[registers * step * j + register];
                                sums[j] = simd.mul_add_f32s(weight[register], value, sums[j]);
                            }
                        }
                    }
                    let count = BLOCK.min(grid.count[1] - first);
                    let out = &mut out[registers * (to + grid.out_step[1] * first) + register..];
                    for (out, sum) in out.iter_mut().step_by(registers * grid.out_step[1]).zip(&sums[..count])
                    {
                        *out = *sum;
                    }
                }
            }
        }
    }
}

/// Adds the products of the gradients of a batch and the inputs under each tap to the gradient of the tap.
struct Correlate<'a> {
    stencil: &'a Stencil,
    source: &'a Rows,
    grads: &'a Rows,
    /// `[tap][lane]`.
    sums: &'a mut [f32],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.stencil.grid.in_step[1] == 1 { self.run::<S, 1>(simd) } else { self.run::<S, 0>(simd) }
    }
}

impl Correlate<'_> {
    #[inline(always)]
    fn run<S: Simd, const STEP: usize>(self, simd: S) {
        let (stencil, grid) = (self.stencil, &self.stencil.grid);
        let (source, grads) = (View::<S>::new(self.source), View::<S>::new(self.grads));
        let step = if STEP > 0 { STEP } else { grid.in_step[1] };
        let sums = S::as_mut_simd_f32s(self.sums).0;
        let registers = parts::<S>();
        for row in &stencil.rows {
            for r in row.live.clone() {
                let y = ((grid.in_step[0] * r) as i64 + row.shift) as usize;
                for (block, first) in (0..grid.count[1]).step_by(BLOCK).enumerate() {
                    for register in 0..registers {
                        let grads = grads.block(r, first as i64, 1);
                        let mut g = [simd.splat_f32s(0.0); BLOCK];
                        for j in 0..BLOCK {
                            g[j] = grads[registers * j + register];
                        }
                        let taps = row.blocks[block].clone();
                        let of_taps = &mut sums[registers * taps.start..registers * taps.end];
                        let of_taps = of_taps.chunks_exact_mut(registers);
                        for (sum, shift) in of_taps.zip(&stencil.shifts[taps]) {
                            let values = source.block(y, (step * first) as i64 + shift, step);
                            // Two chains hide the latency of the sum of one tap.
                            let mut chains = [sum[register], simd.splat_f32s(0.0)];
                            for j in 0..BLOCK {
                                let value = values[registers * step * j + register];
                                chains[j % 2] = simd.mul_add_f32s(g[j], value, chains[j % 2]);
                            }
                            sum[register] = simd.add_f32s(chains[0], chains[1]);
                        }
                    }
                }
            }
        }
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
    fn depthwise_layers_equal_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        let union = TapSet::union(&[one(7, 1), one(5, 3), one(19, 15)]).unwrap().0;
        for (taps, batch, channels, size, stride) in [
            (union, 9, 5, [1, 46], 1),
            (one(5, 3), 3, 40, [1, 33], 2),
            (two(5, 1), 2, 17, [8, 8], 1),
            (two(3, 4), 70, 3, [7, 10], 2),
            (two(9, 3), 2, 16, [5, 19], 3),
            (TapSet::causal(6, 2).unwrap(), 2, 4, [1, 21], 1),
        ] {
            let problem = problem(&taps, [batch, channels, channels, channels], size, [stride; 2]);
            against_oracle(&problem, "depthwise", 3e-6, |arch| Depthwise::with_arch(&problem, arch));
        }
    }
}
