//! The channels of a group on one side of a convolution, and where their feature maps are in memory.

use crate::ConvProblem;

/// One side of a convolution: the feature maps of a group of channels.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    /// The number of channels of a sample.
    pub(crate) all: usize,
    /// The first channel of the group.
    pub(crate) first: usize,
    /// The number of channels of the group.
    pub(crate) count: usize,
    /// Rows and columns of a feature map.
    pub(crate) size: [usize; 2],
}

impl Side {
    /// The inputs of a group.
    pub(crate) fn input(p: &ConvProblem, group: usize) -> Side {
        let count = p.group_in();
        Side { all: p.c_in, first: group * count, count, size: p.size }
    }

    /// The outputs of a group.
    pub(crate) fn output(p: &ConvProblem, group: usize) -> Side {
        let count = p.group_out();
        Side { all: p.c_out, first: group * count, count, size: p.out_size() }
    }

    /// The number of positions of a feature map.
    pub(crate) fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The index at which the feature map of a channel of a sample begins.
    pub(crate) fn map(&self, sample: usize, channel: usize) -> usize {
        (sample * self.all + self.first + channel) * self.plane()
    }

    /// The number of elements from one sample to the next.
    pub(crate) fn sample(&self) -> usize {
        self.all * self.plane()
    }
}
