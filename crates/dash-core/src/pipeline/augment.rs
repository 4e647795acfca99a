//! Declares the table of augmentations, random changes to training inputs.

use super::vocabulary::vocabulary;
use crate::checks::Checks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What validation knows about an augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AugmentSpec {
    /// Its `kind` in pipeline files.
    pub name: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// What it does, in one or more sentences.
    pub description: &'static str,
    /// Whether it moves positions of the input. A target with a value per position would have to move with them, so that
    /// such an augmentation is for classes and labels only.
    pub moves_positions: bool,
}

vocabulary! {
    /// A random change to an input, drawn anew for each sample and epoch.
    pub enum Augment: AugmentSpec {
        /// Pads the input on all sides of its spatial axes and crops it to its size at a random offset. The padding
        /// value is the `padding_value` of the dataset card (black in images), 0 without one.
        Crop {
            /// Positions that are added on each side.
            #[serde(default = "default::crop_padding")]
            padding: usize,
        } = "crop" {
            title: "random crop",
            moves_positions: true,
        }
        /// Reverses the last axis with probability 1/2.
        Flip = "flip" {
            title: "random flip",
            moves_positions: true,
        }
        /// Adds the sample's background level times a uniform random factor to all elements of the input. The dataset
        /// must have background levels.
        Background {
            /// Lower bound of the factor.
            low: f64,
            /// Upper bound of the factor, exclusive.
            high: f64,
        } = "background" {
            title: "background level",
            moves_positions: false,
        }
        /// Fills random bands of the last two axes with the minimum of the input (SpecAugment, Park et al. 2019).
        SpecAugment(Mask) = "spec-augment" {
            title: "SpecAugment",
            moves_positions: false,
        }
        /// Mixes a random segment of one of the dataset's noise recordings in: (1 − a) input + a noise, where a is
        /// uniform from 0 to `share`.
        Noise {
            /// Probability that noise is mixed in.
            #[serde(default = "default::noise_probability")]
            probability: f64,
            /// The largest share of the noise.
            #[serde(default = "default::noise_share")]
            share: f64,
            /// Random bands of the noise recording that are filled with its minimum before the segment is taken.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            mask: Option<Mask>,
        } = "noise" {
            title: "background noise",
            moves_positions: false,
        }
    }
}

/// Random bands of rows and columns that are filled in. With `probability`, 1 to `rounds` rounds take place; each fills
/// adjacent rows, a random share of them below `rows`, and adjacent columns, a random share of them below `columns`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Probability that any band is filled in.
    #[serde(default = "default::mask_probability")]
    pub probability: f64,
    /// The largest number of rounds.
    #[serde(default = "default::mask_rounds")]
    pub rounds: usize,
    /// Upper bound of the share of rows, exclusive.
    #[serde(default = "default::mask_rows")]
    pub rows: f64,
    /// Upper bound of the share of columns, exclusive.
    #[serde(default = "default::mask_columns")]
    pub columns: f64,
}

impl Augment {
    /// Checks its parameters; `key` is its key in the pipeline file.
    pub(crate) fn add_checks(&self, key: &str, checks: &mut Checks) {
        match *self {
            Augment::Crop { padding } => checks.count(&format!("{key}.padding"), padding),
            Augment::Flip => {}
            Augment::Background { low, high } => {
                let is_valid = low.is_finite() && high.is_finite() && low < high;
                checks.require(is_valid, &format!("{key}.high"), || {
                    format!("must be greater than low = {low}, found {high}")
                });
            }
            Augment::SpecAugment(mask) => mask.add_checks(key, checks),
            Augment::Noise { probability, share, mask } => {
                checks.probability(&format!("{key}.probability"), probability);
                checks.probability(&format!("{key}.share"), share);
                if let Some(mask) = mask {
                    mask.add_checks(&format!("{key}.mask"), checks);
                }
            }
        }
    }
}

impl Mask {
    fn add_checks(self, key: &str, checks: &mut Checks) {
        checks.probability(&format!("{key}.probability"), self.probability);
        checks.count(&format!("{key}.rounds"), self.rounds);
        checks.probability(&format!("{key}.rows"), self.rows);
        checks.probability(&format!("{key}.columns"), self.columns);
    }
}

mod default {
    pub(super) fn crop_padding() -> usize {
        4
    }
    pub(super) fn noise_probability() -> f64 {
        0.75
    }
    pub(super) fn noise_share() -> f64 {
        0.5
    }
    pub(super) fn mask_probability() -> f64 {
        0.5
    }
    pub(super) fn mask_rounds() -> usize {
        2
    }
    pub(super) fn mask_rows() -> f64 {
        0.15
    }
    pub(super) fn mask_columns() -> f64 {
        0.2
    }
}
