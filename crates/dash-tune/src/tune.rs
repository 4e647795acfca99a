//! Tuning of one network: trials, selection, outputs.

use crate::{Error, grid, search, trials};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    card::Split,
    event::Event,
};
use dash_nn::{EpochNumber, LearningRates, Sgd, learning_rate, lower_is_better, metric_name};
use dash_store::Staging;
use dash_train::{
    Cause, CheckpointState, Error as Train, Limits, LoadedCheckpoint, StageContext, Trainer,
    TrainingPosition, TrainingStage, evaluate_interruptible, steps_per_epoch, write_json,
};
use serde::{Deserialize, Serialize};

/// What tuning selected: `hyperparameters.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The selected values.
    #[serde(flatten)]
    pub hyperparameters: Hyperparameters,
    /// Score of the selected trial on the validation split.
    pub score: f64,
    /// Name of the metric that the score is in.
    pub metric: String,
    /// Zero-based number of the selected trial.
    pub trial: usize,
    /// Trials that were run.
    pub trials: usize,
    /// Combinations in the grid; more than `trials` if the early stop applied.
    pub grid: usize,
}

/// Tunes the network with the kernels of `architecture` (or the backbone's own): short trainings
/// over a grid, all from the same initial weights and on the same batches, scored on validation
/// data (DASH, section 8).
///
/// Goes on from the checkpoint of an earlier attempt if there is one.
///
/// Writes `hyperparameters.json` and `trials.parquet`.
///
/// # Errors
/// If a trial cannot be run (divergence is recorded, not an error), all diverged, or outputs
/// cannot be written.
pub fn tune(
    ctx: &StageContext<'_>,
    architecture: Option<&Architecture>,
    out: &mut Staging,
) -> Result<Hyperparameters, Error> {
    let metric = ctx.pipeline.task.metric;
    let all = grid(&ctx.pipeline.tune);
    ctx.check_task()?;
    let mut last = None;
    let mut saved = ctx.saved(&limits(ctx, all.len())?)?;
    let mut scores = saved.as_ref().map(|saved| saved.progress.scores.clone()).unwrap_or_default();
    let (outcomes, best) = search(&all, lower_is_better(metric), |index, hyperparameters| {
        if let Some(score) = scores.get(index) {
            return Ok(*score);
        }
        // The trial after the last finished one is the one that was at work.
        let score = match trial(ctx, architecture, hyperparameters, &scores, saved.take()) {
            Ok(score) => Some(score),
            Err(error @ (Train::Diverged { .. } | Train::NoScore { .. })) => {
                last = Some(error);
                None
            }
            Err(error) => return Err(error.into()),
        };
        scores.push(score);
        ctx.listener.on(&Event::Trial { trial: index, trials: all.len(), score });
        Ok::<_, Error>(score)
    })?;
    trials::write(out, &outcomes)?;
    let selected = best.and_then(|trial| Some((trial, outcomes.get(trial)?)));
    let Some((trial, outcome)) = selected else {
        return Err(match last {
            Some(last) => Error::AllDiverged { trials: outcomes.len(), last: Box::new(last) },
            None => Error::NoTrials,
        });
    };
    let selection = Selection {
        hyperparameters: outcome.hyperparameters,
        score: outcome.score.unwrap_or(f64::NAN),
        metric: metric_name(metric).to_owned(),
        trial,
        trials: outcomes.len(),
        grid: all.len(),
    };
    write_json(out, "hyperparameters.json", &selection)?;
    Ok(selection.hyperparameters)
}

/// The samples that trials are trained on.
fn samples(ctx: &StageContext<'_>) -> Result<Vec<usize>, Train> {
    let train = ctx.split(Split::Train)?;
    Ok(train.tuning_samples().unwrap_or_else(|| (0..train.samples()).collect()))
}

/// What a checkpoint of a tuning with so many trials can say.
fn limits(ctx: &StageContext<'_>, trials: usize) -> Result<Limits, Train> {
    let settings = &ctx.pipeline.tune;
    let batches = samples(ctx)?.len().div_ceil(settings.batch_size.max(1));
    let steps = steps_per_epoch(batches, settings.fraction);
    Ok(Limits { epochs: settings.epochs, steps, trials: Some(trials) })
}

/// The score of one short training, of which a part may be done, after trials with the given scores.
///
/// # Errors
/// [`Train::Diverged`] and [`Train::NoScore`] if it has none.
fn trial(
    ctx: &StageContext<'_>,
    architecture: Option<&Architecture>,
    hyperparameters: &Hyperparameters,
    scores: &[Option<f64>],
    saved: Option<LoadedCheckpoint>,
) -> Result<f64, Train> {
    let (settings, schedule) = (&ctx.pipeline.tune, &ctx.pipeline.retrain.schedule);
    let (network, params) = ctx.retrain_network(architecture, hyperparameters.dropout)?;
    let objective = ctx.objective()?;
    let sgd = Sgd::new(&params, hyperparameters.momentum, hyperparameters.weight_decay)?;
    let sizes = (settings.batch_size, settings.fraction);
    let mut trainer =
        Trainer::new(ctx, TrainingStage::Tune, network.as_ref(), &params, &objective, sgd, sizes)?;
    let train = ctx.split(Split::Train)?;
    let samples = samples(ctx)?;
    let mut position = TrainingPosition::default();
    if let Some(saved) = saved {
        trainer.resume(&saved)?;
        position = saved.progress.position;
    }
    let progress = || CheckpointState { scores: scores.to_vec(), ..CheckpointState::default() };
    for epoch in position.epoch..settings.epochs {
        let at = EpochNumber { epoch, epochs: settings.epochs };
        let rates = LearningRates::uniform(learning_rate(schedule, hyperparameters.learning_rate, at));
        let from = position.enter(epoch);
        trainer.epoch(
            from,
            train,
            &samples,
            rates,
            |_| Ok(()),
            |now| ctx.between_steps(&params, now, progress),
        )?;
    }
    let validation = ctx.split(Split::Validation)?;
    let score = match evaluate_interruptible(ctx, network.as_ref(), validation, settings.batch_size) {
        Err(Train::Stopped) => {
            // Trained to the end: it goes on with the evaluation.
            ctx.between_steps(&params, trainer.now(TrainingPosition::start_of(settings.epochs)), progress)?;
            return Err(Train::Stopped);
        }
        other => other?,
    };
    if score.is_finite() {
        return Ok(score);
    }
    let (metric, split) =
        (metric_name(ctx.pipeline.task.metric).to_owned(), Split::Validation.name().to_owned());
    Err(Train::NoScore {
        stage: TrainingStage::Tune,
        metric,
        split,
        value: score,
        cause: Cause::of(&params)?,
    })
}
