//! Describes one convolution: shapes, stride, groups and taps.

use crate::{Error, TapSet};
use std::fmt;

/// The options of a convolution, as those of PyTorch's `Conv2d`. Kernel size and dilation are in the [`TapSet`];
/// inputs are padded with zeros so that a stride of 1 keeps their size.
///
/// ```
/// use dash_conv::ConvOptions;
///
/// let options = ConvOptions { groups: 4, ..ConvOptions::default() };
/// assert_eq!(options.stride, [1, 1]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvOptions {
    /// Groups of channels that are convolved on their own; as many as there are channels for a depthwise convolution.
    pub groups: usize,
    /// Distance of neighbouring outputs along rows and columns. With one spatial axis only the second counts.
    pub stride: [usize; 2],
}

impl Default for ConvOptions {
    /// One group, stride 1.
    fn default() -> Self {
        ConvOptions { groups: 1, stride: [1, 1] }
    }
}

/// One convolution with all its sizes, as algorithms and planners see it.
///
/// With one spatial axis, feature maps have a single row.
///
/// `y[b, o, t] = bias[o] + sum over i, tap of w[o, i, tap] x[b, group(o) + i, stride t + offset]`,
/// x being zero outside (DASH, section 4.1); `t` runs over `ceil(size / stride)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConvProblem {
    pub(crate) batch: usize,
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    pub(crate) groups: usize,
    pub(crate) size: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) taps: usize,
    pub(crate) offsets: Vec<[i32; 2]>,
    pub(crate) tap_indices: Vec<usize>,
}

impl ConvProblem {
    /// Describes the convolution of `taps` over an input `[batch, c_in, height, width]`.
    ///
    /// # Errors
    /// If a count is zero or the groups do not divide the channels.
    pub fn new(
        taps: &TapSet,
        [batch, c_in, height, width]: [usize; 4],
        c_out: usize,
        options: ConvOptions,
    ) -> Result<ConvProblem, Error> {
        let ConvOptions { groups, stride } = options;
        let size = [height, width];
        let counts = [
            (batch, "the batch"),
            (c_in, "the number of input channels"),
            (c_out, "the number of output channels"),
            (groups, "the number of groups"),
            (height, "the map height"),
            (width, "the map width"),
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

    /// The number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of input channels.
    pub fn c_in(&self) -> usize {
        self.c_in
    }

    /// The number of output channels.
    pub fn c_out(&self) -> usize {
        self.c_out
    }

    /// The number of channel groups; `c_in` for depthwise convolutions.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Rows and columns of an input map.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Distance of neighbouring outputs along rows and columns.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// The number of taps of the weights, whether they meet data or not.
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// The offsets of the taps that meet data for at least one output, sorted.
    pub fn offsets(&self) -> &[[i32; 2]] {
        &self.offsets
    }

    /// For each of [`ConvProblem::offsets`], the index of its tap among the weights.
    pub fn tap_indices(&self) -> &[usize] {
        &self.tap_indices
    }

    /// Rows and columns of an output map.
    pub fn out_size(&self) -> [usize; 2] {
        [self.size[0].div_ceil(self.stride[0]), self.size[1].div_ceil(self.stride[1])]
    }

    /// The number of positions of an input map.
    pub fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The number of positions of an output map.
    pub fn out_plane(&self) -> usize {
        let [rows, columns] = self.out_size();
        rows * columns
    }

    /// The number of input channels that contribute to an output channel.
    pub fn group_in(&self) -> usize {
        self.c_in / self.groups
    }

    /// The number of output channels of a group.
    pub fn group_out(&self) -> usize {
        self.c_out / self.groups
    }

    /// Whether every output channel depends on exactly one input channel, its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.c_in && self.groups == self.c_out
    }

    /// The receptive radius: the largest offset, along each axis, of a tap that meets data.
    pub fn receptive_radius(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.offsets.iter().map(|o| o[axis].unsigned_abs() as usize).max().unwrap_or(0))
    }

    /// The number of multiply-adds of the direct algorithm, each tap counted for the outputs at which it meets data.
    pub(crate) fn covered_multiply_adds(&self) -> f64 {
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

    /// The number of elements of the input, of the weights and of the output.
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
    fn a_problem_prints_as_one_line() {
        let printed = |groups, size: [usize; 2], stride, taps: TapSet| {
            ConvProblem::new(&taps, [8, 4, size[0], size[1]], 4, ConvOptions { groups, stride })
                .unwrap()
                .to_string()
        };
        let one = TapSet::centred(1, 3, 1).unwrap();
        assert_eq!(
            printed(4, [1, 2], [1, 1], one.clone()),
            "8 x 4 channels of 2 to 4, 3 of 3 taps, depthwise"
        );
        assert_eq!(printed(1, [1, 1], [1, 1], one), "8 x 4 channels of 1 to 4, 1 of 3 taps");
        let two = TapSet::centred(2, 3, 1).unwrap();
        let expected = "8 x 4 channels of 5x6 to 4, 9 of 9 taps, 2 groups, stride 2";
        assert_eq!(printed(2, [5, 6], [2, 2], two), expected);
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
            let problem = ConvProblem::new(&union, [1, 1, n, n], 1, ConvOptions::default()).unwrap();
            assert_eq!(problem.offsets.len(), reachable, "{n}");
        }
    }

    #[test]
    fn a_stride_hides_taps_that_only_skipped_outputs_would_reach() {
        // Outputs of a map of 4 with stride 2 sit at 0 and 2: offset -3 meets nothing.
        let taps = TapSet::centred(1, 7, 1).unwrap();
        let problem = ConvProblem::new(
            &taps,
            [1, 1, 1, 4],
            1,
            ConvOptions { stride: [1, 2], ..ConvOptions::default() },
        )
        .unwrap();
        assert_eq!(problem.offsets.first(), Some(&[0, -2]));
        assert_eq!(problem.out_size(), [1, 2]);
    }

    #[test]
    fn sizes_are_checked() {
        let taps = TapSet::centred(1, 3, 1).unwrap();
        assert!(ConvProblem::new(&taps, [0, 1, 1, 4], 1, ConvOptions::default()).is_err());
        assert!(
            ConvProblem::new(&taps, [1, 3, 1, 4], 4, ConvOptions { groups: 2, ..ConvOptions::default() })
                .is_err()
        );
        assert!(
            ConvProblem::new(&taps, [1, 4, 1, 4], 3, ConvOptions { groups: 2, ..ConvOptions::default() })
                .is_err()
        );
    }
}
