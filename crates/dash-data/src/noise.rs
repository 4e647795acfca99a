//! Reads the recordings that augmentation mixes into training inputs: a table with a row per frame.

use crate::{Error, split::SplitData, table::RowLayout};
use dash_core::card::{DatasetCard, NoiseInfo, SplitInfo, Target, TensorField};

/// The number of frames that are read at once.
const FRAMES: usize = 4096;

/// The recordings of noise of a dataset, read from the cache on demand.
#[derive(Debug)]
pub struct Noise {
    /// Samples are recordings, their parts frames.
    data: SplitData,
    /// The least value of each recording.
    least: Vec<f32>,
}

impl Noise {
    pub(crate) fn new(data: SplitData) -> Result<Noise, Error> {
        let mut least = vec![];
        for recording in 0..data.samples() {
            let mut low = f32::INFINITY;
            let frames: Vec<usize> = data.parts(recording).collect();
            for frames in frames.chunks(FRAMES) {
                low = data.gather(frames)?.input.iter().fold(low, |low, &value| low.min(value));
            }
            least.push(low);
        }
        Ok(Noise { data, least })
    }

    pub(crate) fn data(&self) -> &SplitData {
        &self.data
    }

    /// The number of recordings.
    pub fn recordings(&self) -> usize {
        self.data.samples()
    }

    /// Frames of a recording; 0 if there is none.
    pub fn frames(&self, recording: usize) -> usize {
        self.data.parts(recording).len()
    }

    /// The least value of a recording; 0 if there is none.
    pub fn least(&self, recording: usize) -> f32 {
        self.least.get(recording).copied().unwrap_or_default()
    }

    /// Frames of a recording, one after the other.
    ///
    /// # Errors
    /// If there are no such frames.
    pub fn cut(&self, recording: usize, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let parts = self.data.parts(recording);
        let start = parts.start.saturating_add(first);
        let end = start.checked_add(count).filter(|&end| end <= parts.end);
        let end = end.ok_or(Error::Row { row: start.saturating_add(count), rows: parts.end })?;
        Ok(self.data.gather(&(start..end).collect::<Vec<_>>())?.input)
    }
}

/// A frame: the elements of an input at one position of its last axis.
fn frame(input: &TensorField) -> TensorField {
    let length = input.len() / input.shape.last().copied().unwrap_or(1).max(1);
    TensorField { column: input.column.clone(), shape: vec![length], element: input.element }
}

fn recording(recordings: Vec<String>) -> Target {
    Target::Class { column: NoiseInfo::COLUMN.to_owned(), labels: recordings }
}

/// The columns of the table, for a dataset with such inputs.
pub(crate) fn layout(input: &TensorField, recordings: Vec<String>) -> RowLayout {
    RowLayout::new(frame(input), recording(recordings), vec![])
}

/// The table as if it were a split of a dataset of its own, whose samples are recordings.
pub(crate) fn table(card: &DatasetCard, noise: &NoiseInfo) -> (DatasetCard, SplitInfo) {
    let info = SplitInfo { rows: noise.rows, sha256: noise.sha256.clone(), class_counts: vec![] };
    let table = DatasetCard {
        input: frame(&card.input),
        target: recording(noise.recordings.clone()),
        background: None,
        group: Some(NoiseInfo::COLUMN.to_owned()),
        noise: None,
        target_scaling: None,
        ..card.clone()
    };
    (table, info)
}
