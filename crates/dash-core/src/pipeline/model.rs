//! Networks: backbones and the candidates for their kernels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network with named convolutions whose kernels can be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Backbone {
    /// Wide residual network, 2-D (DASH, section 13.1).
    Wrn {
        /// 6 n + 4 for n blocks per group.
        #[serde(default = "default::wrn_depth")]
        depth: usize,
        /// Factor on the 16, 32 and 64 channels of the groups.
        #[serde(default = "default::wrn_width")]
        width: usize,
    },
    /// Nine-convolution residual network, 1-D (DASH, section 13.2).
    Resnet1d {
        /// Channels of the first block; by default min(4^(classes / 10 + 1), 64).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channels: Option<usize>,
        /// Whether convolutions see only the past (zero padding on the left) or are centred.
        #[serde(default)]
        causal: bool,
    },
}

/// One candidate of the search space: kernels are square, the dilation is the same on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Taps per axis.
    pub kernel_size: usize,
    /// Distance between taps.
    pub dilation: usize,
}

impl Candidate {
    /// All candidates in index order: the kernel size is the slow index.
    pub fn enumerate(kernel_sizes: &[usize], dilations: &[usize]) -> Vec<Candidate> {
        kernel_sizes
            .iter()
            .flat_map(|&kernel_size| {
                dilations.iter().map(move |&dilation| Candidate { kernel_size, dilation })
            })
            .collect()
    }

    /// Positions from the first to the last tap of an axis.
    pub fn extent(self) -> usize {
        self.dilation * (self.kernel_size - 1) + 1
    }
}

mod default {
    pub(super) fn wrn_depth() -> usize {
        16
    }
    pub(super) fn wrn_width() -> usize {
        1
    }
}
