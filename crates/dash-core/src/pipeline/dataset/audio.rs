//! Settings of the recipes for recordings of sound.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// FSD50K in the benchmark's container: recordings cut into chunks (WAV, one channel, 16 bits), the tables
/// `tr.csv`, `val.csv` and `eval.csv` of their labels and clips, `lbl_map.json` with the numbers of the
/// labels, and recordings of noise. Samples are clips; their rows are chunks as mel spectrograms in
/// decibels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fsd50k {
    /// Folder with the tables and chunks, at most two folders down, or with the archive.
    pub raw: PathBuf,
    /// Name of the archive in `raw`; it is read as it is where the tables are not there unpacked.
    #[serde(default = "default::archive")]
    pub archive: PathBuf,
    /// Samples per second that all recordings must have.
    #[serde(default = "default::sample_rate")]
    pub sample_rate: u32,
    /// Samples in a chunk; shorter recordings are repeated, longer ones refused.
    #[serde(default = "default::chunk")]
    pub chunk: usize,
    /// Length of the Fourier transforms; even.
    #[serde(default = "default::fft")]
    pub fft: usize,
    /// Samples under the window (Hann), in the middle of a transform.
    #[serde(default = "default::window")]
    pub window: usize,
    /// Samples from one transform to the next.
    #[serde(default = "default::hop")]
    pub hop: usize,
    /// Mel bands: rows of the spectrogram.
    #[serde(default = "default::bands")]
    pub bands: usize,
    /// Decibels below the loudest value to which quieter ones are raised.
    #[serde(default = "default::top_db")]
    pub top_db: f64,
    /// Columns of zeros after the last frame of an input, in training and evaluation; changes of inputs
    /// leave them alone.
    #[serde(default = "default::zero_columns")]
    pub zero_columns: usize,
    /// Name of the folder with recordings of noise, which the dataset then holds too; empty for none.
    #[serde(default = "default::noise")]
    pub noise: String,
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
