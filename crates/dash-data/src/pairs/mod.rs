//! Variable-length samples that are features of a sequence's positions and of pairs of positions. They are stored as
//! such and become maps over all pairs when a batch is gathered: the maps of proteins take about fourteen times the
//! space.

mod cache;
mod write;

pub(crate) use cache::{check_values, columns, rows_per_block};
pub use write::PairRow;
pub(crate) use write::PairWriter;

use crate::{
    Batch, Error,
    batch::append_f32,
    cache::{Cached, Span},
};
use dash_core::{
    card::{DatasetCard, PairFeatures},
    targets::Targets,
};
use std::ops::Range;

/// A square window over the maps of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairWindow {
    /// Rows and columns.
    pub side: usize,
    /// Positions that are added on each side of a sample; inputs are 0 there.
    pub padding: usize,
    /// The target outside of a sample.
    pub target_padding: f32,
    /// The limit to which larger targets are lowered.
    pub target_limit: f32,
}

/// The samples of a split, in the order of rows.
#[derive(Debug)]
pub(crate) struct PairRows {
    features: PairFeatures,
    blocks: Vec<PairBlock>,
    samples: Vec<PairSample>,
}

/// Consecutive samples in the cache, their lists back to back.
#[derive(Debug)]
struct PairBlock {
    positions: Span,
    maps: Span,
    target: Span,
}

/// Where a sample is.
#[derive(Clone, Copy, Debug)]
struct PairSample {
    block: usize,
    /// Positions of the sample.
    length: usize,
    /// Positions of the samples before it in the block.
    before: usize,
    /// Pairs of the samples before it in the block.
    pairs_before: usize,
}

/// The numbers of a sample.
struct Parts {
    length: usize,
    positions: Vec<f32>,
    maps: Vec<f32>,
    target: Vec<f32>,
}

impl PairRows {
    pub(crate) fn new(features: PairFeatures) -> PairRows {
        PairRows { features, blocks: vec![], samples: vec![] }
    }

    /// Column of the lengths of samples.
    pub(crate) fn length_column(&self) -> &str {
        &self.features.length
    }

    /// Columns of lists: features of positions, features of pairs, targets.
    pub(crate) fn list_columns<'a>(&'a self, card: &'a DatasetCard) -> [&'a str; 3] {
        [&self.features.positions, &self.features.maps, cache::target(card)]
    }

    /// Adds a block of the cache, with the places of its columns of lists; `None` if they are not what the card
    /// says.
    pub(crate) fn extend(
        &mut self,
        lengths: &[i64],
        lists: [Option<Span>; 3],
        card: &DatasetCard,
    ) -> Option<()> {
        let [positions, maps, target] = lists;
        let (positions, maps, target) = (positions?, maps?, target?);
        let longest = card.input.shape.last().copied().unwrap_or(0);
        let (mut before, mut pairs_before) = (0usize, 0usize);
        for &length in lengths {
            let length = usize::try_from(length).ok().filter(|length| (1..=longest).contains(length))?;
            self.samples.push(PairSample { block: self.blocks.len(), length, before, pairs_before });
            before = before.checked_add(length)?;
            pairs_before = pairs_before.checked_add(length.checked_mul(length)?)?;
        }
        let fits = |span: Span, features: usize, numbers: usize| {
            let needed = numbers.checked_mul(features).and_then(|numbers| numbers.checked_mul(4));
            needed.is_some_and(|needed| needed as u64 <= span.length)
        };
        let fit = fits(positions, self.features.position_features, before)
            && fits(maps, self.features.map_features, pairs_before)
            && fits(target, 1, pairs_before);
        self.blocks.push(PairBlock { positions, maps, target });
        fit.then_some(())
    }

    pub(crate) fn side(&self, row: usize) -> Option<usize> {
        self.samples.get(row).map(|sample| sample.length)
    }

    fn parts(&self, cached: &Cached, row: usize) -> Result<Parts, Error> {
        let missing = Error::Row { row, rows: self.samples.len() };
        let sample = self.samples.get(row).and_then(|sample| Some((sample, self.blocks.get(sample.block)?)));
        let Some((sample, block)) = sample else { return Err(missing) };
        let length = sample.length;
        let mut bytes = vec![];
        let mut list = |column: Span, features: usize, before: usize, each: usize| -> Result<_, Error> {
            cached.read(column, features * before, features * each, 4, &mut bytes)?;
            let mut numbers = Vec::with_capacity(features * each);
            append_f32(&bytes, &mut numbers);
            Ok(numbers)
        };
        let (pairs, before) = (length * length, sample.pairs_before);
        Ok(Parts {
            length,
            positions: list(block.positions, self.features.position_features, sample.before, length)?,
            maps: list(block.maps, self.features.map_features, before, pairs)?,
            target: list(block.target, 1, before, pairs)?,
        })
    }

    pub(crate) fn gather(
        &self,
        cached: &Cached,
        rows: &[usize],
        window: &PairWindow,
        mut offset: impl FnMut(usize, usize) -> [usize; 2],
    ) -> Result<Batch, Error> {
        if let Some(&row) = rows.iter().find(|&&row| row >= self.samples.len()) {
            return Err(Error::Row { row, rows: self.samples.len() });
        }
        let (channels, plane) = (self.features.channels(), window.side * window.side);
        let mut input = vec![0f32; rows.len() * channels * plane];
        let mut target = vec![window.target_padding.min(window.target_limit); rows.len() * plane];
        let places =
            input.chunks_exact_mut((channels * plane).max(1)).zip(target.chunks_exact_mut(plane.max(1)));
        for (&row, (input, target)) in rows.iter().zip(places) {
            let parts = self.parts(cached, row)?;
            let larger = (parts.length + 2 * window.padding).saturating_sub(window.side);
            let offset = if larger > 0 { offset(row, larger).map(|at| at.min(larger)) } else { [0, 0] };
            parts.expand(window, offset, input, target);
        }
        Ok(Batch {
            rows: rows.len(),
            shape: vec![channels, window.side, window.side],
            input,
            target: Targets::Field(target),
            background: vec![],
        })
    }
}

/// An axis of a window: which of its places show positions of the sample, and which.
struct Axis {
    places: Range<usize>,
    positions: Range<usize>,
}

impl Axis {
    /// `offset` is where the window begins in the padded sample.
    fn new(window: &PairWindow, length: usize, offset: usize) -> Axis {
        let first = window.padding.saturating_sub(offset);
        let skipped = offset.saturating_sub(window.padding);
        let count = length.saturating_sub(skipped).min(window.side.saturating_sub(first));
        Axis { places: first..first + count, positions: skipped..skipped + count }
    }
}

impl Parts {
    /// Writes the part of the sample that the window shows; the rest of `input` and `target` is not changed.
    fn expand(&self, window: &PairWindow, offset: [usize; 2], input: &mut [f32], target: &mut [f32]) {
        let rows = Axis::new(window, self.length, offset[0]);
        let columns = Axis::new(window, self.length, offset[1]);
        let plane = (window.side * window.side).max(1);
        let pairs = (self.length * self.length).max(1);
        let mut planes = input.chunks_exact_mut(plane);
        for feature in self.positions.chunks_exact(self.length.max(1)) {
            let (along, down) = (planes.next().unwrap_or_default(), planes.next().unwrap_or_default());
            let shown = feature.get(columns.positions.clone()).unwrap_or_default();
            for (place, position) in rows.places.clone().zip(rows.positions.clone()) {
                let span =
                    place * window.side + columns.places.start..place * window.side + columns.places.end;
                if let Some(line) = along.get_mut(span.clone()) {
                    line.copy_from_slice(shown);
                }
                if let (Some(line), Some(&value)) = (down.get_mut(span), feature.get(position)) {
                    line.fill(value);
                }
            }
        }
        let copy = |map: &[f32], plane: &mut [f32], limit: f32| {
            for (place, position) in rows.places.clone().zip(rows.positions.clone()) {
                let span =
                    place * window.side + columns.places.start..place * window.side + columns.places.end;
                let start = position * self.length;
                let shown = map.get(start + columns.positions.start..start + columns.positions.end);
                for (place, &value) in
                    plane.get_mut(span).unwrap_or_default().iter_mut().zip(shown.unwrap_or_default())
                {
                    *place = value.min(limit);
                }
            }
        };
        for map in self.maps.chunks_exact(pairs) {
            copy(map, planes.next().unwrap_or_default(), f32::INFINITY);
        }
        copy(&self.target, target, window.target_limit);
    }
}
