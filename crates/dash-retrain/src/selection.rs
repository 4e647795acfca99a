//! Selects the best epoch.

use dash_core::{pipeline::Protocol, results::Epoch};
use dash_nn::Params;
use dash_train::{BestModel, Error, StageState, StoredState};

/// What checkpoints hold of a retraining.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetrainState {
    /// The best network so far.
    pub(crate) best: Option<BestModel>,
}

impl StageState for RetrainState {
    fn store(&self) -> StoredState {
        StoredState { best: self.best.clone(), ..StoredState::default() }
    }

    fn load(&mut self, stored: StoredState, epochs: usize) -> Result<(), String> {
        if stored.best.as_ref().is_some_and(|best| best.epoch >= epochs || best.value.is_nan()) {
            return Err("the best epoch that it names is not in its history".to_owned());
        }
        self.best = stored.best;
        Ok(())
    }
}

impl RetrainState {
    /// Keeps the network of a finished epoch if it is the best so far. Its tensors are only needed by the protocol
    /// that tests the best network.
    pub(crate) fn select(
        &mut self,
        finished: &Epoch,
        lower_is_better: bool,
        protocol: Protocol,
        params: &Params,
    ) -> Result<(), Error> {
        let value = finished.score.unwrap_or(f64::NAN);
        let first = self.best.is_none() && !value.is_nan();
        if first || self.best.as_ref().is_some_and(|best| at_least(value, best.value, lower_is_better)) {
            let tensors = if protocol == Protocol::Strict { params.state()? } else { Vec::new() };
            self.best = Some(BestModel { epoch: finished.epoch, value, tensors });
        }
        Ok(())
    }
}

/// Whether `value` is at least as good as `best`. Ties go to the later epoch, as in the released code. NaN is never
/// good.
fn at_least(value: f64, best: f64, lower_is_better: bool) -> bool {
    if lower_is_better { value <= best } else { value >= best }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ties_win_and_nan_never_does() {
        assert!(at_least(0.5, 0.5, true) && at_least(0.4, 0.5, true) && !at_least(0.6, 0.5, true));
        assert!(at_least(0.5, 0.5, false) && at_least(0.6, 0.5, false) && !at_least(0.4, 0.5, false));
        assert!(!at_least(f64::NAN, 0.5, true) && !at_least(f64::NAN, 0.5, false));
    }

    #[test]
    fn a_best_epoch_outside_of_the_history_is_refused() {
        let stored = |epoch, value| StoredState {
            best: Some(BestModel { epoch, value, tensors: Vec::new() }),
            ..StoredState::default()
        };
        let load = |stored| RetrainState::default().load(stored, 2);
        assert!(load(stored(1, 0.5)).is_ok() && load(StoredState::default()).is_ok());
        assert!(load(stored(2, 0.5)).unwrap_err().contains("best epoch"));
        assert!(load(stored(1, f64::NAN)).unwrap_err().contains("best epoch"));
    }
}
