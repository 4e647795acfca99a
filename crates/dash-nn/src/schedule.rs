//! Lists the learning-rate schedules. One is added by a file in this folder and a line in [`SCHEDULES`].

mod multi_step;
mod spec;

use dash_core::pipeline::Schedule;

pub use spec::{EpochNumber, ScheduleSpec};

/// All schedules.
pub const SCHEDULES: &[ScheduleSpec] = &[multi_step::SPEC];

/// The learning rate of an epoch, where `base` is that of the first one.
///
/// ```
/// use dash_core::pipeline::Schedule;
/// use dash_nn::{EpochNumber, learning_rate};
///
/// let schedule = Schedule { factor: 0.5, milestones: vec![2, 4], min_learning_rate: 0.0 };
/// let rates = (0..6).map(|epoch| learning_rate(&schedule, 1.0, EpochNumber { epoch, epochs: 6 }));
/// assert_eq!(rates.collect::<Vec<_>>(), [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]);
/// ```
pub fn learning_rate(schedule: &Schedule, base: f64, at: EpochNumber) -> f64 {
    // Pipeline files describe the multi-step schedule alone until there is a second one.
    base * (multi_step::SPEC.factor)(schedule, base, at)
}
