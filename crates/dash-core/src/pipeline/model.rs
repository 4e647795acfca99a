//! Declares the table of backbones, and the candidates for their kernels.

use super::vocabulary::vocabulary;
use crate::checks::Checks;
use serde::{Deserialize, Serialize};

/// What validation knows about a backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackboneSpec {
    /// Its `kind` in pipeline files.
    pub name: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// Its architecture, in one or more sentences.
    pub description: &'static str,
    /// The number of spatial axes of its inputs, 1 or 2.
    pub spatial_axes: usize,
}

vocabulary! {
    /// A network whose convolutions can be searched.
    pub enum Backbone: BackboneSpec {
        /// Wide residual network for 2-D inputs (Zagoruyko and Komodakis 2016), as in the DASH paper.
        Wrn {
            /// Number of layers: 6 n + 4 for n blocks per group.
            #[serde(default = "default::depth")]
            depth: usize,
            /// Factor on the 16, 32 and 64 channels of the groups.
            #[serde(default = "default::width")]
            width: usize,
        } = "wrn" {
            title: "wide residual network",
            spatial_axes: 2,
        }
        /// Residual network for 1-D inputs with nine convolutions (Wang, Yan and Oates 2017), as in the DASH paper.
        Resnet1d {
            /// Channels of the first block; min(4^(classes / 10 + 1), 64) by default.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            channels: Option<usize>,
            /// Whether convolutions are causal (zero padding on the left) instead of centred.
            #[serde(default)]
            causal: bool,
        } = "resnet1d" {
            title: "1-D residual network",
            spatial_axes: 1,
        }
    }
}

impl Backbone {
    /// Checks its parameters; `key` is its key in the pipeline file.
    pub(crate) fn add_checks(self, key: &str, checks: &mut Checks) {
        match self {
            Backbone::Wrn { depth, width } => {
                let is_valid = (10..=1000).contains(&depth) && (depth - 4).is_multiple_of(6);
                checks.require(is_valid, &format!("{key}.depth"), || {
                    format!("must be 6 n + 4 with n >= 1 (10, 16, 22, ...), found {depth}")
                });
                checks.require((1..=256).contains(&width), &format!("{key}.width"), || {
                    format!("must be from 1 to 256, found {width}")
                });
            }
            Backbone::Resnet1d { channels, .. } => {
                let channels = channels.unwrap_or(1);
                checks.require((1..=65_536).contains(&channels), &format!("{key}.channels"), || {
                    format!("must be from 1 to 65536, found {channels}")
                });
            }
        }
    }
}

/// One candidate of the search space, a kernel size with a dilation. Kernels are square, and the dilation is the same on
/// both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Taps per axis.
    pub kernel_size: usize,
    /// Distance between adjacent taps.
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

    /// The number of positions from the first to the last tap of an axis.
    pub fn extent(self) -> usize {
        self.dilation * (self.kernel_size - 1) + 1
    }
}

mod default {
    pub(super) fn depth() -> usize {
        16
    }
    pub(super) fn width() -> usize {
        1
    }
}
