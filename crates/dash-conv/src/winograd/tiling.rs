//! How feature maps are divided into the tiles of short correlations.

use crate::ConvProblem;

/// The most taps of an axis. More are possible, but with the points that they need, rounding errors grow to tens of times
/// those of a plain sum, and there is little to gain.
const MOST: usize = 3;

/// One axis of a convolution, divided into tiles. The outputs of a tile are as far apart as the taps, so that a dilated
/// kernel is treated as a dense one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    size: usize,
    /// The number of points of the bilinear algorithm; 1 if the axis has a single tap and is not transformed.
    pub(crate) points: usize,
    /// The number of taps, their distance, and the offset of the first.
    pub(super) taps: usize,
    dilation: usize,
    first: i64,
    /// The first output of each tile.
    starts: Vec<usize>,
}

/// The number of taps, their distance, and the offset of the first, of evenly spaced taps for which a bilinear algorithm
/// exists.
type Spacing = (usize, usize, i64);

impl Axis {
    fn new(size: usize, (taps, dilation, first): Spacing, points: usize) -> Axis {
        let outputs = points - taps + 1;
        let tiles = |residue: usize| (residue..size).step_by(dilation).step_by(outputs);
        let starts = (0..dilation.min(size)).flat_map(tiles).collect();
        Axis { size, points, taps, dilation, first, starts }
    }

    /// The same axis for the gradient of the input: the taps are mirrored.
    pub(super) fn flipped(&self) -> Axis {
        let first = -(self.first + ((self.taps - 1) * self.dilation) as i64);
        Axis { first, ..self.clone() }
    }

    /// The number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.starts.len()
    }

    /// The number of outputs per tile.
    pub(super) fn outputs(&self) -> usize {
        self.points - self.taps + 1
    }

    fn position(&self, tile: usize, index: usize, offset: i64) -> Option<usize> {
        let at = (self.starts[tile] + index * self.dilation) as i64 + offset;
        usize::try_from(at).ok().filter(|&at| at < self.size)
    }

    /// The inputs of a tile, as many as there are points, `None` outside the map.
    pub(super) fn inputs(&self, tile: usize) -> impl Iterator<Item = Option<usize>> {
        (0..self.points).map(move |index| self.position(tile, index, self.first))
    }

    /// The outputs of a tile, `None` outside the map.
    pub(super) fn outputs_of(&self, tile: usize) -> impl Iterator<Item = Option<usize>> {
        (0..self.outputs()).map(move |index| self.position(tile, index, 0))
    }
}

/// A convolution divided into tiles along both axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
}

/// The spacing of the distinct offsets of one axis, if it is even.
fn spacing(offsets: &[i32]) -> Option<Spacing> {
    let (&first, rest) = offsets.split_first()?;
    let Some(&second) = rest.first() else { return Some((1, 1, first.into())) };
    let dilation = second - first;
    let even = offsets.windows(2).all(|pair| pair[1] - pair[0] == dilation);
    (even && offsets.len() <= MOST).then_some((offsets.len(), dilation as usize, first.into()))
}

impl Tiling {
    /// All tilings of a problem; none if its taps are not a small even grid, if the stride skips outputs, or if there is only
    /// one tap.
    pub(crate) fn candidates(problem: &ConvProblem) -> Vec<Tiling> {
        let distinct = |axis: usize| {
            let mut offsets: Vec<i32> = problem.offsets.iter().map(|o| o[axis]).collect();
            offsets.sort_unstable();
            offsets.dedup();
            offsets
        };
        let (rows, columns) = (distinct(0), distinct(1));
        if problem.stride != [1, 1]
            || rows.len() * columns.len() != problem.offsets.len()
            || problem.offsets.len() < 2
        {
            return Vec::new();
        }
        let axes = |offsets: &[i32], size: usize| -> Vec<Axis> {
            let Some(spacing) = spacing(offsets) else { return Vec::new() };
            let points: &[usize] = match spacing.0 {
                1 => &[1],
                2 => &[4],
                _ => &[4, 6],
            };
            points.iter().map(|&points| Axis::new(size, spacing, points)).collect()
        };
        let (rows, columns) = (axes(&rows, problem.size[0]), axes(&columns, problem.size[1]));
        let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r.clone(), c.clone())));
        pairs.map(|(rows, columns)| Tiling { rows, columns }).collect()
    }

    /// The number of products per tile and pair of channels.
    pub(crate) fn points(&self) -> usize {
        self.rows.points * self.columns.points
    }

    /// The number of tiles of a feature map.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.tiles() * self.columns.tiles()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing};

    fn problem(taps: &TapSet, size: [usize; 2], stride: usize) -> ConvProblem {
        testing::problem(taps, [1, 1, 1, 1], size, [stride; 2])
    }

    #[test]
    fn every_output_belongs_to_one_tile() {
        for (kernel, dilation) in [(3, 1), (3, 4), (3, 2), (5, 5)] {
            let taps = TapSet::centred(2, kernel, dilation).unwrap();
            for tiling in Tiling::candidates(&problem(&taps, [13, 6], 1)) {
                for (axis, size) in [(&tiling.rows, 13), (&tiling.columns, 6)] {
                    let mut seen: Vec<usize> =
                        (0..axis.tiles()).flat_map(|t| axis.outputs_of(t).flatten()).collect();
                    seen.sort_unstable();
                    assert_eq!(seen, (0..size).collect::<Vec<_>>(), "{axis:?}");
                }
            }
        }
    }

    #[test]
    fn uneven_many_or_single_taps_and_strides_have_no_tiling() {
        let centred = |k, d| TapSet::centred(2, k, d).unwrap();
        let none = |taps: &TapSet, stride| Tiling::candidates(&problem(taps, [40, 40], stride)).is_empty();
        assert!(none(&centred(5, 1), 1));
        assert!(none(&centred(1, 1), 1));
        assert!(none(&centred(3, 1), 2));
        assert!(none(&TapSet::union(&[centred(3, 1), centred(3, 3)]).unwrap().0, 1));
        assert!(!none(&centred(3, 15), 1));
        // Only the inner taps of a large kernel meet the data of a small map.
        assert!(!Tiling::candidates(&problem(&centred(9, 5), [8, 8], 1)).is_empty());
    }
}
