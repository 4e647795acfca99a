//! Retraining on a small simulated dataset: stops, threads, protocols, divergence.
#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

#[path = "../../dash-train/tests/support/mod.rs"]
mod support;

use candle_core::Device;
use dash_core::{architecture::Hyperparameters, card::Split, event::Silent};
use dash_retrain::{Metrics, ModelManifest, retrain};
use dash_train::{Error, evaluate, read_history};
use support::{CHOSEN, Place, Recorder, files, pipeline, undefined_metric};

#[test]
fn a_retraining_that_stops_again_and_again_ends_with_the_same_files() {
    let place = Place::new(pipeline("strict", &[]));
    let mut whole = place.staging("whole");
    retrain(&place.context(&Silent), None, &CHOSEN, &mut whole).unwrap();
    let expected = files(whole.path());
    for steps in [1, 2, 5] {
        let name = format!("stopped{steps}");
        let mut out = place.staging(&name);
        let stops = place.run_with_stops(&name, steps, |ctx| retrain(ctx, None, &CHOSEN, &mut out).map(drop));
        // Four epochs of three steps.
        assert!(stops >= 12 / steps - 1, "{stops}");
        assert!(files(out.path()) == expected, "files differ after stops every {steps} steps");
    }
}

#[test]
fn the_files_of_a_retraining_do_not_depend_on_the_number_of_threads() {
    let place = Place::new(pipeline("strict", &[]));
    let run = |name: &str, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut out = place.staging(name);
            retrain(&place.context(&Silent), None, &CHOSEN, &mut out).unwrap();
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
            "metrics.json",
            "model.json",
            "model.safetensors",
        ]
    );
    assert!(one == three);
}

#[test]
fn strict_reports_the_best_validated_weights_and_these_are_the_ones_in_the_file() {
    let place = Place::new(pipeline("strict", &[]));
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
fn the_paper_protocol_trains_on_everything_and_reports_the_last_and_the_best_epoch() {
    let place = Place::new(pipeline("paper", &[]));
    let heard = Recorder::default();
    let mut out = place.staging("retrain");
    let metrics = retrain(&place.context(&heard), None, &CHOSEN, &mut out).unwrap();
    assert_eq!(heard.select(support::steps), [4; 16]);
    let scores: Vec<f64> =
        read_history(&out.path().join("history.parquet")).unwrap().iter().map(|e| e.score.unwrap()).collect();
    let names: Vec<&str> = metrics.values.iter().map(|v| v.metric.as_str()).collect();
    assert_eq!(names, ["relative-l2", "relative-l2 (best on test)"]);
    assert_eq!(metrics.values[0].value, scores[3]);
    assert_eq!(metrics.values[1].value, scores.iter().copied().fold(f64::INFINITY, f64::min));
}

#[test]
fn divergence_is_an_error_with_its_epoch_step_and_learning_rate() {
    let place = Place::new(pipeline("strict", &[]));
    let wild = Hyperparameters { learning_rate: 1e30, ..CHOSEN };
    let mut out = place.staging("retrain");
    let error = retrain(&place.context(&Silent), None, &wild, &mut out).unwrap_err();
    let Error::Diverged { epoch: 0, step: 2.., learning_rate, .. } = error else { panic!("{error}") };
    assert_eq!(learning_rate, 1e30);
}

#[test]
fn a_metric_that_the_targets_leave_undefined_is_reported_before_training() {
    let raw = tempfile::tempdir().unwrap();
    let place = Place::new(undefined_metric(raw.path()));
    let error = retrain(&place.context(&Silent), None, &CHOSEN, &mut place.staging("retrain")).unwrap_err();
    assert!(error.to_string().contains("the metric `relative-l2` divides by its norm"), "{error}");
}
