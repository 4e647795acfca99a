//! The card of a dataset: `dataset.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Samples that weights are trained on.
    Train,
    /// Samples that hyperparameters and checkpoints are selected on.
    Validation,
    /// Samples that results are reported on.
    Test,
}

impl Split {
    /// All splits, in the order of use.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// File name of the split inside a dataset folder.
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

/// Everything a reader must know about a dataset besides its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetCard {
    /// Version of the format of the dataset folder.
    pub format: u32,
    /// The recipe that made it.
    pub recipe: String,
    /// The raw files it was made from; empty if the data was simulated.
    pub sources: Vec<Source>,
    /// The input tensor of a sample.
    pub input: TensorField,
    /// What networks see instead of the bytes of an input column of bytes; without it, their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_scaling: Option<InputScaling>,
    /// What is predicted.
    pub target: Target,
    /// Where the input is made of the features of a sequence's positions and of their pairs, which are
    /// stored instead of it. Samples then differ in size: the shapes of input and target are those of
    /// the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairFeatures>,
    /// Name of a Float32 column with the background level of each sample, which augmentation in
    /// training may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// Name of an Int64 column: consecutive rows with the same number are the parts of one sample, with
    /// one target. Training takes one part of each sample at random; evaluation takes the mean of the
    /// outputs for all of them. Without it every row is a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Recordings that augmentation may mix into training inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseInfo>,
    /// Rows and file per split.
    pub splits: BTreeMap<Split, SplitInfo>,
    /// Constants that the target was encoded with, so that predictions can be decoded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_scaling: Option<Scaling>,
    /// Facts of the conversion that an analyst may want to know, as `key: value`.
    #[serde(default)]
    pub notes: BTreeMap<String, serde_json::Value>,
    /// Under which terms the source may be used.
    pub licence: String,
}

impl DatasetCard {
    /// The current version of the format.
    pub const FORMAT: u32 = 1;
}

/// A raw file that a dataset was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Path as it was found, relative to the raw folder.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The table of recordings that may be mixed into training inputs: a row per frame, which is what an
/// input holds at one position of its last axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseInfo {
    /// Names of the recordings; the column [`NoiseInfo::COLUMN`] of the table holds their positions here.
    pub recordings: Vec<String>,
    /// Frames of all recordings.
    pub rows: usize,
    /// SHA-256 of the Parquet file.
    pub sha256: String,
}

impl NoiseInfo {
    /// File name of the table inside a dataset folder.
    pub const FILE: &str = "noise.parquet";
    /// The column that says which recording a frame is of.
    pub const COLUMN: &str = "recording";
}

/// Element types that a tensor column can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// Unsigned bytes.
    U8,
    /// 64-bit signed integers.
    I64,
    /// Half precision: 11 significant bits. Networks see them as single precision.
    F16,
    /// Single precision.
    F32,
}

impl ElementType {
    /// Name in descriptions of data, as numpy has it.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Columns of features from which an input over all pairs of positions of a sequence is made when a
/// batch is gathered. A feature of positions becomes two channels: at the pair (i, j) its value at j,
/// then its value at i; a feature of pairs is a channel of its own. The target is stored as a list of
/// length * length numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairFeatures {
    /// Int64 column with the number of positions.
    pub length: String,
    /// Column of lists of Float32, feature after feature, each with one number per position.
    pub positions: String,
    /// Features of positions.
    pub position_features: usize,
    /// Column of lists of Float32, feature after feature, each with one number per pair, row by row.
    pub maps: String,
    /// Features of pairs.
    pub map_features: usize,
}

impl PairFeatures {
    /// Channels of the input.
    pub fn channels(&self) -> usize {
        2 * self.position_features + self.map_features
    }
}

/// What is predicted for one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// One of `labels.len()` classes; the column holds the index as Int64.
    Class {
        /// Name of the Parquet column.
        column: String,
        /// Names of the classes, by index.
        labels: Vec<String>,
    },
    /// Any number of `labels.len()` labels at once; the column holds a 0 or 1 for each, as a
    /// fixed-size list of UInt8.
    Labels {
        /// Name of the Parquet column.
        column: String,
        /// Names of the labels, by position.
        labels: Vec<String>,
    },
    /// A real field on the grid of the input: dense prediction.
    Field {
        /// The column; shape = (channels, spatial axes of the input).
        #[serde(flatten)]
        tensor: TensorField,
    },
    /// A field of 0 and 1 on the grid of the input: dense prediction of what is there and what is not.
    Mask {
        /// The column, of unsigned bytes; shape = (channels, spatial axes of the input).
        #[serde(flatten)]
        tensor: TensorField,
        /// A column of the same shape: 1 where neither loss nor metric look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ignore: Option<TensorField>,
    },
}

/// What a dataset asks a network to predict, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// One class per sample.
    Class,
    /// Any number of labels per sample.
    Labels,
    /// A field per sample.
    Field,
    /// A field of 0 and 1 per sample.
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
    /// What it is, without its size.
    pub fn kind(&self) -> TargetKind {
        match self {
            Target::Class { .. } => TargetKind::Class,
            Target::Labels { .. } => TargetKind::Labels,
            Target::Field { .. } => TargetKind::Field,
            Target::Mask { .. } => TargetKind::Mask,
        }
    }

    /// Channels that a network must put out: classes, labels, or channels of the field or mask.
    pub fn outputs(&self) -> usize {
        match self {
            Target::Class { labels, .. } | Target::Labels { labels, .. } => labels.len(),
            Target::Field { tensor } | Target::Mask { tensor, .. } => {
                tensor.shape.first().copied().unwrap_or(1)
            }
        }
    }

    /// Whether there is one prediction per position of the input.
    pub fn is_dense(&self) -> bool {
        matches!(self, Target::Field { .. } | Target::Mask { .. })
    }
}

/// Rows of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitInfo {
    /// Number of samples.
    pub rows: usize,
    /// SHA-256 of the Parquet file.
    pub sha256: String,
    /// Samples per class, by index; samples that have a label, by label; empty for regression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_counts: Vec<usize>,
}

/// An affine map per channel: a byte stands for byte * scale + offset, computed in double precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputScaling {
    /// Factor per channel.
    pub scale: Vec<f64>,
    /// Summand per channel.
    pub offset: Vec<f64>,
}

/// An affine code per element: encoded = (value - mean) / scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Mean per element of a sample.
    pub mean: Vec<f32>,
    /// Divisor per element of a sample (standard deviation plus epsilon).
    pub scale: Vec<f32>,
}
