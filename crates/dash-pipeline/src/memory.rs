//! Predicts the memory that stages need and how their convolutions are computed, before they run.

use crate::{
    error::{StageError, TooLarge},
    executor::convolution_plan,
    folders::Folders,
    inputs::read_json,
};
use dash_conv::{Planner, Policy};
use dash_core::{
    architecture::Architecture,
    event::Silent,
    pipeline::{Candidate, Method, Pipeline},
    stage::Stage,
};
use dash_data::DatasetFolder;
use dash_nn::{Backend, ConvBuilder, ConvSpec, Convolve, FixedKernels, ParamBuilder};
use dash_search::{Gumbel, MixtureBuilder};
use dash_store::ConvolutionPlan;
use dash_train::{MemoryEstimate, StageContext};

/// Kernels of the network that is tuned and retrained.
pub(crate) enum StageKernels<'a> {
    /// Those that a search found.
    Found(&'a Architecture),
    /// Those of the backbone.
    Backbone,
    /// The largest of the search space: an upper bound of what a search may find.
    Largest,
}

/// Estimates the memory of `stage` with batches of `batch_size` samples; `None` for stages that do not train.
///
/// # Errors
/// If the network does not fit the data.
fn estimate(
    ctx: &StageContext<'_>,
    stage: Stage,
    kernels: &StageKernels<'_>,
    batch_size: usize,
) -> Result<Option<MemoryEstimate>, dash_train::Error> {
    let search = &ctx.pipeline.search;
    let mut convs: Box<dyn ConvBuilder> = match (stage, kernels) {
        (Stage::Search, _) => Box::new(MixtureBuilder::new(search, Gumbel)),
        (_, StageKernels::Found(found)) => Box::new(FixedKernels { pattern: Some(found.pattern()) }),
        (_, StageKernels::Backbone) => Box::new(FixedKernels::default()),
        (_, StageKernels::Largest) => Box::new(LargestKernel(Candidate {
            kernel_size: search.kernel_sizes.iter().copied().max().unwrap_or(1),
            dilation: search.dilations.iter().copied().max().unwrap_or(1),
        })),
    };
    let stage = match stage {
        Stage::Dataset | Stage::Report => return Ok(None),
        Stage::Search => dash_train::TrainingStage::Search,
        Stage::Tune(_) => dash_train::TrainingStage::Tune,
        Stage::Retrain(_) => dash_train::TrainingStage::Retrain,
    };
    dash_train::estimate_memory(ctx, stage, batch_size, convs.as_mut()).map(Some)
}

/// The batch size of a stage and the key of the pipeline file that sets it.
fn batch_size(pipeline: &Pipeline, stage: Stage) -> (usize, &'static str) {
    match stage {
        Stage::Tune(_) => (pipeline.tune.batch_size, "tune.batch_size"),
        Stage::Retrain(_) => (pipeline.retrain.batch_size, "retrain.batch_size"),
        Stage::Dataset | Stage::Search | Stage::Report => (pipeline.search.batch_size, "search.batch_size"),
    }
}

/// Builds the same kernel everywhere.
struct LargestKernel(Candidate);

impl ConvBuilder for LargestKernel {
    fn build(
        &mut self,
        spec: &ConvSpec,
        params: &mut ParamBuilder,
    ) -> Result<Box<dyn Convolve>, dash_nn::Error> {
        FixedKernels { pattern: Some(vec![self.0; spec.index + 1]) }.build(spec, params)
    }
}

/// Predictions about a stage before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryForecast {
    /// Peak memory in bytes. Where the search has not run yet, that of the largest kernels that it may find.
    pub(crate) bytes: Option<u64>,
    /// How the convolutions will be computed, where that is known.
    pub(crate) plan: Option<ConvolutionPlan>,
}

/// Predicts the memory of the stages of a pipeline whose dataset exists.
pub(crate) struct MemoryForecaster<'a> {
    pipeline: &'a Pipeline,
    data: DatasetFolder,
    folders: &'a Folders,
    policy: Policy,
    /// Earlier forecasts. Stages of other seeds are alike, unless their searches have found an architecture.
    known: Vec<(Stage, MemoryForecast)>,
}

impl<'a> MemoryForecaster<'a> {
    /// Opens the dataset of the pipeline; `None` if it cannot be read.
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        folders: &'a Folders,
        policy: Policy,
    ) -> Option<MemoryForecaster<'a>> {
        let data = DatasetFolder::open(&folders.runs.dataset(&pipeline.run_name())).ok()?;
        Some(MemoryForecaster { pipeline, data, folders, policy, known: Vec::new() })
    }

    /// Predicts a stage of the run with this seed. `searched` says that the results of its search are those of the
    /// present configuration.
    pub(crate) fn forecast(&mut self, stage: Stage, seed: u64, searched: bool) -> MemoryForecast {
        let known = self.known.iter().find(|(of, _)| *of == stage && !searched);
        if let Some((_, forecast)) = known {
            return forecast.clone();
        }
        let forecast = self.compute(stage, seed, searched).unwrap_or_default();
        if !searched {
            self.known.push((stage, forecast.clone()));
        }
        forecast
    }

    fn compute(&self, stage: Stage, seed: u64, searched: bool) -> Option<MemoryForecast> {
        let search = self.folders.runs.stage(&self.pipeline.run_name(), seed, Stage::Search.name());
        let found = searched.then(|| read_json(&search.join("architecture.json")).ok());
        let found: Option<Architecture> = found.flatten();
        let kernels = match (stage, &found) {
            (Stage::Tune(Method::Backbone) | Stage::Retrain(Method::Backbone), _) => StageKernels::Backbone,
            (_, Some(found)) => StageKernels::Found(found),
            (_, None) => StageKernels::Largest,
        };
        let planner = Planner::default();
        let ctx = StageContext {
            pipeline: self.pipeline,
            seed,
            data: &self.data,
            backend: &Backend::cpu(),
            planner: &planner,
            listener: &Silent,
            checkpoints: None,
        };
        let estimate = estimate(&ctx, stage, &kernels, batch_size(self.pipeline, stage).0).ok()??;
        let known = stage == Stage::Search || !matches!(kernels, StageKernels::Largest);
        let mut planned = estimate.step.convolutions.iter().map(|problem| planner.plan(problem));
        let plan = known && self.policy == Policy::Model && planned.all(|plan| plan.is_ok());
        let plan = plan.then(|| convolution_plan(&planner));
        Some(MemoryForecast { bytes: Some(estimate.bytes), plan })
    }
}

/// Refuses a stage that would need more than `available` bytes, if that is limited. Otherwise returns the memory that it
/// is expected to need, if that is known.
///
/// # Errors
/// If the stage is refused, or if its network does not fit the data.
pub(crate) fn check(
    ctx: &StageContext<'_>,
    stage: Stage,
    kernels: &StageKernels<'_>,
    available: Option<u64>,
) -> Result<Option<u64>, StageError> {
    let (batch_size, key) = batch_size(ctx.pipeline, stage);
    let needs = |size: usize| estimate(ctx, stage, kernels, size).map(|e| e.map(|e| e.bytes));
    let needed = needs(batch_size)?;
    let (needed, available) = match (needed, available) {
        (Some(needed), Some(available)) if needed > available => (needed, available),
        _ => return Ok(needed),
    };
    let (mut fits, mut too_large) = (0, batch_size);
    while too_large - fits > 1 {
        let middle = fits.midpoint(too_large);
        if needs(middle)?.is_none_or(|bytes| bytes <= available) {
            fits = middle;
        } else {
            too_large = middle;
        }
    }
    let possible = (fits > 0).then_some(fits);
    Err(TooLarge { needed, available, batch_size, key, on_gpu: ctx.backend.gpu().is_some(), possible }.into())
}
