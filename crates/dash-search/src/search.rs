//! Runs the stage: trains weights and architecture parameters together (DASH, section 6).

use crate::{
    error::Error,
    extract::extract,
    gradient_rule::ArchGradientRule,
    supernet::{Gumbel, MixedLayer, MixtureBuilder},
};
use dash_core::{
    architecture::Architecture,
    pipeline::{Candidate, Search},
    results::Epoch,
};
use dash_nn::{
    DEFAULT_OPTIMIZER, EpochNumber, Gradients, LearningRates, OptimizerOptions, Params, learning_rate,
};
use dash_store::Staging;
use dash_train::{
    FitHooks, HistorySeries, Sampling, StageContext, StageState, StoredState, TrainOptions, Trainer,
    TrainingStage, fit, resume, write_history, write_json,
};

/// Searches an architecture: weights and architecture parameters take every step together, on the same batches and the
/// same loss.
///
/// Resumes from the checkpoint of an earlier attempt if there is one.
///
/// Writes `architecture.json`, `history.parquet` (with the architecture parameters of every epoch) and `checkpoint/`.
///
/// # Errors
/// If the network does not fit the data, the loss or an architecture parameter stops being finite, or outputs cannot be
/// written.
pub fn search(ctx: &StageContext<'_>, out: &mut Staging) -> Result<Architecture, Error> {
    let settings = &ctx.pipeline.search;
    let mut supernet = MixtureBuilder::new(settings, Gumbel);
    let (network, params) = ctx.search_network(&mut supernet)?;
    ctx.check_task()?;
    let options = TrainOptions {
        stage: TrainingStage::Search,
        epochs: settings.epochs,
        sampling: Sampling { batch_size: settings.batch_size, fraction: settings.fraction },
        on_divergence: settings.on_divergence,
    };
    let &Search { momentum, weight_decay, .. } = settings;
    let optimizer = (DEFAULT_OPTIMIZER.build)(&params, &OptimizerOptions { momentum, weight_decay })?;
    let mut trainer = Trainer::new(ctx, options, network.as_ref(), &params, optimizer)?;
    let candidates = Candidate::enumerate(&settings.kernel_sizes, &settings.dilations);
    let mut searching = Searching {
        settings,
        rule: ArchGradientRule::new(settings.grad_scale, settings.receptive_field_penalty, &candidates),
        params: &params,
        layers: supernet.layers(),
        state: SearchState::new(supernet.layers()),
    };
    let checkpoint = resume(ctx, &options, &mut searching.state)?;
    let history = fit(&mut trainer, &mut searching, checkpoint)?;
    let architecture = extract(settings, supernet.layers())?;
    trainer.write_checkpoint(out)?;
    write_history(out, &history, &searching.state.alphas)?;
    write_json(out, "architecture.json", &architecture)?;
    Ok(architecture)
}

/// What checkpoints hold of a search.
struct SearchState {
    /// The architecture parameters of each layer after each epoch.
    alphas: Vec<HistorySeries>,
}

impl SearchState {
    fn new(layers: &[MixedLayer]) -> SearchState {
        let empty = |layer: &MixedLayer| (format!("alpha.{}", layer.name), Vec::new());
        SearchState { alphas: layers.iter().map(empty).collect() }
    }
}

impl StageState for SearchState {
    fn store(&self) -> StoredState {
        StoredState { series: self.alphas.clone(), ..StoredState::default() }
    }

    fn load(&mut self, stored: StoredState, epochs: usize) -> Result<(), String> {
        for (name, _) in &self.alphas {
            let lists = stored.series.iter().find(|(found, _)| found == name).map(|(_, lists)| lists.len());
            if lists != Some(epochs) {
                return Err(format!("its history does not hold {name} of each epoch"));
            }
        }
        self.alphas = stored.series;
        Ok(())
    }
}

/// What the stage adds to the training loop: the rule for architecture gradients, and their record.
struct Searching<'a> {
    settings: &'a Search,
    rule: ArchGradientRule,
    params: &'a Params,
    layers: &'a [MixedLayer],
    state: SearchState,
}

impl FitHooks for Searching<'_> {
    type Error = Error;

    fn learning_rates(&self, epoch: usize) -> LearningRates {
        learning_rates(self.settings, epoch)
    }

    fn adjust_gradients(&mut self, gradients: &mut Gradients) -> Result<(), dash_train::Error> {
        self.rule.apply(self.params, gradients)?;
        Ok(gradients.clip(self.settings.clip_norm)?)
    }

    fn epoch_end(&mut self, epoch: &Epoch) -> Result<(), Error> {
        for (layer, (_, alphas)) in self.layers.iter().zip(&mut self.state.alphas) {
            let values = layer.values()?;
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::NotFinite { layer: layer.name.clone(), epoch: epoch.epoch });
            }
            alphas.push(values);
        }
        Ok(())
    }

    fn state(&self) -> &dyn StageState {
        &self.state
    }
}

/// Both learning rates of an epoch: the schedule of the weights multiplies both.
fn learning_rates(settings: &Search, epoch: usize) -> LearningRates {
    let at = EpochNumber { epoch, epochs: settings.epochs };
    let weights = learning_rate(&settings.schedule, settings.learning_rate, at);
    let factor = if settings.learning_rate == 0.0 { 1.0 } else { weights / settings.learning_rate };
    LearningRates { weights, architecture: settings.arch_learning_rate * factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rates_follow_the_schedule_of_the_weights() {
        let settings = Search::default();
        assert_eq!(learning_rates(&settings, 60), LearningRates { weights: 0.1, architecture: 0.05 });
        let late = learning_rates(&settings, 61);
        assert!((late.weights - 0.02).abs() < 1e-12 && (late.architecture - 0.01).abs() < 1e-12);
    }
}
