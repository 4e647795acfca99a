//! Rows of a split by number -> batches.

use crate::{
    Error,
    pairs::{PairRows, PairWindow},
};
use arrow::buffer::ScalarBuffer;
use dash_core::card::{InputScaling, Target};
use half::{f16, slice::HalfFloatSliceExt};
use std::ops::Range;

/// Samples that are processed together, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of samples.
    pub rows: usize,
    /// Shape of one input.
    pub shape: Vec<usize>,
    /// Input tensors, (rows, shape of one input).
    pub input: Vec<f32>,
    /// Targets.
    pub target: BatchTarget,
    /// Background levels, (rows); empty if the dataset has none.
    pub background: Vec<f32>,
}

/// Targets of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchTarget {
    /// Class indices, (rows).
    Class(Vec<i64>),
    /// 0 or 1 for each label, (rows, labels).
    Labels(Vec<u8>),
    /// Fields, (rows, shape of one target), encoded if the card has a target scaling.
    Field(Vec<f32>),
    /// 0 or 1 for each position, both (rows, shape of one target).
    Mask {
        /// What is there.
        values: Vec<u8>,
        /// 1 where neither loss nor metric look.
        ignore: Vec<u8>,
    },
}

/// Consecutive rows in the memory-mapped cache.
#[derive(Debug)]
pub(crate) struct Block {
    /// Number of the first row.
    pub(crate) start: usize,
    /// Rows in the block.
    pub(crate) rows: usize,
    pub(crate) input: BlockInput,
    pub(crate) target: BlockTarget,
    pub(crate) background: Option<ScalarBuffer<f32>>,
}

/// Inputs as they are stored.
#[derive(Debug)]
pub(crate) enum BlockInput {
    Singles(ScalarBuffer<f32>),
    Halves(ScalarBuffer<f16>),
    Bytes(ScalarBuffer<u8>),
}

impl BlockInput {
    /// Appends row `at` of rows of `length` elements as networks see it; `None` if there is none.
    fn append(
        &self,
        at: usize,
        length: usize,
        scaling: Option<&InputScaling>,
        out: &mut Vec<f32>,
    ) -> Option<()> {
        let bytes = match self {
            BlockInput::Singles(values) => return append(values, at, length, out),
            BlockInput::Halves(values) => {
                let row = values.get(at * length..(at + 1) * length)?;
                let start = out.len();
                out.resize(start + length, 0.0);
                row.convert_to_f32_slice(out.get_mut(start..)?);
                return Some(());
            }
            BlockInput::Bytes(bytes) => bytes.get(at * length..(at + 1) * length)?,
        };
        match scaling {
            None => out.extend(bytes.iter().map(|&byte| f32::from(byte))),
            Some(InputScaling { scale, offset }) => {
                let positions = (length / scale.len().max(1)).max(1);
                let channels = bytes.chunks(positions).zip(scale).zip(offset);
                for ((channel, scale), offset) in channels {
                    out.extend(channel.iter().map(|&byte| (f64::from(byte) * scale + offset) as f32));
                }
            }
        }
        Some(())
    }
}

#[derive(Debug)]
pub(crate) enum BlockTarget {
    Class(ScalarBuffer<i64>),
    Labels(ScalarBuffer<u8>),
    Field(ScalarBuffer<f32>),
    Mask(ScalarBuffer<u8>, Option<ScalarBuffer<u8>>),
}

/// What the targets of all blocks are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetShape {
    Class,
    /// So many labels.
    Labels(usize),
    /// Fields of so many elements.
    Field(usize),
    /// Masks of so many positions.
    Mask(usize),
}

impl TargetShape {
    pub(crate) fn of(target: &Target) -> TargetShape {
        match target {
            Target::Class { .. } => TargetShape::Class,
            Target::Labels { labels, .. } => TargetShape::Labels(labels.len()),
            Target::Field { tensor } => TargetShape::Field(tensor.len()),
            Target::Mask { tensor, .. } => TargetShape::Mask(tensor.len()),
        }
    }

    /// A batch without rows, with room for `rows`.
    fn batch(self, rows: usize) -> BatchTarget {
        match self {
            TargetShape::Class => BatchTarget::Class(Vec::with_capacity(rows)),
            TargetShape::Labels(labels) => BatchTarget::Labels(Vec::with_capacity(rows * labels)),
            TargetShape::Field(elements) => BatchTarget::Field(Vec::with_capacity(rows * elements)),
            TargetShape::Mask(positions) => BatchTarget::Mask {
                values: Vec::with_capacity(rows * positions),
                ignore: Vec::with_capacity(rows * positions),
            },
        }
    }
}

/// The rows of one split, memory-mapped.
#[derive(Debug)]
pub struct SplitData {
    pub(crate) rows: usize,
    /// What networks see of inputs of bytes.
    pub(crate) input_scaling: Option<InputScaling>,
    /// Shape of one input; of the longest, where they differ.
    pub(crate) shape: Vec<usize>,
    pub(crate) target: TargetShape,
    /// In the order of rows, without gaps.
    pub(crate) blocks: Vec<Block>,
    pub(crate) tuning: Option<Vec<usize>>,
    /// The samples, instead of blocks, where they are made of features of pairs.
    pub(crate) pairs: Option<PairRows>,
    /// First rows of the samples, if samples have several.
    pub(crate) starts: Option<Vec<usize>>,
}

impl SplitData {
    /// Number of samples: of rows, or of groups of rows if a sample has several.
    pub fn samples(&self) -> usize {
        self.starts.as_ref().map_or(self.rows, Vec::len)
    }

    /// Whether samples have parts: rows of their own with one target in common.
    pub fn is_grouped(&self) -> bool {
        self.starts.is_some()
    }

    /// The rows that are the parts of a sample; none if there is no such sample.
    pub fn parts(&self, sample: usize) -> Range<usize> {
        let Some(starts) = &self.starts else {
            return sample.min(self.rows)..sample.saturating_add(1).min(self.rows);
        };
        let start = |sample| starts.get(sample).copied().unwrap_or(self.rows);
        start(sample)..start(sample.saturating_add(1))
    }

    /// The samples that tuning may train on, ascending: those whose parts all may be trained on. `None`
    /// if the dataset makes no difference.
    pub fn tuning_samples(&self) -> Option<Vec<usize>> {
        let rows = self.tuning.as_deref()?;
        if self.starts.is_none() {
            return Some(rows.to_vec());
        }
        let before = |end: usize| rows.partition_point(|&row| row < end);
        let marked = |parts: Range<usize>| before(parts.end) - before(parts.start) == parts.len();
        Some((0..self.samples()).filter(|&sample| marked(self.parts(sample))).collect())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows that tuning may train on, ascending; `None` if the dataset makes no difference.
    pub fn tuning_rows(&self) -> Option<&[usize]> {
        self.tuning.as_deref()
    }

    /// Rows and columns of a sample of pairs of positions; `None` if all samples of the dataset have one
    /// shape, or there is no such row.
    pub fn side(&self, row: usize) -> Option<usize> {
        self.pairs.as_ref()?.side(row)
    }

    /// Copies the given rows, in the given order, into a batch. Where samples differ in size the others
    /// are surrounded by zeros to the size of the largest.
    pub fn gather(&self, rows: &[usize]) -> Result<Batch, Error> {
        if let Some(pairs) = &self.pairs {
            let side = rows.iter().filter_map(|&row| pairs.side(row)).max().unwrap_or(0);
            let whole = PairWindow { side, padding: 0, target_padding: 0.0, target_limit: f32::INFINITY };
            return pairs.gather(rows, &whole, |_, _| [0, 0]);
        }
        let input_len = self.shape.iter().product();
        let mut input = Vec::with_capacity(rows.len() * input_len);
        let mut target = self.target.batch(rows.len());
        let mut background = vec![];
        for &row in rows {
            let missing = Error::Row { row, rows: self.rows };
            let index = self.blocks.partition_point(|block| block.start <= row);
            let block = index.checked_sub(1).and_then(|index| self.blocks.get(index));
            let Some(block) = block.filter(|block| row < block.start + block.rows) else {
                return Err(missing);
            };
            let at = row - block.start;
            let scaling = self.input_scaling.as_ref();
            let copied = block.input.append(at, input_len, scaling, &mut input).and_then(|()| {
                match (&block.target, &mut target, self.target) {
                    (BlockTarget::Class(values), BatchTarget::Class(out), TargetShape::Class) => {
                        append(values, at, 1, out)
                    }
                    (BlockTarget::Labels(values), BatchTarget::Labels(out), TargetShape::Labels(length)) => {
                        append(values, at, length, out)
                    }
                    (BlockTarget::Field(values), BatchTarget::Field(out), TargetShape::Field(length)) => {
                        append(values, at, length, out)
                    }
                    (
                        BlockTarget::Mask(masks, ignored),
                        BatchTarget::Mask { values, ignore },
                        TargetShape::Mask(length),
                    ) => {
                        match ignored {
                            Some(ignored) => append(ignored, at, length, ignore)?,
                            None => ignore.resize(ignore.len() + length, 0),
                        }
                        append(masks, at, length, values)
                    }
                    _ => None,
                }
            });
            let copied = copied.and_then(|()| match &block.background {
                Some(levels) => append(levels, at, 1, &mut background),
                None => Some(()),
            });
            if copied.is_none() {
                return Err(missing);
            }
        }
        Ok(Batch { rows: rows.len(), shape: self.shape.clone(), input, target, background })
    }

    /// Copies windows of the given rows into a batch. For a sample that is larger than the window,
    /// `offset` is called with its row and the largest offset, and says at which row and column of the
    /// padded sample the window begins.
    ///
    /// # Errors
    /// If there is no such row, or all samples of the dataset have one shape.
    pub fn gather_windows(
        &self,
        rows: &[usize],
        window: &PairWindow,
        offset: impl FnMut(usize, usize) -> [usize; 2],
    ) -> Result<Batch, Error> {
        match &self.pairs {
            Some(pairs) => pairs.gather(rows, window, offset),
            None => Err(Error::Row { row: rows.first().copied().unwrap_or(0), rows: 0 }),
        }
    }
}

/// Appends row `at` of rows of `length` elements; `None` if there is none.
fn append<T: Copy>(values: &[T], at: usize, length: usize, out: &mut Vec<T>) -> Option<()> {
    values.get(at * length..(at + 1) * length).map(|row| out.extend_from_slice(row))
}
