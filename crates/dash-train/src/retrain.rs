//! Training and test of the final network (DASH, sections 9 and 10).

use crate::{
    BestModel, Cause, CheckpointState, Error, Limits, ModelManifest, StageContext, Trainer, TrainingStage,
    evaluate,
    evaluate::{batch_average, evaluate_interruptible},
    write_checkpoint, write_history, write_json, write_tensors,
};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    card::Split,
    event::Event,
    pipeline::{Protocol, Task},
    results::Epoch,
};
use dash_data::SplitData;
use dash_nn::{EpochNumber, LearningRates, Sgd, learning_rate, lower_is_better, metric_name};
use dash_store::Staging;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What was measured: `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Trainable parameters of the network.
    pub params: usize,
    /// Epochs that it was trained for.
    pub epochs: usize,
    /// The values.
    pub values: Vec<MetricValue>,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// Name of the metric.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// Direction of the metric.
    pub lower_is_better: bool,
    /// The split it was measured on.
    pub split: String,
}

/// Whether `score` is at least as good as `best`: ties count for the later epoch, as in the
/// reference. A score that is not a number is never good.
fn at_least(score: f64, best: f64, lower: bool) -> bool {
    if lower { score <= best } else { score >= best }
}

/// Trains the network with the kernels of `architecture` (or the backbone's own) and measures it on
/// the test split.
///
/// Strict protocol: the weights of the best epoch on validation data are tested, once. Paper
/// protocol: the last weights are tested; the best epoch on test data is reported under that name.
/// With `task.batch_average` the tested weights also get the mean of the metric over test batches,
/// unless no batch has a value.
///
/// Goes on from the checkpoint of an earlier attempt if there is one.
///
/// Writes `model.safetensors`, `model.json`, `history.parquet`, `metrics.json` and `checkpoint/`.
///
/// # Errors
/// If the network does not fit the data, the loss or a measured value is not finite, or outputs
/// cannot be written.
pub fn retrain(
    ctx: &StageContext<'_>,
    architecture: Option<&Architecture>,
    hyperparameters: &Hyperparameters,
    out: &mut Staging,
) -> Result<Metrics, Error> {
    let (settings, card) = (&ctx.pipeline.retrain, ctx.data.card());
    let (network, params) = ctx.retrain_network(architecture, hyperparameters.dropout)?;
    let objective = ctx.objective()?;
    let sgd = Sgd::new(&params, hyperparameters.momentum, hyperparameters.weight_decay)?;
    ctx.check_task()?;
    let sizes = (settings.batch_size, 1.0);
    let mut trainer =
        Trainer::new(ctx, TrainingStage::Retrain, network.as_ref(), &params, &objective, sgd, sizes)?
            .on_divergence(settings.on_divergence);
    let (train, test) = (ctx.split(Split::Train)?, ctx.split(Split::Test)?);
    let watched = match ctx.pipeline.protocol {
        Protocol::Strict => ctx.split(Split::Validation)?,
        Protocol::Paper => test,
    };
    let score = |data: &SplitData| evaluate(ctx, network.as_ref(), data, settings.batch_size);
    let lower = lower_is_better(ctx.pipeline.task.metric);
    let samples: Vec<usize> = (0..train.samples()).collect();
    let mut progress = CheckpointState::default();
    let steps = samples.len().div_ceil(settings.batch_size.max(1));
    if let Some(saved) = ctx.saved(&Limits { epochs: settings.epochs, steps, trials: None })? {
        trainer.resume(&saved)?;
        progress = saved.progress;
    }
    let CheckpointState { position, mut history, mut best, .. } = progress;
    for epoch in position.epoch..settings.epochs {
        let start = Instant::now();
        let at = EpochNumber { epoch, epochs: settings.epochs };
        let weights = learning_rate(&settings.schedule, hyperparameters.learning_rate, at);
        let rates = LearningRates::uniform(weights);
        let mut end = position.enter(epoch);
        let progress = |history: &Vec<Epoch>, best: &Option<BestModel>| CheckpointState {
            history: history.clone(),
            best: best.clone(),
            ..CheckpointState::default()
        };
        let train_loss = trainer.epoch(
            end,
            train,
            &samples,
            rates,
            |_| Ok(()),
            |now| {
                end = now.position;
                ctx.between_steps(&params, now, || progress(&history, &best))
            },
        )?;
        let weights = trainer.factor() * weights;
        let value = match evaluate_interruptible(ctx, network.as_ref(), watched, settings.batch_size) {
            Err(Error::Stopped) => {
                ctx.between_steps(&params, trainer.now(end), || progress(&history, &best))?;
                return Err(Error::Stopped);
            }
            other => other?,
        };
        if best.as_ref().is_none_or(|best| at_least(value, best.score, lower)) && !value.is_nan() {
            let state = if ctx.pipeline.protocol == Protocol::Strict { params.state()? } else { Vec::new() };
            best = Some(BestModel { epoch, score: value, state });
        }
        history.push(Epoch { epoch, learning_rate: weights, train_loss, score: Some(value) });
        ctx.listener.on(&Event::Epoch {
            epoch,
            epochs: settings.epochs,
            train_loss,
            score: Some(value),
            learning_rate: weights,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    write_checkpoint(out, settings.epochs, &params, &trainer.sgd)?;
    let name = metric_name(ctx.pipeline.task.metric);
    let measured = |metric: String, value: f64| MetricValue {
        metric,
        value,
        lower_is_better: lower,
        split: Split::Test.name().to_owned(),
    };
    let last = settings.epochs.saturating_sub(1);
    let (epoch, mut values) = match (ctx.pipeline.protocol, best) {
        (Protocol::Strict, Some(BestModel { epoch, state, .. })) => {
            params.load(&state)?;
            (epoch, vec![measured(name.to_owned(), score(test)?)])
        }
        (Protocol::Paper, Some(BestModel { score: best, .. })) => {
            let value = history.last().and_then(|e| e.score).unwrap_or(f64::NAN);
            let best = measured(format!("{name} (best on test)"), best);
            (last, vec![measured(name.to_owned(), value), best])
        }
        // No epoch had a score: the network puts out what is not a number.
        (_, None) => (last, vec![measured(name.to_owned(), score(test)?)]),
    };
    if let Some(MetricValue { metric, split, value, .. }) = values.iter().find(|v| !v.value.is_finite()) {
        let (metric, split, cause) = (metric.clone(), split.clone(), Cause::of(&params)?);
        return Err(Error::NoScore { stage: TrainingStage::Retrain, metric, split, value: *value, cause });
    }
    if let Some(size) = ctx.pipeline.task.batch_average {
        let mean = batch_average(ctx, network.as_ref(), test, (settings.batch_size, size))?;
        values.extend(mean.map(|mean| measured(format!("{name} (mean over batches of {size})"), mean)));
    }
    write_tensors(out, "model.safetensors", &params.state()?)?;
    let model = ModelManifest {
        format: ModelManifest::FORMAT,
        // The name is of the report alone: a stage is not made again because it changes.
        task: Task { name: None, ..ctx.pipeline.task.clone() },
        backbone: ctx.retrain_backbone()?,
        pattern: architecture.map(Architecture::pattern),
        input: card.input.clone(),
        target: card.target.clone(),
        target_scaling: card.target_scaling.clone(),
        hyperparameters: *hyperparameters,
        epoch,
        params: params.count(),
    };
    write_json(out, "model.json", &model)?;
    write_history(out, &history, &[])?;
    let metrics = Metrics { params: params.count(), epochs: settings.epochs, values };
    write_json(out, "metrics.json", &metrics)?;
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn later_ties_win_and_nan_never_does() {
        assert!(at_least(0.5, 0.5, true) && at_least(0.4, 0.5, true) && !at_least(0.6, 0.5, true));
        assert!(at_least(0.5, 0.5, false) && at_least(0.6, 0.5, false) && !at_least(0.4, 0.5, false));
        assert!(!at_least(f64::NAN, 0.5, true) && !at_least(f64::NAN, 0.5, false));
    }
}
