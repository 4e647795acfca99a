//! A batch: samples that are processed together.

use dash_core::targets::Targets;

/// Samples that are processed together, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The number of samples.
    pub rows: usize,
    /// Shape of one input.
    pub shape: Vec<usize>,
    /// Input tensors, (rows, shape of one input).
    pub input: Vec<f32>,
    /// Targets.
    pub target: Targets,
    /// Background levels, (rows); empty if the dataset has none.
    pub background: Vec<f32>,
}

/// Appends 32-bit floating-point numbers as they are stored.
pub(crate) fn append_f32(bytes: &[u8], out: &mut Vec<f32>) {
    out.extend(bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)));
}
