//! The real stages: calls into the crates that do the work.

use crate::{
    DeviceChoice,
    error::Failure,
    executor::{Job, Work},
    graph::Stage,
    outlook::{self, Kernels},
};
use candle_core::{Device, DeviceLocation};
use dash_core::{
    error::{Classify, ErrorKind},
    pipeline::Method,
};
use dash_data::DatasetFolder;
use dash_store::Staging;
use dash_train::{Checkpoints, StageContext, free_memory};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

/// Ingestion, search, tuning and retraining on a device.
pub struct Training {
    /// Where tensors live.
    pub device: Device,
    /// Time between checkpoints inside a stage; if `None`, as often as costs little.
    pub checkpoint_every: Option<Duration>,
    /// Bytes of the processor's memory that may be used; stages that would need more are refused, as are those that
    /// would need more of a card's than it has free. No limit if `None`.
    pub memory: Option<u64>,
}

impl Work for Training {
    fn perform(&self, job: &Job<'_>, out: &mut Staging) -> Result<Value, Failure> {
        let pipeline = job.pipeline;
        if job.stage == Stage::Dataset {
            let card = dash_data::ingest(&pipeline.dataset, pipeline.protocol, out, job.listener)
                .map_err(|e| job.failure(&e))?;
            return Ok(
                json!({ "rows": card.splits.iter().map(|(s, i)| (s.name(), i.rows)).collect::<Vec<_>>() }),
            );
        }
        let (Some(seed), runs) = (job.seed, &job.folders.runs) else {
            return Err(job.failure(&Misplaced));
        };
        // Of the whole program: stages run one after the other.
        candle_core::cuda::set_gemm_reduced_precision_f32(pipeline.tf32);
        let data = DatasetFolder::open(&runs.dataset(&pipeline.name)).map_err(|e| job.failure(&e))?;
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
        let input = |stage: Stage, file: &str| runs.stage(&pipeline.name, seed, stage.name()).join(file);
        let architecture = |method| match method {
            Method::Dash => dash_train::read_architecture(&input(Stage::Search, "architecture.json"))
                .map(Some)
                .map_err(|e| job.failure(&e)),
            Method::Backbone => Ok(None),
        };
        let available = if self.device.is_cpu() { self.memory } else { free_memory(&self.device) };
        if let Some(available) = available {
            let found = match job.stage {
                Stage::Tune(method) | Stage::Retrain(method) => architecture(method)?,
                Stage::Dataset | Stage::Search | Stage::Report => None,
            };
            let kernels = found.as_ref().map_or(Kernels::Own, Kernels::Found);
            outlook::check(&context, job.stage, &kernels, available)
                .map_err(|e| job.failure(&e))?
                .map_err(|e| job.failure(&e))?;
        }
        let mut summary = match job.stage {
            Stage::Search => {
                let found = dash_search::search(&context, out).map_err(|e| job.failure(&e))?;
                let pattern = found.layers.iter().map(|l| json!([l.kernel_size, l.dilation]));
                json!({ "pattern": pattern.collect::<Vec<_>>() })
            }
            Stage::Tune(method) => {
                let chosen = dash_tune::tune(&context, architecture(method)?.as_ref(), out)
                    .map_err(|e| job.failure(&e))?;
                json!(chosen)
            }
            Stage::Retrain(method) => {
                let chosen = input(Stage::Tune(method), "hyperparameters.json");
                let chosen = dash_train::read_hyperparameters(&chosen).map_err(|e| job.failure(&e))?;
                let metrics = dash_train::retrain(&context, architecture(method)?.as_ref(), &chosen, out)
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
        Ok(summary)
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
