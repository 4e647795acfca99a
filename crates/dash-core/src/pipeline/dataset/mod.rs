//! Declares the section `dataset` of a pipeline file: where the data comes from, one file per recipe.

mod cifar;
mod cosmic;
mod custom;
mod darcy;
mod deepsea;
mod ecg;
mod fsd50k;
mod mnist;
mod music;
mod ninapro;
mod psicov;
mod satellite;
mod spec;
mod spherical;

pub use cifar::{Cifar10, Cifar100};
pub use cosmic::Cosmic;
pub use custom::{Channels, CustomData, NpzData, ParquetData, SPLIT_PLACEHOLDER};
pub use darcy::{DarcyFlow, DarcySimulation};
pub use deepsea::Deepsea;
pub use ecg::Ecg;
pub use fsd50k::Fsd50k;
pub use mnist::Mnist;
pub use music::Music;
pub use ninapro::Ninapro;
pub use psicov::Psicov;
pub use satellite::Satellite;
pub use spec::{DatasetFeatures, DatasetSpec, TargetScaling};
pub use spherical::{Projection, Spherical};

pub use crate::checks::InvalidSetting;

use crate::checks::Checks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spec::RecipeSettings;
use std::path::Path;

/// The table of recipes, the only one: calls the macro `$callback` with a line per recipe, which has its description
/// (a doc comment), its variant of [`Dataset`], the type of its settings and its name in pipeline files.
#[macro_export]
macro_rules! for_each_recipe {
    ($callback:ident) => {
        $callback! {
            /// Cosmic rays in Hubble images: from an image to the mask of the hit pixels.
            Cosmic(Cosmic) = "cosmic",
            /// Darcy Flow: from the permeability to the pressure of a porous medium.
            DarcyFlow(DarcyFlow) = "darcy-flow",
            /// DeepSEA: from a DNA sequence to the features of its chromatin.
            Deepsea(Deepsea) = "deepsea",
            /// PhysioNet/CinC 2017 single-lead ECG recordings.
            Ecg(Ecg) = "ecg",
            /// Land cover from satellite image time series.
            Satellite(Satellite) = "satellite",
            /// Hand movements from surface EMG.
            Ninapro(Ninapro) = "ninapro",
            /// FSD50K sound events: from the spectrogram of a recording to the sounds in it.
            Fsd50k(Fsd50k) = "fsd50k",
            /// Natural images of 100 classes.
            Cifar100(Cifar100) = "cifar100",
            /// CIFAR-100 projected onto the sphere.
            Spherical(Spherical) = "spherical",
            /// Natural images of ten classes.
            Cifar10(Cifar10) = "cifar10",
            /// Handwritten digits as series of pixels.
            Mnist(Mnist) = "mnist",
            /// Polyphonic music: from the notes of each step to those of the next.
            Music(Music) = "music",
            /// From the sequence profiles of a protein to the distances between its residues.
            Psicov(Psicov) = "psicov",
            /// Custom data in numpy archives.
            Npz(NpzData) = "npz",
            /// Custom data in Parquet files.
            Parquet(ParquetData) = "parquet",
        }
    };
}

macro_rules! dataset {
    ($($(#[doc = $doc:tt])* $recipe:ident($settings:ident) = $name:tt,)*) => {
        /// Where the data comes from.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "recipe")]
        pub enum Dataset {
            $($(#[doc = $doc])* #[serde(rename = $name)] $recipe($settings),)*
        }

        impl Dataset {
            /// The names of all recipes.
            pub const RECIPES: &[&str] = &[$($name),*];

            /// Name of the recipe, which is also the default name of the task.
            pub fn recipe(&self) -> &'static str {
                match self {
                    $(Dataset::$recipe(_) => $name,)*
                }
            }

            fn settings(&self) -> &dyn RecipeSettings {
                match self {
                    $(Dataset::$recipe(settings) => settings,)*
                }
            }
        }
    };
}
for_each_recipe!(dataset);

impl Dataset {
    /// What the samples are like.
    pub fn spec(&self) -> DatasetSpec {
        self.settings().spec()
    }

    /// The folder with the raw files; `None` if the data is simulated.
    pub fn raw_folder(&self) -> Option<&Path> {
        self.settings().raw_folder()
    }

    /// Checks what the types of the settings cannot state, as loading a pipeline file does.
    ///
    /// # Errors
    /// The first setting that is invalid.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let mut checks = Checks::default();
        self.add_checks(&mut checks);
        checks.invalid.into_iter().next().map_or(Ok(()), Err)
    }

    pub(crate) fn add_checks(&self, checks: &mut Checks) {
        self.settings().check(checks);
    }
}
