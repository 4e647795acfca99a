//! Batches of planes: which feature map or kernel each vector lane holds, and how rows get into lanes and back.
//!
//! A *plane* is a two-dimensional array of real numbers: a feature map, a tile of one, or a kernel. Up to [`LANES`]
//! planes are computed side by side, one per lane, whatever the registers of the machine hold: which planes share a
//! batch decides in which order their sums are formed.
//!
//! ```text
//! memory            [sample][channel][row][column]             one plane after the other
//! a row in lanes    [column][lane]                             LANES planes side by side
//!
//! 3 channels, 16 lanes: 5 samples share a batch
//! lane              0   1   2   3   4   5   6  ..  14   15
//! sample, channel  0,0 0,1 0,2 1,0 1,1 1,2 2,0 .. 4,2   -
//! ```

use crate::{buffer::pad_for_cache, parallel::Shared, simd::LANES, transpose};
use std::ops::Range;

/// The layout of a set of planes: `outer` (samples of all tiles, or the channels of the other side) times `channels`.
///
/// Spectra of one frequency bin are stored so that they are operands of matrix products as they are:
///
/// ```text
/// [outer][group of LANES channels][re, im][lane]
/// ```
///
/// For the transforms themselves, planes of several outer indices share the lanes that few channels would leave idle.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    pub(crate) outer: usize,
    pub(crate) channels: usize,
    /// The number of groups of [`LANES`] channels.
    pub(crate) groups: usize,
    /// The number of outer indices that share the lanes of a batch.
    pub(crate) outer_per_batch: usize,
    /// Where spectra are only ever read element by element, the planes of a batch stay side by side as they were
    /// transformed: `[batch][re, im][lane]`, for as many outer indices at a time as a tile has.
    side_by_side: Option<usize>,
}

impl Planes {
    pub(crate) fn new(outer: usize, channels: usize) -> Planes {
        let outer_per_batch = (LANES / channels).max(1);
        Planes { outer, channels, groups: channels.div_ceil(LANES), outer_per_batch, side_by_side: None }
    }

    /// Whether the spectra of a batch are contiguous vectors.
    pub(crate) fn whole_batches(&self) -> bool {
        self.outer_per_batch == 1 || self.side_by_side.is_some()
    }

    /// The position of the real part of a plane within the spectra of one bin.
    pub(crate) fn slot(&self, outer: usize, channel: usize) -> usize {
        if let (Some(per_tile), true) = (self.side_by_side, self.outer_per_batch > 1) {
            let (tile, sample) = (outer / per_tile, outer % per_tile);
            let batch = tile * per_tile.div_ceil(self.outer_per_batch) + sample / self.outer_per_batch;
            return batch * 2 * LANES + sample % self.outer_per_batch * self.channels + channel;
        }
        (outer * self.groups + channel / LANES) * 2 * LANES + channel % LANES
    }

    /// The channels of a group, each with the lanes that hold it.
    pub(crate) fn lanes_of_channels(
        &self,
        group: usize,
    ) -> impl Iterator<Item = (usize, std::iter::StepBy<Range<usize>>)> + use<> {
        let (outer_per_batch, first) = (self.outer_per_batch, group * LANES);
        let count = LANES.min(self.channels - first);
        (0..count).map(move |c| (first + c, (c..c + outer_per_batch * count).step_by(count)))
    }

    /// The slots of all channels of the first outer index.
    pub(crate) fn channel_slots(&self) -> Vec<usize> {
        (0..self.channels).map(|c| self.slot(0, c)).collect()
    }

    /// The slots of the first channel of all outer indices.
    pub(crate) fn outer_slots(&self) -> Vec<usize> {
        (0..self.outer).map(|u| self.slot(u, 0)).collect()
    }

    /// The layout of one group of channels on its own.
    pub(crate) fn group(&self, group: usize) -> Planes {
        let channels = (self.channels - group * LANES).min(LANES);
        Planes { channels, groups: 1, ..self.clone() }
    }

    /// The distance of the spectra of neighbouring bins, in elements.
    pub(crate) fn pitch(&self) -> usize {
        let vectors = match self.side_by_side {
            Some(per_tile) => self.outer / per_tile * per_tile.div_ceil(self.outer_per_batch) * self.groups,
            None => self.outer * self.groups,
        };
        pad_for_cache(vectors) * 2 * LANES
    }
}

/// Planes that are computed together, one per lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaneBatch {
    /// Index among all batches.
    pub(crate) index: usize,
    /// Index of the tile of the feature maps.
    pub(crate) tile: usize,
    /// First outer index.
    pub(crate) outer: usize,
    /// The number of outer indices; more than one only if there are few channels.
    pub(crate) count: usize,
    /// Index of the group of channels.
    pub(crate) group: usize,
}

/// The plane of a lane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LanePlane {
    pub(crate) lane: usize,
    /// Outer index, relative to the first one of the batch.
    pub(crate) outer: usize,
    pub(crate) channel: usize,
}

impl PlaneBatch {
    /// The planes of the lanes in use.
    pub(crate) fn lanes(&self, planes: &Planes) -> impl Iterator<Item = LanePlane> + use<> {
        let first = self.group * LANES;
        let channels = LANES.min(planes.channels - first);
        (0..self.count).flat_map(move |outer| {
            let plane = move |c| LanePlane { lane: outer * channels + c, outer, channel: first + c };
            (0..channels).map(plane)
        })
    }
}

/// Planes as transforms see them. The rows that hold data are *live*; all others are zero.
pub(crate) trait PlaneSource: Sync {
    fn planes(&self) -> &Planes;
    /// The number of batches.
    fn batches(&self) -> usize;
    fn batch(&self, index: usize) -> PlaneBatch;
    /// The batches of one group of channels.
    fn of_group(&self, group: usize) -> std::iter::StepBy<Range<usize>>;
    /// The number of batches of one tile; batch `i` of every tile belongs to the same samples and channels.
    fn per_tile(&self) -> usize;
    /// Whether the tiles of a plane overlap where they are stored, so that they must be stored in order.
    fn overlapping(&self) -> bool;
    /// The largest number of live rows of a tile.
    fn live(&self) -> usize;
    /// The number of live rows of a tile.
    fn rows(&self, tile: usize) -> usize;
    /// The transform row of each live row of a tile.
    fn positions(&self, tile: usize) -> impl Iterator<Item = usize>;
    /// Copies a live row of `values` into lanes: `out` is `[transform column][lane]`.
    fn load(&self, batch: &PlaneBatch, row: usize, values: &[f32], out: &mut [f32]);
    /// Copies a live row in lanes to its place in `values`.
    ///
    /// The caller guarantees that no other task writes the same row of the same planes at the same time.
    fn store(&self, batch: &PlaneBatch, row: usize, lanes: &[f32], values: &Shared<'_, f32>);
}

/// Evenly spaced positions of an axis of a feature map, and their positions in a transform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// First position in the feature map.
    pub(crate) start: usize,
    /// Distance in the feature map.
    pub(crate) step: usize,
    /// The number of positions.
    pub(crate) len: usize,
    /// Position of the first in the transform.
    pub(crate) at: usize,
    /// Distance in the transform.
    pub(crate) stride: usize,
}

/// The feature maps of some samples: inputs, outputs or their gradients.
pub(crate) struct FeatureMaps<'a> {
    planes: Planes,
    samples: Range<usize>,
    /// The number of channels of a sample, and the first of them that belongs to `planes`.
    channels: usize,
    first_channel: usize,
    /// Rows and columns of a feature map.
    size: [usize; 2],
    /// The tiles along rows and along columns.
    segments: &'a [Vec<Segment>; 2],
    live: usize,
    /// Added to what is stored, per channel of the sample.
    bias: Option<&'a [f32]>,
    /// Whether [`PlaneSource::store`] adds to the values that are there.
    add: bool,
}

impl<'a> FeatureMaps<'a> {
    pub(crate) fn new(
        samples: Range<usize>,
        channels: usize,
        group: Range<usize>,
        size: [usize; 2],
        segments: &'a [Vec<Segment>; 2],
    ) -> FeatureMaps<'a> {
        let tiles = segments[0].len() * segments[1].len();
        FeatureMaps {
            planes: Planes::new(tiles * samples.len(), group.len()),
            samples,
            channels,
            first_channel: group.start,
            size,
            segments,
            live: segments[0].iter().map(|r| r.len).max().unwrap_or(0),
            bias: None,
            add: false,
        }
    }

    pub(crate) fn with_bias(self, bias: &'a [f32]) -> FeatureMaps<'a> {
        FeatureMaps { bias: Some(bias), ..self }
    }

    /// The same feature maps with the layout of left factors of products, see [`Planes`].
    pub(crate) fn side_by_side(mut self) -> FeatureMaps<'a> {
        self.planes.side_by_side = Some(self.samples.len());
        self
    }

    pub(crate) fn adding(self, add: bool) -> FeatureMaps<'a> {
        FeatureMaps { add, ..self }
    }

    /// The result of [`PlaneBatch::lanes`] as an array, and the number of lanes in use.
    fn held(&self, batch: &PlaneBatch) -> ([LanePlane; LANES], usize) {
        let mut held = [LanePlane::default(); LANES];
        let mut in_use = 0;
        for (to, plane) in held.iter_mut().zip(batch.lanes(&self.planes)) {
            *to = plane;
            in_use += 1;
        }
        (held, in_use)
    }

    fn tile_segments(&self, tile: usize) -> (&Segment, &Segment) {
        let columns = self.segments[1].len();
        (&self.segments[0][tile / columns], &self.segments[1][tile % columns])
    }

    /// The number of blocks of samples that share lanes.
    fn sample_blocks(&self) -> usize {
        self.samples.len().div_ceil(self.planes.outer_per_batch)
    }

    pub(crate) fn tiles(&self) -> usize {
        self.segments[0].len() * self.segments[1].len()
    }

    /// The index at which a row of the plane of a lane begins.
    fn row(&self, batch: &PlaneBatch, row: usize, plane: LanePlane) -> usize {
        let sample = self.samples.start + batch.outer % self.samples.len() + plane.outer;
        let segment = self.tile_segments(batch.tile).0;
        ((sample * self.channels + self.first_channel + plane.channel) * self.size[0]
            + segment.start
            + segment.step * row)
            * self.size[1]
    }
}

impl PlaneSource for FeatureMaps<'_> {
    fn planes(&self) -> &Planes {
        &self.planes
    }

    fn batches(&self) -> usize {
        self.tiles() * self.per_tile()
    }

    fn batch(&self, index: usize) -> PlaneBatch {
        let (rest, group) = (index / self.planes.groups, index % self.planes.groups);
        let (tile, block) = (rest / self.sample_blocks(), rest % self.sample_blocks());
        let first = block * self.planes.outer_per_batch;
        PlaneBatch {
            index,
            tile,
            outer: tile * self.samples.len() + first,
            count: self.planes.outer_per_batch.min(self.samples.len() - first),
            group,
        }
    }

    fn of_group(&self, group: usize) -> std::iter::StepBy<Range<usize>> {
        (group..self.batches()).step_by(self.planes.groups)
    }

    fn per_tile(&self) -> usize {
        self.sample_blocks() * self.planes.groups
    }

    fn overlapping(&self) -> bool {
        self.add
    }

    fn live(&self) -> usize {
        self.live
    }

    fn rows(&self, tile: usize) -> usize {
        self.tile_segments(tile).0.len
    }

    fn positions(&self, tile: usize) -> impl Iterator<Item = usize> {
        let segment = *self.tile_segments(tile).0;
        (0..segment.len).map(move |row| segment.at + segment.stride * row)
    }

    fn load(&self, batch: &PlaneBatch, row: usize, values: &[f32], out: &mut [f32]) {
        let lanes = LANES;
        let segment = self.tile_segments(batch.tile).1;
        let used = segment.at * lanes..((segment.at + (segment.len - 1) * segment.stride) + 1) * lanes;
        out[..used.start].fill(0.0);
        out[used.end..].fill(0.0);
        let in_use = batch.count * self.planes.channels.min(lanes);
        if segment.stride > 1 || in_use < lanes || self.planes.channels - batch.group * lanes < lanes {
            out[used.clone()].fill(0.0);
        }
        let out = &mut out[used];
        let from = |plane: LanePlane| &values[self.row(batch, row, plane) + segment.start..];
        let (held, in_use) = self.held(batch);
        let mut rest = 0;
        if segment.step == 1 && segment.stride == 1 {
            for positions in stretches(segment.len) {
                for block in held[..in_use].chunks_exact(transpose::BLOCK) {
                    let row = |i: usize| &from(block[i])[positions.clone()];
                    let to = &mut out[positions.start * lanes + block[0].lane..];
                    let done = transpose::into_lanes(&std::array::from_fn(row), to, lanes);
                    for (i, plane) in block.iter().enumerate().filter(|_| done < positions.len()) {
                        let to = &mut out[positions.start * lanes + plane.lane..];
                        let to = to.iter_mut().step_by(lanes).skip(done);
                        to.zip(&row(i)[done..]).for_each(|(to, from)| *to = *from);
                    }
                }
            }
            rest = in_use / transpose::BLOCK * transpose::BLOCK;
        }
        for &plane in &held[rest..in_use] {
            let to = out[plane.lane..].iter_mut().step_by(segment.stride * lanes);
            to.zip(from(plane).iter().step_by(segment.step).take(segment.len))
                .for_each(|(to, from)| *to = *from);
        }
    }

    fn store(&self, batch: &PlaneBatch, row: usize, in_lanes: &[f32], values: &Shared<'_, f32>) {
        let lanes = LANES;
        let segment = self.tile_segments(batch.tile).1;
        let last = (segment.len - 1) * segment.step;
        let bias = |plane: LanePlane| self.bias.map_or(0.0, |bias| bias[self.first_channel + plane.channel]);
        let to = |plane: LanePlane| {
            // SAFETY: the caller guarantees that no other task writes this row.
            #[allow(unsafe_code)]
            unsafe {
                values.slice(self.row(batch, row, plane) + segment.start, last + 1)
            }
        };
        let (held, in_use) = self.held(batch);
        let mut rest = 0;
        if segment.step == 1 && segment.stride == 1 {
            for positions in stretches(segment.len) {
                for block in held[..in_use].chunks_exact(transpose::BLOCK) {
                    let start = (segment.at + positions.start) * lanes;
                    let mut rows = std::array::from_fn(|i| &mut to(block[i])[positions.clone()]);
                    let biases = std::array::from_fn(|i| bias(block[i]));
                    let from = &in_lanes[start + block[0].lane..];
                    let done = transpose::from_lanes(from, lanes, &mut rows, biases, self.add);
                    let rows = rows.into_iter().zip(biases).zip(block).filter(|_| done < positions.len());
                    for ((row, bias), plane) in rows {
                        let from = in_lanes[start + plane.lane..].iter().step_by(lanes).skip(done);
                        put(row[done..].iter_mut(), from, bias, self.add);
                    }
                }
            }
            rest = in_use / transpose::BLOCK * transpose::BLOCK;
        }
        for &plane in &held[rest..in_use] {
            let from = in_lanes[segment.at * lanes + plane.lane..].iter().step_by(segment.stride * lanes);
            put(to(plane).iter_mut().step_by(segment.step), from, bias(plane), self.add);
        }
    }
}

/// Writes `from` plus `bias`, or adds `from` to the values that are there.
fn put<'a>(to: impl Iterator<Item = &'a mut f32>, from: impl Iterator<Item = &'a f32>, bias: f32, add: bool) {
    if add {
        to.zip(from).for_each(|(to, from)| *to += *from);
    } else {
        to.zip(from).for_each(|(to, from)| *to = *from + bias);
    }
}

/// The number of positions of a row that are transposed for all lanes before the next: they stay in the first-level cache.
const STRETCH: usize = 64;

/// Divides a row into stretches, the last of which is not shorter than the others.
fn stretches(len: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (len / STRETCH).max(1);
    (0..count).map(move |i| i * STRETCH..if i + 1 == count { len } else { (i + 1) * STRETCH })
}
