//! The stages that make datasets and train: calls into the crates that do the work.

use crate::{
    contents,
    error::{InputError, StageError},
    executor::{StageJob, StageRunner, StageSummary},
    host,
    memory::{self, StageKernels},
};
use dash_core::{pipeline::Method, stage::Stage};
use dash_data::DatasetFolder;
use dash_nn::Backend;
use dash_store::Staging;
use dash_train::{Checkpoints, StageContext, read_architecture, read_hyperparameters};
use serde_json::json;
use std::{path::Path, time::Duration};

/// Runs ingestion, search, tuning and retraining on a device.
pub struct TrainingRunner {
    /// The device that tensors are on.
    pub backend: Backend,
    /// Time between checkpoints inside a stage. If `None`, checkpoints are taken as often as their cost stays small.
    pub checkpoint_every: Option<Duration>,
    /// Host memory in bytes that may be used; no limit if `None`. Stages that would need more are refused, and so are
    /// stages that would need more than the free memory of their GPU.
    pub memory: Option<u64>,
}

impl StageRunner for TrainingRunner {
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<StageSummary, StageError> {
        let pipeline = job.pipeline;
        if job.stage == Stage::Dataset {
            let card = dash_recipes::ingest(&pipeline.dataset, pipeline.protocol, out, job.listener)?;
            let rows = card.splits.iter().map(|(s, i)| (s.name(), i.rows)).collect::<Vec<_>>();
            return Ok(StageSummary { facts: json!({ "rows": rows }), predicted_memory: None });
        }
        let misplaced = || InputError::Misplaced { stage: job.stage };
        let seed = job.run.seed.ok_or_else(misplaced)?;
        // A setting of the whole process, which is sound because stages run one after the other.
        candle_core::cuda::set_gemm_reduced_precision_f32(pipeline.tf32);
        let dataset = job.folders.runs.dataset(&pipeline.run_name());
        let data = DatasetFolder::open(&dataset)?;
        if job.inputs.get(contents::DATASET).map(String::as_str) != Some(data.content()) {
            return Err(InputError::Changed { path: dataset }.into());
        }
        data.prepare(job.listener)?;
        let checkpoints = Checkpoints::new(job.checkpoint(), job.fingerprint, self.checkpoint_every);
        let context = StageContext {
            pipeline,
            seed,
            data: &data,
            backend: &self.backend,
            planner: job.planner,
            listener: job.listener,
            checkpoints: Some(&checkpoints),
        };
        let architecture = |method| match method {
            Method::Dash => read_input(job, seed, Stage::Search, read_architecture).map(Some),
            Method::Backbone => Ok(None),
        };
        let found = match job.stage {
            Stage::Tune(method) | Stage::Retrain(method) => architecture(method)?,
            Stage::Dataset | Stage::Search | Stage::Report => None,
        };
        let kernels = found.as_ref().map_or(StageKernels::Backbone, StageKernels::Found);
        let available = match self.backend.gpu() {
            None => self.memory,
            Some(_) => self.backend.free_memory(),
        };
        let predicted_memory = memory::check(&context, job.stage, &kernels, available)?;
        let mut facts = match job.stage {
            Stage::Search => {
                let found = dash_search::search(&context, out)?;
                let pattern =
                    found.layers.iter().map(|l| json!([l.candidate.kernel_size, l.candidate.dilation]));
                json!({ "pattern": pattern.collect::<Vec<_>>() })
            }
            Stage::Tune(_) => {
                let chosen = dash_tune::tune(&context, found.as_ref(), out)?;
                json!(chosen)
            }
            Stage::Retrain(method) => {
                let chosen = read_input(job, seed, Stage::Tune(method), read_hyperparameters)?;
                let metrics = dash_retrain::retrain(&context, found.as_ref(), &chosen, out)?;
                json!(metrics)
            }
            Stage::Dataset | Stage::Report => return Err(misplaced().into()),
        };
        let total = checkpoints.total();
        if let (Some(facts), 1..) = (facts.as_object_mut(), total.taken) {
            let cost = json!({ "taken": total.taken, "seconds": total.time.as_secs_f64() });
            facts.insert("checkpoints".to_owned(), cost);
        }
        // The record names the dataset that was trained on: it must still be the one on disk.
        data.unchanged()?;
        Ok(StageSummary { facts, predicted_memory })
    }

    fn device(&self) -> String {
        self.backend.name()
    }

    fn device_name(&self) -> String {
        match self.backend.gpu() {
            None => host::cpu_name(),
            Some(_) => self.backend.model_name().unwrap_or_default(),
        }
    }
}

/// Reads a result of an earlier stage of the run, if it is the one that this stage was planned with.
fn read_input<T>(
    job: &StageJob<'_>,
    seed: u64,
    stage: Stage,
    read: impl FnOnce(&Path) -> Result<T, dash_train::Error>,
) -> Result<T, StageError> {
    let file = contents::file_of(stage).ok_or(InputError::Misplaced { stage })?;
    let path = job.folders.runs.stage(&job.pipeline.run_name(), seed, stage.name()).join(file);
    let value = read(&path)?;
    // Hashed after it was read, so that a change in between is noticed.
    let hash = dash_store::sha256_file(&path)?;
    if job.inputs.get(&contents::name_of(stage, file)) == Some(&hash) {
        Ok(value)
    } else {
        Err(InputError::Changed { path }.into())
    }
}
