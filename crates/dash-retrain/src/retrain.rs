//! Runs the stage: trains, tests and writes its files.

use crate::{
    batch_average::batch_average,
    metrics::{MetricValue, Metrics},
    model::ModelManifest,
    selection::RetrainState,
};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    card::Split,
    pipeline::{Protocol, Task},
    results::Epoch,
};
use dash_data::SplitData;
use dash_nn::{
    DEFAULT_OPTIMIZER, EpochNumber, LearningRates, Network, OptimizerOptions, Params, learning_rate,
};
use dash_store::Staging;
use dash_train::{
    Cause, Error, FitHooks, Sampling, StageContext, StageState, TrainOptions, Trainer, TrainingStage,
    evaluate, evaluate_interruptible, fit, resume, write_history, write_json, write_tensors,
};

/// Trains the network with the kernels of `architecture` (or the backbone's own) and measures it on the test split.
///
/// Strict protocol: the weights of the best epoch on validation data are tested, once. Paper protocol: the last weights
/// are tested; the best epoch on test data is reported under that name. With `task.batch_average` the tested weights
/// also get the mean of the metric over test batches, unless no batch has a value.
///
/// Resumes from the checkpoint of an earlier attempt if there is one.
///
/// Writes `model.safetensors`, `model.json`, `history.parquet`, `metrics.json` and `checkpoint/`.
///
/// # Errors
/// If the network does not fit the data, the loss or a measured value is not finite, or outputs cannot be written.
pub fn retrain(
    ctx: &StageContext<'_>,
    architecture: Option<&Architecture>,
    hyperparameters: &Hyperparameters,
    out: &mut Staging,
) -> Result<Metrics, Error> {
    let settings = &ctx.pipeline.retrain;
    let (network, params) = ctx.retrain_network(architecture, hyperparameters.dropout)?;
    ctx.check_task()?;
    let options = TrainOptions {
        stage: TrainingStage::Retrain,
        epochs: settings.epochs,
        sampling: Sampling { batch_size: settings.batch_size, fraction: 1.0 },
        on_divergence: settings.on_divergence,
    };
    let &Hyperparameters { momentum, weight_decay, .. } = hyperparameters;
    let optimizer = (DEFAULT_OPTIMIZER.build)(&params, &OptimizerOptions { momentum, weight_decay })?;
    let mut trainer = Trainer::new(ctx, options, network.as_ref(), &params, optimizer)?;
    let test = ctx.split(Split::Test)?;
    let validation = match ctx.pipeline.protocol {
        Protocol::Strict => ctx.split(Split::Validation)?,
        Protocol::Paper => test,
    };
    let state = RetrainState::default();
    let mut retraining = Retraining {
        ctx,
        base: hyperparameters.learning_rate,
        network: &*network,
        params: &params,
        validation,
        state,
    };
    let checkpoint = resume(ctx, &options, &mut retraining.state)?;
    let history = fit(&mut trainer, &mut retraining, checkpoint)?;
    trainer.write_checkpoint(out)?;
    let Tested { epoch, values } = retraining.test(test, &history)?;
    write_tensors(out, "model.safetensors", &params.state()?)?;
    let card = ctx.data.card();
    let model = ModelManifest {
        format: ModelManifest::FORMAT,
        // Only reports read the task's name: changing it does not repeat the stage.
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

/// What the stage adds to the training loop: evaluation and selection after each epoch.
struct Retraining<'a> {
    ctx: &'a StageContext<'a>,
    /// Learning rate of the first epoch.
    base: f64,
    network: &'a dyn Network,
    params: &'a Params,
    /// The split that epochs are selected on.
    validation: &'a SplitData,
    state: RetrainState,
}

impl FitHooks for Retraining<'_> {
    type Error = Error;

    fn learning_rates(&self, epoch: usize) -> LearningRates {
        let settings = &self.ctx.pipeline.retrain;
        let at = EpochNumber { epoch, epochs: settings.epochs };
        LearningRates::uniform(learning_rate(&settings.schedule, self.base, at))
    }

    fn validate(&self, _: usize) -> Result<Option<f64>, Error> {
        let batch_size = self.ctx.pipeline.retrain.batch_size;
        evaluate_interruptible(self.ctx, self.network, self.validation, batch_size).map(Some)
    }

    fn epoch_end(&mut self, epoch: &Epoch) -> Result<(), Error> {
        let lower = self.ctx.pipeline.task.metric.spec().lower_is_better;
        self.state.select(epoch, lower, self.ctx.pipeline.protocol, self.params)
    }

    fn state(&self) -> &dyn StageState {
        &self.state
    }
}

/// What was measured on test data.
struct Tested {
    /// The zero-based epoch whose weights the network has.
    epoch: usize,
    values: Vec<MetricValue>,
}

impl Retraining<'_> {
    /// Measures what the protocol reports. Under the strict one the network has the weights of the best epoch then.
    fn test(self, test: &SplitData, history: &[Epoch]) -> Result<Tested, Error> {
        let (settings, task) = (&self.ctx.pipeline.retrain, &self.ctx.pipeline.task);
        let name = task.metric.spec().result_name;
        let measured = |metric: String, value: f64| MetricValue {
            metric,
            value,
            lower_is_better: task.metric.spec().lower_is_better,
            split: Split::Test.name().to_owned(),
        };
        let score = || evaluate(self.ctx, self.network, test, settings.batch_size);
        let last = settings.epochs.saturating_sub(1);
        let (epoch, mut values) = match (self.ctx.pipeline.protocol, &self.state.best) {
            (Protocol::Strict, Some(best)) => {
                self.params.load(&best.tensors)?;
                (best.epoch, vec![measured(name.to_owned(), score()?)])
            }
            (Protocol::Paper, Some(best)) => {
                let value = history.last().and_then(|e| e.score).unwrap_or(f64::NAN);
                let best = measured(format!("{name} (best on test)"), best.value);
                (last, vec![measured(name.to_owned(), value), best])
            }
            // The metric was NaN in every epoch, and is measured for the error message.
            (_, None) => (last, vec![measured(name.to_owned(), score()?)]),
        };
        if let Some(MetricValue { metric, split, value, .. }) = values.iter().find(|v| !v.value.is_finite()) {
            let (metric, split, cause) = (metric.clone(), split.clone(), Cause::of(self.params)?);
            let stage = TrainingStage::Retrain;
            return Err(Error::NoScore { stage, metric, split, value: *value, cause });
        }
        if let Some(size) = task.batch_average {
            let mean = batch_average(self.ctx, self.network, test, size)?;
            values.extend(mean.map(|mean| measured(format!("{name} (mean over batches of {size})"), mean)));
        }
        Ok(Tested { epoch, values })
    }
}
