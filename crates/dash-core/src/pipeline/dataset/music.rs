//! Settings of the recipe for polyphonic music.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Piano rolls (Boulanger-Lewandowski 2012) in a MATLAB file with the cell arrays `traindata`,
/// `validdata` and `testdata`; a cell is a piece, (steps, notes) of 0 and 1. A network sees all steps
/// of a piece but the last and predicts all but the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Music {
    /// Folder with the file.
    pub raw: PathBuf,
    /// Name of the file in `raw`, such as `JSB_Chorales.mat`.
    pub file: PathBuf,
    /// Steps to which longer pieces are cut and shorter ones are filled with silence; by default those of
    /// the longest piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
}
