//! Times whole training steps on synthetic data: forward, loss, backward, update.
//!
//! The networks, shapes, loss and optimiser are those of the PyTorch program that speed is compared
//! with (`benches/compare.py`), and so are the names of the results' fields.

use crate::{
    Error,
    timing::{Counts, Expected, Times, normal, time},
};
use candle_core::Device;
use dash_conv::{Planner, Policy};
use dash_core::pipeline::{Backbone, Candidate, Search};
use dash_nn::{ConvBuilder, FixedKernels, Network, ParamBuilder, Params, Survey, build};
use dash_search::{Gumbel, MixtureBuilder};
use serde::Serialize;
use std::num::NonZeroUsize;

/// What one of the ten NAS-Bench-360 tasks looks like to a network.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskShape {
    /// The task, as in its pipeline file.
    pub name: &'static str,
    /// Channels and spatial axes of one sample.
    pub input: &'static [usize],
    /// Classes, or channels of a predicted field.
    pub outputs: usize,
    /// Whether a field is predicted instead of a class.
    pub dense: bool,
    /// Kernel sizes of the search space.
    pub kernel_sizes: &'static [usize],
    /// Dilations of the search space.
    pub dilations: &'static [usize],
    /// Batch size of the publication.
    pub batch: usize,
}

const KERNELS_2D: &[usize] = &[3, 5, 7, 9];
const KERNELS_1D: &[usize] = &[3, 7, 11, 15, 19];
const DILATIONS: &[usize] = &[1, 3, 7, 15];

/// The ten tasks. Everything else in this program takes shapes and search spaces from data and
/// pipeline files; a benchmark needs neither, so that speed can be measured where there is no data.
pub static TASKS: [TaskShape; 10] = [
    classes("cifar100", &[3, 32, 32], 100, KERNELS_2D, 64),
    classes("spherical", &[3, 60, 60], 100, KERNELS_2D, 64),
    TaskShape { dilations: &[1, 3, 7], ..classes("ninapro", &[1, 16, 52], 18, &[3, 5, 7], 128) },
    classes("fsd50k", &[1, 96, 102], 200, KERNELS_2D, 128),
    field("darcy-flow", &[3, 85, 85], 10),
    field("psicov", &[57, 128, 128], 8),
    field("cosmic", &[1, 128, 128], 4),
    classes("ecg", &[1, 1000], 4, KERNELS_1D, 1024),
    classes("satellite", &[1, 46], 24, KERNELS_1D, 256),
    classes("deepsea", &[4, 1000], 36, KERNELS_1D, 256),
];

const fn classes(
    name: &'static str,
    input: &'static [usize],
    outputs: usize,
    kernel_sizes: &'static [usize],
    batch: usize,
) -> TaskShape {
    TaskShape { name, input, outputs, dense: false, kernel_sizes, dilations: DILATIONS, batch }
}

const fn field(name: &'static str, input: &'static [usize], batch: usize) -> TaskShape {
    TaskShape { dense: true, ..classes(name, input, 1, KERNELS_2D, batch) }
}

impl TaskShape {
    /// The task of this name.
    pub fn named(name: &str) -> Result<&'static TaskShape, Error> {
        TASKS
            .iter()
            .find(|task| task.name == name)
            .ok_or_else(|| Error::UnknownTask { name: name.to_owned() })
    }
}

/// Kernels of a network in retraining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Spread over the whole search space.
    Spread,
    /// Three taps per axis, next to each other.
    Plain,
}

impl Kernels {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Kernels::Spread => "spread",
            Kernels::Plain => "3x1",
        }
    }

    /// One kernel for each of `layers` convolutions. `Spread` takes every fifth candidate in turn,
    /// the dilation being the slow index here.
    fn pattern(self, task: &TaskShape, layers: usize) -> Vec<Candidate> {
        let candidates: Vec<Candidate> = match self {
            Kernels::Plain => vec![Candidate { kernel_size: 3, dilation: 1 }],
            Kernels::Spread => (task.dilations.iter())
                .flat_map(|&dilation| {
                    task.kernel_sizes.iter().map(move |&kernel_size| Candidate { kernel_size, dilation })
                })
                .collect(),
        };
        candidates.iter().copied().cycle().step_by(5).take(layers).collect()
    }
}

/// Which training step is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedStage {
    /// A step of the search network (WRN-16-1, or the 1-D network).
    Search,
    /// A step of the network that is retrained (WRN-16-4, or the 1-D network) with these kernels.
    Retrain(Kernels),
}

impl TimedStage {
    /// The name of the stage, and the method that is timed in it.
    fn names(self) -> (&'static str, String) {
        match self {
            TimedStage::Search => ("search", "dash-nas".to_owned()),
            TimedStage::Retrain(kernels) => ("retrain", format!("dash-nas:{}", kernels.name())),
        }
    }
}

/// What to time.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Shapes and search space.
    pub task: &'static TaskShape,
    /// The step.
    pub stage: TimedStage,
    /// Samples per step; by default the publication's.
    pub batch: Option<NonZeroUsize>,
    /// Timed steps.
    pub steps: NonZeroUsize,
    /// Steps before them that are not timed; where plans are measured, at least the one that does it.
    pub warmup: usize,
    /// What the algorithms of convolutions are chosen by.
    pub plan: Policy,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// The task.
    pub task: &'static str,
    /// `search` or `retrain`.
    pub stage: &'static str,
    /// `dash-nas`, with the kernels of a retrained network after a colon.
    pub method: String,
    /// Samples per step.
    pub batch: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Median over the timed steps, in milliseconds.
    pub ms_per_step: f64,
    /// The fastest step.
    pub min_ms: f64,
    /// Timed steps.
    pub runs: usize,
    /// Trainable values of the network.
    pub params: usize,
    /// Largest resident memory of this process so far; none where the system does not tell.
    pub peak_rss_mib: Option<u64>,
    /// The memory that a step was expected to need.
    pub estimated_mib: u64,
    /// `measure` where plans were measured. The cost model is not named: that is what earlier
    /// versions and the comparison's other side write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// Times training steps in the calling thread's pool.
///
/// # Errors
/// If the network cannot be built or computed.
pub fn bench(bench: &Bench, device: &Device) -> Result<Timing, Error> {
    let batch = bench.batch.map_or(bench.task.batch, NonZeroUsize::get);
    let (network, params) = network(bench.task, bench.stage, &Planner::new(bench.plan), device)?;
    let estimated = dash_train::training_bytes(network.as_ref(), &params, batch, bench.task.input, device)?;
    let times = Times::new(steps(bench, batch, network.as_ref(), &params, device)?);
    let (stage, method) = bench.stage.names();
    Ok(Timing {
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

/// What a step of a task's stage computes, found without computing it.
///
/// # Errors
/// If the network cannot be built.
pub fn survey(task: &TaskShape, stage: TimedStage) -> Result<(Survey, Params), Error> {
    let (network, params) = build_with(task, stage, ParamBuilder::blank())?;
    Ok((network.survey(&[&[task.batch], task.input].concat())?, params))
}

/// The network of a stage. In one dimension the timed retraining is centred, as in the comparison's
/// other side; a causal network has the same taps at other offsets.
fn network(
    task: &TaskShape,
    stage: TimedStage,
    planner: &Planner,
    device: &Device,
) -> Result<(Box<dyn Network>, Params), dash_nn::Error> {
    build_with(task, stage, ParamBuilder::new(0, 0, device).with_planner(planner))
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
            Box::new(FixedKernels { pattern: Some(kernels.pattern(task, layers)) })
        }
    };
    let network = build(&backbone, task.input, task.outputs, task.dense, 0.0, convs.as_mut(), &mut params)?;
    Ok((network, params.finish()))
}

/// Milliseconds of each timed step.
fn steps(
    bench: &Bench,
    batch: usize,
    network: &dyn Network,
    params: &Params,
    device: &Device,
) -> Result<Vec<f64>, dash_nn::Error> {
    let task = bench.task;
    let input = normal(&[&[batch], task.input].concat(), 0, device)?;
    let targets = if task.dense {
        let spatial = task.input.get(1..).unwrap_or_default();
        let field = normal(&[&[batch, task.outputs], spatial].concat(), 1, device)?;
        Expected::Field(field.flatten_all()?.to_vec1()?)
    } else {
        Expected::classes(task.outputs, batch)
    };
    let warmup = bench.warmup.max(usize::from(bench.plan == Policy::Measure));
    let counts = Counts { warmup, steps: bench.steps.get(), limit: None };
    time(network, params, &input, &targets, counts)
}

/// Largest resident memory of this process so far, where `/proc` tells it.
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
            network(named(name), stage, &Planner::default(), &Device::Cpu).unwrap().1.count()
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
        assert_eq!(table.map(|(name, ..)| name), TASKS.each_ref().map(|task| task.name));
        for (name, searched, plain) in table {
            assert_eq!(count(name, TimedStage::Search), searched, "{name}");
            assert_eq!(count(name, TimedStage::Retrain(Kernels::Plain)), plain, "{name}");
        }
        assert!(matches!(TaskShape::named("mnist"), Err(Error::UnknownTask { .. })));
    }

    #[test]
    fn the_spread_pattern_takes_every_fifth_candidate() {
        let pairs = |kernels: Kernels, name: &str, layers: usize| -> Vec<(usize, usize)> {
            kernels.pattern(named(name), layers).iter().map(|c| (c.kernel_size, c.dilation)).collect()
        };
        let spread = [(3, 1), (5, 3), (7, 7), (9, 15), (3, 3), (5, 7), (7, 15)];
        assert_eq!(pairs(Kernels::Spread, "cifar100", 7), spread);
        assert_eq!(pairs(Kernels::Spread, "ninapro", 4), [(3, 1), (7, 3), (5, 1), (3, 7)]);
        assert_eq!(pairs(Kernels::Spread, "ecg", 5), [(3, 1), (3, 3), (3, 7), (3, 15), (3, 1)]);
        assert_eq!(pairs(Kernels::Plain, "ecg", 9), [(3, 1); 9]);
    }

    #[test]
    fn a_bench_reports_what_it_was_asked_for() {
        let task = named("satellite");
        let steps = NonZeroUsize::new(2).unwrap();
        let bench = Bench {
            task,
            stage: TimedStage::Search,
            batch: NonZeroUsize::new(1),
            steps,
            warmup: 0,
            plan: Policy::Model,
        };
        let timing = super::bench(&bench, &Device::Cpu).unwrap();
        assert_eq!((timing.task, timing.stage, timing.method.as_str()), ("satellite", "search", "dash-nas"));
        assert_eq!((timing.batch, timing.runs, timing.params), (1, 2, 2_000_268));
        assert!(timing.min_ms > 0.0 && timing.min_ms <= timing.ms_per_step);
        assert!(!serde_json::to_string(&timing).unwrap().contains("\"plan\""));
        let measured = super::bench(&Bench { plan: Policy::Measure, ..bench }, &Device::Cpu).unwrap();
        assert_eq!((measured.plan.as_deref(), measured.runs), (Some("measure"), 2));
    }
}
