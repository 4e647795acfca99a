//! Defines what a learning-rate schedule is: its entry in the table.

use dash_core::pipeline::Schedule;

/// An entry of the table of schedules.
pub struct ScheduleSpec {
    /// Short name in lower case.
    pub name: &'static str,
    /// Name in a sentence.
    pub title: &'static str,
    /// The factor on the initial learning rate, given the settings, the initial rate and the epoch.
    pub factor: fn(&Schedule, f64, EpochNumber) -> f64,
}

/// An epoch of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochNumber {
    /// Zero-based number.
    pub epoch: usize,
    /// The number of epochs of the whole training.
    pub epochs: usize,
}
