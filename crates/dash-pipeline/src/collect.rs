//! Finished stages -> what a report is made of.

use crate::{
    error::Failure,
    graph::{Folders, Stage},
    work::BadInput,
};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    error::Classify,
    pipeline::{Method, Pipeline},
    results::{ResultRow, RunDetail, StageSeconds},
};
use dash_store::StageRecord;
use dash_train::Metrics;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The result rows and the details of one finished (run, method).
pub(crate) fn run(
    p: &Pipeline,
    folders: &Folders,
    seed: u64,
    method: Method,
) -> Result<(Vec<ResultRow>, RunDetail), Failure> {
    let run = format!("{}/{seed}", p.name);
    let fail = |e: &dyn Classify| Failure::new(&run, "report", e);
    let dir = |stage: Stage| folders.runs.stage(&p.name, seed, stage.name());
    let (tune, retrain) = (dir(Stage::Tune(method)), dir(Stage::Retrain(method)));
    let search = (method == Method::Dash).then(|| dir(Stage::Search));

    let record = |dir: &Path| {
        StageRecord::read(dir).map_err(|e| fail(&e))?.ok_or_else(|| {
            let path = dir.join(dash_store::RECORD_FILE);
            fail(&BadInput { path, reason: "it is missing".into() })
        })
    };
    let last = record(&retrain)?;
    let stage_seconds = StageSeconds {
        search: search.as_deref().map(record).transpose()?.map(|r| r.seconds),
        tune: Some(record(&tune)?.seconds),
        retrain: Some(last.seconds),
    };
    let metrics: Metrics = read_json(&retrain.join("metrics.json")).map_err(|e| fail(&e))?;
    let architecture: Option<Architecture> = match &search {
        Some(dir) => Some(read_json(&dir.join("architecture.json")).map_err(|e| fail(&e))?),
        None => None,
    };
    let hyperparameters: Hyperparameters =
        read_json(&tune.join("hyperparameters.json")).map_err(|e| fail(&e))?;
    let history = |dir: &Path| dash_train::read_history(&dir.join("history.parquet")).map_err(|e| fail(&e));

    let rows = metrics.values.into_iter().map(|measured| ResultRow {
        pipeline: p.name.clone(),
        task: p.task_name().to_owned(),
        method,
        seed,
        protocol: p.protocol,
        metric: measured.metric,
        value: measured.value,
        lower_is_better: measured.lower_is_better,
        split: measured.split,
        params: metrics.params,
        stage_seconds,
        run: run.clone(),
    });
    let detail = RunDetail {
        pipeline: p.name.clone(),
        task: p.task_name().to_owned(),
        method,
        seed,
        architecture,
        hyperparameters: Some(hyperparameters),
        search_history: search.as_deref().map(history).transpose()?.unwrap_or_default(),
        retrain_history: history(&retrain)?,
        run: run.clone(),
        fingerprint: last.fingerprint,
        device: last.device,
        finished: last.finished,
    };
    Ok((rows.collect(), detail))
}

/// More bytes than any JSON file of a stage has.
const LARGEST: u64 = 256 << 20;

/// A JSON file of an earlier stage.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, BadInput> {
    let bad = |reason: String| BadInput { path: path.to_owned(), reason };
    let bytes = dash_store::read_small(path, LARGEST).map_err(|e| bad(e.reason()))?;
    serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
}
