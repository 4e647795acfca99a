//! Runs one trial: a short training, and its validation metric.

use dash_core::{
    architecture::{Architecture, Hyperparameters},
    card::Split,
};
use dash_data::SplitData;
use dash_nn::{DEFAULT_OPTIMIZER, EpochNumber, LearningRates, Network, OptimizerOptions, learning_rate};
use dash_train::{
    Cause, Checkpoint, Error, FitHooks, StageContext, StageState, StoredState, TrainOptions, Trainer,
    TrainingStage, evaluate_interruptible, fit,
};

/// What checkpoints hold of a tuning: the finished trials. The trial after them is in training.
#[derive(Clone, Debug)]
pub(crate) struct TrialState {
    /// The number of trials in the grid.
    pub(crate) trials: usize,
    /// The validation metrics of finished trials, `None` for diverged ones.
    pub(crate) finished: Vec<Option<f64>>,
}

impl StageState for TrialState {
    /// Only the trial's last metric is used.
    fn has_history(&self) -> bool {
        false
    }

    fn store(&self) -> StoredState {
        StoredState { trials: self.finished.clone(), ..StoredState::default() }
    }

    fn load(&mut self, stored: StoredState, _: usize) -> Result<(), String> {
        let (found, trials) = (stored.trials.len(), self.trials);
        if found >= trials {
            return Err(format!("it has the metrics of {found} finished trials; there are {trials} trials"));
        }
        self.finished = stored.trials;
        Ok(())
    }
}

/// Trains the network with the kernels of `architecture` (or the backbone's own) after the trials in `state`, from the
/// beginning or a checkpoint. Returns its validation metric.
///
/// # Errors
/// [`Error::Diverged`] and [`Error::NoScore`] if it has none; or if the training cannot be run.
pub(crate) fn run_trial(
    ctx: &StageContext<'_>,
    architecture: Option<&Architecture>,
    hyperparameters: &Hyperparameters,
    options: TrainOptions,
    state: &TrialState,
    checkpoint: Option<Checkpoint>,
) -> Result<f64, Error> {
    let &Hyperparameters { dropout, momentum, weight_decay, learning_rate } = hyperparameters;
    let (network, params) = ctx.retrain_network(architecture, dropout)?;
    let optimizer = (DEFAULT_OPTIMIZER.build)(&params, &OptimizerOptions { momentum, weight_decay })?;
    let mut trainer = Trainer::new(ctx, options, network.as_ref(), &params, optimizer)?;
    let validation = ctx.split(Split::Validation)?;
    let mut trial = Trial { ctx, base: learning_rate, network: network.as_ref(), validation, state };
    let history = fit(&mut trainer, &mut trial, checkpoint)?;
    let value = history.last().and_then(|epoch| epoch.score).unwrap_or(f64::NAN);
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::NoScore {
        stage: TrainingStage::Tune,
        metric: ctx.pipeline.task.metric.spec().result_name.to_owned(),
        split: Split::Validation.name().to_owned(),
        value,
        cause: Cause::of(&params)?,
    })
}

/// What a trial adds to the training loop: evaluation after the last epoch.
struct Trial<'a> {
    ctx: &'a StageContext<'a>,
    /// Learning rate of the first epoch.
    base: f64,
    network: &'a dyn Network,
    validation: &'a SplitData,
    state: &'a TrialState,
}

impl FitHooks for Trial<'_> {
    type Error = Error;

    fn learning_rates(&self, epoch: usize) -> LearningRates {
        let pipeline = self.ctx.pipeline;
        // Trials follow the first epochs of the schedule of the final training.
        let at = EpochNumber { epoch, epochs: pipeline.retrain.epochs };
        LearningRates::uniform(learning_rate(&pipeline.retrain.schedule, self.base, at))
    }

    fn validate(&self, epoch: usize) -> Result<Option<f64>, Error> {
        let settings = &self.ctx.pipeline.tune;
        if epoch + 1 < settings.epochs {
            return Ok(None);
        }
        evaluate_interruptible(self.ctx, self.network, self.validation, settings.batch_size).map(Some)
    }

    fn state(&self) -> &dyn StageState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_finished_trials_than_the_grid_leaves_room_for_are_refused() {
        let load = |finished: usize| {
            let mut state = TrialState { trials: 3, finished: Vec::new() };
            let stored = StoredState { trials: vec![None; finished], ..StoredState::default() };
            state.load(stored, 0).map(|()| state.finished.len())
        };
        assert_eq!((load(0), load(2)), (Ok(0), Ok(2)));
        assert!(load(3).unwrap_err().contains("3 finished trials"));
    }
}
