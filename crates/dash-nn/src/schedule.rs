//! The step schedule of learning rates.

use dash_core::pipeline::Schedule;

/// Learning rate in a zero-based epoch: `base` times `factor` for each milestone strictly below
/// the epoch, but never lowered again once it is at or below the minimum (DASH, section 6).
///
/// ```
/// use dash_core::pipeline::Schedule;
/// let s = Schedule { factor: 0.5, milestones: vec![2, 4], min_learning_rate: 0.0 };
/// assert_eq!((0..6).map(|e| dash_nn::rate(&s, 1.0, e)).collect::<Vec<_>>(), [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]);
/// ```
pub fn rate(schedule: &Schedule, base: f64, epoch: usize) -> f64 {
    base * factor(schedule, base, epoch)
}

/// The factor on `base`; also holds for rates that follow another one's schedule.
pub(crate) fn factor(schedule: &Schedule, base: f64, epoch: usize) -> f64 {
    let passed = schedule.milestones.iter().filter(|&&m| m < epoch).count();
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
                let found = rate(schedule, base, epoch);
                assert!((found / rates[segment] - 1.0).abs() < 1e-12, "{base} at {epoch}: {found}");
            }
        }
    }
}
