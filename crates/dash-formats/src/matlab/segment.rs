//! Defines what the reader passes to its caller.

/// Consecutive values of one column of an array. In files of version 7.3 columns may come in any order.
#[derive(Clone, Copy, Debug)]
pub struct MatSegment<'a> {
    /// The indices after the first, as one number: the second index varies fastest.
    pub column: usize,
    /// First index of the first value.
    pub first: usize,
    /// The values, of ascending first index.
    pub values: &'a [f64],
}

/// A cell of a cell array: a real numeric array.
#[derive(Clone, Copy, Debug)]
pub struct MatCell<'a> {
    /// Its number; the first index of the cell array varies fastest.
    pub index: usize,
    /// Positions per axis; the first varies fastest.
    pub dimensions: &'a [usize],
    /// All its values.
    pub values: &'a [f64],
}
