//! Searches whose settings cannot work say which.
#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

use dash_conv::Planner;
use dash_core::{
    error::Classify,
    event::Silent,
    pipeline::{OnDivergence, Pipeline, ReceptiveFieldPenalty},
};
use dash_data::DatasetFolder;
use dash_store::Staging;
use dash_train::StageContext;
use serde_json::json;

/// What a search of 9 x 9 Darcy fields with changed settings fails with, and what it proposes.
fn refusal(change: impl Fn(&mut Pipeline)) -> (String, String) {
    let mut pipeline: Pipeline = serde_json::from_value(json!({
        "name": "tiny",
        "dataset": {
            "recipe": "darcy-flow", "simulate": { "grid": 9, "tolerance": 1e-6 }, "subsample": 1,
            "train": 8, "validation": 2, "test": 2,
        },
        "task": { "loss": { "kind": "relative-l2" }, "metric": { "kind": "relative-l2" } },
        "search": {
            "backbone": { "kind": "wrn", "depth": 10, "width": 1 }, "kernel_sizes": [3, 5], "dilations": [1],
            "epochs": 2, "fraction": 1.0, "batch_size": 2,
        },
    }))
    .unwrap();
    pipeline.search.on_divergence = OnDivergence::Stop;
    change(&mut pipeline);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("dataset");
    let mut staging = Staging::begin(&path).unwrap();
    dash_recipes::ingest(&pipeline.dataset, pipeline.protocol, &mut staging, &Silent).unwrap();
    staging.publish().unwrap();
    let data = DatasetFolder::open(&path).unwrap();
    let ctx = StageContext {
        pipeline: &pipeline,
        seed: 0,
        data: &data,
        backend: &dash_nn::Backend::cpu(),
        planner: &Planner::default(),
        listener: &Silent,
        checkpoints: None,
    };
    let mut out = Staging::begin(&place.path().join("search")).unwrap();
    let error = dash_search::search(&ctx, &mut out).unwrap_err();
    (error.to_string(), error.hint().unwrap())
}

#[test]
fn the_settings_that_broke_a_search_are_named() {
    let (rate, pull, scale) =
        ("search.learning_rate", "search.receptive_field_penalty.weight", "search.grad_scale");
    let (message, hint) =
        refusal(|p| p.search.receptive_field_penalty = ReceptiveFieldPenalty::Extent { weight: 1e39 });
    assert!(message.contains("the architecture parameters"), "{message}");
    assert!(hint.contains(pull) && hint.contains(scale) && !hint.contains(rate), "{hint}");
    let (message, hint) = refusal(|p| p.search.grad_scale = 1e-300);
    assert!(message.contains("the architecture parameters"), "{message}");
    assert!(hint.contains(pull) && hint.contains(scale) && !hint.contains(rate), "{hint}");
    let (message, hint) = refusal(|p| p.search.weight_decay = 1e30);
    assert!(message.contains("the weight decay 1e30"), "{message}");
    assert!(hint.contains("search.weight_decay") && !hint.contains(pull), "{hint}");
    let (_, hint) = refusal(|p| p.search.learning_rate = 1e30);
    assert!(hint.contains(rate), "{hint}");
}
