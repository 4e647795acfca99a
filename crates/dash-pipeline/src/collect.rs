//! Collects the results of finished stages for a report.

use crate::{
    contents::{DATASET, file_of},
    error::{InputError, StageError},
    folders::Folders,
    inputs::read_json,
};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    card::Split,
    pipeline::{Candidate, Method, Metric, Pipeline},
    results::{ResultRow, RunDetail, StageSeconds, Status},
    stage::{RunId, Stage},
};
use dash_retrain::Metrics;
use dash_store::StageRecord;
use serde::Deserialize;
use std::path::Path;

/// The part of `model.json` that identifies the trained network.
#[derive(Deserialize)]
struct TrainedNetwork {
    pattern: Option<Vec<Candidate>>,
    params: usize,
}

/// Collects the result rows and the details of one finished (run, method).
///
/// # Errors
/// If files are missing or cannot be read, or if the architecture is not the one that was trained.
pub(crate) fn collect(
    p: &Pipeline,
    folders: &Folders,
    seed: u64,
    method: Method,
) -> Result<(Vec<ResultRow>, RunDetail), StageError> {
    let name = p.run_name();
    let run = RunId::new(&name, Some(seed));
    let dir = |stage: Stage| folders.runs.stage(&name, seed, stage.name());
    let (tune, retrain) = (dir(Stage::Tune(method)), dir(Stage::Retrain(method)));
    let search = (method == Method::Dash).then(|| dir(Stage::Search));

    let last = record(&retrain)?;
    let stage_seconds = StageSeconds {
        search: search.as_deref().map(record).transpose()?.map(|r| r.seconds),
        tune: Some(record(&tune)?.seconds),
        retrain: Some(last.seconds),
    };
    let metrics: Metrics = read_json(&retrain.join("metrics.json"))?;
    let architecture: Option<Architecture> = match (&search, file_of(Stage::Search)) {
        (Some(dir), Some(file)) => Some(read_json(&dir.join(file))?),
        _ => None,
    };
    let trained: TrainedNetwork = read_json(&retrain.join("model.json"))?;
    let found = architecture.as_ref().map(Architecture::pattern);
    if trained.pattern != found || trained.params != metrics.params {
        return Err(InputError::OtherNetwork { run, stage: Stage::Retrain(method) }.into());
    }
    let hyperparameters: Hyperparameters = read_json(&tune.join("hyperparameters.json"))?;
    let history = |dir: &Path| dash_train::read_history(&dir.join("history.parquet"));

    let rows = metrics.values.into_iter().map(|measured| {
        let metric = Metric::renamed(&measured.metric);
        ResultRow {
            primary: metric == p.task.metric.spec().result_name && measured.split == Split::Test.name(),
            pipeline: name.clone(),
            task: p.task_name().to_owned(),
            method,
            seed,
            protocol: p.protocol,
            metric,
            value: Some(measured.value),
            lower_is_better: measured.lower_is_better,
            split: measured.split,
            status: Status::Done,
            reason: None,
            params: Some(metrics.params),
            stage_seconds,
            run: run.to_string(),
            // Records of format 1 hold the fingerprint of settings there.
            dataset: last.inputs.get(DATASET).filter(|_| last.format > 1).cloned(),
            fingerprint: Some(last.fingerprint.clone()),
            provenance: last.provenance.clone(),
        }
    });
    let rows = rows.collect();
    let detail = RunDetail {
        pipeline: name.clone(),
        task: p.task_name().to_owned(),
        method,
        seed,
        architecture,
        hyperparameters: Some(hyperparameters),
        search_history: search.as_deref().map(history).transpose()?.unwrap_or_default(),
        retrain_history: history(&retrain)?,
        run: run.to_string(),
        fingerprint: last.fingerprint,
        device: last.device,
        finished: last.finished,
    };
    Ok((rows, detail))
}

/// The row of a value that the pipeline asks for but that does not exist.
pub(crate) fn missing(p: &Pipeline, seed: u64, method: Method, status: Status, reason: String) -> ResultRow {
    let name = p.run_name();
    ResultRow {
        task: p.task_name().to_owned(),
        method,
        seed,
        protocol: p.protocol,
        metric: p.task.metric.spec().result_name.to_owned(),
        value: None,
        lower_is_better: p.task.metric.spec().lower_is_better,
        split: Split::Test.name().to_owned(),
        primary: true,
        status,
        reason: Some(reason),
        params: None,
        stage_seconds: StageSeconds::default(),
        run: RunId::new(&name, Some(seed)).to_string(),
        pipeline: name,
        dataset: None,
        fingerprint: None,
        provenance: None,
    }
}

fn record(dir: &Path) -> Result<StageRecord, StageError> {
    match StageRecord::read(dir)? {
        Some(record) => Ok(record),
        None => {
            let path = dir.join(dash_store::RECORD_FILE);
            Err(InputError::Unreadable { path, reason: "it is missing".into() }.into())
        }
    }
}
