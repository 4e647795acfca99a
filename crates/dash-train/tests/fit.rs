//! The training loop: rolling back, resuming, and what it reports of a diverged training.
#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

mod support;

use dash_core::{
    architecture::{Architecture, LayerChoice},
    error::{Classify, ErrorKind},
    event::{Event, Silent},
    pipeline::{Candidate, OnDivergence},
    results::Epoch,
};
use dash_nn::{Gradients, LearningRates, Params, Sgd};
use dash_train::{
    Cause, Checkpoints, FitHooks, Sampling, StageContext, StageState, TrainOptions, Trainer,
    TrainingPosition, TrainingStage, fit, resume,
};
use support::{Place, Recorder, StopAfter, pipeline};

/// Makes a weight NaN in the second step of the second epoch, at most so many times.
struct Spoiling<'a> {
    params: &'a Params,
    rates: [f64; 2],
    position: TrainingPosition,
    times: usize,
}

impl FitHooks for Spoiling<'_> {
    type Error = dash_train::Error;

    fn learning_rates(&self, epoch: usize) -> LearningRates {
        LearningRates::uniform(self.rates[epoch])
    }

    fn adjust_gradients(&mut self, _: &mut Gradients) -> Result<(), dash_train::Error> {
        self.position.step += 1;
        if self.position.epoch == 1 && self.position.step == 2 && self.times > 0 {
            self.times -= 1;
            self.position.step = 0;
            let weight = self.params.iter().next().unwrap().var();
            weight.set(&(weight.as_tensor() * f64::NAN)?)?;
        }
        Ok(())
    }

    fn epoch_end(&mut self, finished: &Epoch) -> Result<(), dash_train::Error> {
        self.position = TrainingPosition::start_of(finished.epoch + 1);
        Ok(())
    }

    fn state(&self) -> &dyn StageState {
        &()
    }
}

fn options(on_divergence: OnDivergence) -> TrainOptions {
    TrainOptions {
        stage: TrainingStage::Retrain,
        epochs: 2,
        sampling: Sampling { batch_size: 4, fraction: 1.0 },
        on_divergence,
    }
}

/// What a training of two epochs of three steps ends with.
struct Trained {
    rate_factor: f64,
    /// Parameters and momentum buffers.
    values: Vec<Vec<f32>>,
}

/// Two epochs of three steps, the second of which is spoilt, at most so many times.
fn spoilt(
    ctx: &StageContext<'_>,
    on_divergence: OnDivergence,
    rates: [f64; 2],
    times: usize,
) -> Result<Trained, dash_train::Error> {
    let (network, params) = ctx.retrain_network(None, 0.1)?;
    let (options, sgd) = (options(on_divergence), Box::new(Sgd::new(&params, 0.9, 5e-4)?));
    let mut trainer = Trainer::new(ctx, options, network.as_ref(), &params, sgd)?;
    let checkpoint = resume(ctx, &options, &mut ())?;
    let position = checkpoint.as_ref().map(|found| found.position()).unwrap_or_default();
    fit(&mut trainer, &mut Spoiling { params: &params, rates, position, times }, checkpoint)?;
    let tensors = [params.state()?, trainer.optimizer().state()?].concat();
    let values = tensors.iter().map(|(_, t)| t.flatten_all().unwrap().to_vec1().unwrap());
    Ok(Trained { rate_factor: trainer.rate_factor(), values: values.collect() })
}

#[test]
fn a_diverged_training_rolls_back_once_to_the_beginning_of_the_epoch_if_it_may() {
    let place = Place::new(pipeline("strict", &[0.05]));
    let silent = place.context(&Silent);
    let diverged = |result: Result<_, dash_train::Error>| {
        matches!(result, Err(dash_train::Error::Diverged { epoch: 1, step: 3, .. }))
    };
    let (stop, back) = (OnDivergence::Stop, OnDivergence::RollBack);
    assert!(diverged(spoilt(&silent, stop, [0.02, 0.02], 1)));
    assert!(diverged(spoilt(&silent, back, [0.02, 0.02], 2)));
    // As if the second epoch had had half the rate from the start.
    let expected = spoilt(&silent, stop, [0.02, 0.01], 0).unwrap().values;
    let found = spoilt(&silent, back, [0.02, 0.02], 1).unwrap();
    assert!(found.rate_factor == 0.5 && found.values == expected);
    let undisturbed = spoilt(&silent, back, [0.02, 0.02], 0).unwrap();
    assert!(undisturbed.rate_factor == 1.0 && undisturbed.values != expected);

    // The same after a stop inside the second epoch, before and after it rolled back.
    for steps in [4, 7] {
        let listener = StopAfter::new(steps);
        let folder = place.folder.path().join(format!(".back{steps}.checkpoint"));
        let checkpoints = Checkpoints::new(folder, "back", None);
        let ctx = StageContext { checkpoints: Some(&checkpoints), ..place.context(&listener) };
        let stopped = spoilt(&ctx, back, [0.02, 0.02], 1);
        assert!(matches!(stopped, Err(dash_train::Error::Stopped)), "{steps}");
        let ctx = StageContext { checkpoints: Some(&checkpoints), ..place.context(&Silent) };
        let left = usize::from(steps == 4);
        let found = spoilt(&ctx, back, [0.02, 0.02], left).unwrap();
        assert!(found.rate_factor == 0.5 && found.values == expected, "{steps}");
    }
}

#[test]
fn a_loss_that_is_undefined_from_the_start_is_not_blamed_on_a_rate_and_not_tried_again() {
    let place = Place::new(pipeline("strict", &[0.05]));
    let ctx = place.context(&Silent);
    let (network, params) = ctx.retrain_network(None, 0.1).unwrap();
    let first = params.iter().next().unwrap().var();
    first.set(&(first.as_tensor() * f64::NAN).unwrap()).unwrap();
    let sgd = Box::new(Sgd::new(&params, 0.9, 5e-4).unwrap());
    let heard = Recorder::default();
    let ctx = place.context(&heard);
    let options = options(OnDivergence::RollBack);
    let mut trainer = Trainer::new(&ctx, options, network.as_ref(), &params, sgd).unwrap();
    let position = TrainingPosition::default();
    let mut hooks = Spoiling { params: &params, rates: [0.05; 2], position, times: 0 };
    let trained = fit(&mut trainer, &mut hooks, None);
    let error = trained.unwrap_err();
    let never = matches!(error, dash_train::Error::Diverged { cause: Cause::BeforeAnyStep, .. });
    assert!(never && !error.hint().unwrap().contains("smaller"), "{error}");
    let warnings = heard.select(|event| matches!(event, Event::Warning { .. }).then_some(()));
    assert!(warnings.is_empty());
}

#[test]
fn kernels_that_the_network_has_no_convolution_for_are_refused() {
    let place = Place::new(pipeline("strict", &[0.01]));
    let layer = |i| LayerChoice {
        name: format!("{i}"),
        candidate: Candidate { kernel_size: 3, dilation: 1 },
        alpha: vec![0.0],
    };
    let architecture = |layers| Architecture {
        format: Architecture::FORMAT,
        kernel_sizes: vec![3],
        dilations: vec![1],
        layers: (0..layers).map(layer).collect(),
    };
    let ctx = place.context(&Silent);
    let expected = (1..).find(|&n| ctx.retrain_network(Some(&architecture(n)), 0.1).is_ok()).unwrap();
    let error = ctx.retrain_network(Some(&architecture(expected + 2)), 0.1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Data);
    let message = format!(
        "architecture.json has {} kernels, but the network has {expected} searchable convolutions",
        expected + 2
    );
    assert_eq!(error.to_string(), message);
}
