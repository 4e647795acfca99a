//! What stages will need in memory, and how their convolutions will be computed, before they run.

use crate::{
    executor::convolution_plan,
    graph::{Folders, Stage},
};
use candle_core::Device;
use dash_conv::{Planner, Policy};
use dash_core::{
    architecture::Architecture,
    error::{Classify, ErrorKind},
    event::{Event, Listener},
    pipeline::{Candidate, Method, Pipeline},
};
use dash_data::DatasetFolder;
use dash_nn::{ConvBuilder, ConvSpec, Convolve, FixedKernels, ParamBuilder};
use dash_search::{Gumbel, MixtureBuilder};
use dash_store::ConvolutionPlan;
use dash_train::{MemoryEstimate, StageContext};

/// Kernels of the retrained network.
pub(crate) enum Kernels<'a> {
    /// Those that a search found.
    Found(&'a Architecture),
    /// Those of the backbone.
    Own,
    /// The largest of the search space: what a search may find.
    Largest,
}

/// What `stage` will compute and need with batches of `batch_size` samples; `None` for stages that do not
/// train.
///
/// # Errors
/// If the network does not fit the data.
pub(crate) fn outlook(
    ctx: &StageContext<'_>,
    stage: Stage,
    kernels: &Kernels<'_>,
    batch_size: usize,
) -> Result<Option<MemoryEstimate>, dash_train::Error> {
    let search = &ctx.pipeline.search;
    let mut convs: Box<dyn ConvBuilder> = match (stage, kernels) {
        (Stage::Search, _) => Box::new(MixtureBuilder::new(search, Gumbel)),
        (_, Kernels::Found(found)) => Box::new(FixedKernels { pattern: Some(found.pattern()) }),
        (_, Kernels::Own) => Box::new(FixedKernels::default()),
        (_, Kernels::Largest) => Box::new(Largest(Candidate {
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

/// The batch size of a stage and the key that sets it.
fn batch_size(pipeline: &Pipeline, stage: Stage) -> (usize, &'static str) {
    match stage {
        Stage::Tune(_) => (pipeline.tune.batch_size, "tune.batch_size"),
        Stage::Retrain(_) => (pipeline.retrain.batch_size, "retrain.batch_size"),
        Stage::Dataset | Stage::Search | Stage::Report => (pipeline.search.batch_size, "search.batch_size"),
    }
}

/// The same kernel everywhere.
struct Largest(Candidate);

impl ConvBuilder for Largest {
    fn build(
        &mut self,
        spec: &ConvSpec,
        params: &mut ParamBuilder,
    ) -> Result<Box<dyn Convolve>, dash_nn::Error> {
        FixedKernels { pattern: Some(vec![self.0; spec.index + 1]) }.build(spec, params)
    }
}

/// What can be told about a stage before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryForecast {
    /// Bytes of memory; where kernels are not found yet, of the largest that may be.
    pub(crate) bytes: Option<u64>,
    /// How convolutions will be computed, where that is known.
    pub(crate) plan: Option<ConvolutionPlan>,
}

/// What can be told about the stages of a pipeline whose dataset is there.
pub(crate) struct MemoryForecaster<'a> {
    pipeline: &'a Pipeline,
    data: DatasetFolder,
    folders: &'a Folders,
    policy: Policy,
    /// What was told: stages of other seeds are alike, unless their searches have found something.
    told: Vec<(Stage, MemoryForecast)>,
}

impl<'a> MemoryForecaster<'a> {
    /// `None` if there is no dataset that can be read.
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        folders: &'a Folders,
        policy: Policy,
    ) -> Option<MemoryForecaster<'a>> {
        let data = DatasetFolder::open(&folders.runs.dataset(&pipeline.run_name())).ok()?;
        Some(MemoryForecaster { pipeline, data, folders, policy, told: Vec::new() })
    }

    /// What can be told about a stage of the run with this seed. `searched`: whether the results of its
    /// search are those of the present configuration.
    pub(crate) fn tell(&mut self, stage: Stage, seed: u64, searched: bool) -> MemoryForecast {
        let known = self.told.iter().find(|(of, _)| *of == stage && !searched);
        if let Some((_, foretold)) = known {
            return foretold.clone();
        }
        let foretold = self.look(stage, seed, searched).unwrap_or_default();
        if !searched {
            self.told.push((stage, foretold.clone()));
        }
        foretold
    }

    fn look(&self, stage: Stage, seed: u64, searched: bool) -> Option<MemoryForecast> {
        let search = self.folders.runs.stage(&self.pipeline.run_name(), seed, Stage::Search.name());
        let found = searched.then(|| crate::collect::read_json(&search.join("architecture.json")).ok());
        let found: Option<Architecture> = found.flatten();
        let kernels = match (stage, &found) {
            (Stage::Tune(Method::Backbone) | Stage::Retrain(Method::Backbone), _) => Kernels::Own,
            (_, Some(found)) => Kernels::Found(found),
            (_, None) => Kernels::Largest,
        };
        let planner = Planner::default();
        let ctx = StageContext {
            pipeline: self.pipeline,
            seed,
            data: &self.data,
            device: &Device::Cpu,
            planner: &planner,
            listener: &Silent,
            checkpoints: None,
        };
        let outlook = outlook(&ctx, stage, &kernels, batch_size(self.pipeline, stage).0).ok()??;
        let known = stage == Stage::Search || !matches!(kernels, Kernels::Largest);
        let mut planned = outlook.step.convolutions.iter().map(|problem| planner.plan(problem));
        let plan = known && self.policy == Policy::Model && planned.all(|plan| plan.is_ok());
        let plan = plan.then(|| convolution_plan(&planner));
        Some(MemoryForecast { bytes: Some(outlook.bytes), plan })
    }
}

struct Silent;

impl Listener for Silent {
    fn on(&self, _: &Event) {}
}

/// A stage would need more memory than there is.
#[derive(Debug, thiserror::Error)]
#[error(
    "about {} MiB of {}memory would be needed with batches of {batch_size} samples, {} MiB are available",
    .needed >> 20, if *.on_gpu { "the GPU's " } else { "" }, .available >> 20
)]
pub(crate) struct TooLarge {
    needed: u64,
    available: u64,
    batch_size: usize,
    key: &'static str,
    on_gpu: bool,
    /// The largest batch size that would do, if any does.
    possible: Option<usize>,
}

impl Classify for TooLarge {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Device
    }

    fn hint(&self) -> Option<String> {
        let mut hint = match self.possible {
            Some(size) => format!("{} = {size} would do", self.key),
            None => "a smaller network would do".to_owned(),
        };
        if !self.on_gpu {
            hint.push_str("; --memory says how much may be used");
        }
        Some(hint)
    }
}

/// Refuses a stage that would need more than `available` bytes, if that is limited; else tells how many it will
/// need, if that is known.
///
/// # Errors
/// If it does, or if its network does not fit the data.
pub(crate) fn check(
    ctx: &StageContext<'_>,
    stage: Stage,
    kernels: &Kernels<'_>,
    available: Option<u64>,
) -> Result<Result<Option<u64>, TooLarge>, dash_train::Error> {
    let (batch_size, key) = batch_size(ctx.pipeline, stage);
    let needs = |size: usize| outlook(ctx, stage, kernels, size).map(|o| o.map(|o| o.bytes));
    let needed = needs(batch_size)?;
    let (needed, available) = match (needed, available) {
        (Some(needed), Some(available)) if needed > available => (needed, available),
        _ => return Ok(Ok(needed)),
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
    let on_gpu = !ctx.device.is_cpu();
    Ok(Err(TooLarge { needed, available, batch_size, key, on_gpu, possible }))
}
