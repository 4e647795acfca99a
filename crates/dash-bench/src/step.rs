//! Times whole training steps on synthetic data: forward pass, loss, backward pass, optimizer step.
//!
//! Networks, shapes, loss, optimizer and the names of the result's fields are those of the PyTorch program that
//! `benches/compare.py` runs for comparison.

use crate::{
    Error, KernelPattern, TaskShape,
    timing::{StepCounts, SyntheticTarget, TimeSummary, normal, time},
};
use dash_conv::{Planner, Policy};
use dash_core::pipeline::{Backbone, Search};
use dash_nn::{Backend, ConvBuilder, FixedKernels, Network, ParamBuilder, Params, ShapeTrace, build};
use dash_search::{Gumbel, MixtureBuilder};
use schemars::JsonSchema;
use serde::Serialize;
use std::num::NonZeroUsize;

/// The stage whose training step is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedStage {
    /// Search: the supernet (WRN-16-1, or the 1-D ResNet).
    Search,
    /// Retraining: the final network (WRN-16-4, or the 1-D ResNet) with these kernels.
    Retrain(KernelPattern),
}

impl TimedStage {
    /// Names of the stage and of the timed method in results.
    fn names(self) -> (&'static str, String) {
        match self {
            TimedStage::Search => ("search", "dash-nas".to_owned()),
            TimedStage::Retrain(kernels) => ("retrain", format!("dash-nas:{}", kernels.name())),
        }
    }
}

/// A benchmark of one task's training step.
#[derive(Clone, Copy, Debug)]
pub struct StepBenchmark {
    /// Shapes and search space.
    pub task: &'static TaskShape,
    /// The stage whose step is timed.
    pub stage: TimedStage,
    /// Samples per step; by default the batch size of the DASH paper.
    pub batch: Option<NonZeroUsize>,
    /// Number of timed steps.
    pub steps: NonZeroUsize,
    /// Number of untimed steps before them. With measured plans there is at least one, which measures.
    pub warmup: usize,
    /// How the algorithms of convolutions are chosen.
    pub plan: Policy,
}

/// The result of a [`StepBenchmark`].
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StepTiming {
    /// Name of the task.
    pub task: &'static str,
    /// `search` or `retrain`.
    pub stage: &'static str,
    /// `dash-nas`, with the kernels of a retrained network after a colon.
    pub method: String,
    /// Samples per step.
    pub batch: usize,
    /// Number of threads.
    pub threads: usize,
    /// Median time of the timed steps in milliseconds.
    pub ms_per_step: f64,
    /// Time of the fastest step in milliseconds.
    pub min_ms: f64,
    /// Number of timed steps.
    pub runs: usize,
    /// Number of trainable parameters.
    pub params: usize,
    /// Peak resident memory of this process so far in MiB; null where the system does not report it.
    pub peak_rss_mib: Option<u64>,
    /// Estimated memory of a step in MiB.
    pub estimated_mib: u64,
    /// `measure` with measured plans; absent with the cost model, as in `benches/compare.py`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// Runs the benchmark on `backend`, in the thread pool of the calling thread.
///
/// # Errors
/// If the network cannot be built or computed.
pub fn time_steps(bench: &StepBenchmark, backend: &Backend) -> Result<StepTiming, Error> {
    let batch = bench.batch.map_or(bench.task.batch, NonZeroUsize::get);
    let (network, params) = network(bench.task, bench.stage, &Planner::new(bench.plan), backend)?;
    let estimated = dash_train::training_bytes(network.as_ref(), &params, batch, bench.task.input)?;
    let times = TimeSummary::new(steps(bench, batch, network.as_ref(), &params, backend)?);
    let (stage, method) = bench.stage.names();
    Ok(StepTiming {
        task: bench.task.name,
        stage,
        method,
        batch,
        threads: rayon::current_num_threads(),
        ms_per_step: times.median,
        min_ms: times.fastest,
        runs: times.runs,
        params: params.count(),
        peak_rss_mib: peak_rss_mib(),
        estimated_mib: estimated >> 20,
        plan: (bench.plan == Policy::Measure).then(|| bench.plan.to_string()),
    })
}

/// The convolutions and the memory of a training step, found without computing it, and the network's parameters.
///
/// # Errors
/// If the network cannot be built.
pub fn survey(task: &TaskShape, stage: TimedStage) -> Result<(ShapeTrace, Params), Error> {
    let (network, params) = build_with(task, stage, ParamBuilder::without_values(&Backend::cpu()))?;
    Ok((network.trace(&[&[task.batch], task.input].concat())?, params))
}

/// The network of a stage. The retrained 1-D network has centred kernels, as in `benches/compare.py`; a causal network
/// has the same number of taps at other offsets.
fn network(
    task: &TaskShape,
    stage: TimedStage,
    planner: &Planner,
    backend: &Backend,
) -> Result<(Box<dyn Network>, Params), dash_nn::Error> {
    build_with(task, stage, ParamBuilder::new(0, 0, backend).with_planner(planner))
}

fn build_with(
    task: &TaskShape,
    stage: TimedStage,
    mut params: ParamBuilder,
) -> Result<(Box<dyn Network>, Params), dash_nn::Error> {
    let (backbone, layers) = match (task.input, stage) {
        ([_, _], _) => (Backbone::Resnet1d { channels: None, causal: false }, 9),
        (_, TimedStage::Search) => (Backbone::Wrn { depth: 16, width: 1 }, 13),
        (_, TimedStage::Retrain(_)) => (Backbone::Wrn { depth: 16, width: 4 }, 13),
    };
    let mut convs: Box<dyn ConvBuilder> = match stage {
        TimedStage::Search => {
            let space = Search {
                kernel_sizes: task.kernel_sizes.to_vec(),
                dilations: task.dilations.to_vec(),
                ..Search::default()
            };
            Box::new(MixtureBuilder::new(&space, Gumbel))
        }
        TimedStage::Retrain(kernels) => {
            Box::new(FixedKernels { pattern: Some(kernels.candidates(task, layers)) })
        }
    };
    let network = build(&backbone, task.input, task.outputs, task.dense, 0.0, convs.as_mut(), &mut params)?;
    Ok((network, params.finish()))
}

/// Times of the timed steps in milliseconds.
fn steps(
    bench: &StepBenchmark,
    batch: usize,
    network: &dyn Network,
    params: &Params,
    backend: &Backend,
) -> Result<Vec<f64>, dash_nn::Error> {
    let task = bench.task;
    let input = normal(&[&[batch], task.input].concat(), 0, backend.device())?;
    let targets = if task.dense {
        let spatial = task.input.get(1..).unwrap_or_default();
        let field = normal(&[&[batch, task.outputs], spatial].concat(), 1, backend.device())?;
        SyntheticTarget::Field(field.flatten_all()?.to_vec1()?)
    } else {
        SyntheticTarget::classes(task.outputs, batch)
    };
    let warmup = bench.warmup.max(usize::from(bench.plan == Policy::Measure));
    let counts = StepCounts { warmup, steps: bench.steps.get(), limit: None };
    time(network, params, &input, &targets, counts)
}

/// Peak resident memory of this process so far, where `/proc` reports it.
fn peak_rss_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static TaskShape {
        TaskShape::named(name).unwrap()
    }

    /// DASH, section 15.1.
    #[test]
    fn networks_have_the_published_numbers_of_parameters() {
        let count = |name: &str, stage| {
            network(named(name), stage, &Planner::default(), &Backend::cpu()).unwrap().1.count()
        };
        let table = [
            ("cifar100", 1_952_516, 2_774_276),
            ("spherical", 1_952_516, 2_774_276),
            ("ninapro", 734_407, 2_752_914),
            ("fsd50k", 1_938_024, 2_799_688),
            ("darcy-flow", 1_946_081, 2_748_833),
            ("psicov", 2_512_865, 2_756_609),
            ("cosmic", 1_925_089, 2_748_545),
            ("ecg", 18_948, 1_452),
            ("satellite", 2_000_268, 309_912),
            ("deepsea", 2_044_248, 312_228),
        ];
        assert_eq!(table.map(|(name, ..)| name), crate::TASKS.each_ref().map(|task| task.name));
        for (name, searched, plain) in table {
            assert_eq!(count(name, TimedStage::Search), searched, "{name}");
            assert_eq!(count(name, TimedStage::Retrain(KernelPattern::Plain)), plain, "{name}");
        }
        assert!(matches!(TaskShape::named("mnist"), Err(Error::UnknownTask { .. })));
    }

    #[test]
    fn a_timing_repeats_the_settings_of_its_benchmark() {
        let task = named("satellite");
        let steps = NonZeroUsize::new(2).unwrap();
        let bench = StepBenchmark {
            task,
            stage: TimedStage::Search,
            batch: NonZeroUsize::new(1),
            steps,
            warmup: 0,
            plan: Policy::Model,
        };
        let timing = time_steps(&bench, &Backend::cpu()).unwrap();
        assert_eq!((timing.task, timing.stage, timing.method.as_str()), ("satellite", "search", "dash-nas"));
        assert_eq!((timing.batch, timing.runs, timing.params), (1, 2, 2_000_268));
        assert!(timing.min_ms > 0.0 && timing.min_ms <= timing.ms_per_step);
        assert!(!serde_json::to_string(&timing).unwrap().contains("\"plan\""));
        let measured =
            time_steps(&StepBenchmark { plan: Policy::Measure, ..bench }, &Backend::cpu()).unwrap();
        assert_eq!((measured.plan.as_deref(), measured.runs), (Some("measure"), 2));
    }
}
