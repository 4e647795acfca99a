//! The section `dataset` of a pipeline file: where the data comes from, one type per recipe.

mod audio;
mod classification;
mod custom;
mod darcy;
mod deepsea;
mod dense_prediction;
mod ecg;
mod music;

pub use audio::Fsd50k;
pub use classification::{Cifar10, Cifar100, Mnist, Ninapro, Projection, Satellite, Spherical};
pub use custom::{Channels, OwnData, SPLIT_PLACEHOLDER};
pub use darcy::{DarcyFlow, DarcySimulation};
pub use deepsea::Deepsea;
pub use dense_prediction::{Cosmic, Psicov};
pub use ecg::Ecg;
pub use music::Music;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the data comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "recipe", rename_all = "kebab-case")]
pub enum Dataset {
    /// Cosmic rays in Hubble images: from an image to the mask of the hit pixels.
    Cosmic(Cosmic),
    /// Darcy Flow: from the permeability to the pressure of a porous medium.
    DarcyFlow(DarcyFlow),
    /// DeepSEA: from a DNA sequence to the features of its chromatin.
    Deepsea(Deepsea),
    /// PhysioNet/CinC 2017 single-lead ECG recordings.
    Ecg(Ecg),
    /// Land cover from satellite image time series.
    Satellite(Satellite),
    /// Hand movements from surface EMG.
    Ninapro(Ninapro),
    /// FSD50K sound events: from the spectrogram of a recording to what can be heard.
    Fsd50k(Fsd50k),
    /// Natural images of 100 classes.
    Cifar100(Cifar100),
    /// CIFAR-100 projected onto the sphere.
    Spherical(Spherical),
    /// Natural images of ten classes.
    Cifar10(Cifar10),
    /// Handwritten digits as series of pixels.
    Mnist(Mnist),
    /// Polyphonic music: from the notes of each step to those of the next.
    Music(Music),
    /// From the sequence profiles of a protein to the distances between its residues.
    Psicov(Psicov),
    /// Your own data in numpy archives.
    Npz(OwnData),
    /// Your own data in Parquet files.
    Parquet(OwnData),
}

impl Dataset {
    /// Name of the recipe, which is also the default name of the task.
    pub fn recipe(&self) -> &'static str {
        match self {
            Dataset::Cosmic(_) => "cosmic",
            Dataset::DarcyFlow(_) => "darcy-flow",
            Dataset::Deepsea(_) => "deepsea",
            Dataset::Ecg(_) => "ecg",
            Dataset::Satellite(_) => "satellite",
            Dataset::Ninapro(_) => "ninapro",
            Dataset::Fsd50k(_) => "fsd50k",
            Dataset::Cifar100(_) => "cifar100",
            Dataset::Spherical(_) => "spherical",
            Dataset::Cifar10(_) => "cifar10",
            Dataset::Mnist(_) => "mnist",
            Dataset::Music(_) => "music",
            Dataset::Psicov(_) => "psicov",
            Dataset::Npz(_) => "npz",
            Dataset::Parquet(_) => "parquet",
        }
    }
}
