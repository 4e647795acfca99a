//! Finds the inputs that each output sees under each tap, and the same for gradients, once per problem.

use crate::ConvProblem;
use std::ops::Range;

/// A tap: the input position minus `in_step` times the output position, and the tap index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tap {
    /// Along rows and along columns.
    pub(crate) shift: [i64; 2],
    pub(crate) tap_index: usize,
}

/// Outputs `out_start + out_step t`, for `t` below `count`, of a convolution that reads its input at
/// `in_step t + shift`.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    /// Rows and columns of the input.
    pub(crate) size: [usize; 2],
    pub(crate) in_step: [usize; 2],
    pub(crate) out_start: [usize; 2],
    pub(crate) out_step: [usize; 2],
    pub(crate) count: [usize; 2],
    /// Sorted.
    pub(crate) taps: Vec<Tap>,
}

impl Grid {
    /// The grid of the forward pass, from inputs to outputs.
    pub(crate) fn forward(problem: &ConvProblem) -> Grid {
        let taps = problem.offsets.iter().zip(&problem.tap_indices);
        let taps = taps.map(|(offset, &tap_index)| Tap { shift: offset.map(i64::from), tap_index });
        let mut taps: Vec<Tap> = taps.collect();
        taps.sort_unstable();
        Grid {
            size: problem.size,
            in_step: problem.stride,
            out_start: [0, 0],
            out_step: [1, 1],
            count: problem.out_size(),
            taps,
        }
    }

    /// The grids of the gradient of the input: input u receives from the outputs (u - offset) / stride that are integers,
    /// so that each residue of u has a grid with taps of its own.
    pub(crate) fn backward(problem: &ConvProblem) -> Vec<Grid> {
        let stride = problem.stride;
        let residues = |axis: usize| 0..stride[axis].min(problem.size[axis]);
        let pairs = residues(0).flat_map(|r| residues(1).map(move |c| [r, c]));
        let of = |residue: [usize; 2]| {
            let taps = problem.offsets.iter().zip(&problem.tap_indices).filter_map(|(offset, &tap_index)| {
                let [row, column] = [0, 1].map(|axis| {
                    let (from, step) = (residue[axis] as i64 - i64::from(offset[axis]), stride[axis] as i64);
                    (from.rem_euclid(step) == 0).then(|| from.div_euclid(step))
                });
                Some(Tap { shift: [row?, column?], tap_index })
            });
            let mut taps: Vec<Tap> = taps.collect();
            taps.sort_unstable();
            Grid {
                size: problem.out_size(),
                in_step: [1, 1],
                out_start: residue,
                out_step: stride,
                count: [0, 1].map(|axis| (problem.size[axis] - residue[axis]).div_ceil(stride[axis])),
                taps,
            }
        };
        pairs.map(of).collect()
    }

    /// The outputs for which a shift along one axis meets data: the *live* ones.
    pub(crate) fn live(&self, axis: usize, shift: i64) -> Range<usize> {
        let (step, size) = (self.in_step[axis] as i64, self.size[axis] as i64);
        let first = (-shift).max(0);
        let first = first.div_euclid(step) + i64::from(first.rem_euclid(step) != 0);
        let end = ((size - 1 - shift).div_euclid(step) + 1).clamp(0, self.count[axis] as i64);
        first.min(end) as usize..end as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::problem};

    /// All (output, input, tap index) that a grid connects inside the feature maps.
    fn connections(grid: &Grid) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for tap in &grid.taps {
            for r in grid.live(0, tap.shift[0]) {
                for c in grid.live(1, tap.shift[1]) {
                    let at = |axis: usize, t: usize| {
                        let input = ((grid.in_step[axis] * t) as i64 + tap.shift[axis]) as usize;
                        assert!(input < grid.size[axis]);
                        (grid.out_start[axis] + grid.out_step[axis] * t, input)
                    };
                    let ((or, ir), (oc, ic)) = (at(0, r), at(1, c));
                    found.push((100 * or + oc, 100 * ir + ic, tap.tap_index));
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn the_backward_grids_connect_the_same_pairs_as_the_forward_grid() {
        for (kernel, dilation, size, stride) in
            [(3, 1, [9, 21], 1), (5, 3, [8, 11], 2), (7, 2, [5, 30], 3), (3, 15, [4, 4], 1)]
        {
            let taps = TapSet::centred(2, kernel, dilation).unwrap();
            let problem = problem(&taps, [1, 1, 1, 1], size, [stride; 2]);
            let mut expected = Vec::new();
            let [rows, columns] = problem.out_size();
            for r in 0..rows {
                for c in 0..columns {
                    for (offset, &tap_index) in problem.offsets.iter().zip(&problem.tap_indices) {
                        let y = (r * stride) as i64 + i64::from(offset[0]);
                        let x = (c * stride) as i64 + i64::from(offset[1]);
                        if (0..size[0] as i64).contains(&y) && (0..size[1] as i64).contains(&x) {
                            expected.push((100 * r + c, 100 * y as usize + x as usize, tap_index));
                        }
                    }
                }
            }
            expected.sort_unstable();
            assert!(!expected.is_empty());
            assert_eq!(connections(&Grid::forward(&problem)), expected);
            let mut back: Vec<_> = Grid::backward(&problem).iter().flat_map(connections).collect();
            back.iter_mut().for_each(|(a, b, _)| std::mem::swap(a, b));
            back.sort_unstable();
            assert_eq!(back, expected);
        }
    }
}
