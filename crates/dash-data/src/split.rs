//! Reads the rows of a split by number into batches.

use crate::{
    Batch, Error,
    batch::append_f32,
    cache::{Cached, Span},
    pairs::{PairRows, PairWindow},
};
use dash_core::{
    card::{ElementType, InputScaling, Target},
    targets::Targets,
};
use half::{f16, slice::HalfFloatSliceExt};
use std::ops::Range;

/// Consecutive rows in the cache, and the locations of their columns.
#[derive(Debug)]
pub(crate) struct Block {
    /// Number of the first row.
    pub(crate) start: usize,
    /// Rows in the block.
    pub(crate) rows: usize,
    pub(crate) input: Span,
    pub(crate) target: Span,
    /// Of masks, where there is such a column.
    pub(crate) ignore: Option<Span>,
    pub(crate) background: Option<Span>,
}

/// The kind and size of the targets of all blocks.
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

    /// Targets without rows, with capacity for `rows`.
    fn batch(self, rows: usize) -> Targets {
        match self {
            TargetShape::Class => Targets::Class(Vec::with_capacity(rows)),
            TargetShape::Labels(labels) => Targets::Labels(Vec::with_capacity(rows * labels)),
            TargetShape::Field(elements) => Targets::Field(Vec::with_capacity(rows * elements)),
            TargetShape::Mask(positions) => Targets::Mask {
                values: Vec::with_capacity(rows * positions),
                ignore: Vec::with_capacity(rows * positions),
            },
        }
    }
}

/// The rows of one split, read from the cache on demand.
#[derive(Debug)]
pub struct SplitData {
    pub(crate) cached: Cached,
    pub(crate) rows: usize,
    /// Of inputs as they are stored.
    pub(crate) element: ElementType,
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

    /// The samples that tuning may train on, ascending: those all of whose parts are marked. `None` if the dataset
    /// has no such marks.
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

    /// The rows that tuning may train on, ascending; `None` if the dataset has no such marks.
    pub fn tuning_rows(&self) -> Option<&[usize]> {
        self.tuning.as_deref()
    }

    /// Rows and columns of a sample of pairs of positions; `None` if all samples of the dataset have one
    /// shape, or there is no such row.
    pub fn side(&self, row: usize) -> Option<usize> {
        self.pairs.as_ref()?.side(row)
    }

    /// Copies the given rows, in the given order, into a batch. Variable-length samples are padded with zeros to the
    /// size of the largest.
    ///
    /// # Errors
    /// If there is no such row, or it cannot be read.
    pub fn gather(&self, rows: &[usize]) -> Result<Batch, Error> {
        self.gather_parts(rows, true)
    }

    /// The targets of the given rows alone.
    pub(crate) fn gather_targets(&self, rows: &[usize]) -> Result<Targets, Error> {
        Ok(self.gather_parts(rows, false)?.target)
    }

    fn gather_parts(&self, rows: &[usize], inputs: bool) -> Result<Batch, Error> {
        if let Some(pairs) = &self.pairs {
            let side = rows.iter().filter_map(|&row| pairs.side(row)).max().unwrap_or(0);
            let whole = PairWindow { side, padding: 0, target_padding: 0.0, target_limit: f32::INFINITY };
            return pairs.gather(&self.cached, rows, &whole, |_, _| [0, 0]);
        }
        let length: usize = self.shape.iter().product();
        let width = length * self.element_bytes();
        let mut input = Vec::with_capacity(if inputs { rows.len() * length } else { 0 });
        let mut target = self.target.batch(rows.len());
        let mut background = vec![];
        let (mut bytes, mut rest) = (vec![], rows);
        while let Some(&row) = rest.first() {
            let (block, count) = self.run(rest, width)?;
            let at = row - block.start;
            let mut read = |column: Span, width: usize, take: &mut dyn FnMut(&[u8])| -> Result<(), Error> {
                self.cached.read(column, at, count, width, &mut bytes)?;
                take(&bytes);
                Ok(())
            };
            if inputs {
                read(block.input, width, &mut |bytes| self.append_inputs(bytes, length, &mut input))?;
            }
            match (&mut target, self.target) {
                (Targets::Class(out), _) => read(block.target, 8, &mut |bytes| {
                    out.extend(bytes.as_chunks::<8>().0.iter().map(|class| i64::from_le_bytes(*class)));
                })?,
                (Targets::Field(out), TargetShape::Field(length)) => {
                    read(block.target, 4 * length, &mut |bytes| append_f32(bytes, out))?;
                }
                (Targets::Labels(out), TargetShape::Labels(length)) => {
                    read(block.target, length, &mut |bytes| out.extend_from_slice(bytes))?;
                }
                (Targets::Mask { values, ignore }, TargetShape::Mask(length)) => {
                    read(block.target, length, &mut |bytes| values.extend_from_slice(bytes))?;
                    match block.ignore {
                        Some(column) => {
                            read(column, length, &mut |bytes| ignore.extend_from_slice(bytes))?;
                        }
                        None => ignore.resize(values.len(), 0),
                    }
                }
                _ => return Err(Error::Row { row, rows: self.rows }),
            }
            if let Some(column) = block.background {
                read(column, 4, &mut |bytes| append_f32(bytes, &mut background))?;
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(Batch { rows: rows.len(), shape: self.shape.clone(), input, target, background })
    }

    fn element_bytes(&self) -> usize {
        match self.element {
            ElementType::U8 => 1,
            ElementType::F16 => 2,
            _ => 4,
        }
    }

    /// The block of the first of `rows`, and how many of them follow each other in it from there: those are
    /// read at once, up to about [`RUN`] bytes of rows of `width` bytes.
    fn run(&self, rows: &[usize], width: usize) -> Result<(&Block, usize), Error> {
        let row = rows.first().copied().unwrap_or(self.rows);
        let index = self.blocks.partition_point(|block| block.start <= row);
        let block = index.checked_sub(1).and_then(|index| self.blocks.get(index));
        let block = block.filter(|block| row < block.start + block.rows);
        let block = block.ok_or(Error::Row { row, rows: self.rows })?;
        let most = (RUN / width.max(1)).clamp(1, block.start + block.rows - row);
        let count = rows.iter().zip(row..).take(most).take_while(|&(&found, next)| found == next).count();
        Ok((block, count))
    }

    /// Appends rows of `length` elements as networks see them.
    fn append_inputs(&self, bytes: &[u8], length: usize, out: &mut Vec<f32>) {
        match (self.element, &self.input_scaling) {
            (ElementType::F16, _) => {
                let values: Vec<f16> =
                    bytes.as_chunks::<2>().0.iter().map(|value| f16::from_le_bytes(*value)).collect();
                let start = out.len();
                out.resize(start + values.len(), 0.0);
                values.convert_to_f32_slice(out.get_mut(start..).unwrap_or_default());
            }
            (ElementType::U8, None) => out.extend(bytes.iter().map(|&byte| f32::from(byte))),
            (ElementType::U8, Some(InputScaling { scale, offset })) => {
                let positions = (length / scale.len().max(1)).max(1);
                for row in bytes.chunks(length.max(1)) {
                    let channels = row.chunks(positions).zip(scale).zip(offset);
                    for ((channel, scale), offset) in channels {
                        out.extend(channel.iter().map(|&byte| (f64::from(byte) * scale + offset) as f32));
                    }
                }
            }
            _ => append_f32(bytes, out),
        }
    }

    /// Looks for numbers that are not finite. A cache holds none when it is made.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        let together = if self.pairs.is_some() { 1 } else { 256 };
        for first in (0..self.rows).step_by(together) {
            let rows: Vec<usize> = (first..self.rows.min(first + together)).collect();
            let batch = self.gather(&rows)?;
            let targets: &[f32] = match &batch.target {
                Targets::Field(values) => values,
                _ => &[],
            };
            let parts = [("input", &batch.input[..]), ("target", targets), ("background", &batch.background)];
            for (what, values) in parts {
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let row = first + at / (values.len() / batch.rows.max(1)).max(1);
                    let problem = format!("row {row}: the {what} is no longer a finite number");
                    return Err(Error::altered(self.cached.path(), problem));
                }
            }
        }
        Ok(())
    }

    /// Copies windows of the given rows into a batch. For a sample that is larger than the window, `offset` gets its
    /// row and the largest offset, and returns the row and column of the padded sample at which the window begins.
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
            Some(pairs) => pairs.gather(&self.cached, rows, window, offset),
            None => Err(Error::Row { row: rows.first().copied().unwrap_or(0), rows: 0 }),
        }
    }
}

/// Bytes that are read at once.
const RUN: usize = 1 << 20;
