//! Tuning and retraining on a small simulated dataset: protocols, divergence, determinism.
#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

use arrow::{
    array::{Array, ArrayRef, FixedSizeListArray, Float32Array},
    datatypes::{DataType, Field},
};
use candle_core::Device;
use dash_conv::Planner;
use dash_core::{
    architecture::{Architecture, Hyperparameters, LayerChoice},
    card::Split,
    error::{Classify, ErrorKind},
    event::{Event, Listener, Silent},
    pipeline::{Candidate, OnDivergence, Pipeline, Protocol},
    results::Epoch,
};
use dash_data::DatasetFolder;
use dash_nn::{Gradients, LearningRates, Params, Sgd};
use dash_retrain::{Metrics, ModelManifest, retrain};
use dash_store::Staging;
use dash_train::{
    Cause, Checkpoints, FitHooks, Sampling, StageContext, StageState, TrainOptions, Trainer,
    TrainingPosition, TrainingStage, evaluate, fit, read_history, resume,
};
use dash_tune::{Selection, tune};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

/// 9 x 9 Darcy fields: 12 for training, 4 for validation, 4 for testing.
fn pipeline(protocol: &str, learning_rates: &[f64]) -> Pipeline {
    let backbone = json!({ "kind": "wrn", "depth": 10, "width": 1 });
    serde_json::from_value(json!({
        "name": "tiny",
        "protocol": protocol,
        "dataset": {
            "recipe": "darcy-flow", "simulate": { "grid": 17 }, "subsample": 2,
            "train": 12, "validation": 4, "test": 4,
        },
        "task": {
            "loss": { "kind": "relative-l2" }, "metric": { "kind": "relative-l2" }, "decode_target": true,
        },
        "tune": {
            "epochs": 1, "fraction": 1.0, "batch_size": 4, "learning_rates": learning_rates,
            "dropouts": [0.1], "weight_decays": [5e-4], "momenta": [0.9],
        },
        "retrain": { "backbone": backbone, "epochs": 4, "batch_size": 4 },
    }))
    .unwrap()
}

const CHOSEN: Hyperparameters =
    Hyperparameters { learning_rate: 0.02, dropout: 0.1, weight_decay: 5e-4, momentum: 0.9 };

/// A dataset, and a folder for stages beside it.
struct Place {
    folder: tempfile::TempDir,
    pipeline: Pipeline,
    data: DatasetFolder,
    planner: Planner,
    backend: dash_nn::Backend,
}

impl Place {
    fn new(pipeline: Pipeline) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dataset");
        let mut staging = Staging::begin(&path).unwrap();
        dash_recipes::ingest(&pipeline.dataset, pipeline.protocol, &mut staging, &Silent).unwrap();
        staging.publish().unwrap();
        let data = DatasetFolder::open(&path).unwrap();
        Place { folder, pipeline, data, planner: Planner::default(), backend: dash_nn::Backend::cpu() }
    }

    fn context<'a>(&'a self, listener: &'a dyn Listener) -> StageContext<'a> {
        StageContext {
            pipeline: &self.pipeline,
            seed: 5,
            data: &self.data,
            backend: &self.backend,
            planner: &self.planner,
            listener,
            checkpoints: None,
        }
    }

    fn staging(&self, name: &str) -> Staging {
        Staging::begin(&self.folder.path().join(name)).unwrap()
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Records the number of steps of each epoch.
#[derive(Default)]
struct Steps(Mutex<Vec<usize>>);

impl Listener for Steps {
    fn on(&self, event: &Event) {
        if let Event::Step { steps, .. } = event {
            self.0.lock().unwrap().push(*steps);
        }
    }
}

/// Asks to stop after so many steps.
struct StopAfter(usize, Mutex<usize>);

impl Listener for StopAfter {
    fn on(&self, event: &Event) {
        if let Event::Step { .. } = event {
            *self.1.lock().unwrap() += 1;
        }
    }

    fn stopping(&self) -> bool {
        *self.1.lock().unwrap() >= self.0
    }
}

#[test]
fn stages_that_stop_again_and_again_end_with_the_same_files() {
    let place = Place::new(pipeline("strict", &[0.05, 0.01]));
    let mut whole = place.staging("whole");
    let ctx = place.context(&Silent);
    let chosen = tune(&ctx, None, &mut whole).unwrap();
    retrain(&ctx, None, &chosen, &mut whole).unwrap();
    let expected = files(whole.path());
    for steps in [1, 2, 5] {
        let mut out = place.staging(&format!("stopped{steps}"));
        let mut stops = 0;
        let (mut chosen, mut done) = (None, false);
        while !done {
            let listener = StopAfter(steps, Mutex::default());
            let stage = if chosen.is_none() { "tune" } else { "retrain" };
            let folder = place.folder.path().join(format!(".{stage}{steps}.checkpoint"));
            let checkpoints = Checkpoints::new(folder, stage, None);
            let ctx = StageContext { checkpoints: Some(&checkpoints), ..place.context(&listener) };
            let stopped = match &chosen {
                None => match tune(&ctx, None, &mut out) {
                    Ok(found) => {
                        chosen = Some(found);
                        false
                    }
                    Err(dash_tune::Error::Train(dash_train::Error::Stopped)) => true,
                    Err(error) => panic!("{error}"),
                },
                Some(chosen) => match retrain(&ctx, None, chosen, &mut out) {
                    Ok(_) => {
                        done = true;
                        false
                    }
                    Err(dash_train::Error::Stopped) => true,
                    Err(error) => panic!("{error}"),
                },
            };
            stops += usize::from(stopped);
        }
        // Two trials of 3 steps, and 4 epochs of 3.
        assert!(stops >= 18 / steps - 2, "{stops}");
        let found = files(out.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(bytes == &found[name], "{name} differs after stops every {steps} steps");
        }
    }
}

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
        let listener = StopAfter(steps, Mutex::default());
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
fn the_files_of_a_run_do_not_depend_on_the_number_of_threads() {
    let place = Place::new(pipeline("strict", &[0.05, 0.01]));
    let run = |name: &str, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut out = place.staging(name);
            let ctx = place.context(&Silent);
            let chosen = tune(&ctx, None, &mut out).unwrap();
            retrain(&ctx, None, &chosen, &mut out).unwrap();
            files(out.path())
        })
    };
    let (one, three) = (run("a", 1), run("b", 3));
    let names: Vec<&str> = one.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "checkpoint/manifest.json",
            "checkpoint/momenta.safetensors",
            "checkpoint/state.safetensors",
            "history.parquet",
            "hyperparameters.json",
            "metrics.json",
            "model.json",
            "model.safetensors",
            "trials.parquet",
        ]
    );
    for (name, bytes) in &one {
        assert!(bytes == &three[name], "{name} differs");
    }
}

#[test]
fn strict_reports_the_best_validated_weights_and_these_are_the_ones_in_the_file() {
    let place = Place::new(pipeline("strict", &[0.01]));
    let ctx = place.context(&Silent);
    let mut out = place.staging("retrain");
    let metrics = retrain(&ctx, None, &CHOSEN, &mut out).unwrap();

    let written = files(out.path());
    let read: Metrics = serde_json::from_slice(&written["metrics.json"]).unwrap();
    assert_eq!(read, metrics);
    let model: ModelManifest = serde_json::from_slice(&written["model.json"]).unwrap();
    let scores: Vec<f64> =
        read_history(&out.path().join("history.parquet")).unwrap().iter().map(|e| e.score.unwrap()).collect();
    let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!((scores.len(), scores[model.epoch]), (4, lowest));

    let (network, params) = ctx.retrain_network(None, CHOSEN.dropout).unwrap();
    let tensors = candle_core::safetensors::load(out.path().join("model.safetensors"), &Device::Cpu).unwrap();
    params.load(&tensors.into_iter().collect::<Vec<_>>()).unwrap();
    let score = |split: Split, batch_size: usize| {
        evaluate(&ctx, network.as_ref(), ctx.split(split).unwrap(), batch_size).unwrap()
    };
    let batch_size = place.pipeline.retrain.batch_size;
    assert_eq!(score(Split::Validation, batch_size), lowest);
    // Other batch sizes may be convolved by other algorithms, which round differently.
    assert!((score(Split::Validation, batch_size - 1) / lowest - 1.0).abs() < 1e-6);
    let value = &metrics.values[0];
    assert_eq!(
        (value.metric.as_str(), value.split.as_str(), metrics.values.len()),
        ("relative-l2", "test", 1)
    );
    assert_eq!(value.value, score(Split::Test, batch_size));
}

#[test]
fn paper_trains_on_everything_but_tunes_on_the_training_part() {
    let place = Place::new(pipeline("paper", &[0.01]));
    assert_eq!(place.pipeline.protocol, Protocol::Paper);
    let steps = Steps::default();
    tune(&place.context(&steps), None, &mut place.staging("tune")).unwrap();
    assert_eq!(steps.0.lock().unwrap().as_slice(), [3, 3, 3]);

    let steps = Steps::default();
    let mut out = place.staging("retrain");
    let metrics = retrain(&place.context(&steps), None, &CHOSEN, &mut out).unwrap();
    assert_eq!(steps.0.lock().unwrap().as_slice(), [4; 16]);
    let scores: Vec<f64> =
        read_history(&out.path().join("history.parquet")).unwrap().iter().map(|e| e.score.unwrap()).collect();
    let names: Vec<&str> = metrics.values.iter().map(|v| v.metric.as_str()).collect();
    assert_eq!(names, ["relative-l2", "relative-l2 (best on test)"]);
    assert_eq!(metrics.values[0].value, scores[3]);
    assert_eq!(metrics.values[1].value, scores.iter().copied().fold(f64::INFINITY, f64::min));
}

#[test]
fn divergence_ends_retraining_with_its_place_but_only_a_trial_of_tuning() {
    let place = Place::new(pipeline("strict", &[1e30, 0.01]));
    let ctx = place.context(&Silent);
    let wild = Hyperparameters { learning_rate: 1e30, ..CHOSEN };
    let error = retrain(&ctx, None, &wild, &mut place.staging("retrain")).unwrap_err();
    let dash_train::Error::Diverged { epoch: 0, step: 2.., learning_rate, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(learning_rate, 1e30);

    let mut out = place.staging("tune");
    let chosen = tune(&ctx, None, &mut out).unwrap();
    assert_eq!(chosen.learning_rate, 0.01);
    let selection: Selection = serde_json::from_slice(&files(out.path())["hyperparameters.json"]).unwrap();
    assert_eq!((selection.hyperparameters, selection.trial, selection.trials), (chosen, 1, 2));
    assert!(selection.score.is_finite());
}

/// Why no trial of a tuning has a score, and what is proposed.
fn refusal(pipeline: Pipeline) -> (dash_train::Error, String) {
    let place = Place::new(pipeline);
    match tune(&place.context(&Silent), None, &mut place.staging("tune")) {
        Err(error @ dash_tune::Error::AllDiverged { .. }) => {
            let hint = error.hint().unwrap();
            let dash_tune::Error::AllDiverged { last, .. } = error else { unreachable!() };
            (*last, hint)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_but_divergence_is_an_error() {
    let (last, hint) = refusal(pipeline("strict", &[1e30, 1e29]));
    assert!(matches!(last, dash_train::Error::Diverged { step: 2.., learning_rate: 1e29, .. }), "{last}");
    assert_eq!(hint, "use smaller values of `tune.learning_rates`");
}

#[test]
fn a_weight_decay_that_cannot_work_is_blamed_instead_of_the_learning_rate() {
    let mut pipeline = pipeline("strict", &[0.01]);
    pipeline.tune.weight_decays = vec![1e30];
    let (last, hint) = refusal(pipeline);
    let decay = Cause::Decay { decay: 1e30, rate: 0.01 };
    assert!(matches!(&last, dash_train::Error::Diverged { cause, .. } if *cause == decay), "{last}");
    assert!(hint.starts_with("use smaller values of `tune.weight_decays`"), "{hint}");
}

#[test]
fn a_loss_that_is_undefined_from_the_start_is_not_blamed_on_a_rate_and_not_tried_again() {
    let place = Place::new(pipeline("strict", &[0.05]));
    let ctx = place.context(&Silent);
    let (network, params) = ctx.retrain_network(None, 0.1).unwrap();
    let first = params.iter().next().unwrap().var();
    first.set(&(first.as_tensor() * f64::NAN).unwrap()).unwrap();
    let sgd = Box::new(Sgd::new(&params, 0.9, 5e-4).unwrap());
    let heard = Heard::default();
    let ctx = place.context(&heard);
    let options = options(OnDivergence::RollBack);
    let mut trainer = Trainer::new(&ctx, options, network.as_ref(), &params, sgd).unwrap();
    let position = TrainingPosition::default();
    let mut hooks = Spoiling { params: &params, rates: [0.05; 2], position, times: 0 };
    let trained = fit(&mut trainer, &mut hooks, None);
    let error = trained.unwrap_err();
    let never = matches!(error, dash_train::Error::Diverged { cause: Cause::BeforeAnyStep, .. });
    assert!(never && !error.hint().unwrap().contains("smaller"), "{error}");
    assert!(!heard.0.lock().unwrap().iter().any(|event| matches!(event, Event::Warning { .. })));
}

/// Records events.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Listener for Heard {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[test]
fn tuning_reports_the_epochs_of_each_trial_and_the_metric_of_the_last_one() {
    let mut pipeline = pipeline("strict", &[0.05, 0.01]);
    pipeline.tune.epochs = 2;
    let place = Place::new(pipeline);
    let heard = Heard::default();
    tune(&place.context(&heard), None, &mut place.staging("tune")).unwrap();
    let heard = heard.0.lock().unwrap();
    let reported: Vec<(usize, Option<f64>)> = heard
        .iter()
        .filter_map(|event| match event {
            Event::Epoch { epoch, epochs: 2, score, .. } => Some((*epoch, *score)),
            Event::Trial { trial, trials: 2, score } => Some((10 + trial, *score)),
            _ => None,
        })
        .collect();
    let numbers: Vec<usize> = reported.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 10, 0, 1, 11]);
    for trial in reported.chunks(3) {
        assert!(trial[0].1.is_none() && trial[1].1.is_some() && trial[1].1 == trial[2].1, "{trial:?}");
    }
}

#[test]
fn a_metric_that_the_targets_leave_undefined_is_told_before_training() {
    let raw = tempfile::tempdir().unwrap();
    let mut table = Staging::begin(&raw.path().join("raw")).unwrap();
    let lists = |value: fn(usize) -> f32| -> ArrayRef {
        let values = Float32Array::from_iter_values((0..40 * 8).map(value));
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        Arc::new(FixedSizeListArray::new(item, 8, Arc::new(values), None))
    };
    let columns = [("x", lists(|i| i as f32)), ("y", lists(|_| 0.0))];
    let columns = columns.map(|(name, array)| (Field::new(name, array.data_type().clone(), false), array));
    dash_train::write_table(&mut table, "a.parquet", columns.into()).unwrap();
    table.publish().unwrap();
    let pipeline: Pipeline = serde_json::from_value(json!({
        "name": "zero",
        "dataset": {
            "recipe": "parquet", "raw": raw.path().join("raw"), "file": "a.parquet",
            "input": "x", "target": "y", "target_kind": "field",
        },
        "task": { "loss": { "kind": "mean-squared-error" }, "metric": { "kind": "relative-l2" } },
    }))
    .unwrap();
    let place = Place::new(pipeline);
    let ctx = place.context(&Silent);
    let error = tune(&ctx, None, &mut place.staging("tune")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("the target is 0 everywhere"), "{error}");
    let error = retrain(&ctx, None, &CHOSEN, &mut place.staging("retrain")).unwrap_err();
    assert!(error.to_string().contains("the metric `relative-l2` divides by its norm"), "{error}");
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
