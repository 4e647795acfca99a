//! A small simulated dataset and the listeners that the tests of the training stages share.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by tests of which each uses a part; a failure to set up is a failure of the test"
)]

use arrow::{
    array::{Array, ArrayRef, FixedSizeListArray, Float32Array},
    datatypes::{DataType, Field},
};
use dash_conv::Planner;
use dash_core::{
    architecture::Hyperparameters,
    event::{Event, Listener, Silent},
    pipeline::Pipeline,
};
use dash_data::DatasetFolder;
use dash_nn::Backend;
use dash_store::Staging;
use dash_train::{Checkpoints, Error, StageContext};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

/// 9 x 9 Darcy fields: 12 for training, 4 for validation, 4 for testing.
pub fn pipeline(protocol: &str, learning_rates: &[f64]) -> Pipeline {
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

pub const CHOSEN: Hyperparameters =
    Hyperparameters { learning_rate: 0.02, dropout: 0.1, weight_decay: 5e-4, momentum: 0.9 };

/// A dataset, and a folder for stages beside it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub pipeline: Pipeline,
    pub data: DatasetFolder,
    planner: Planner,
    backend: Backend,
}

impl Place {
    pub fn new(pipeline: Pipeline) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dataset");
        let mut staging = Staging::begin(&path).unwrap();
        dash_recipes::ingest(&pipeline.dataset, pipeline.protocol, &mut staging, &Silent).unwrap();
        staging.publish().unwrap();
        let data = DatasetFolder::open(&path).unwrap();
        Place { folder, pipeline, data, planner: Planner::default(), backend: Backend::cpu() }
    }

    pub fn context<'a>(&'a self, listener: &'a dyn Listener) -> StageContext<'a> {
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

    pub fn staging(&self, name: &str) -> Staging {
        Staging::begin(&self.folder.path().join(name)).unwrap()
    }

    /// Runs a stage that is stopped every `steps` steps until it finishes. Returns the number of stops.
    pub fn run_with_stops(
        &self,
        name: &str,
        steps: usize,
        mut stage: impl FnMut(&StageContext<'_>) -> Result<(), Error>,
    ) -> usize {
        let checkpoints =
            Checkpoints::new(self.folder.path().join(format!(".{name}.checkpoint")), name, None);
        for stops in 0.. {
            let listener = StopAfter::new(steps);
            let ctx = StageContext { checkpoints: Some(&checkpoints), ..self.context(&listener) };
            match stage(&ctx) {
                Ok(()) => return stops,
                Err(Error::Stopped) => {}
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("the loop has no end")
    }
}

/// The files of a folder by their paths.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
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

/// Asks to stop after so many steps.
pub struct StopAfter(usize, Mutex<usize>);

impl StopAfter {
    pub fn new(steps: usize) -> StopAfter {
        StopAfter(steps, Mutex::default())
    }
}

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

/// Records events.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// What `select` takes from the events so far.
    pub fn select<T>(&self, select: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
        self.0.lock().unwrap().iter().filter_map(select).collect()
    }
}

impl Listener for Recorder {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// The number of steps of the epoch, of each step.
pub fn steps(event: &Event) -> Option<usize> {
    if let Event::Step { steps, .. } = event { Some(*steps) } else { None }
}

/// A pipeline whose targets are 0 everywhere, which leaves its metric undefined; writes its raw data into `raw`.
pub fn undefined_metric(raw: &Path) -> Pipeline {
    let mut table = Staging::begin(&raw.join("raw")).unwrap();
    let lists = |value: fn(usize) -> f32| -> ArrayRef {
        let values = Float32Array::from_iter_values((0..40 * 8).map(value));
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        Arc::new(FixedSizeListArray::new(item, 8, Arc::new(values), None))
    };
    let columns = [("x", lists(|i| i as f32)), ("y", lists(|_| 0.0))];
    let columns = columns.map(|(name, array)| (Field::new(name, array.data_type().clone(), false), array));
    dash_train::write_table(&mut table, "a.parquet", columns.into()).unwrap();
    table.publish().unwrap();
    serde_json::from_value(json!({
        "name": "zero",
        "dataset": {
            "recipe": "parquet", "raw": raw.join("raw"), "file": "a.parquet",
            "input": "x", "target": "y", "target_kind": "field",
        },
        "task": { "loss": { "kind": "mean-squared-error" }, "metric": { "kind": "relative-l2" } },
    }))
    .unwrap()
}
