//! Where recordings of sound come from, and how spectrograms are changed in training.

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

/// Bands that are filled in: with `probability`, 1 to `rounds` times, each time up to the share `rows` of
/// the rows and up to the share `columns` of the columns, next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// How often anything is filled in.
    #[serde(default = "default::probability")]
    pub probability: f64,
    /// The most rounds.
    #[serde(default = "default::rounds")]
    pub rounds: usize,
    /// What the share of the rows is below.
    #[serde(default = "default::rows")]
    pub rows: f64,
    /// What the share of the columns is below.
    #[serde(default = "default::columns")]
    pub columns: f64,
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
    pub(super) fn probability() -> f64 {
        0.5
    }
    pub(super) fn rounds() -> usize {
        2
    }
    pub(super) fn rows() -> f64 {
        0.15
    }
    pub(super) fn columns() -> f64 {
        0.2
    }
}
