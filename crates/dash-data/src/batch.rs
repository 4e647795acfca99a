//! Rows of a split by number -> batches.

use crate::Error;
use arrow::buffer::ScalarBuffer;

/// Samples that are processed together, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of samples.
    pub rows: usize,
    /// Input tensors, (rows, shape of one input).
    pub input: Vec<f32>,
    /// Targets.
    pub target: BatchTarget,
}

/// Targets of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchTarget {
    /// Class indices, (rows).
    Class(Vec<i64>),
    /// Fields, (rows, shape of one target), encoded if the card has a target scaling.
    Field(Vec<f32>),
}

/// Consecutive rows in the memory-mapped cache.
#[derive(Debug)]
pub(crate) struct Block {
    /// Number of the first row.
    pub(crate) start: usize,
    /// Rows in the block.
    pub(crate) rows: usize,
    pub(crate) input: ScalarBuffer<f32>,
    pub(crate) target: BlockTarget,
}

#[derive(Debug)]
pub(crate) enum BlockTarget {
    Class(ScalarBuffer<i64>),
    Field(ScalarBuffer<f32>),
}

/// The rows of one split, memory-mapped.
#[derive(Debug)]
pub struct SplitData {
    pub(crate) rows: usize,
    /// Elements of one input.
    pub(crate) input_len: usize,
    /// Elements of one target field; `None` for classes.
    pub(crate) field_len: Option<usize>,
    /// In the order of rows, without gaps.
    pub(crate) blocks: Vec<Block>,
    pub(crate) tuning: Option<Vec<usize>>,
}

impl SplitData {
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

    /// Copies the given rows, in the given order, into a batch.
    pub fn gather(&self, rows: &[usize]) -> Result<Batch, Error> {
        let mut input = Vec::with_capacity(rows.len() * self.input_len);
        let mut classes = vec![];
        let mut fields = Vec::with_capacity(rows.len() * self.field_len.unwrap_or(0));
        for &row in rows {
            let missing = Error::Row { row, rows: self.rows };
            let index = self.blocks.partition_point(|block| block.start <= row);
            let block = index.checked_sub(1).and_then(|index| self.blocks.get(index));
            let Some(block) = block.filter(|block| row < block.start + block.rows) else {
                return Err(missing);
            };
            let at = row - block.start;
            let of = |values: &ScalarBuffer<f32>, length: usize, out: &mut Vec<f32>| {
                values.get(at * length..(at + 1) * length).map(|row| out.extend_from_slice(row))
            };
            let copied = of(&block.input, self.input_len, &mut input).and_then(|()| match &block.target {
                BlockTarget::Class(values) => values.get(at).map(|&class| classes.push(class)),
                BlockTarget::Field(values) => of(values, self.field_len?, &mut fields),
            });
            if copied.is_none() {
                return Err(missing);
            }
        }
        let target = match self.field_len {
            None => BatchTarget::Class(classes),
            Some(_) => BatchTarget::Field(fields),
        };
        Ok(Batch { rows: rows.len(), input, target })
    }
}
