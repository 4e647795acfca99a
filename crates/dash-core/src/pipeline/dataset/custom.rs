//! Declares the settings of custom data.

use super::spec::{DatasetSpec, RecipeSettings, TargetScaling};
use crate::{card::TargetKind, checks::Checks, text::shorten};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

/// What `{split}` in the name of an array is replaced by.
pub const SPLIT_PLACEHOLDER: &str = "{split}";

/// Custom data: columns of Parquet files, or arrays of numpy archives (`.npz`).
/// Either `file` is given, or `train_file` and `test_file` are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomData {
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
    /// Shape of one input, where the file stores flat lists or has another shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_shape: Option<Vec<usize>>,
    /// The position of the channels in that shape.
    #[serde(default)]
    pub channels: Channels,
    /// Column or array of the targets.
    #[serde(default = "default::target")]
    pub target: String,
    /// The kind of the targets.
    pub target_kind: TargetKind,
    /// Shape of one target field, where the file stores flat lists or has another shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_shape: Option<Vec<usize>>,
    /// Names of the classes or labels, by index. Without them classes are the values that occur, in
    /// ascending order, and labels are numbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Column or array with the split of each sample: `train`, `validation` or `test`, or
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
    /// The same for target fields; `task.decode_target` then decides whether loss and metric are computed from the
    /// original values.
    #[serde(default)]
    pub standardise_target: bool,
    /// The licence of the data; a note for the dataset card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// The position of the channels in the shape of an input.
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

/// Arrays of numpy archives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NpzData(pub CustomData);

/// Columns of Parquet files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParquetData(pub CustomData);

/// The schema is that of [`CustomData`] itself: a derived one would only refer to it, and a variant with a tag needs
/// the keys.
macro_rules! schema_of_custom_data {
    ($($settings:ident)*) => {$(
        impl JsonSchema for $settings {
            fn inline_schema() -> bool {
                CustomData::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                CustomData::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                CustomData::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                CustomData::json_schema(generator)
            }
        }
    )*};
}
schema_of_custom_data!(NpzData ParquetData);

impl CustomData {
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

    /// The number of spatial axes of the inputs, if the pipeline file determines it.
    fn dimensions(&self) -> Option<usize> {
        let shape = self.input_shape_of(self.input_shape.as_deref()?)?;
        Some(shape.len() - 1)
    }

    /// Whether an archive has its own arrays for each split.
    pub fn has_split_names(&self) -> bool {
        self.input.contains(SPLIT_PLACEHOLDER)
    }

    fn spec(&self) -> DatasetSpec {
        DatasetSpec {
            dimensions: self.dimensions(),
            target_scaling: match self.standardise_target {
                true => TargetScaling::Stored,
                false => TargetScaling::EnabledBy("dataset.standardise_target"),
            },
            ..DatasetSpec::new(self.target_kind, 0)
        }
    }

    fn check(&self, checks: &mut Checks) {
        let parts = self.train_file.is_some() && self.test_file.is_some();
        let any_part =
            self.train_file.is_some() || self.validation_file.is_some() || self.test_file.is_some();
        checks.require(self.file.is_some() != any_part, "dataset", || match self.file {
            Some(_) => "`file` and files per split cannot be given together: remove one kind".into(),
            None => "either `file` or both `train_file` and `test_file` must be given".into(),
        });
        checks.require(!any_part || parts, "dataset", || {
            "both `train_file` and `test_file` must be given".into()
        });
        checks.require(self.split.is_none() || self.file.is_some(), "dataset.split", || {
            "is only valid with `file`".into()
        });
        let named = self.has_split_names();
        checks.require(!named || (self.file.is_some() && self.split.is_none()), "dataset.input", || {
            "`{split}` in a name needs `file`, and no `split`".into()
        });
        checks.require(named == self.target.contains(SPLIT_PLACEHOLDER), "dataset.target", || {
            "`{split}` must be in the names of both `input` and `target`, or in none".into()
        });
        checks.below_one("dataset.validation_fraction", self.validation_fraction);
        checks.below_one("dataset.test_fraction", self.test_fraction);
        checks.require(self.validation_fraction + self.test_fraction < 1.0, "dataset.test_fraction", || {
            "leaves no training samples beside `validation_fraction`".into()
        });
        let field = self.target_kind == TargetKind::Field;
        checks.require(field || self.target_shape.is_none(), "dataset.target_shape", || {
            "is only valid for fields".into()
        });
        checks.require(field || !self.standardise_target, "dataset.standardise_target", || {
            "is only valid for fields".into()
        });
        if let Some(labels) = &self.labels {
            checks.require(!field, "dataset.labels", || "is not valid for fields".into());
            checks.distinct("dataset.labels", "name", labels);
        }
        for (key, shape) in [("input_shape", &self.input_shape), ("target_shape", &self.target_shape)] {
            for (i, &axis) in shape.iter().flatten().enumerate() {
                checks.count(&format!("dataset.{key}[{i}]"), axis);
            }
        }
        if let Some(shape) = &self.input_shape {
            checks.require(self.input_shape_of(shape).is_some(), "dataset.input_shape", || {
                format!(
                    "must have one or two spatial axes beside the channels, found {}",
                    shorten(&format!("{shape:?}"))
                )
            });
        }
    }
}

impl RecipeSettings for NpzData {
    fn spec(&self) -> DatasetSpec {
        self.0.spec()
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.0.raw)
    }

    fn check(&self, checks: &mut Checks) {
        self.0.check(checks);
    }
}

impl RecipeSettings for ParquetData {
    fn spec(&self) -> DatasetSpec {
        self.0.spec()
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.0.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.require(!self.0.has_split_names(), "dataset.input", || {
            "`{split}` is only valid for the arrays of an npz archive".into()
        });
        self.0.check(checks);
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
