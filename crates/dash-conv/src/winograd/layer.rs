//! A convolution by Winograd's algorithm: what is built once per problem, and the computations of both directions.

use super::{
    points::{self, Factor},
    tiling::{Axis, Tiling},
    transform::{Points, Rows, Strip},
};
use crate::{
    ConvProblem,
    buffer::{Buffer, pad_for_cache},
    parallel::Shared,
    product::{Product, Right, panels},
    side::Side,
    simd::{self, LANES},
    transpose,
};
use pulp::Arch;
use rayon::prelude::*;

/// The number of tiles that share a product: enough that kernels are rarely read from memory.
const BLOCK: usize = 96;

/// The number of blocks that keep many threads busy.
const BLOCKS: usize = 16;

/// The number of transformed elements that exist at a time in the gradient of the weights.
const CHUNK: usize = 2 << 20;

/// The number of rows of the products of a task in the gradient of the weights.
const GRAIN: usize = 24;

/// The convolution of one problem by Winograd's algorithm.
pub(crate) struct Winograd {
    pub(super) problem: ConvProblem,
    arch: Arch,
    /// The number of elements per vector.
    lanes: usize,
    pub(super) forward: Direction,
    pub(super) backward: Direction,
}

/// What one direction needs: that of the outputs, or that of the gradient of the input.
pub(super) struct Direction {
    axes: [Axis; 2],
    /// The columns that each tile of a row of tiles reads, and writes; the width of a feature map stands for none.
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// The tap indices in the order of the taps.
    tap_indices: Vec<usize>,
}

impl Direction {
    fn new(axes: [Axis; 2], tap_indices: Vec<usize>, width: usize) -> Direction {
        let columns = &axes[1];
        let tiles = 0..columns.tiles();
        let reads = tiles.clone().flat_map(|tile| columns.inputs(tile)).map(|c| c.unwrap_or(width)).collect();
        let writes = tiles.flat_map(|tile| columns.outputs_of(tile)).map(|c| c.unwrap_or(width)).collect();
        Direction { axes, reads, writes, tap_indices }
    }

    fn points(&self) -> usize {
        self.axes[0].points * self.axes[1].points
    }

    /// The scales of all pairs of points.
    fn scales(&self) -> Vec<f32> {
        let [rows, columns] = [0, 1].map(|axis| points::scales(self.axes[axis].points));
        rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect()
    }

    /// The numbers of points and outputs along both axes.
    fn outputs(&self) -> [(usize, usize); 2] {
        [0, 1].map(|axis| (self.axes[axis].points, self.axes[axis].outputs()))
    }

    /// The numbers of points and taps along both axes.
    fn taps(&self) -> [(usize, usize); 2] {
        [0, 1].map(|axis| (self.axes[axis].points, self.axes[axis].taps))
    }
}

/// The feature maps of one group, in a slice of all.
pub(super) struct GroupMaps<'a> {
    pub(super) values: &'a [f32],
    pub(super) side: Side,
}

impl Winograd {
    /// Builds the convolution with feature maps divided by `tiling`.
    pub(crate) fn new(problem: &ConvProblem, tiling: Tiling) -> Self {
        Winograd::with_arch(problem, tiling, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    pub(super) fn with_arch(problem: &ConvProblem, tiling: Tiling, arch: Arch) -> Self {
        let width = problem.size[1];
        let flipped = [tiling.rows.flipped(), tiling.columns.flipped()];
        let reversed = problem.tap_indices.iter().rev().copied().collect();
        Winograd {
            arch,
            lanes: simd::register(arch),
            forward: Direction::new([tiling.rows, tiling.columns], problem.tap_indices.clone(), width),
            backward: Direction::new(flipped, reversed, width),
            problem: problem.clone(),
        }
    }

    /// The number of vectors that hold the channels of a group.
    fn vectors(&self, side: Side) -> usize {
        side.count.div_ceil(self.lanes)
    }

    /// The index of the first weight of a pair of channels of a group.
    fn pair(&self, group: usize, input: usize, output: usize) -> usize {
        let p = &self.problem;
        ((group * p.group_out() + output) * p.group_in() + input) * p.taps
    }

    /// Zeros for `rows` rows of `width` columns and one more.
    fn rows(&self, rows: usize, width: usize, vectors: usize) -> Buffer {
        Buffer::zeroed(rows * pad_for_cache((width + 1) * vectors) * self.lanes)
    }

    fn view<'a>(&self, buffer: &'a mut Buffer, width: usize, vectors: usize) -> Rows<'a> {
        Rows { values: buffer, pitch: pad_for_cache((width + 1) * vectors), width, vectors }
    }

    /// Transformed kernels, scaled, `[point][panel of outputs][input]`; `transposed` exchanges inputs and outputs.
    pub(super) fn kernels(
        &self,
        direction: &Direction,
        weights: &[f32],
        group: usize,
        transposed: bool,
    ) -> Buffer {
        let (terms, outputs) = (Side::input(&self.problem, group), Side::output(&self.problem, group));
        let (terms, outputs) = if transposed { (outputs, terms) } else { (terms, outputs) };
        let (vectors, lanes, points) = (self.vectors(outputs), self.lanes, direction.points());
        let per_point = terms.count * vectors * lanes;
        let mut kernels = Buffer::scratch(points * per_point);
        let to = Shared::new(&mut kernels);
        let [rows, columns] = direction.taps();
        let table: Vec<usize> = (0..columns.1).collect();
        let scales = direction.scales();
        let local = || {
            (self.rows(rows.0, columns.1, vectors), Buffer::scratch(points * pad_for_cache(vectors) * lanes))
        };
        (0..terms.count).into_par_iter().for_each_init(local, |(taps, at_points), term| {
            let maps = self.view(taps, columns.1, vectors);
            for output in 0..outputs.count {
                let pair =
                    if transposed { self.pair(group, output, term) } else { self.pair(group, term, output) };
                for (tap, tap_index) in direction.tap_indices.iter().enumerate() {
                    let (row, column) = (tap / columns.1, tap % columns.1);
                    let at = row * maps.pitch + column * vectors;
                    maps.values[at * lanes + output] = weights[pair + tap_index];
                }
            }
            let values = Shared::new(at_points);
            let points = Points { values, pitch: pad_for_cache(vectors), first: 0 };
            let factor = Factor::Evaluate;
            self.arch.dispatch(Strip { factor, rows, columns, maps, points, table: &table });
            let at_points = at_points.chunks_exact(pad_for_cache(vectors) * lanes);
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

    /// Copies one row of feature maps to lanes, `[column][channel]`; a row outside of them is zero.
    fn load(&self, maps: &GroupMaps<'_>, sample: usize, row: Option<usize>, out: &mut [f32]) {
        let side = maps.side;
        let (width, pitch) = (side.size[1], self.vectors(side) * self.lanes);
        let Some(row) = row else { return out[..width * pitch].fill(0.0) };
        let from = |channel: usize| &maps.values[side.map(sample, channel) + row * width..][..width];
        transpose::rows_into_lanes(side.count, from, out, pitch);
    }

    /// Copies one row from lanes to its feature maps, plus the bias.
    fn store(
        &self,
        lanes_of: &[f32],
        to: &Shared<'_, f32>,
        side: Side,
        [sample, row]: [usize; 2],
        bias: Option<&[f32]>,
    ) {
        let (width, pitch) = (side.size[1], self.vectors(side) * self.lanes);
        let row_of = |channel: usize| {
            let start = side.map(sample, channel) + row * width;
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

    /// Convolves the feature maps of one group with transformed kernels.
    pub(super) fn convolve(
        &self,
        direction: &Direction,
        from: &GroupMaps<'_>,
        kernels: &[f32],
        (to, side): (&Shared<'_, f32>, Side),
        bias: Option<&[f32]>,
    ) {
        let p = &self.problem;
        let (width, lanes, points) = (p.size[1], self.lanes, direction.points());
        let [row_axis, column_axis] = &direction.axes;
        let [rows, columns] = direction.outputs();
        let (tiles, strips) = (column_axis.tiles(), p.batch * row_axis.tiles());
        let block = (BLOCK.min((strips * tiles).div_ceil(BLOCKS)) / tiles).max(1);
        let pitches = [self.vectors(from.side), self.vectors(side)]
            .map(|vectors| pad_for_cache(block * tiles * vectors));
        let local = || {
            (
                self.rows(rows.0, width, self.vectors(from.side)),
                Buffer::scratch(points * pitches[0] * lanes),
                Buffer::scratch(points * pitches[1] * lanes),
                self.rows(rows.0, width, self.vectors(side)),
            )
        };
        let blocks = strips.div_ceil(block);
        (0..blocks).into_par_iter().for_each_init(local, |(maps, inputs, outputs, results), index| {
            let strips = index * block..((index + 1) * block).min(strips);
            let all = Points { values: Shared::new(inputs), pitch: pitches[0], first: 0 };
            for strip in strips.clone() {
                let points = Points { first: (strip - strips.start) * tiles, ..all };
                self.to_points(Factor::Input, direction, from, strip, maps, points);
            }
            for point in 0..points {
                let per_point = from.side.count * self.vectors(side) * lanes;
                self.arch.dispatch(Product {
                    left: &inputs[point * pitches[0] * lanes..][..pitches[0] * lanes],
                    left_strides: [self.vectors(from.side) * lanes, 1],
                    right: &kernels[point * per_point..][..per_point],
                    right_as: Right::Panels,
                    out: &mut outputs[point * pitches[1] * lanes..][..pitches[1] * lanes],
                    out_row: self.vectors(side) * lanes,
                    size: [strips.len() * tiles, self.vectors(side), from.side.count],
                    add: false,
                });
            }
            let all = Points { values: Shared::new(outputs), pitch: pitches[1], first: 0 };
            for strip in strips.clone() {
                let maps = self.view(results, width, self.vectors(side));
                let pitch = maps.pitch;
                let points = Points { first: (strip - strips.start) * tiles, ..all };
                let (factor, table) = (Factor::Interpolate, &direction.writes);
                self.arch.dispatch(Strip { factor, rows, columns, maps, points, table });
                let (sample, tile) = (strip / row_axis.tiles(), strip % row_axis.tiles());
                for (i, row) in row_axis.outputs_of(tile).enumerate() {
                    let Some(row) = row else { continue };
                    self.store(&results[i * pitch * lanes..], to, side, [sample, row], bias);
                }
            }
        });
    }

    /// Transforms one strip, a row of tiles of a sample, to points: inputs with [`Factor::Input`], gradients of outputs with
    /// [`Factor::Evaluate`].
    fn to_points(
        &self,
        factor: Factor,
        direction: &Direction,
        maps: &GroupMaps<'_>,
        strip: usize,
        rows: &mut Buffer,
        points: Points<'_>,
    ) {
        let axis = &direction.axes[0];
        let (sample, tile) = (strip / axis.tiles(), strip % axis.tiles());
        let view = self.view(rows, self.problem.size[1], self.vectors(maps.side));
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
        let [rows, columns] = direction.outputs();
        let table = if factor == Factor::Input { &direction.reads } else { &direction.writes };
        self.arch.dispatch(Strip { factor, rows, columns, maps: view, points, table });
    }

    /// Writes the gradients of the weights of one group to those of the whole layer, `dw`.
    pub(super) fn weight_gradients(
        &self,
        x: &GroupMaps<'_>,
        grad: &GroupMaps<'_>,
        group: usize,
        dw: &mut [f32],
    ) {
        let (p, direction, lanes) = (&self.problem, &self.forward, self.lanes);
        let points = direction.points();
        let tiles = direction.axes[1].tiles();
        let strips = p.batch * direction.axes[0].tiles();
        let (inputs, outputs) = (x.side, grad.side);
        // How sums are divided into chunks must not depend on the width of registers.
        let channels = inputs.count.next_multiple_of(LANES) + outputs.count.next_multiple_of(LANES);
        let per_strip = points * tiles * channels;
        let chunk = (CHUNK / per_strip).clamp(1, strips);
        let chunk = strips.div_ceil(strips.div_ceil(chunk));
        let pitches = [self.vectors(inputs), self.vectors(outputs)]
            .map(|vectors| pad_for_cache(chunk * tiles * vectors));
        let mut x_points = Buffer::scratch(points * pitches[0] * lanes);
        let mut grad_points = Buffer::scratch(points * pitches[1] * lanes);
        let out_row = self.vectors(outputs) * lanes;
        let mut sums = Buffer::scratch(points * inputs.count * out_row);
        let blocks = inputs.count.div_ceil(GRAIN);
        for start in (0..strips).step_by(chunk) {
            let strips = start..(start + chunk).min(strips);
            let x_all = Points { values: Shared::new(&mut x_points), pitch: pitches[0], first: 0 };
            let grad_all = Points { values: Shared::new(&mut grad_points), pitch: pitches[1], first: 0 };
            let rows = |vectors| self.rows(direction.axes[0].points, p.size[1], vectors);
            let local = || (rows(self.vectors(inputs)), rows(self.vectors(outputs)));
            strips.clone().into_par_iter().for_each_init(local, |(x_rows, grad_rows), strip| {
                let first = (strip - start) * tiles;
                self.to_points(Factor::Input, direction, x, strip, x_rows, Points { first, ..x_all });
                self.to_points(
                    Factor::Evaluate,
                    direction,
                    grad,
                    strip,
                    grad_rows,
                    Points { first, ..grad_all },
                );
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
                    left_strides: [1, self.vectors(inputs) * lanes],
                    right: &grad_points[point * pitches[1] * lanes..(point + 1) * pitches[1] * lanes],
                    right_as: Right::Rows(out_row),
                    out,
                    out_row,
                    size: [count, self.vectors(outputs), strips.len() * tiles],
                    add: start > 0,
                });
            });
        }
        self.taps_of_sums(&mut sums, group, dw);
    }

    /// Transforms the gradients at points, `[point][input][output]`, to those of the weights.
    fn taps_of_sums(&self, sums: &mut Buffer, group: usize, dw: &mut [f32]) {
        let (direction, lanes) = (&self.forward, self.lanes);
        let (inputs, outputs) = (Side::input(&self.problem, group), Side::output(&self.problem, group));
        let per_point = inputs.count * self.vectors(outputs) * lanes;
        let scales = direction.scales();
        sums.par_chunks_mut(per_point).zip(&scales).for_each(|(sums, scale)| {
            sums.iter_mut().for_each(|sum| *sum *= scale);
        });
        let [rows, columns] = direction.taps();
        let table: Vec<usize> = (0..columns.1).collect();
        let (values, to) = (Shared::new(sums), Shared::new(dw));
        let local = || self.rows(rows.0, columns.1, self.vectors(outputs));
        (0..inputs.count).into_par_iter().for_each_init(local, |taps, input| {
            let maps = self.view(taps, columns.1, self.vectors(outputs));
            let pitch = maps.pitch;
            let points = Points { values, pitch: inputs.count * self.vectors(outputs), first: input };
            let factor = Factor::Interpolate;
            self.arch.dispatch(Strip { factor, rows, columns, maps, points, table: &table });
            for output in 0..outputs.count {
                let pair = self.pair(group, input, output);
                for (tap, tap_index) in direction.tap_indices.iter().enumerate() {
                    let (row, column) = (tap / columns.1, tap % columns.1);
                    let at = row * pitch + column * self.vectors(outputs);
                    // SAFETY: the weights of a pair belong to the task of its input.
                    #[allow(unsafe_code)]
                    let weight = unsafe { to.slice(pair + tap_index, 1) };
                    weight[0] = taps[at * lanes + output];
                }
            }
        });
    }
}
