//! What the settings of a recipe say about its samples.

use crate::{card::TargetKind, checks::Checks};
use std::path::Path;

/// What the samples of a dataset are like, as far as the pipeline file determines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetSpec {
    /// What is predicted.
    pub target: TargetKind,
    /// The number of spatial axes of the inputs; `None` if only the data determines it.
    pub dimensions: Option<usize>,
    /// What samples have besides inputs and targets.
    pub features: DatasetFeatures,
    /// Whether targets are stored encoded.
    pub target_scaling: TargetScaling,
}

/// What the samples of a dataset have besides inputs and targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatasetFeatures {
    /// A background level per sample.
    pub background: bool,
    /// Recordings of noise that augmentation can mix in.
    pub noise: bool,
    /// Sizes of their own: batches show windows of them.
    pub variable_length: bool,
}

/// Whether the targets of a dataset are stored encoded, so that they can be decoded for loss and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetScaling {
    /// They are, if they are fields.
    Stored,
    /// They are not; this key of the pipeline file changes that.
    EnabledBy(&'static str),
    /// They never are.
    None,
}

impl DatasetSpec {
    /// Samples with `dimensions` spatial axes and no further features.
    pub(super) fn new(target: TargetKind, dimensions: usize) -> DatasetSpec {
        DatasetSpec {
            target,
            dimensions: Some(dimensions),
            features: DatasetFeatures::default(),
            target_scaling: TargetScaling::Stored,
        }
    }
}

/// The settings of a recipe in a pipeline file.
pub(super) trait RecipeSettings {
    /// What the samples are like.
    fn spec(&self) -> DatasetSpec;

    /// The folder with the raw files; `None` if the data is simulated.
    fn raw_folder(&self) -> Option<&Path>;

    /// Checks what the types cannot state.
    fn check(&self, checks: &mut Checks);
}
