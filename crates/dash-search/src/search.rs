//! The search loop and the extraction (DASH, sections 6 and 7).

use crate::{ArchGradientRule, Error, Gumbel, MixedLayer, MixtureBuilder};
use dash_core::{
    architecture::{Architecture, LayerChoice},
    card::Split,
    event::Event,
    pipeline::{Candidate, Search},
    results::Epoch,
};
use dash_nn::{EpochNumber, Gradients, LearningRates, Sgd, learning_rate};
use dash_store::Staging;
use dash_train::{
    CheckpointState, Limits, StageContext, Trainer, TrainingPosition, TrainingStage, steps_per_epoch,
    write_checkpoint, write_history, write_json,
};
use std::time::Instant;

/// Searches an architecture: weights and architecture parameters take every step together, on the
/// same batches and the same loss.
///
/// Goes on from the checkpoint of an earlier attempt if there is one.
///
/// Writes `architecture.json`, `history.parquet` (with the architecture parameters of every epoch)
/// and `checkpoint/`.
///
/// # Errors
/// If the network does not fit the data, the loss or an architecture parameter stops being finite,
/// or outputs cannot be written.
pub fn search(ctx: &StageContext<'_>, out: &mut Staging) -> Result<Architecture, Error> {
    let settings = &ctx.pipeline.search;
    let mut supernet = MixtureBuilder::new(settings, Gumbel);
    let (network, params) = ctx.search_network(&mut supernet)?;
    let candidates = Candidate::enumerate(&settings.kernel_sizes, &settings.dilations);
    let rule = ArchGradientRule::new(settings.grad_scale, settings.receptive_field_penalty, &candidates);
    let objective = ctx.objective()?;
    ctx.check_task()?;
    let sgd = Sgd::new(&params, settings.momentum, settings.weight_decay)?;
    let sizes = (settings.batch_size, settings.fraction);
    let mut trainer =
        Trainer::new(ctx, TrainingStage::Search, network.as_ref(), &params, &objective, sgd, sizes)?
            .on_divergence(settings.on_divergence);
    let train = ctx.split(Split::Train)?;
    let samples: Vec<usize> = (0..train.samples()).collect();
    let mut history = Vec::new();
    let mut alphas: Vec<(String, Vec<Vec<f32>>)> =
        supernet.layers().iter().map(|l| (format!("alpha.{}", l.name), Vec::new())).collect();
    let mut position = TrainingPosition::default();
    let steps = steps_per_epoch(samples.len().div_ceil(settings.batch_size.max(1)), settings.fraction);
    if let Some(saved) = ctx.saved(&Limits { epochs: settings.epochs, steps, trials: None })? {
        trainer.resume(&saved)?;
        CheckpointState { position, history, series: alphas, .. } = saved.progress;
    }
    for epoch in position.epoch..settings.epochs {
        let start = Instant::now();
        let rates = rates(settings, epoch);
        let adjust = |gradients: &mut Gradients| {
            rule.apply(&params, gradients)?;
            gradients.clip(settings.clip_norm)?;
            Ok(())
        };
        let train_loss = trainer.epoch(position.enter(epoch), train, &samples, rates, adjust, |now| {
            let (history, series) = (&history, &alphas);
            ctx.between_steps(&params, now, || CheckpointState {
                history: history.clone(),
                series: series.clone(),
                ..CheckpointState::default()
            })
        })?;
        for (layer, (_, series)) in supernet.layers().iter().zip(&mut alphas) {
            let values = values(layer)?;
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::NotFinite { layer: layer.name.clone(), epoch });
            }
            series.push(values);
        }
        let learning_rate = trainer.factor() * rates.weights;
        history.push(Epoch { epoch, learning_rate, train_loss, score: None });
        ctx.listener.on(&Event::Epoch {
            epoch,
            epochs: settings.epochs,
            train_loss,
            score: None,
            learning_rate,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    let architecture = extract(settings, supernet.layers())?;
    write_checkpoint(out, settings.epochs, &params, &trainer.sgd)?;
    write_history(out, &history, &alphas)?;
    write_json(out, "architecture.json", &architecture)?;
    Ok(architecture)
}

/// Both learning rates of an epoch: one schedule, that of the weights, multiplies both.
fn rates(settings: &Search, epoch: usize) -> LearningRates {
    let weights = learning_rate(
        &settings.schedule,
        settings.learning_rate,
        EpochNumber { epoch, epochs: settings.epochs },
    );
    let factor = if settings.learning_rate == 0.0 { 1.0 } else { weights / settings.learning_rate };
    LearningRates { weights, architecture: settings.arch_learning_rate * factor }
}

fn values(layer: &MixedLayer) -> Result<Vec<f32>, Error> {
    Ok(layer.alpha.var().as_detached_tensor().to_vec1::<f32>()?)
}

/// The candidate with the largest architecture parameter of every layer; the first among equals.
///
/// # Errors
/// If the parameters cannot be read.
pub fn extract(space: &Search, layers: &[MixedLayer]) -> Result<Architecture, Error> {
    let candidates = Candidate::enumerate(&space.kernel_sizes, &space.dilations);
    let layers = layers
        .iter()
        .map(|layer| {
            let alpha = values(layer)?;
            let best = alpha
                .iter()
                .zip(&candidates)
                .fold(None, |best: Option<(f32, Candidate)>, (&a, &c)| match best {
                    Some((top, _)) if top >= a => best,
                    _ => Some((a, c)),
                })
                .map_or(Candidate { kernel_size: 1, dilation: 1 }, |(_, c)| c);
            Ok(LayerChoice { name: layer.name.clone(), candidate: best, alpha })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Architecture {
        format: Architecture::FORMAT,
        kernel_sizes: space.kernel_sizes.clone(),
        dilations: space.dilations.clone(),
        layers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use dash_nn::{Init, ParamBuilder};

    #[test]
    fn the_first_largest_candidate_is_extracted() {
        let space = Search { kernel_sizes: vec![3, 5], dilations: vec![1, 2], ..Search::default() };
        let mut params = ParamBuilder::new(0, 0, &Device::Cpu);
        let alpha = params.architecture("stem.alpha", 4, Init::Constant(0.0)).unwrap();
        let layer = MixedLayer { name: "stem".to_owned(), alpha: alpha.clone() };
        let choice = |alpha_values: &[f32; 4]| {
            alpha.var().set(&Tensor::new(alpha_values, &Device::Cpu).unwrap()).unwrap();
            let found = extract(&space, std::slice::from_ref(&layer)).unwrap();
            found.layers[0].candidate
        };
        assert_eq!(choice(&[0.0, 0.0, 0.0, 0.0]), Candidate { kernel_size: 3, dilation: 1 });
        assert_eq!(choice(&[-1.0, 0.5, 0.2, 0.5]), Candidate { kernel_size: 3, dilation: 2 });
        assert_eq!(choice(&[-1.0, -3.0, -0.5, -0.9]), Candidate { kernel_size: 5, dilation: 1 });
    }

    #[test]
    fn both_rates_follow_the_schedule_of_the_weights() {
        let settings = Search::default();
        assert_eq!(rates(&settings, 60), LearningRates { weights: 0.1, architecture: 0.05 });
        let late = rates(&settings, 61);
        assert!((late.weights - 0.02).abs() < 1e-12 && (late.architecture - 0.01).abs() < 1e-12);
    }
}
