//! Runs the stage: trials, selection and its files.

use crate::{
    error::Error,
    grid::{grid, search},
    table,
    trial::{TrialState, run_trial},
};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    event::Event,
    pipeline::OnDivergence,
};
use dash_store::Staging;
use dash_train::{
    Error as TrainError, Sampling, StageContext, TrainOptions, TrainingStage, resume, write_json,
};
use serde::{Deserialize, Serialize};

/// What tuning selected: `hyperparameters.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The selected values.
    #[serde(flatten)]
    pub hyperparameters: Hyperparameters,
    /// The validation metric of the selected trial.
    pub score: f64,
    /// Name of the metric.
    pub metric: String,
    /// Zero-based number of the selected trial.
    pub trial: usize,
    /// The number of trials that were run.
    pub trials: usize,
    /// The number of combinations in the grid; larger than `trials` if the search stopped early.
    pub grid: usize,
}

/// Tunes the network with the kernels of `architecture` (or the backbone's own): short trainings over a grid, all from
/// the same initial weights and on the same batches, compared on validation data (DASH, section 8).
///
/// Resumes from the checkpoint of an earlier attempt if there is one.
///
/// Writes `hyperparameters.json` and `trials.parquet`.
///
/// # Errors
/// If a trial cannot be run (divergence is recorded, not an error), all diverged, or outputs cannot be written.
pub fn tune(
    ctx: &StageContext<'_>,
    architecture: Option<&Architecture>,
    out: &mut Staging,
) -> Result<Hyperparameters, Error> {
    let (settings, metric) = (&ctx.pipeline.tune, ctx.pipeline.task.metric);
    let all = grid(settings);
    ctx.check_task()?;
    let options = TrainOptions {
        stage: TrainingStage::Tune,
        epochs: settings.epochs,
        sampling: Sampling { batch_size: settings.batch_size, fraction: settings.fraction },
        on_divergence: OnDivergence::Stop,
    };
    let mut last = None;
    let mut state = TrialState { trials: all.len(), finished: Vec::new() };
    let mut checkpoint = resume(ctx, &options, &mut state)?;
    let (outcomes, best) = search(&all, metric.spec().lower_is_better, |index, hyperparameters| {
        if let Some(value) = state.finished.get(index) {
            return Ok(*value);
        }
        // The checkpoint was taken in the trial after the last finished one.
        let value = match run_trial(ctx, architecture, hyperparameters, options, &state, checkpoint.take()) {
            Ok(value) => Some(value),
            Err(error @ (TrainError::Diverged { .. } | TrainError::NoScore { .. })) => {
                last = Some(error);
                None
            }
            Err(error) => return Err(error.into()),
        };
        state.finished.push(value);
        ctx.listener.on(&Event::Trial { trial: index, trials: all.len(), score: value });
        Ok::<_, Error>(value)
    })?;
    table::write(out, &outcomes)?;
    let selected = best.and_then(|trial| Some((trial, outcomes.get(trial)?)));
    let Some((trial, outcome)) = selected else {
        return Err(match last {
            Some(last) => Error::AllDiverged { trials: outcomes.len(), last: Box::new(last) },
            None => Error::NoTrials,
        });
    };
    let selection = Selection {
        hyperparameters: outcome.hyperparameters,
        score: outcome.value.unwrap_or(f64::NAN),
        metric: metric.spec().result_name.to_owned(),
        trial,
        trials: outcomes.len(),
        grid: all.len(),
    };
    write_json(out, "hyperparameters.json", &selection)?;
    Ok(selection.hyperparameters)
}
