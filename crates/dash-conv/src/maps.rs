//! Which map or kernel a vector lane holds, and how rows get into lanes and back. There are [`LANES`] of them, whatever
//! the registers of a machine hold: which planes share lanes decides in which order their sums are formed.

use crate::{buffer::odd, parallel::Shared, simd::LANES, transpose};
use std::ops::Range;

/// A set of planes that are transformed: `outer` (samples and pieces, or channels of the other side)
/// times `channels`.
///
/// Spectra of one bin are stored `[outer][group][re, im][lane]`, a group being as many channels as
/// there are lanes, so that they are operands of the products as they are. For the transforms
/// themselves, planes of several outer indices share the lanes that few channels would leave idle.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    pub(crate) outer: usize,
    pub(crate) channels: usize,
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Outer indices that share lanes in a transform.
    pub(crate) packed: usize,
    /// Where spectra are only ever read one by one, planes that shared lanes stay side by side: bundles
    /// are stored as they are, of as many outer indices at a time as a piece has.
    side_by_side: Option<usize>,
}

impl Planes {
    pub(crate) fn new(outer: usize, channels: usize) -> Planes {
        let packed = (LANES / channels).max(1);
        Planes { outer, channels, groups: channels.div_ceil(LANES), packed, side_by_side: None }
    }

    /// Whether the spectra of a bundle are one vector after the other.
    pub(crate) fn whole_bundles(&self) -> bool {
        self.packed == 1 || self.side_by_side.is_some()
    }

    /// Where the real part of a plane is within the spectra of one bin.
    pub(crate) fn slot(&self, outer: usize, channel: usize) -> usize {
        if let (Some(per_piece), true) = (self.side_by_side, self.packed > 1) {
            let (piece, sample) = (outer / per_piece, outer % per_piece);
            let bundle = piece * per_piece.div_ceil(self.packed) + sample / self.packed;
            return bundle * 2 * LANES + sample % self.packed * self.channels + channel;
        }
        (outer * self.groups + channel / LANES) * 2 * LANES + channel % LANES
    }

    /// The channels of a group with the lanes that they fill.
    pub(crate) fn lanes_of_channels(
        &self,
        group: usize,
    ) -> impl Iterator<Item = (usize, std::iter::StepBy<Range<usize>>)> + use<> {
        let (packed, first) = (self.packed, group * LANES);
        let count = LANES.min(self.channels - first);
        (0..count).map(move |c| (first + c, (c..c + packed * count).step_by(count)))
    }

    /// Slots of all channels of the first outer index.
    pub(crate) fn channel_slots(&self) -> Vec<usize> {
        (0..self.channels).map(|c| self.slot(0, c)).collect()
    }

    /// Slots of the first channel of all outer indices.
    pub(crate) fn outer_slots(&self) -> Vec<usize> {
        (0..self.outer).map(|u| self.slot(u, 0)).collect()
    }

    /// The planes of one group of channels, on their own.
    pub(crate) fn group(&self, group: usize) -> Planes {
        let channels = (self.channels - group * LANES).min(LANES);
        Planes { channels, groups: 1, ..self.clone() }
    }

    /// Distance of the spectra of neighbouring bins.
    pub(crate) fn pitch(&self) -> usize {
        let vectors = match self.side_by_side {
            Some(per_piece) => self.outer / per_piece * per_piece.div_ceil(self.packed) * self.groups,
            None => self.outer * self.groups,
        };
        odd(vectors) * 2 * LANES
    }
}

/// Planes that are transformed together, one per lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundle {
    /// Number among all bundles.
    pub(crate) index: usize,
    /// Which piece of the maps.
    pub(crate) piece: usize,
    /// First outer index.
    pub(crate) outer: usize,
    /// Outer indices; more than one only if the channels are few.
    pub(crate) count: usize,
    /// Group of channels.
    pub(crate) group: usize,
}

impl Bundle {
    /// The planes of the lanes in use: lane, outer index less the first one, channel.
    pub(crate) fn lanes(&self, planes: &Planes) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let first = self.group * LANES;
        let channels = LANES.min(planes.channels - first);
        (0..self.count).flat_map(move |s| (0..channels).map(move |c| (s * channels + c, s, first + c)))
    }
}

/// Planes as the transforms see them: live rows of real numbers.
pub(crate) trait Source: Sync {
    fn planes(&self) -> &Planes;
    /// Number of bundles.
    fn bundles(&self) -> usize;
    fn bundle(&self, index: usize) -> Bundle;
    /// The bundles of one group of channels.
    fn in_group(&self, group: usize) -> std::iter::StepBy<Range<usize>>;
    /// Bundles of one piece; bundle `i` of every piece meets the same planes.
    fn per_piece(&self) -> usize;
    /// The largest number of live rows of a piece.
    fn live(&self) -> usize;
    /// Live rows of a piece.
    fn rows(&self, piece: usize) -> usize;
    /// Transform rows of the live rows of a piece.
    fn positions(&self, piece: usize) -> impl Iterator<Item = usize>;
    /// Writes a live row of `values` into lanes: `out` is `[transform column][lane]`.
    fn fill(&self, bundle: &Bundle, row: usize, values: &[f32], out: &mut [f32]);
    /// Writes a live row in lanes to where it belongs in `values`.
    ///
    /// The caller promises that no other task writes the same row of the same planes meanwhile.
    fn read(&self, bundle: &Bundle, row: usize, lanes: &[f32], values: &Shared<'_, f32>);
}

/// An evenly spaced run of positions of a map, and their places in a transform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// First position in the map.
    pub(crate) start: usize,
    /// Distance in the map.
    pub(crate) step: usize,
    /// Number of positions.
    pub(crate) len: usize,
    /// Place of the first in the transform.
    pub(crate) at: usize,
    /// Distance in the transform.
    pub(crate) stride: usize,
}

/// The maps of some samples: inputs, outputs or their gradients.
pub(crate) struct Maps<'a> {
    planes: Planes,
    samples: Range<usize>,
    /// Channels of a sample, and the first of them that belongs to `planes`.
    channels: usize,
    first_channel: usize,
    /// Rows and columns of a map.
    size: [usize; 2],
    /// Pieces along rows and along columns.
    runs: &'a [Vec<Segment>; 2],
    live: usize,
    /// Added to what is read, per channel of the sample.
    bias: Option<&'a [f32]>,
    /// Whether what is read is added to what was there.
    add: bool,
}

impl<'a> Maps<'a> {
    pub(crate) fn new(
        samples: Range<usize>,
        channels: usize,
        group: Range<usize>,
        size: [usize; 2],
        runs: &'a [Vec<Segment>; 2],
    ) -> Maps<'a> {
        let pieces = runs[0].len() * runs[1].len();
        Maps {
            planes: Planes::new(pieces * samples.len(), group.len()),
            samples,
            channels,
            first_channel: group.start,
            size,
            runs,
            live: runs[0].iter().map(|r| r.len).max().unwrap_or(0),
            bias: None,
            add: false,
        }
    }

    pub(crate) fn with_bias(self, bias: &'a [f32]) -> Maps<'a> {
        Maps { bias: Some(bias), ..self }
    }

    /// The same maps with spectra for left factors of products, see [`Planes`].
    pub(crate) fn side_by_side(mut self) -> Maps<'a> {
        self.planes.side_by_side = Some(self.samples.len());
        self
    }

    pub(crate) fn adding(self, add: bool) -> Maps<'a> {
        Maps { add, ..self }
    }

    /// What the lanes of a bundle hold, see [`Bundle::lanes`], and how many are in use.
    fn held(&self, bundle: &Bundle) -> ([(usize, usize, usize); LANES], usize) {
        let mut held = [(0, 0, 0); LANES];
        let mut in_use = 0;
        for (to, plane) in held.iter_mut().zip(bundle.lanes(&self.planes)) {
            *to = plane;
            in_use += 1;
        }
        (held, in_use)
    }

    fn run(&self, piece: usize) -> (&Segment, &Segment) {
        let columns = self.runs[1].len();
        (&self.runs[0][piece / columns], &self.runs[1][piece % columns])
    }

    /// Groups of samples that share lanes.
    fn blocks(&self) -> usize {
        self.samples.len().div_ceil(self.planes.packed)
    }

    pub(crate) fn pieces(&self) -> usize {
        self.runs[0].len() * self.runs[1].len()
    }

    /// Where a row of the plane of a lane begins.
    fn row(&self, bundle: &Bundle, row: usize, s: usize, channel: usize) -> usize {
        let sample = self.samples.start + bundle.outer % self.samples.len() + s;
        let run = self.run(bundle.piece).0;
        ((sample * self.channels + self.first_channel + channel) * self.size[0] + run.start + run.step * row)
            * self.size[1]
    }
}

impl Source for Maps<'_> {
    fn planes(&self) -> &Planes {
        &self.planes
    }

    fn bundles(&self) -> usize {
        self.pieces() * self.per_piece()
    }

    fn bundle(&self, index: usize) -> Bundle {
        let (rest, group) = (index / self.planes.groups, index % self.planes.groups);
        let (piece, block) = (rest / self.blocks(), rest % self.blocks());
        let first = block * self.planes.packed;
        Bundle {
            index,
            piece,
            outer: piece * self.samples.len() + first,
            count: self.planes.packed.min(self.samples.len() - first),
            group,
        }
    }

    fn in_group(&self, group: usize) -> std::iter::StepBy<Range<usize>> {
        (group..self.bundles()).step_by(self.planes.groups)
    }

    fn per_piece(&self) -> usize {
        self.blocks() * self.planes.groups
    }

    fn live(&self) -> usize {
        self.live
    }

    fn rows(&self, piece: usize) -> usize {
        self.run(piece).0.len
    }

    fn positions(&self, piece: usize) -> impl Iterator<Item = usize> {
        let run = *self.run(piece).0;
        (0..run.len).map(move |row| run.at + run.stride * row)
    }

    fn fill(&self, bundle: &Bundle, row: usize, values: &[f32], out: &mut [f32]) {
        let lanes = LANES;
        let run = self.run(bundle.piece).1;
        let used = run.at * lanes..((run.at + (run.len - 1) * run.stride) + 1) * lanes;
        out[..used.start].fill(0.0);
        out[used.end..].fill(0.0);
        let in_use = bundle.count * self.planes.channels.min(lanes);
        if run.stride > 1 || in_use < lanes || self.planes.channels - bundle.group * lanes < lanes {
            out[used.clone()].fill(0.0);
        }
        let out = &mut out[used];
        let from = |s: usize, channel: usize| &values[self.row(bundle, row, s, channel) + run.start..];
        let (held, in_use) = self.held(bundle);
        let mut rest = 0;
        if run.step == 1 && run.stride == 1 {
            for positions in stretches(run.len) {
                for block in held[..in_use].chunks_exact(transpose::BLOCK) {
                    let row = |i: usize| &from(block[i].1, block[i].2)[positions.clone()];
                    let to = &mut out[positions.start * lanes + block[0].0..];
                    let done = transpose::into_lanes(&std::array::from_fn(row), to, lanes);
                    for (i, &(lane, ..)) in block.iter().enumerate().filter(|_| done < positions.len()) {
                        let to = out[positions.start * lanes + lane..].iter_mut().step_by(lanes).skip(done);
                        to.zip(&row(i)[done..]).for_each(|(to, from)| *to = *from);
                    }
                }
            }
            rest = in_use / transpose::BLOCK * transpose::BLOCK;
        }
        for &(lane, s, channel) in &held[rest..in_use] {
            let to = out[lane..].iter_mut().step_by(run.stride * lanes);
            to.zip(from(s, channel).iter().step_by(run.step).take(run.len))
                .for_each(|(to, from)| *to = *from);
        }
    }

    fn read(&self, bundle: &Bundle, row: usize, in_lanes: &[f32], values: &Shared<'_, f32>) {
        let lanes = LANES;
        let run = self.run(bundle.piece).1;
        let last = (run.len - 1) * run.step;
        let bias = |channel: usize| self.bias.map_or(0.0, |bias| bias[self.first_channel + channel]);
        let to = |s: usize, channel: usize| {
            // SAFETY: the row is this task's by the caller's promise.
            #[allow(unsafe_code)]
            unsafe {
                values.slice(self.row(bundle, row, s, channel) + run.start, last + 1)
            }
        };
        let (held, in_use) = self.held(bundle);
        let mut rest = 0;
        if run.step == 1 && run.stride == 1 {
            for positions in stretches(run.len) {
                for block in held[..in_use].chunks_exact(transpose::BLOCK) {
                    let start = (run.at + positions.start) * lanes;
                    let mut rows =
                        std::array::from_fn(|i| &mut to(block[i].1, block[i].2)[positions.clone()]);
                    let biases = std::array::from_fn(|i| bias(block[i].2));
                    let from = &in_lanes[start + block[0].0..];
                    let done = transpose::from_lanes(from, lanes, &mut rows, biases, self.add);
                    let rows = rows.into_iter().zip(biases).zip(block).filter(|_| done < positions.len());
                    for ((row, bias), &(lane, ..)) in rows {
                        let from = in_lanes[start + lane..].iter().step_by(lanes).skip(done);
                        put(row[done..].iter_mut(), from, bias, self.add);
                    }
                }
            }
            rest = in_use / transpose::BLOCK * transpose::BLOCK;
        }
        for &(lane, s, channel) in &held[rest..in_use] {
            let from = in_lanes[run.at * lanes + lane..].iter().step_by(run.stride * lanes);
            put(to(s, channel).iter_mut().step_by(run.step), from, bias(channel), self.add);
        }
    }
}

/// Writes `from` plus `bias`, or adds it to what is there.
fn put<'a>(to: impl Iterator<Item = &'a mut f32>, from: impl Iterator<Item = &'a f32>, bias: f32, add: bool) {
    if add {
        to.zip(from).for_each(|(to, from)| *to += *from);
    } else {
        to.zip(from).for_each(|(to, from)| *to = *from + bias);
    }
}

/// Positions of a row that are brought to all lanes before the next: as many as stay in the nearest cache.
const STRETCH: usize = 64;

/// A row in stretches, the last of which is not shorter than the others.
fn stretches(len: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (len / STRETCH).max(1);
    (0..count).map(move |i| i * STRETCH..if i + 1 == count { len } else { (i + 1) * STRETCH })
}
