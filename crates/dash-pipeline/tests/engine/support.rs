//! An engine whose stages only leave files.

use dash_core::{
    architecture::{Architecture, Hyperparameters, LayerChoice},
    error::{Classify, ErrorKind},
    event::{Event, Listener},
    pipeline::{Candidate, Method, Pipeline},
    results::Epoch,
};
use dash_pipeline::{
    Engine, Error, Folders, LocalExecutor, RunOutcome, RunSet, Stage, StageError, StageJob, StageRunner,
    StageSummary,
};
use dash_retrain::{MetricValue, Metrics};
use dash_store::Staging;
use dash_train::write_history;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

#[derive(Debug, thiserror::Error)]
#[error("it broke")]
struct Broken(ErrorKind);

impl Classify for Broken {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// Fails in the stages named `run stage`, with a kind. Its search finds a kernel of the size `found`, and its dataset has
/// as many rows.
struct FakeRunner {
    fails: Vec<(String, ErrorKind)>,
    found: usize,
}

/// A dataset card with this number of training rows.
fn card(rows: usize) -> Value {
    let split = |rows: usize| json!({ "rows": rows, "sha256": format!("{rows:064x}") });
    json!({
        "format": 1, "recipe": "fake", "sources": [], "licence": "none",
        "input": { "column": "x", "shape": [1, 4], "element": "f32" },
        "target": { "kind": "field", "column": "y", "shape": [1, 4], "element": "f32" },
        "splits": { "train": split(rows), "validation": split(1), "test": split(1) },
    })
}

impl StageRunner for FakeRunner {
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<StageSummary, StageError> {
        out.write("half", b"written")?;
        let name = format!("{} {}", job.run, job.stage.name());
        if let Some((_, kind)) = self.fails.iter().find(|(fails, _)| *fails == name) {
            return Err(Broken(*kind).into());
        }
        let epoch = Epoch { epoch: 0, learning_rate: 0.1, train_loss: 1.0, score: None };
        let mut json = |file: &str, value: Value| out.write(file, value.to_string().as_bytes()).unwrap();
        match job.stage {
            Stage::Dataset => json("dataset.json", card(self.found)),
            Stage::Search => json(
                "architecture.json",
                json!(Architecture {
                    format: 1,
                    kernel_sizes: vec![3, 5, 7, 9],
                    dilations: vec![1],
                    layers: vec![LayerChoice {
                        name: "stem".into(),
                        candidate: Candidate { kernel_size: self.found, dilation: 1 },
                        alpha: vec![0.0; 4]
                    }],
                }),
            ),
            Stage::Tune(_) => json(
                "hyperparameters.json",
                json!(Hyperparameters { learning_rate: 0.1, dropout: 0.0, weight_decay: 0.0, momentum: 0.9 }),
            ),
            Stage::Retrain(method) => {
                // As the search left it.
                let search =
                    job.folders.runs.run(&job.pipeline.run_name(), job.run.seed.unwrap()).join("search");
                let pattern = (method == Method::Dash).then(|| {
                    let text = std::fs::read(search.join("architecture.json")).unwrap();
                    serde_json::from_slice::<Architecture>(&text).unwrap().pattern()
                });
                json("model.json", json!({ "pattern": pattern, "params": 7 }));
                json(
                    "metrics.json",
                    json!(Metrics {
                        params: 7,
                        epochs: 1,
                        values: vec![MetricValue {
                            metric: "relative-l2".into(),
                            value: if method == Method::Dash { 0.1 } else { 0.2 },
                            lower_is_better: true,
                            split: "test".into(),
                        }],
                    }),
                );
            }
            _ => {}
        }
        if matches!(job.stage, Stage::Search | Stage::Retrain(_)) {
            write_history(out, &[epoch], &[]).unwrap();
        }
        Ok(StageSummary::default())
    }

    fn device(&self) -> String {
        "none".into()
    }

    fn device_name(&self) -> String {
        "no device".into()
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Listener for Recorder {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

pub(crate) struct Bench {
    _dir: tempfile::TempDir,
    pub(crate) folders: Folders,
}

pub(crate) fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let folders = Folders::new(dir.path().join("runs"), dir.path().join("reports"));
    Bench { _dir: dir, folders }
}

/// Settings of a pipeline with one method and one seed.
pub(crate) const ONE: [&str; 2] = ["methods=[\"dash\"]", "seeds=[0]"];

pub(crate) fn pipeline(name: &str, sets: &[&str]) -> Pipeline {
    let text = format!(
        r#"name = "{name}"
        seeds = [0, 1]
        methods = ["dash", "backbone"]
        dataset = {{ recipe = "darcy-flow", simulate = {{ grid = 21 }}, subsample = 2 }}
        task = {{ loss = {{ kind = "relative-l2" }}, metric = {{ kind = "relative-l2" }} }}"#
    );
    let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
    dash_core::load::pipeline("f.toml", &text, None, &sets).unwrap()
}

impl Bench {
    /// An engine without stages of its own.
    pub(crate) fn engine(&self) -> Engine {
        Engine::new(self.folders.clone())
    }

    /// Runs pipelines and returns the outcome with the names of the stages that were started.
    pub(crate) fn run(
        &self,
        pipelines: Vec<Pipeline>,
        fails: &[(&str, ErrorKind)],
    ) -> (Result<RunOutcome, Error>, Vec<String>) {
        self.run_finding(3, pipelines, fails)
    }

    /// The same where stages leave other results.
    pub(crate) fn run_finding(
        &self,
        found: usize,
        pipelines: Vec<Pipeline>,
        fails: &[(&str, ErrorKind)],
    ) -> (Result<RunOutcome, Error>, Vec<String>) {
        let fails = fails.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let recorder = Arc::new(Recorder::default());
        let engine = self
            .engine()
            .with_executor(LocalExecutor { runner: FakeRunner { fails, found } })
            .with_listener(recorder.clone());
        let outcome = engine.run(&RunSet { pipelines, report: None });
        let events = recorder.0.lock().unwrap();
        let started = events.iter().filter_map(|event| match event {
            Event::StageStarted { run, stage, .. } => Some(format!("{run} {stage}")),
            _ => None,
        });
        (outcome, started.collect())
    }
}
