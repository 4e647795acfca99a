//! Enumerates the grid of hyperparameters, and searches it in order with an early stop.

use dash_core::{architecture::Hyperparameters, pipeline::Tune};

/// All combinations in the order of the released code: learning rate, dropout, weight decay, momentum,
/// the first changing slowest (DASH, section 8).
pub fn grid(tune: &Tune) -> Vec<Hyperparameters> {
    let mut all = Vec::new();
    for &learning_rate in &tune.learning_rates {
        for &dropout in &tune.dropouts {
            for &weight_decay in &tune.weight_decays {
                for &momentum in &tune.momenta {
                    all.push(Hyperparameters { learning_rate, dropout, weight_decay, momentum });
                }
            }
        }
    }
    all
}

/// One tried combination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialOutcome {
    /// The hyperparameters.
    pub hyperparameters: Hyperparameters,
    /// Its validation metric; `None` if it diverged.
    pub value: Option<f64>,
}

fn is_better(value: f64, best: Option<f64>, lower_is_better: bool) -> bool {
    match best {
        None => true,
        Some(best) if lower_is_better => value < best,
        Some(best) => value > best,
    }
}

/// Runs the trials of a grid in order and returns the outcomes, and the index of the first best one.
///
/// When the learning rate changes, the best metric so far is compared with the best at the previous change; if they are
/// equal, the search stops. So the second learning rate is always tried, and the third only if the second one brought
/// an improvement, or no trial has a metric yet.
///
/// # Errors
/// Those of `trial`. A trial without a finite metric counts as diverged.
pub fn search<E>(
    grid: &[Hyperparameters],
    lower_is_better: bool,
    mut trial: impl FnMut(usize, &Hyperparameters) -> Result<Option<f64>, E>,
) -> Result<(Vec<TrialOutcome>, Option<usize>), E> {
    let mut outcomes: Vec<TrialOutcome> = Vec::new();
    let mut best: Option<(usize, f64)> = None;
    // Best at the last change of the learning rate; `None` before the first change.
    let mut at_change: Option<Option<f64>> = None;
    for (index, hyperparameters) in grid.iter().enumerate() {
        if outcomes.last().is_some_and(|o| o.hyperparameters.learning_rate != hyperparameters.learning_rate) {
            let now = best.map(|(_, value)| value);
            if now.is_some() && at_change == Some(now) {
                break;
            }
            at_change = Some(now);
        }
        let value = trial(index, hyperparameters)?.filter(|value| value.is_finite());
        if let Some(value) = value.filter(|&v| is_better(v, best.map(|(_, b)| b), lower_is_better)) {
            best = Some((index, value));
        }
        outcomes.push(TrialOutcome { hyperparameters: *hyperparameters, value });
    }
    Ok((outcomes, best.map(|(index, _)| index)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Searches three learning rates with two trials each.
    fn run(values: [f64; 6], lower: bool) -> (usize, Option<usize>) {
        let tune = Tune {
            learning_rates: vec![0.1, 0.01, 0.001],
            dropouts: vec![0.0],
            weight_decays: vec![0.0],
            momenta: vec![0.9, 0.99],
            ..Tune::default()
        };
        let result: Result<_, Infallible> = search(&grid(&tune), lower, |i, _| Ok(Some(values[i])));
        let Ok((outcomes, best)) = result;
        (outcomes.len(), best)
    }

    #[test]
    fn the_order_is_learning_rate_dropout_decay_momentum() {
        let grid = grid(&Tune::default());
        let row = |i: usize| {
            let h: &Hyperparameters = &grid[i];
            (h.learning_rate, h.dropout, h.weight_decay, h.momentum)
        };
        assert_eq!(row(0), (0.1, 0.0, 5e-4, 0.9));
        assert_eq!(row(2), (0.1, 0.0, 5e-6, 0.9));
        assert_eq!(row(4), (0.1, 0.05, 5e-4, 0.9));
        assert_eq!(row(23), (0.001, 0.05, 5e-6, 0.99));
    }

    #[test]
    fn the_third_learning_rate_is_skipped_without_improvement() {
        assert_eq!(run([0.5, 0.4, 0.6, 0.4, 0.1, 0.1], true), (4, Some(1)));
        assert_eq!(run([0.5, 0.4, 0.3, 0.4, 0.1, 0.1], true), (6, Some(4)));
        assert_eq!(run([0.5, 0.4, 0.6, 0.4, 0.1, 0.1], false), (6, Some(2)));
    }

    #[test]
    fn ties_go_to_the_first_and_divergence_is_worst() {
        assert_eq!(run([0.4, 0.4, 0.4, 0.4, 0.4, 0.4], true), (4, Some(0)));
        let nan = f64::NAN;
        assert_eq!(run([nan, nan, 0.4, 0.3, 0.5, nan], true), (6, Some(3)));
        // As long as everything diverges, smaller learning rates are worth trying.
        assert_eq!(run([nan, f64::INFINITY, nan, nan, 0.5, 0.5], true), (6, Some(4)));
        assert_eq!(run([nan; 6], true), (6, None));
        assert_eq!(run([nan, f64::INFINITY, 0.1, nan, 0.5, 0.5], false), (6, Some(4)));
    }
}
