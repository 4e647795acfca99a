//! Declares the settings of the recipe for CIFAR-100 on the sphere.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// CIFAR-100 projected onto the sphere: a gzipped pickle of `train` and `test`, each with `images`
/// (samples, channels, rows, columns) and `labels`; or made on this machine from CIFAR-100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spherical {
    /// Folder with the benchmark's file.
    pub raw: PathBuf,
    /// Name of the file in `raw`, gzipped or not.
    #[serde(default = "default::file")]
    pub file: PathBuf,
    /// Make the images from the files of CIFAR-100 in `raw`, as published; `file` is not read then. `{}` uses the
    /// published values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Projection>,
    /// Share of the training part that is held out for validation.
    #[serde(default = "default::fifth")]
    pub validation_fraction: f64,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// How images are projected onto the sphere: each chunk of images under another random rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Name of the archive of CIFAR-100 in `raw`. It is read in place if the unpacked files are not there.
    #[serde(default = "default::archive")]
    pub archive: PathBuf,
    /// Half the rows, and half the columns, of the grid on the sphere.
    #[serde(default = "default::bandwidth")]
    pub bandwidth: usize,
    /// The number of consecutive images of a file that share a rotation.
    #[serde(default = "default::images_per_rotation")]
    pub images_per_rotation: usize,
    /// Seed of the rotations (numpy's legacy generator).
    #[serde(default)]
    pub seed: u32,
}

impl Default for Projection {
    fn default() -> Self {
        Projection {
            archive: default::archive(),
            bandwidth: default::bandwidth(),
            images_per_rotation: default::images_per_rotation(),
            seed: 0,
        }
    }
}

impl RecipeSettings for Spherical {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 2)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.held_out(self.validation_fraction);
        let Some(p) = &self.project else { return };
        checks.require((1..=512).contains(&p.bandwidth), "dataset.project.bandwidth", || {
            format!("must be from 1 to 512, found {}", p.bandwidth)
        });
        checks.count("dataset.project.images_per_rotation", p.images_per_rotation);
    }
}

mod default {
    use super::PathBuf;

    pub(super) fn file() -> PathBuf {
        "s2_cifar100.gz".into()
    }
    pub(super) fn archive() -> PathBuf {
        "cifar-100-python.tar.gz".into()
    }
    pub(super) fn bandwidth() -> usize {
        30
    }
    pub(super) fn images_per_rotation() -> usize {
        500
    }
    pub(super) fn fifth() -> f64 {
        0.2
    }
}
