//! Tuning on a small simulated dataset: stops, threads, protocols, divergence.
#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

#[path = "../../dash-train/tests/support/mod.rs"]
mod support;

use dash_core::{
    error::{Classify, ErrorKind},
    event::{Event, Silent},
    pipeline::Pipeline,
};
use dash_train::Cause;
use dash_tune::{Error, Selection, tune};
use support::{Place, Recorder, files, pipeline, undefined_metric};

#[test]
fn a_tuning_that_stops_again_and_again_ends_with_the_same_files() {
    let place = Place::new(pipeline("strict", &[0.05, 0.01]));
    let mut whole = place.staging("whole");
    tune(&place.context(&Silent), None, &mut whole).unwrap();
    let expected = files(whole.path());
    for steps in [1, 2, 5] {
        let name = format!("stopped{steps}");
        let mut out = place.staging(&name);
        let stops = place.run_with_stops(&name, steps, |ctx| match tune(ctx, None, &mut out) {
            Ok(_) => Ok(()),
            Err(Error::Train(error)) => Err(error),
            Err(error) => panic!("{error}"),
        });
        // Two trials of three steps.
        assert!(stops >= 6 / steps - 1, "{stops}");
        assert!(files(out.path()) == expected, "files differ after stops every {steps} steps");
    }
}

#[test]
fn the_files_of_a_tuning_do_not_depend_on_the_number_of_threads() {
    let place = Place::new(pipeline("strict", &[0.05, 0.01]));
    let run = |name: &str, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut out = place.staging(name);
            tune(&place.context(&Silent), None, &mut out).unwrap();
            files(out.path())
        })
    };
    let one = run("a", 1);
    assert!(one.keys().eq(["hyperparameters.json", "trials.parquet"]));
    assert!(one == run("b", 3));
}

#[test]
fn the_paper_protocol_tunes_on_the_training_part_alone() {
    let place = Place::new(pipeline("paper", &[0.01]));
    let heard = Recorder::default();
    tune(&place.context(&heard), None, &mut place.staging("tune")).unwrap();
    assert_eq!(heard.select(support::steps), [3, 3, 3]);
}

#[test]
fn a_diverged_trial_is_recorded_and_the_next_one_selected() {
    let place = Place::new(pipeline("strict", &[1e30, 0.01]));
    let mut out = place.staging("tune");
    let chosen = tune(&place.context(&Silent), None, &mut out).unwrap();
    assert_eq!(chosen.learning_rate, 0.01);
    let selection: Selection = serde_json::from_slice(&files(out.path())["hyperparameters.json"]).unwrap();
    assert_eq!((selection.hyperparameters, selection.trial, selection.trials), (chosen, 1, 2));
    assert!(selection.score.is_finite());
}

/// Why no trial of a tuning has a finite metric, and the hint.
fn refusal(pipeline: Pipeline) -> (dash_train::Error, String) {
    let place = Place::new(pipeline);
    match tune(&place.context(&Silent), None, &mut place.staging("tune")) {
        Err(error @ Error::AllDiverged { .. }) => {
            let hint = error.hint().unwrap();
            let Error::AllDiverged { last, .. } = error else { unreachable!() };
            (*last, hint)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tuning_of_diverged_trials_is_an_error() {
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
fn tuning_reports_the_epochs_of_each_trial_and_the_metric_of_the_last_one() {
    let mut pipeline = pipeline("strict", &[0.05, 0.01]);
    pipeline.tune.epochs = 2;
    let place = Place::new(pipeline);
    let heard = Recorder::default();
    tune(&place.context(&heard), None, &mut place.staging("tune")).unwrap();
    let reported: Vec<(usize, Option<f64>)> = heard.select(|event| match event {
        Event::Epoch { epoch, epochs: 2, score, .. } => Some((*epoch, *score)),
        Event::Trial { trial, trials: 2, score } => Some((10 + trial, *score)),
        _ => None,
    });
    let numbers: Vec<usize> = reported.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 10, 0, 1, 11]);
    for trial in reported.chunks(3) {
        assert!(trial[0].1.is_none() && trial[1].1.is_some() && trial[1].1 == trial[2].1, "{trial:?}");
    }
}

#[test]
fn a_metric_that_the_targets_leave_undefined_is_reported_before_training() {
    let raw = tempfile::tempdir().unwrap();
    let place = Place::new(undefined_metric(raw.path()));
    let error = tune(&place.context(&Silent), None, &mut place.staging("tune")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("the target is 0 everywhere"), "{error}");
}
