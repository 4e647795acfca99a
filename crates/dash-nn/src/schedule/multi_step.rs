//! Implements the schedule with milestones of the DASH paper, as PyTorch's `MultiStepLR`, with a lower bound.

use super::spec::{EpochNumber, ScheduleSpec};
use dash_core::pipeline::Schedule;

pub(super) const SPEC: ScheduleSpec =
    ScheduleSpec { name: "multi-step", title: "multiplied by a factor after each milestone", factor };

/// A power of the schedule's factor: its exponent counts the milestones strictly below the epoch, but the rate is not
/// lowered any further once it is at or below the minimum (DASH, section 6).
fn factor(schedule: &Schedule, base: f64, at: EpochNumber) -> f64 {
    let passed = schedule.milestones.iter().filter(|&&m| m < at.epoch).count();
    let mut factor = 1.0;
    for times in 1..=passed {
        if base * factor <= schedule.min_learning_rate {
            break;
        }
        factor = schedule.factor.powi(i32::try_from(times).unwrap_or(i32::MAX));
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_rates_of_200_epochs() {
        let two = Schedule::default();
        let one = Schedule { milestones: vec![30, 60, 90, 120, 160], ..Schedule::default() };
        let starts_2d = [0, 61, 121, 161];
        let starts_1d = [0, 31, 61, 91, 121, 161];
        let table: [(&Schedule, f64, &[usize], &[f64]); 8] = [
            (&two, 0.1, &starts_2d, &[0.1, 0.02, 0.004, 8e-4]),
            (&two, 0.01, &starts_2d, &[0.01, 0.002, 4e-4, 8e-5]),
            (&two, 0.001, &starts_2d, &[0.001, 2e-4, 4e-5, 8e-6]),
            (&two, 1e-4, &starts_2d, &[1e-4, 2e-5, 4e-6, 4e-6]),
            (&one, 0.1, &starts_1d, &[0.1, 0.02, 0.004, 8e-4, 1.6e-4, 3.2e-5]),
            (&one, 0.01, &starts_1d, &[0.01, 0.002, 4e-4, 8e-5, 1.6e-5, 3.2e-6]),
            (&one, 0.001, &starts_1d, &[0.001, 2e-4, 4e-5, 8e-6, 1.6e-6, 1.6e-6]),
            (&one, 1e-4, &starts_1d, &[1e-4, 2e-5, 4e-6, 4e-6, 4e-6, 4e-6]),
        ];
        for (schedule, base, starts, rates) in table {
            for epoch in 0..200 {
                let segment = starts.iter().filter(|&&s| s <= epoch).count() - 1;
                let found = base * factor(schedule, base, EpochNumber { epoch, epochs: 200 });
                assert!((found / rates[segment] - 1.0).abs() < 1e-12, "{base} at {epoch}: {found}");
            }
        }
    }
}
