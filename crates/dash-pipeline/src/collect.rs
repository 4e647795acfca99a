//! Finished stages -> what a report is made of.

use crate::{
    contents::{DATASET, file_of},
    error::Failure,
    graph::{Folders, Stage},
    work::BadInput,
};
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    card::Split,
    error::Classify,
    pipeline::{Candidate, Method, Metric, Pipeline},
    results::{ResultRow, RunDetail, StageSeconds, Status},
    stage::RunId,
};
use dash_retrain::Metrics;
use dash_store::StageRecord;
use serde::{Deserialize, de::DeserializeOwned};
use std::path::Path;

/// What `model.json` says of the network that was trained.
#[derive(Deserialize)]
struct Trained {
    pattern: Option<Vec<Candidate>>,
    params: usize,
}

/// The result rows and the details of one finished (run, method).
///
/// # Errors
/// If files are missing or cannot be read, or if the architecture is not the one that was trained.
pub(crate) fn run(
    p: &Pipeline,
    folders: &Folders,
    seed: u64,
    method: Method,
) -> Result<(Vec<ResultRow>, RunDetail), Failure> {
    let name = p.run_name();
    let id = RunId::new(&name, Some(seed));
    let run = id.to_string();
    let fail = |e: &dyn Classify| Failure::new(&id, Stage::Report, e);
    let dir = |stage: Stage| folders.runs.stage(&name, seed, stage.name());
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
    let architecture: Option<Architecture> = match (&search, file_of(Stage::Search)) {
        (Some(dir), Some(file)) => Some(read_json(&dir.join(file)).map_err(|e| fail(&e))?),
        _ => None,
    };
    let trained: Trained = read_json(&retrain.join("model.json")).map_err(|e| fail(&e))?;
    let found = architecture.as_ref().map(Architecture::pattern);
    if trained.pattern != found || trained.params != metrics.params {
        return Err(fail(&NotTrained { run: run.clone(), stage: Stage::Retrain(method).name() }));
    }
    let hyperparameters: Hyperparameters =
        read_json(&tune.join("hyperparameters.json")).map_err(|e| fail(&e))?;
    let history = |dir: &Path| dash_train::read_history(&dir.join("history.parquet")).map_err(|e| fail(&e));

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
            run: run.clone(),
            // Format 1 has fingerprints of settings there.
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
        run: run.clone(),
        fingerprint: last.fingerprint,
        device: last.device,
        finished: last.finished,
    };
    Ok((rows, detail))
}

/// The row of a value that the pipeline asks for and that does not exist.
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
        run: format!("{name}/{seed}"),
        pipeline: name,
        dataset: None,
        fingerprint: None,
        provenance: None,
    }
}

/// A score would stand beside an architecture that it does not belong to.
#[derive(Debug, thiserror::Error)]
#[error("the network that {stage} trained is not the one that the search found")]
struct NotTrained {
    run: String,
    stage: &'static str,
}

impl Classify for NotTrained {
    fn kind(&self) -> dash_core::error::ErrorKind {
        dash_core::error::ErrorKind::Data
    }
    fn hint(&self) -> Option<String> {
        Some(format!("run the pipeline again: the stage {} of {} will be made anew", self.stage, self.run))
    }
}

/// A JSON file of an earlier stage.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, BadInput> {
    let bad = |reason: String| BadInput { path: path.to_owned(), reason };
    let bytes = dash_store::read_small(path, dash_store::STATE_LIMIT).map_err(|e| bad(e.reason()))?;
    serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
}
