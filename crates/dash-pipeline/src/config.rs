//! The settings that a stage depends on, and the differences between two sets of settings.

use crate::error::Error;
use dash_conv::Policy;
use dash_core::{pipeline::Pipeline, stage::Stage};
use dash_store::StageRecord;
use serde::Serialize;
use serde_json::{Value, json};

/// Exactly the part of the configuration that the results of a stage depend on.
pub(crate) fn of_stage(
    p: &Pipeline,
    stage: Stage,
    seed: Option<u64>,
    policy: Policy,
) -> Result<Value, Error> {
    let mut config = settings(p, stage, seed)?;
    // That plans are measured is a setting. Algorithms round differently and training amplifies the last bits, so
    // that the results are not those that the cost model, and with it the seed alone, determines: a run without
    // --plan measure must not reuse them. The cost model is not a setting: it is part of the code, whose changes
    // `code_format` counts, so that stages of earlier versions keep their fingerprints. The algorithms that were
    // measured to be fastest are not settings either: the same command must find its stages finished.
    let trains = stage.is_training();
    if let (Policy::Measure, true, Some(config)) = (policy, trains, config.as_object_mut()) {
        config.insert("plan".to_owned(), policy.to_string().into());
    }
    if let (true, true, Some(config)) = (p.tf32, trains, config.as_object_mut()) {
        config.insert("tf32".to_owned(), true.into());
    }
    Ok(config)
}

fn settings(p: &Pipeline, stage: Stage, seed: Option<u64>) -> Result<Value, Error> {
    Ok(match stage {
        Stage::Dataset => {
            without_places(json!({ "dataset": json(&p.dataset)?, "protocol": json(&p.protocol)? }))
        }
        Stage::Search => json!({
            "seed": seed,
            "task": searched(p)?,
            "search": stored_names(json(&p.search)?),
        }),
        Stage::Tune(_) => json!({
            "seed": seed,
            "task": learned(p)?,
            "tune": json(&p.tune)?,
            "retrain": { "backbone": json(&p.retrain.backbone)?, "schedule": json(&p.retrain.schedule)? },
        }),
        Stage::Retrain(_) => {
            let mut task = learned(p)?;
            if let (Some(size), Some(task)) = (p.task.batch_average, task.as_object_mut()) {
                task.insert("batch_average".to_owned(), size.into());
            }
            json!({ "seed": seed, "task": task, "retrain": json(&p.retrain)? })
        }
        // The report shows the whole configuration, but is not repeated because raw files have moved.
        Stage::Report => {
            let mut settings = without_places(json(p)?);
            if let Some(search) = settings.get_mut("search") {
                *search = stored_names(search.take());
            }
            settings
        }
    })
}

/// The key of the receptive-field penalty in pipeline files, and in the settings of stages.
const PENALTY: (&str, &str) = ("receptive_field_penalty", "pull");

/// The settings of a search with the names under which results of all versions store them: a renamed key of pipeline
/// files does not make a result stale.
fn stored_names(mut search: Value) -> Value {
    let (name, stored) = PENALTY;
    if let Some(settings) = search.as_object_mut()
        && let Some(penalty) = settings.remove(name)
    {
        settings.insert(stored.to_owned(), penalty);
    }
    search
}

/// Removes paths of raw files and notes of people: files count by their content.
fn without_places(mut config: Value) -> Value {
    if let Some(dataset) = config.get_mut("dataset") {
        dash_data::reduce_settings(dataset);
    }
    config
}

/// The settings of an earlier result in the form of [`of_stage`].
pub(crate) fn comparable(record: &StageRecord) -> Value {
    without_places(record.config.clone())
}

/// The part of the task that a search depends on. A search does not evaluate the metric.
fn searched(p: &Pipeline) -> Result<Value, Error> {
    let mut task =
        augmented(p, json!({ "loss": json(&p.task.loss)?, "decode_target": p.task.decode_target }))?;
    if let (Some(w), Some(task)) = (&p.task.window, task.as_object_mut()) {
        let window = json!({
            "training": w.training,
            "padding": w.padding,
            "target_padding": w.target_padding,
            "target_limit": w.target_limit,
        });
        task.insert("window".to_owned(), window);
    }
    Ok(task)
}

/// The part of the task that tuning and retraining depend on: all but its name, which only the report shows.
fn learned(p: &Pipeline) -> Result<Value, Error> {
    let task = json!({
        "loss": json(&p.task.loss)?,
        "metric": json(&p.task.metric)?,
        "decode_target": p.task.decode_target,
    });
    let mut task = augmented(p, task)?;
    if let (Some(window), Some(task)) = (&p.task.window, task.as_object_mut()) {
        task.insert("window".to_owned(), json(window)?);
    }
    Ok(task)
}

/// Adds the augmentation of training inputs, if there is any. Stages of tasks without it keep the fingerprints that they
/// had before augmentation existed.
fn augmented(p: &Pipeline, mut task: Value) -> Result<Value, Error> {
    if let (false, Some(task)) = (p.task.augment.is_empty(), task.as_object_mut()) {
        task.insert("augment".to_owned(), json(&p.task.augment)?);
    }
    Ok(task)
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|source| Error::Json { what: "the configuration", source })
}

/// The settings that differ, each in the form `search.epochs changed 100 -> 50`.
pub(crate) fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(old, new, "", &mut found);
    found
}

fn compare(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> =
                a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).collect();
            keys.sort();
            for key in keys {
                let name = if path == "search" && key == PENALTY.1 { PENALTY.0 } else { key };
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                compare(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), &path, found);
            }
        }
        _ if old == new => {}
        (Value::Null, _) => found.push(format!("{path} set to {new}")),
        (_, Value::Null) => found.push(format!("{path} removed, was {old}")),
        _ => found.push(format!("{path} changed {old} -> {new}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::pipeline::Method;

    #[test]
    fn measured_plans_are_settings_of_the_stages_that_train_and_the_cost_model_is_not() {
        let text = r#"
            name = "p"
            dataset = { recipe = "darcy-flow", simulate = { grid = 21 } }
            task = { loss = { kind = "relative-l2" }, metric = { kind = "relative-l2" } }"#;
        let p = dash_core::load::pipeline("p.toml", text, None, &[]).unwrap();
        let (tune, retrain) = (Stage::Tune(Method::Dash), Stage::Retrain(Method::Backbone));
        for (stage, trains) in [
            (Stage::Dataset, false),
            (Stage::Search, true),
            (tune, true),
            (retrain, true),
            (Stage::Report, false),
        ] {
            let of = |policy| of_stage(&p, stage, Some(0), policy).unwrap();
            let found = differences(&of(Policy::Model), &of(Policy::Measure));
            assert_eq!(found, if trains { vec!["plan set to \"measure\""] } else { vec![] }, "{stage:?}");
        }
    }

    #[test]
    fn tf32_is_a_setting_of_the_stages_that_train() {
        let text = r#"
            name = "p"
            dataset = { recipe = "cifar100", raw = "x" }
            task = { loss = { kind = "cross-entropy" }, metric = { kind = "zero-one-error" } }"#;
        let load = |sets: &[String]| dash_core::load::pipeline("p.toml", text, None, sets).unwrap();
        let of =
            |set: &str, stage| of_stage(&load(&[set.to_owned()]), stage, Some(0), Policy::Model).unwrap();
        for (stage, trains) in
            [(Stage::Dataset, false), (Stage::Search, true), (Stage::Tune(Method::Dash), true)]
        {
            let found = differences(&of("tf32=false", stage), &of("tf32=true", stage));
            assert_eq!(found, if trains { vec!["tf32 set to true"] } else { vec![] }, "{stage:?}");
        }
    }

    #[test]
    fn augmentation_is_a_setting_of_the_stages_that_train() {
        let text = r#"
            name = "p"
            dataset = { recipe = "cifar100", raw = "x" }
            task = { loss = { kind = "cross-entropy" }, metric = { kind = "zero-one-error" } }"#;
        let load = |sets: &[String]| dash_core::load::pipeline("p.toml", text, None, sets).unwrap();
        let (plain, changed) = (load(&[]), load(&["task.augment=[{ kind = \"flip\" }]".to_owned()]));
        for (stage, trains) in [
            (Stage::Dataset, false),
            (Stage::Search, true),
            (Stage::Tune(Method::Dash), true),
            (Stage::Retrain(Method::Backbone), true),
        ] {
            let of = |p| of_stage(p, stage, Some(0), Policy::Model).unwrap();
            let expected = r#"task.augment set to [{"kind":"flip"}]"#;
            let expected = if trains { vec![expected.to_owned()] } else { vec![] };
            assert_eq!(differences(&of(&plain), &of(&changed)), expected, "{stage:?}");
        }
    }

    #[test]
    fn the_search_does_not_depend_on_evaluation_windows() {
        let text = r#"
            name = "p"
            dataset = { recipe = "psicov", raw = "x" }
            task = { loss = { kind = "mean-squared-error" }, metric = { kind = "mae8" }, window = { training = 64 } }"#;
        let load = |sets: &[String]| dash_core::load::pipeline("p.toml", text, None, sets).unwrap();
        let plain = load(&[]);
        let changes = |set: &str, stage| {
            let of = |p| of_stage(p, stage, Some(0), Policy::Model).unwrap();
            differences(&of(&plain), &of(&load(&[set.to_owned()]))).len()
        };
        for (set, searched) in [("task.window.evaluation=64", 0), ("task.window.padding=4", 1)] {
            assert_eq!(changes(set, Stage::Dataset), 0);
            assert_eq!(changes(set, Stage::Search), searched, "{set}");
            assert_eq!(changes(set, Stage::Tune(Method::Dash)), 1);
            assert_eq!(changes(set, Stage::Retrain(Method::Dash)), 1);
        }
    }

    #[test]
    fn settings_are_stored_under_the_old_name_of_the_penalty() {
        let text = r#"
            name = "p"
            dataset = { recipe = "cifar100", raw = "x" }
            task = { loss = { kind = "cross-entropy" }, metric = { kind = "zero-one-error" } }"#;
        let of = |key: &str, stage| {
            let set = format!("search.{key}.weight=0.5");
            let kind = format!("search.{key}.kind=extent");
            let p = dash_core::load::pipeline("p.toml", text, None, &[kind, set]).unwrap();
            of_stage(&p, stage, Some(0), Policy::Model).unwrap()
        };
        for stage in [Stage::Search, Stage::Report] {
            let settings = of("pull", stage);
            assert_eq!(settings, of("receptive_field_penalty", stage));
            assert_eq!(settings["search"]["pull"], json!({"kind": "extent", "weight": 0.5}));
            assert!(settings["search"].get("receptive_field_penalty").is_none());
        }
    }

    #[test]
    fn differences_name_the_key_and_both_values() {
        let old = json!({"search": {"epochs": 100, "pull": {"kind": "extent"}}, "seed": 0, "gone": 1});
        let new = json!({"search": {"epochs": 50, "pull": {"kind": "kernel-size"}}, "seed": 0, "here": [2]});
        assert_eq!(
            differences(&old, &new),
            [
                "gone removed, was 1",
                "here set to [2]",
                "search.epochs changed 100 -> 50",
                "search.receptive_field_penalty.kind changed \"extent\" -> \"kernel-size\"",
            ]
        );
        assert!(differences(&new, &new).is_empty());
    }
}
