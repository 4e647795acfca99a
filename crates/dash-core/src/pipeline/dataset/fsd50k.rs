//! Declares the settings of the recipe for FSD50K.

use super::spec::{DatasetFeatures, DatasetSpec, RecipeSettings};
use crate::{
    card::TargetKind,
    checks::{Checks, MAX_COUNT},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// FSD50K in the benchmark's container: recordings that were cut into chunks (WAV, one channel, 16 bits), the
/// tables `tr.csv`, `val.csv` and `eval.csv` of their labels and clips, `lbl_map.json` with the indices of the
/// labels, and recordings of noise. Samples are clips; their rows are chunks as mel spectrograms in decibels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fsd50k {
    /// Folder with the tables and chunks, at most two folders down, or with the archive.
    pub raw: PathBuf,
    /// Name of the archive in `raw`. It is read in place if the unpacked tables are not there.
    #[serde(default = "default::archive")]
    pub archive: PathBuf,
    /// Sample rate in Hz that all recordings must have.
    #[serde(default = "default::sample_rate")]
    pub sample_rate: u32,
    /// Samples in a chunk. Shorter recordings are repeated, longer ones are an error.
    #[serde(default = "default::chunk")]
    pub chunk: usize,
    /// Length of the Fourier transforms; even.
    #[serde(default = "default::fft")]
    pub fft: usize,
    /// Length of the Hann window, which is centred in a transform.
    #[serde(default = "default::window")]
    pub window: usize,
    /// Samples from one transform to the next.
    #[serde(default = "default::hop")]
    pub hop: usize,
    /// Mel bands, the rows of the spectrogram.
    #[serde(default = "default::bands")]
    pub bands: usize,
    /// Dynamic range in decibels: values further below the loudest one are raised to this limit.
    #[serde(default = "default::top_db")]
    pub top_db: f64,
    /// Columns of zeros after the last frame of an input, in training and evaluation. Augmentation leaves them
    /// unchanged.
    #[serde(default = "default::zero_columns")]
    pub zero_columns: usize,
    /// Name of the folder with recordings of noise, which become part of the dataset; empty for none.
    #[serde(default = "default::noise")]
    pub noise: String,
}

impl RecipeSettings for Fsd50k {
    fn spec(&self) -> DatasetSpec {
        let features = DatasetFeatures { noise: !self.noise.is_empty(), ..DatasetFeatures::default() };
        DatasetSpec { features, ..DatasetSpec::new(TargetKind::Labels, 2) }
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        for (key, value) in [
            ("sample_rate", self.sample_rate as usize),
            ("chunk", self.chunk),
            ("fft", self.fft),
            ("window", self.window),
            ("hop", self.hop),
            ("bands", self.bands),
        ] {
            checks.count(&format!("dataset.{key}"), value);
        }
        checks.require(self.fft.is_multiple_of(2) && self.fft <= 1 << 20, "dataset.fft", || {
            format!("must be even and at most {}, found {}", 1 << 20, self.fft)
        });
        checks.require(self.window <= self.fft, "dataset.window", || {
            format!("must be at most fft = {}, found {}", self.fft, self.window)
        });
        // Signals are reflected at their ends.
        checks.require(self.chunk > self.fft / 2, "dataset.chunk", || {
            format!("must be more than fft / 2 = {}, found {}", self.fft / 2, self.chunk)
        });
        checks.require(self.bands <= 4096, "dataset.bands", || {
            format!("must be at most 4096, found {}", self.bands)
        });
        let frames = self.chunk / self.hop.max(1) + 1 + self.zero_columns.min(MAX_COUNT);
        checks.require(frames.saturating_mul(self.bands.max(1)) <= MAX_COUNT, "dataset.hop", || {
            format!("makes {frames} columns of {} bands: too many", self.bands)
        });
        checks.positive("dataset.top_db", self.top_db);
        let is_name = !self.noise.contains(['/', '\\']) && self.noise != "." && self.noise != "..";
        checks.require(is_name, "dataset.noise", || "must be the name of a folder, not a path".into());
    }
}

mod default {
    use super::PathBuf;

    pub(super) fn archive() -> PathBuf {
        "audio.zip".into()
    }
    pub(super) fn sample_rate() -> u32 {
        22_050
    }
    pub(super) fn chunk() -> usize {
        22_050
    }
    pub(super) fn fft() -> usize {
        1920
    }
    pub(super) fn window() -> usize {
        661
    }
    pub(super) fn hop() -> usize {
        220
    }
    pub(super) fn bands() -> usize {
        96
    }
    pub(super) fn top_db() -> f64 {
        80.0
    }
    pub(super) fn zero_columns() -> usize {
        1
    }
    pub(super) fn noise() -> String {
        "noise_22050".to_owned()
    }
}
