//! Winograd's algorithm: kernels of a few evenly spaced taps between many channels.
//!
//! Maps are cut into tiles ([`geometry`]); each is brought to a few points ([`points`],
//! [`transform`]), where all that remains is one real matrix product per point ([`crate::product`]), with two
//! to four times fewer multiplications than taps ask for. Channels are in the lanes. The gradient in
//! the input is the convolution with the kernels turned around.

mod geometry;
mod points;
mod transform;

use crate::{
    ConvProblem,
    buffer::{Buffer, odd},
    op::Kernel,
    parallel::Shared,
    product::{Product, Right, panels},
    simd::{self, LANES},
    transpose,
};
use geometry::Axis;
use points::Factor;
use pulp::Arch;
use rayon::prelude::*;
use transform::{Points, Rows, Strip};

pub(crate) use geometry::Geometry as Tiles;

/// Tiles that are taken through the products together: enough that kernels are read from afar rarely.
const BLOCK: usize = 96;

/// Blocks that keep many threads busy.
const BLOCKS: usize = 16;

/// Numbers at points that exist at a time where weights get their gradients.
const CHUNK: usize = 2 << 20;

/// Rows of the products of a task where weights get their gradients.
const GRAIN: usize = 24;

/// The convolution of one problem at points.
pub(crate) struct Winograd {
    problem: ConvProblem,
    arch: Arch,
    /// Numbers per vector.
    lanes: usize,
    forward: Pass,
    backward: Pass,
}

/// What one direction needs: the forward pass, or that of the gradient.
struct Pass {
    axes: [Axis; 2],
    /// Columns that the tiles of a row of tiles read, and write; the width of a map for none.
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// Weights of a pair of channels in the order of the taps.
    tap_indices: Vec<usize>,
}

/// One side of a convolution: maps of a group of channels.
#[derive(Clone, Copy)]
struct Side {
    /// Channels of a sample, the first of the group and the channels of the group.
    all: usize,
    first: usize,
    count: usize,
    /// Vectors that hold the channels of the group.
    vectors: usize,
}

impl Pass {
    fn new(axes: [Axis; 2], tap_indices: Vec<usize>, width: usize) -> Pass {
        let columns = &axes[1];
        let tiles = 0..columns.tiles();
        let reads = tiles.clone().flat_map(|tile| columns.inputs(tile)).map(|c| c.unwrap_or(width)).collect();
        let writes = tiles.flat_map(|tile| columns.outputs_of(tile)).map(|c| c.unwrap_or(width)).collect();
        Pass { axes, reads, writes, tap_indices }
    }

    fn points(&self) -> usize {
        self.axes[0].points * self.axes[1].points
    }

    /// The scales of all points.
    fn scales(&self) -> Vec<f32> {
        let [rows, columns] = [0, 1].map(|axis| points::scales(self.axes[axis].points));
        rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect()
    }

    /// Points and outputs of both axes.
    fn outputs(&self) -> [(usize, usize); 2] {
        [0, 1].map(|axis| (self.axes[axis].points, self.axes[axis].outputs()))
    }

    /// Points and taps of both axes.
    fn taps(&self) -> [(usize, usize); 2] {
        [0, 1].map(|axis| (self.axes[axis].points, self.axes[axis].taps))
    }
}

/// Maps of one group, in a buffer of all.
struct Maps<'a> {
    values: &'a [f32],
    side: Side,
}

impl Winograd {
    /// Builds the convolution with maps cut as `tiles` says.
    pub(crate) fn new(problem: &ConvProblem, tiles: Tiles) -> Self {
        Winograd::with_arch(problem, tiles, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    fn with_arch(problem: &ConvProblem, tiles: Tiles, arch: Arch) -> Self {
        let width = problem.size[1];
        let flipped = [tiles.rows.flipped(), tiles.columns.flipped()];
        let reversed = problem.tap_indices.iter().rev().copied().collect();
        Winograd {
            arch,
            lanes: simd::register(arch),
            forward: Pass::new([tiles.rows, tiles.columns], problem.tap_indices.clone(), width),
            backward: Pass::new(flipped, reversed, width),
            problem: problem.clone(),
        }
    }

    fn input(&self, group: usize) -> Side {
        self.side(self.problem.c_in, self.problem.group_in(), group)
    }

    fn output(&self, group: usize) -> Side {
        self.side(self.problem.c_out, self.problem.group_out(), group)
    }

    fn side(&self, all: usize, count: usize, group: usize) -> Side {
        Side { all, first: group * count, count, vectors: count.div_ceil(self.lanes) }
    }

    /// Where the weights of a pair of channels of a group begin.
    fn pair(&self, group: usize, input: usize, output: usize) -> usize {
        let p = &self.problem;
        ((group * p.group_out() + output) * p.group_in() + input) * p.taps
    }

    /// Zeros for `rows` rows of maps of `width` columns and one more.
    fn rows(&self, rows: usize, width: usize, vectors: usize) -> Buffer {
        Buffer::zeroed(rows * odd((width + 1) * vectors) * self.lanes)
    }

    fn view<'a>(&self, buffer: &'a mut Buffer, width: usize, vectors: usize) -> Rows<'a> {
        Rows { values: buffer, pitch: odd((width + 1) * vectors), width, vectors }
    }

    /// Kernels at points, scaled, `[point][panel of outputs][input]`; `turned` exchanges inputs and
    /// outputs.
    fn kernels(&self, pass: &Pass, weights: &[f32], group: usize, turned: bool) -> Buffer {
        let (terms, outputs) = (self.input(group), self.output(group));
        let (terms, outputs) = if turned { (outputs, terms) } else { (terms, outputs) };
        let (vectors, lanes, points) = (outputs.vectors, self.lanes, pass.points());
        let per_point = terms.count * vectors * lanes;
        let mut kernels = Buffer::stale(points * per_point);
        let to = Shared::new(&mut kernels);
        let [rows, columns] = pass.taps();
        let table: Vec<usize> = (0..columns.1).collect();
        let scales = pass.scales();
        let local = || (self.rows(rows.0, columns.1, vectors), Buffer::stale(points * odd(vectors) * lanes));
        (0..terms.count).into_par_iter().for_each_init(local, |(taps, at_points), term| {
            let maps = self.view(taps, columns.1, vectors);
            for output in 0..outputs.count {
                let pair =
                    if turned { self.pair(group, output, term) } else { self.pair(group, term, output) };
                for (tap, place) in pass.tap_indices.iter().enumerate() {
                    let (row, column) = (tap / columns.1, tap % columns.1);
                    let at = row * maps.pitch + column * vectors;
                    maps.values[at * lanes + output] = weights[pair + place];
                }
            }
            let values = Shared::new(at_points);
            let points = Points { values, pitch: odd(vectors), first: 0 };
            let factor = Factor::Evaluate;
            self.arch.dispatch(Strip { factor, rows, columns, maps, points, table: &table });
            let at_points = at_points.chunks_exact(odd(vectors) * lanes);
            for (point, (values, scale)) in at_points.zip(&scales).enumerate() {
                for (vector, width) in panels(vectors) {
                    let at = point * per_point + (vector * terms.count + term * width) * lanes;
                    // SAFETY: a term of a panel belongs to this task alone.
                    #[allow(unsafe_code)]
                    let to = unsafe { to.slice(at, width * lanes) };
                    to.iter_mut().zip(&values[vector * lanes..]).for_each(|(to, value)| *to = scale * value);
                }
            }
        });
        kernels
    }

    /// Brings one row of maps into lanes, `[column][channel]`; a row outside the maps is zero.
    fn load(&self, maps: &Maps<'_>, sample: usize, row: Option<usize>, out: &mut [f32]) {
        let (p, side) = (&self.problem, maps.side);
        let (width, pitch) = (p.size[1], side.vectors * self.lanes);
        let Some(row) = row else { return out[..width * pitch].fill(0.0) };
        let from = |channel: usize| {
            let start = (sample * side.all + side.first + channel) * p.plane() + row * width;
            &maps.values[start..start + width]
        };
        for first in (0..side.count).step_by(transpose::BLOCK) {
            let count = transpose::BLOCK.min(side.count - first);
            let done = if count == transpose::BLOCK {
                let rows = std::array::from_fn(|i| from(first + i));
                transpose::into_lanes(&rows, &mut out[first..], pitch)
            } else {
                0
            };
            for channel in first..first + count {
                let to = out[channel..].iter_mut().step_by(pitch).skip(done);
                to.zip(&from(channel)[done..]).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Brings one row of maps from lanes to where it belongs, plus the bias.
    fn store(
        &self,
        lanes_of: &[f32],
        to: &Shared<'_, f32>,
        side: Side,
        [sample, row]: [usize; 2],
        bias: Option<&[f32]>,
    ) {
        let p = &self.problem;
        let (width, pitch) = (p.size[1], side.vectors * self.lanes);
        let row_of = |channel: usize| {
            let start = (sample * side.all + side.first + channel) * p.plane() + row * width;
            // SAFETY: a row of a map belongs to one strip, and so to one task.
            #[allow(unsafe_code)]
            unsafe {
                to.slice(start, width)
            }
        };
        let bias = |channel: usize| bias.map_or(0.0, |bias| bias[side.first + channel]);
        for first in (0..side.count).step_by(transpose::BLOCK) {
            let count = transpose::BLOCK.min(side.count - first);
            let done = if count == transpose::BLOCK {
                let mut rows = std::array::from_fn(|i| row_of(first + i));
                let biases = std::array::from_fn(|i| bias(first + i));
                transpose::from_lanes(&lanes_of[first..], pitch, &mut rows, biases, false)
            } else {
                0
            };
            for channel in first..first + count {
                let from = lanes_of[channel..].iter().step_by(pitch).skip(done);
                let bias = bias(channel);
                row_of(channel)[done..].iter_mut().zip(from).for_each(|(to, from)| *to = from + bias);
            }
        }
    }

    /// Convolves the maps of one group with kernels at points.
    fn convolve(
        &self,
        pass: &Pass,
        from: &Maps<'_>,
        kernels: &[f32],
        (to, side): (&Shared<'_, f32>, Side),
        bias: Option<&[f32]>,
    ) {
        let p = &self.problem;
        let (width, lanes, points) = (p.size[1], self.lanes, pass.points());
        let [row_axis, column_axis] = &pass.axes;
        let [rows, columns] = pass.outputs();
        let (tiles, strips) = (column_axis.tiles(), p.batch * row_axis.tiles());
        let block = (BLOCK.min((strips * tiles).div_ceil(BLOCKS)) / tiles).max(1);
        let pitches = [from.side.vectors, side.vectors].map(|vectors| odd(block * tiles * vectors));
        let local = || {
            (
                self.rows(rows.0, width, from.side.vectors),
                Buffer::stale(points * pitches[0] * lanes),
                Buffer::stale(points * pitches[1] * lanes),
                self.rows(rows.0, width, side.vectors),
            )
        };
        let blocks = strips.div_ceil(block);
        (0..blocks).into_par_iter().for_each_init(local, |(maps, inputs, outputs, results), index| {
            let strips = index * block..((index + 1) * block).min(strips);
            let all = Points { values: Shared::new(inputs), pitch: pitches[0], first: 0 };
            for strip in strips.clone() {
                let points = Points { first: (strip - strips.start) * tiles, ..all };
                self.to_points(Factor::Input, pass, from, strip, maps, points);
            }
            for point in 0..points {
                let per_point = from.side.count * side.vectors * lanes;
                self.arch.dispatch(Product {
                    left: &inputs[point * pitches[0] * lanes..][..pitches[0] * lanes],
                    left_strides: [from.side.vectors * lanes, 1],
                    right: &kernels[point * per_point..][..per_point],
                    right_as: Right::Panels,
                    out: &mut outputs[point * pitches[1] * lanes..][..pitches[1] * lanes],
                    out_row: side.vectors * lanes,
                    size: [strips.len() * tiles, side.vectors, from.side.count],
                    add: false,
                });
            }
            let all = Points { values: Shared::new(outputs), pitch: pitches[1], first: 0 };
            for strip in strips.clone() {
                let maps = self.view(results, width, side.vectors);
                let pitch = maps.pitch;
                let points = Points { first: (strip - strips.start) * tiles, ..all };
                let (factor, table) = (Factor::Interpolate, &pass.writes);
                self.arch.dispatch(Strip { factor, rows, columns, maps, points, table });
                let (sample, tile) = (strip / row_axis.tiles(), strip % row_axis.tiles());
                for (i, row) in row_axis.outputs_of(tile).enumerate() {
                    let Some(row) = row else { continue };
                    self.store(&results[i * pitch * lanes..], to, side, [sample, row], bias);
                }
            }
        });
    }

    /// Brings the maps of one strip, a row of tiles of a sample, to points: inputs with
    /// [`Factor::Input`], gradients of outputs with [`Factor::Evaluate`].
    fn to_points(
        &self,
        factor: Factor,
        pass: &Pass,
        maps: &Maps<'_>,
        strip: usize,
        rows: &mut Buffer,
        points: Points<'_>,
    ) {
        let axis = &pass.axes[0];
        let (sample, tile) = (strip / axis.tiles(), strip % axis.tiles());
        let view = self.view(rows, self.problem.size[1], maps.side.vectors);
        let pitch = view.pitch * self.lanes;
        let mut lines = view.values.chunks_exact_mut(pitch);
        match factor {
            Factor::Input => axis.inputs(tile).zip(&mut lines).for_each(|(row, line)| {
                self.load(maps, sample, row, line);
            }),
            _ => axis.outputs_of(tile).zip(&mut lines).for_each(|(row, line)| {
                self.load(maps, sample, row, line);
            }),
        }
        let [rows, columns] = pass.outputs();
        let table = if factor == Factor::Input { &pass.reads } else { &pass.writes };
        self.arch.dispatch(Strip { factor, rows, columns, maps: view, points, table });
    }

    /// The gradients of the weights of one group, written to `dw`, which belong to the whole layer.
    fn weight_gradients(&self, x: &Maps<'_>, grad: &Maps<'_>, group: usize, dw: &mut [f32]) {
        let (p, pass, lanes) = (&self.problem, &self.forward, self.lanes);
        let points = pass.points();
        let tiles = pass.axes[1].tiles();
        let strips = p.batch * pass.axes[0].tiles();
        let (inputs, outputs) = (x.side, grad.side);
        // Sums are divided into chunks: registers of any width must give the same.
        let channels = inputs.count.next_multiple_of(LANES) + outputs.count.next_multiple_of(LANES);
        let per_strip = points * tiles * channels;
        let chunk = (CHUNK / per_strip).clamp(1, strips);
        let chunk = strips.div_ceil(strips.div_ceil(chunk));
        let pitches = [inputs.vectors, outputs.vectors].map(|vectors| odd(chunk * tiles * vectors));
        let mut x_points = Buffer::stale(points * pitches[0] * lanes);
        let mut grad_points = Buffer::stale(points * pitches[1] * lanes);
        let out_row = outputs.vectors * lanes;
        let mut sums = Buffer::stale(points * inputs.count * out_row);
        let blocks = inputs.count.div_ceil(GRAIN);
        for start in (0..strips).step_by(chunk) {
            let strips = start..(start + chunk).min(strips);
            let x_all = Points { values: Shared::new(&mut x_points), pitch: pitches[0], first: 0 };
            let grad_all = Points { values: Shared::new(&mut grad_points), pitch: pitches[1], first: 0 };
            let rows = |vectors| self.rows(pass.axes[0].points, p.size[1], vectors);
            let local = || (rows(inputs.vectors), rows(outputs.vectors));
            strips.clone().into_par_iter().for_each_init(local, |(x_rows, grad_rows), strip| {
                let first = (strip - start) * tiles;
                self.to_points(Factor::Input, pass, x, strip, x_rows, Points { first, ..x_all });
                self.to_points(Factor::Evaluate, pass, grad, strip, grad_rows, Points { first, ..grad_all });
            });
            let all = Shared::new(&mut sums);
            (0..points * blocks).into_par_iter().for_each(|task| {
                let (point, first) = (task / blocks, task % blocks * GRAIN);
                let count = GRAIN.min(inputs.count - first);
                // SAFETY: these rows of the sums belong to this task alone.
                #[allow(unsafe_code)]
                let out = unsafe { all.slice((point * inputs.count + first) * out_row, count * out_row) };
                self.arch.dispatch(Product {
                    left: &x_points[point * pitches[0] * lanes + first..(point + 1) * pitches[0] * lanes],
                    left_strides: [1, inputs.vectors * lanes],
                    right: &grad_points[point * pitches[1] * lanes..(point + 1) * pitches[1] * lanes],
                    right_as: Right::Rows(out_row),
                    out,
                    out_row,
                    size: [count, outputs.vectors, strips.len() * tiles],
                    add: start > 0,
                });
            });
        }
        self.taps_of_sums(&mut sums, group, dw);
    }

    /// The gradients of weights from those at points, `[point][input][output]`.
    fn taps_of_sums(&self, sums: &mut Buffer, group: usize, dw: &mut [f32]) {
        let (pass, lanes) = (&self.forward, self.lanes);
        let (inputs, outputs) = (self.input(group), self.output(group));
        let per_point = inputs.count * outputs.vectors * lanes;
        let scales = pass.scales();
        sums.par_chunks_mut(per_point).zip(&scales).for_each(|(sums, scale)| {
            sums.iter_mut().for_each(|sum| *sum *= scale);
        });
        let [rows, columns] = pass.taps();
        let table: Vec<usize> = (0..columns.1).collect();
        let (values, to) = (Shared::new(sums), Shared::new(dw));
        let local = || self.rows(rows.0, columns.1, outputs.vectors);
        (0..inputs.count).into_par_iter().for_each_init(local, |taps, input| {
            let maps = self.view(taps, columns.1, outputs.vectors);
            let pitch = maps.pitch;
            let points = Points { values, pitch: inputs.count * outputs.vectors, first: input };
            let factor = Factor::Interpolate;
            self.arch.dispatch(Strip { factor, rows, columns, maps, points, table: &table });
            for output in 0..outputs.count {
                let pair = self.pair(group, input, output);
                for (tap, place) in pass.tap_indices.iter().enumerate() {
                    let (row, column) = (tap / columns.1, tap % columns.1);
                    let at = row * pitch + column * outputs.vectors;
                    // SAFETY: the weights of a pair belong to the task of its input.
                    #[allow(unsafe_code)]
                    let weight = unsafe { to.slice(pair + place, 1) };
                    weight[0] = taps[at * lanes + output];
                }
            }
        });
    }
}

impl Kernel for Winograd {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        let y = Shared::new(y);
        for group in 0..self.problem.groups {
            let kernels = self.kernels(&self.forward, weights, group, false);
            let maps = Maps { values: x, side: self.input(group) };
            self.convolve(&self.forward, &maps, &kernels, (&y, self.output(group)), Some(bias));
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], mut dx: Option<&mut [f32]>, dw: &mut [f32]) {
        dw.fill(0.0);
        for group in 0..self.problem.groups {
            let maps = Maps { values: x, side: self.input(group) };
            let grads = Maps { values: grad, side: self.output(group) };
            if let Some(dx) = &mut dx {
                let kernels = self.kernels(&self.backward, weights, group, true);
                let dx = Shared::new(dx);
                self.convolve(&self.backward, &grads, &kernels, (&dx, maps.side), None);
            }
            self.weight_gradients(&maps, &grads, group, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::against_oracle};

    #[test]
    fn every_tiling_equals_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        // Channels below, at and above the width of vectors; dilations beyond the map; groups; many strips.
        for (taps, [batch, c_in, c_out, groups], size) in [
            (one(3, 1), [3, 1, 2, 1], [1, 37]),
            (one(3, 3), [2, 33, 50, 1], [1, 40]),
            (one(3, 7), [40, 17, 16, 1], [1, 21]),
            (TapSet::causal(3, 3).unwrap(), [2, 8, 12, 2], [1, 33]),
            (TapSet::causal(2, 1).unwrap(), [2, 3, 9, 1], [1, 12]),
            (two(3, 1), [2, 5, 18, 1], [9, 14]),
            (two(3, 2), [2, 24, 40, 1], [11, 6]),
            (two(3, 3), [1, 20, 20, 1], [10, 13]),
            (two(3, 1), [3, 6, 6, 3], [8, 9]),
            (two(9, 5), [2, 4, 6, 1], [8, 8]),
        ] {
            let problem = ConvProblem::new(&taps, batch, c_in, c_out, groups, size, [1, 1]).unwrap();
            let tilings = Tiles::candidates(&problem);
            assert!(!tilings.is_empty());
            for tiles in tilings {
                against_oracle(&problem, &format!("{tiles:?}"), 3e-6, |arch| {
                    Winograd::with_arch(&problem, tiles.clone(), arch)
                });
            }
        }
    }
}
