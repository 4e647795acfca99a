//! The dataset card, `dataset.json`: what a dataset contains and how it was made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Samples for training.
    Train,
    /// Samples for the selection of hyperparameters and checkpoints.
    Validation,
    /// Samples for the reported results.
    Test,
}

impl Split {
    /// All splits, in the order of use.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// File name of the split in a dataset folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Split::Train => "train.parquet",
            Split::Validation => "val.parquet",
            Split::Test => "test.parquet",
        }
    }

    /// Name in reports and messages.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// Everything that readers of a dataset need to know besides its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetCard {
    /// Format version of the dataset folder.
    pub format: u32,
    /// Name of the recipe that made it.
    pub recipe: String,
    /// The raw files from which it was made; empty if the data was simulated.
    pub sources: Vec<Source>,
    /// The input tensor of a sample.
    pub input: TensorField,
    /// The normalisation of an input column of bytes; without it, networks see the values of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_scaling: Option<InputScaling>,
    /// The target of a sample.
    pub target: Target,
    /// Set if the dataset stores features of the positions of a sequence and of pairs of positions, from which inputs are
    /// made when a batch is gathered. Such samples have variable size; the shapes of input and target are those of the
    /// longest sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairFeatures>,
    /// Name of a Float32 column with the background level of each sample, for the augmentation `background`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// Name of an Int64 column that groups rows: consecutive rows with the same number are segments of one sample with one
    /// target. Training uses one random segment of each sample; evaluation averages the outputs of all its segments.
    /// Without it every row is a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Recordings for the augmentation `noise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseInfo>,
    /// Rows and file per split.
    pub splits: BTreeMap<Split, SplitInfo>,
    /// The normalisation of the targets, by which predictions are decoded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_scaling: Option<Scaling>,
    /// Further facts about the conversion, as `key: value`.
    #[serde(default)]
    pub notes: BTreeMap<String, serde_json::Value>,
    /// Licence of the source: the terms under which it may be used.
    pub licence: String,
}

impl DatasetCard {
    /// The current version of the format.
    pub const FORMAT: u32 = 1;
}

/// A raw file from which a dataset was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Path relative to the folder of raw files.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The table of recordings for the augmentation `noise`. It has a row per frame; a frame is what an input holds at one
/// position of its last axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseInfo {
    /// Names of the recordings. The column [`NoiseInfo::COLUMN`] of the table holds indices into this list.
    pub recordings: Vec<String>,
    /// Number of frames of all recordings.
    pub rows: usize,
    /// SHA-256 of the Parquet file.
    pub sha256: String,
}

impl NoiseInfo {
    /// File name of the table in a dataset folder.
    pub const FILE: &str = "noise.parquet";
    /// Name of the column with the recording of each frame.
    pub const COLUMN: &str = "recording";
}

/// Element types of tensor columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// Unsigned bytes.
    U8,
    /// 64-bit signed integers.
    I64,
    /// Half precision. Networks see the values in single precision.
    F16,
    /// Single precision.
    F32,
}

impl ElementType {
    /// The name of the corresponding numpy type.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::U8 => "uint8",
            ElementType::I64 => "int64",
            ElementType::F16 => "float16",
            ElementType::F32 => "float32",
        }
    }
}

/// A tensor column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorField {
    /// Name of the Parquet column.
    pub column: String,
    /// Shape of one sample: channels first, then one or two spatial axes.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: ElementType,
}

impl TensorField {
    /// Elements in one sample.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether a sample has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Columns of features from which an input over all pairs of positions of a sequence is made when a batch is gathered. A
/// position feature becomes two channels: at the pair (i, j) its value at j, then its value at i. A pair feature becomes
/// one channel. The target is stored as a list of length * length numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairFeatures {
    /// Name of the Int64 column with the number of positions.
    pub length: String,
    /// Name of the column of Float32 lists: feature after feature, each with one number per position.
    pub positions: String,
    /// Number of position features.
    pub position_features: usize,
    /// Name of the column of Float32 lists: feature after feature, each with one number per pair, row by row.
    pub maps: String,
    /// Number of pair features.
    pub map_features: usize,
}

impl PairFeatures {
    /// Number of channels of the input.
    pub fn channels(&self) -> usize {
        2 * self.position_features + self.map_features
    }
}

/// The target of a sample: what a network predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// One of `labels.len()` classes. The column holds the index of the class as Int64.
    Class {
        /// Name of the Parquet column.
        column: String,
        /// Names of the classes, by index.
        labels: Vec<String>,
    },
    /// Any subset of `labels.len()` labels, multi-hot: the column holds a 0 or 1 for each label, as a fixed-size list of
    /// UInt8.
    Labels {
        /// Name of the Parquet column.
        column: String,
        /// Names of the labels, by index.
        labels: Vec<String>,
    },
    /// A real number per position of the input and channel: dense prediction.
    Field {
        /// The column, with shape (channels, spatial axes of the input).
        #[serde(flatten)]
        tensor: TensorField,
    },
    /// A mask: 0 or 1 per position of the input and channel (dense prediction).
    Mask {
        /// The column of unsigned bytes, with shape (channels, spatial axes of the input).
        #[serde(flatten)]
        tensor: TensorField,
        /// A column of the same shape: 1 at positions that loss and metric ignore.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ignore: Option<TensorField>,
    },
}

/// The kind of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// One class per sample (classification).
    Class,
    /// Any number of labels per sample (multi-label classification).
    Labels,
    /// A real number per position of the input (regression, dense prediction).
    Field,
    /// A 0 or 1 per position of the input (dense prediction).
    Mask,
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetKind::Class => "a class",
            TargetKind::Labels => "labels",
            TargetKind::Field => "a field",
            TargetKind::Mask => "a mask",
        })
    }
}

impl Target {
    /// Its kind.
    pub fn kind(&self) -> TargetKind {
        match self {
            Target::Class { .. } => TargetKind::Class,
            Target::Labels { .. } => TargetKind::Labels,
            Target::Field { .. } => TargetKind::Field,
            Target::Mask { .. } => TargetKind::Mask,
        }
    }

    /// The number of outputs of a network: classes, labels, or channels of the field or mask.
    pub fn outputs(&self) -> usize {
        match self {
            Target::Class { labels, .. } | Target::Labels { labels, .. } => labels.len(),
            Target::Field { tensor } | Target::Mask { tensor, .. } => {
                tensor.shape.first().copied().unwrap_or(1)
            }
        }
    }

    /// Whether there is a prediction per position of the input.
    pub fn is_dense(&self) -> bool {
        matches!(self, Target::Field { .. } | Target::Mask { .. })
    }
}

/// The size and hash of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitInfo {
    /// Number of samples.
    pub rows: usize,
    /// SHA-256 of the Parquet file.
    pub sha256: String,
    /// Number of samples per class or label, by index; empty for fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_counts: Vec<usize>,
}

/// The normalisation of bytes: networks see byte * scale + offset, computed in double precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputScaling {
    /// Scale per channel.
    pub scale: Vec<f64>,
    /// Offset per channel.
    pub offset: Vec<f64>,
}

/// The normalisation of targets: encoded = (value - mean) / scale, per element.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Mean per element of a sample.
    pub mean: Vec<f32>,
    /// Scale per element of a sample (standard deviation plus epsilon).
    pub scale: Vec<f32>,
}
