//! One convolution with all its sizes: what the algorithms work on.

use crate::{Error, TapSet};
use std::fmt;

/// A convolution of known sizes.
///
/// With one spatial axis the maps have a single row: `size = [1, n]`, `stride = [1, s]`.
///
/// `y[b, o, t] = bias[o] + sum over i, tap of w[o, i, tap] x[b, group(o) + i, stride t + offset]`,
/// x being zero outside (DASH, section 4.1); `t` runs over `ceil(size / stride)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConvProblem {
    /// Samples.
    pub batch: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Channel groups; `c_in` for depthwise convolutions.
    pub groups: usize,
    /// Rows and columns of an input map.
    pub size: [usize; 2],
    /// Distance between outputs per axis.
    pub stride: [usize; 2],
    /// Number of taps of the weights, reachable or not.
    pub taps: usize,
    /// Offsets that meet data for at least one output.
    pub offsets: Vec<[i32; 2]>,
    /// Position in the weights of each of `offsets`.
    pub tap_indices: Vec<usize>,
}

impl ConvProblem {
    /// Describes the convolution of `taps` over maps of `size`.
    ///
    /// # Errors
    /// If a count is zero or the groups do not divide the channels.
    pub fn new(
        taps: &TapSet,
        batch: usize,
        c_in: usize,
        c_out: usize,
        groups: usize,
        size: [usize; 2],
        stride: [usize; 2],
    ) -> Result<ConvProblem, Error> {
        let counts = [
            (batch, "the batch"),
            (c_in, "the number of input channels"),
            (c_out, "the number of output channels"),
            (groups, "the number of groups"),
            (size[0], "the map height"),
            (size[1], "the map width"),
            (stride[0], "the stride"),
            (stride[1], "the stride"),
        ];
        if let Some(&(_, what)) = counts.iter().find(|(count, _)| *count == 0) {
            return Err(Error::Zero { what });
        }
        for (channels, which) in [(c_in, "input"), (c_out, "output")] {
            if !channels.is_multiple_of(groups) {
                return Err(Error::Groups { which, channels, groups });
            }
        }
        let meets_data = |offset: &[i32; 2]| {
            (0..2).all(|axis| {
                let last = ((size[axis] - 1) / stride[axis] * stride[axis]) as i64;
                let offset = i64::from(offset[axis]);
                if offset >= 0 { offset < size[axis] as i64 } else { last + offset >= 0 }
            })
        };
        let (tap_indices, offsets) =
            taps.offsets().iter().copied().enumerate().filter(|(_, o)| meets_data(o)).unzip();
        Ok(ConvProblem { batch, c_in, c_out, groups, size, stride, taps: taps.len(), offsets, tap_indices })
    }

    /// Rows and columns of an output map.
    pub fn out_size(&self) -> [usize; 2] {
        [self.size[0].div_ceil(self.stride[0]), self.size[1].div_ceil(self.stride[1])]
    }

    /// Positions of an input map.
    pub fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Positions of an output map.
    pub fn out_plane(&self) -> usize {
        let [rows, columns] = self.out_size();
        rows * columns
    }

    /// Input channels that an output channel sees.
    pub fn group_in(&self) -> usize {
        self.c_in / self.groups
    }

    /// Output channels of a group.
    pub fn group_out(&self) -> usize {
        self.c_out / self.groups
    }

    /// Whether every output channel sees exactly one input channel, its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.c_in && self.groups == self.c_out
    }

    /// Largest distance that a reachable tap looks along each axis.
    pub fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.offsets.iter().map(|o| o[axis].unsigned_abs() as usize).max().unwrap_or(0))
    }

    /// Multiply-adds of the direct algorithm with each tap counted for the outputs at which it meets
    /// data.
    pub fn covered_multiply_adds(&self) -> f64 {
        let covered = |axis: usize, offset: i32| {
            let (n, s, o) = (self.size[axis] as i64, self.stride[axis] as i64, i64::from(offset));
            // Outputs t with 0 <= s t + o < n.
            let first = (-o).max(0).div_euclid(s) + i64::from((-o).max(0).rem_euclid(s) != 0);
            let end = ((n - 1 - o).div_euclid(s) + 1).min(self.out_size()[axis] as i64);
            (end - first).max(0) as f64
        };
        let per_pair: f64 = self.offsets.iter().map(|o| covered(0, o[0]) * covered(1, o[1])).sum();
        (self.batch * self.c_out * self.group_in()) as f64 * per_pair
    }

    /// Elements of x, of the weights, and of y.
    pub fn lens(&self) -> [usize; 3] {
        [
            self.batch * self.c_in * self.plane(),
            self.c_out * self.group_in() * self.taps,
            self.batch * self.c_out * self.out_plane(),
        ]
    }
}

impl fmt::Display for ConvProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.size;
        write!(f, "{} x {} channels of ", self.batch, self.c_in)?;
        if rows > 1 {
            write!(f, "{rows}x")?;
        }
        write!(f, "{columns} to {}, {} of {} taps", self.c_out, self.offsets.len(), self.taps)?;
        if self.is_depthwise() && self.groups > 1 {
            f.write_str(", depthwise")?;
        } else if self.groups > 1 {
            write!(f, ", {} groups", self.groups)?;
        }
        match self.stride {
            [_, 1] => Ok(()),
            [_, stride] => write!(f, ", stride {stride}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_said_in_a_line() {
        let said = |groups, size, stride, taps: TapSet| {
            ConvProblem::new(&taps, 8, 4, 4, groups, size, stride).unwrap().to_string()
        };
        let one = TapSet::centred(1, 3, 1).unwrap();
        assert_eq!(said(4, [1, 2], [1, 1], one.clone()), "8 x 4 channels of 2 to 4, 3 of 3 taps, depthwise");
        assert_eq!(said(1, [1, 1], [1, 1], one), "8 x 4 channels of 1 to 4, 1 of 3 taps");
        let two = TapSet::centred(2, 3, 1).unwrap();
        let expected = "8 x 4 channels of 5x6 to 4, 9 of 9 taps, 2 groups, stride 2";
        assert_eq!(said(2, [5, 6], [2, 2], two), expected);
    }

    #[test]
    fn unreachable_taps_are_dropped() {
        // Counts by enumeration in Python over K = {3, 5, 7, 9}, D = {1, 3, 7, 15}.
        let sets: Vec<TapSet> = [3, 5, 7, 9]
            .iter()
            .flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()))
            .collect();
        let union = TapSet::union(&sets).unwrap().0;
        for (n, reachable) in [(8, 105), (16, 185), (32, 257), (60, 281), (85, 313)] {
            let problem = ConvProblem::new(&union, 1, 1, 1, 1, [n, n], [1, 1]).unwrap();
            assert_eq!(problem.offsets.len(), reachable, "{n}");
        }
    }

    #[test]
    fn a_stride_hides_taps_that_only_skipped_outputs_would_reach() {
        // Outputs of a map of 4 with stride 2 sit at 0 and 2: offset -3 meets nothing.
        let taps = TapSet::centred(1, 7, 1).unwrap();
        let problem = ConvProblem::new(&taps, 1, 1, 1, 1, [1, 4], [1, 2]).unwrap();
        assert_eq!(problem.offsets.first(), Some(&[0, -2]));
        assert_eq!(problem.out_size(), [1, 2]);
    }

    #[test]
    fn sizes_are_checked() {
        let taps = TapSet::centred(1, 3, 1).unwrap();
        assert!(ConvProblem::new(&taps, 0, 1, 1, 1, [1, 4], [1, 1]).is_err());
        assert!(ConvProblem::new(&taps, 1, 3, 4, 2, [1, 4], [1, 1]).is_err());
        assert!(ConvProblem::new(&taps, 1, 4, 3, 2, [1, 4], [1, 1]).is_err());
    }
}
