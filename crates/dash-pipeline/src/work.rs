//! The real stages: calls into the crates that do the work.

use crate::{
    DeviceChoice,
    contents::{self, Changed},
    error::Failure,
    executor::{Done, StageJob, StageRunner},
    graph::Stage,
    machine,
    outlook::{self, Kernels},
};
use candle_core::{Device, DeviceLocation};
use dash_core::{
    error::{Classify, ErrorKind},
    pipeline::Method,
};
use dash_data::DatasetFolder;
use dash_store::Staging;
use dash_train::{Checkpoints, StageContext, free_memory, read_architecture, read_hyperparameters};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Ingestion, search, tuning and retraining on a device.
pub struct Training {
    /// Where tensors live.
    pub device: Device,
    /// Time between checkpoints inside a stage; if `None`, as often as costs little.
    pub checkpoint_every: Option<Duration>,
    /// Bytes of the CPU's memory that may be used; stages that would need more are refused, as are those that
    /// would need more of a card's than it has free. No limit if `None`.
    pub memory: Option<u64>,
}

impl StageRunner for Training {
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<Done, Failure> {
        let pipeline = job.pipeline;
        if job.stage == Stage::Dataset {
            let card = dash_data::ingest(&pipeline.dataset, pipeline.protocol, out, job.listener)
                .map_err(|e| job.failure(&e))?;
            let rows = card.splits.iter().map(|(s, i)| (s.name(), i.rows)).collect::<Vec<_>>();
            return Ok(Done { summary: json!({ "rows": rows }), predicted_memory: None });
        }
        let Some(seed) = job.seed else { return Err(job.failure(&Misplaced)) };
        // Of the whole program: stages run one after the other.
        candle_core::cuda::set_gemm_reduced_precision_f32(pipeline.tf32);
        let dataset = job.folders.runs.dataset(&pipeline.run_name());
        let data = DatasetFolder::open(&dataset).map_err(|e| job.failure(&e))?;
        if job.inputs.get(contents::DATASET).map(String::as_str) != Some(data.content()) {
            return Err(job.failure(&Changed { path: dataset }));
        }
        data.prepare(job.listener).map_err(|e| job.failure(&e))?;
        let checkpoints = Checkpoints::new(job.checkpoint(), job.fingerprint, self.checkpoint_every);
        let context = StageContext {
            pipeline,
            seed,
            data: &data,
            device: &self.device,
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
        let kernels = found.as_ref().map_or(Kernels::Own, Kernels::Found);
        let available = if self.device.is_cpu() { self.memory } else { free_memory(&self.device) };
        let predicted_memory = outlook::check(&context, job.stage, &kernels, available)
            .map_err(|e| job.failure(&e))?
            .map_err(|e| job.failure(&e))?;
        let mut summary = match job.stage {
            Stage::Search => {
                let found = dash_search::search(&context, out).map_err(|e| job.failure(&e))?;
                let pattern =
                    found.layers.iter().map(|l| json!([l.candidate.kernel_size, l.candidate.dilation]));
                json!({ "pattern": pattern.collect::<Vec<_>>() })
            }
            Stage::Tune(_) => {
                let chosen = dash_tune::tune(&context, found.as_ref(), out).map_err(|e| job.failure(&e))?;
                json!(chosen)
            }
            Stage::Retrain(method) => {
                let chosen = read_input(job, seed, Stage::Tune(method), read_hyperparameters)?;
                let metrics = dash_retrain::retrain(&context, found.as_ref(), &chosen, out)
                    .map_err(|e| job.failure(&e))?;
                json!(metrics)
            }
            Stage::Dataset | Stage::Report => return Err(job.failure(&Misplaced)),
        };
        let total = checkpoints.total();
        if let (Some(facts), 1..) = (summary.as_object_mut(), total.taken) {
            let cost = json!({ "taken": total.taken, "seconds": total.time.as_secs_f64() });
            facts.insert("checkpoints".to_owned(), cost);
        }
        // What was trained on must still be there: it stands for the result.
        data.unchanged().map_err(|e| job.failure(&e))?;
        Ok(Done { summary, predicted_memory })
    }

    fn device(&self) -> String {
        match &self.device {
            Device::Cpu => "cpu".into(),
            other => match other.location() {
                DeviceLocation::Cuda { gpu_id } => DeviceChoice::Cuda(gpu_id).to_string(),
                location => format!("{location:?}").to_lowercase(),
            },
        }
    }

    fn device_name(&self) -> String {
        match &self.device {
            Device::Cpu => machine::cpu_name(),
            other => dash_train::device_name(other).unwrap_or_default(),
        }
    }
}

/// What an earlier stage of the run left for this one, if it is what this one was planned with.
fn read_input<T>(
    job: &StageJob<'_>,
    seed: u64,
    stage: Stage,
    read: impl FnOnce(&Path) -> Result<T, dash_train::Error>,
) -> Result<T, Failure> {
    let Some(file) = contents::file_of(stage) else { return Err(job.failure(&Misplaced)) };
    let path = job.folders.runs.stage(&job.pipeline.run_name(), seed, stage.name()).join(file);
    let value = read(&path).map_err(|e| job.failure(&e))?;
    // Of what was read: looked at afterwards.
    let hash = dash_store::sha256_file(&path).map_err(|e| job.failure(&e))?;
    match job.inputs.get(&contents::name_of(stage, file)) == Some(&hash) {
        true => Ok(value),
        false => Err(job.failure(&Changed { path })),
    }
}

/// A stage that this executor does not run was handed to it.
#[derive(Debug, thiserror::Error)]
#[error("this stage does not belong to a run")]
struct Misplaced;

impl Classify for Misplaced {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// A result file of an earlier stage that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}", path = path.display())]
pub(crate) struct BadInput {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl Classify for BadInput {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Data
    }
    fn hint(&self) -> Option<String> {
        Some(format!("delete {} and run again", self.path.parent().unwrap_or(&self.path).display()))
    }
}
