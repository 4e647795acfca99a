//! Your own data: columns of Parquet files, or arrays of numpy archives.

use crate::card::TargetKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What `{split}` in the name of an array is replaced by.
pub const SPLIT_PLACEHOLDER: &str = "{split}";

/// Your own data: columns of Parquet files, or arrays of numpy archives (`.npz`).
/// Either `file` is given, or `train_file` and `test_file` are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnData {
    /// Folder with the files.
    pub raw: PathBuf,
    /// Name of the one file in `raw` that holds all samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Name of the file in `raw` with the training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_file: Option<PathBuf>,
    /// Name of the file in `raw` with the validation samples; without it they are drawn from the
    /// training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<PathBuf>,
    /// Name of the file in `raw` with the test samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_file: Option<PathBuf>,
    /// Column or array of the inputs. For an archive that has its own arrays for each split, `{split}`
    /// in a name stands for `train`, `val` and `test`.
    #[serde(default = "default::input")]
    pub input: String,
    /// Shape of one input, where the file stores flat lists or another shape is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_shape: Option<Vec<usize>>,
    /// Where the channels are in that shape.
    #[serde(default)]
    pub channels: Channels,
    /// Column or array of the targets.
    #[serde(default = "default::target")]
    pub target: String,
    /// What a target is.
    pub target_kind: TargetKind,
    /// Shape of one target field, where the file stores flat lists or another shape is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_shape: Option<Vec<usize>>,
    /// Names of the classes or labels, by index. Without them classes are the values that occur, in
    /// ascending order, and labels have numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Column or array that says which split a sample belongs to: `train`, `validation` or `test`, or
    /// 0, 1 or 2. Only with `file`; without it samples are drawn by the fractions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Share of the samples that are drawn for validation.
    #[serde(default = "default::fraction")]
    pub validation_fraction: f64,
    /// Share of the samples that are drawn for the test.
    #[serde(default = "default::fraction")]
    pub test_fraction: f64,
    /// Seed of the draw.
    #[serde(default)]
    pub split_seed: u64,
    /// Whether inputs are encoded with mean and standard deviation of each channel over the training
    /// samples.
    #[serde(default)]
    pub standardise: bool,
    /// The same for target fields; `task.decode_target` then decides whether loss and metric are those
    /// of the original values.
    #[serde(default)]
    pub standardise_target: bool,
    /// Under which terms the data may be used; a note for the dataset's card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// Where the channels are in the shape of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// The first axis: (channels, length) or (channels, height, width). A single axis is the length of
    /// one channel.
    #[default]
    First,
    /// The last axis: (length, channels) or (height, width, channels).
    Last,
    /// There is one channel, without an axis: (length) or (height, width).
    None,
}

impl OwnData {
    /// The shape of one input as networks see it, channels first, if `stored` can be one: channels and
    /// one or two spatial axes.
    pub fn input_shape_of(&self, stored: &[usize]) -> Option<Vec<usize>> {
        match (self.channels, stored) {
            (Channels::First | Channels::None, &[n]) => Some(vec![1, n]),
            (Channels::First, &[c, n]) | (Channels::Last, &[n, c]) => Some(vec![c, n]),
            (Channels::None, &[h, w]) => Some(vec![1, h, w]),
            (Channels::First, &[c, h, w]) | (Channels::Last, &[h, w, c]) => Some(vec![c, h, w]),
            _ => None,
        }
    }

    /// Spatial axes of the inputs, if the pipeline file says it: else the data does.
    pub fn dimensions(&self) -> Option<usize> {
        let shape = self.input_shape_of(self.input_shape.as_deref()?)?;
        Some(shape.len() - 1)
    }

    /// Whether an archive has its own arrays for each split.
    pub fn has_split_names(&self) -> bool {
        self.input.contains(SPLIT_PLACEHOLDER)
    }
}

mod default {
    pub(super) fn input() -> String {
        "input".to_owned()
    }
    pub(super) fn target() -> String {
        "target".to_owned()
    }
    pub(super) fn fraction() -> f64 {
        0.1
    }
}
