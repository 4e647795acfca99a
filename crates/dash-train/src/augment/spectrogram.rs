//! Augments spectrograms: masks bands (SpecAugment, Park et al. 2019), and mixes in noise.

use crate::error::Error;
use dash_core::{pipeline::Mask, random::ChaCha8Rng};
use dash_data::Noise;
use rand::Rng;
use std::ops::Range;

/// The axes of a channel of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Columns that augmentation changes: those before the zeros at the end.
    pub(super) filled: usize,
}

/// Rows and columns that are masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bands {
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl Bands {
    /// Draws bands for an array of `rows` x `columns`. There are none with the probability 1 - `mask.probability`.
    fn draw(mask: &Mask, rows: usize, columns: usize, rng: &mut ChaCha8Rng) -> Bands {
        let mut bands = Bands::default();
        if rng.random::<f64>() >= mask.probability {
            return bands;
        }
        // Drawn as u64: the width of usize must not change what follows.
        for _ in 0..rng.random_range(1..=mask.rounds.max(1) as u64) {
            let mut band = |most: f64, length: usize| {
                let width = (most * rng.random::<f64>() * length as f64) as usize;
                let start = (rng.random::<f64>() * (length - width.min(length)) as f64) as usize;
                start..start + width
            };
            bands.rows.push(band(mask.rows, rows));
            bands.columns.push(band(mask.columns, columns));
        }
        bands
    }

    fn contain(&self, row: usize, column: usize) -> bool {
        let in_one = |ranges: &[Range<usize>], at: usize| ranges.iter().any(|range| range.contains(&at));
        in_one(&self.rows, row) || in_one(&self.columns, column)
    }
}

impl Plane {
    /// The elements that augmentation changes, each with its row (those of all channels in turn) and column.
    fn elements<'a>(&self, input: &'a mut [f32]) -> impl Iterator<Item = (usize, usize, &'a mut f32)> {
        let filled = self.filled;
        let lines = input.chunks_exact_mut(self.columns.max(1)).enumerate();
        lines.flat_map(move |(row, line)| {
            line.iter_mut().take(filled).enumerate().map(move |(column, value)| (row, column, value))
        })
    }

    /// Fills bands of an input with its minimum, the same bands in all channels.
    pub(super) fn mask(&self, input: &mut [f32], mask: &Mask, rng: &mut ChaCha8Rng) {
        let bands = Bands::draw(mask, self.rows, self.filled, rng);
        if bands.rows.is_empty() {
            return;
        }
        let minimum = self.elements(input).fold(f32::INFINITY, |min, (_, _, value)| min.min(*value));
        for (row, column, value) in self.elements(input) {
            if bands.contain(row % self.rows.max(1), column) {
                *value = minimum;
            }
        }
    }

    /// Mixes in a random segment of a random recording. The bands are drawn for the whole recording.
    pub(super) fn mix(
        &self,
        input: &mut [f32],
        noise: &Noise,
        share: f64,
        mask: Option<&Mask>,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), Error> {
        if noise.recordings() == 0 {
            return Err(Error::NoNoise);
        }
        let recording = rng.random_range(0..noise.recordings() as u64) as usize;
        let frames = noise.frames(recording);
        let bands = mask.map(|mask| Bands::draw(mask, self.rows, frames, rng)).unwrap_or_default();
        let start = rng.random_range(0..=frames.saturating_sub(self.filled) as u64) as usize;
        let weight = (share * rng.random::<f64>()) as f32;
        let segment = noise.cut(recording, start, self.filled)?;
        let height = segment.len() / self.filled.max(1);
        let minimum = noise.least(recording);
        for (row, column, value) in self.elements(input) {
            let added = match bands.contain(row % self.rows.max(1), start + column) {
                true => minimum,
                false => segment.get(column * height + row).copied().unwrap_or(minimum),
            };
            *value = (1.0 - weight) * *value + weight * added;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
