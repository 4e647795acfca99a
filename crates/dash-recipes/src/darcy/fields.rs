//! Keeps coefficients and solutions in memory.

/// Coefficients and solutions on a square grid.
#[derive(Debug)]
pub(super) struct Fields {
    /// Grid points per axis.
    pub(super) side: usize,
    /// One coefficient field after the other; the last axis of the file varies fastest.
    pub(super) coefficient: Vec<f32>,
    /// One solution after the other.
    pub(super) solution: Vec<f32>,
}

impl Fields {
    /// The grid points of a sample in `values`.
    pub(super) fn sample<'a>(&self, values: &'a [f32], index: usize) -> &'a [f32] {
        let points = self.side * self.side;
        values.get(index * points..(index + 1) * points).unwrap_or_default()
    }
}
