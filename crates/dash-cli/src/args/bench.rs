//! Defines the arguments of `dash-nas bench`.

use super::shared::{Format, Planning, threads};
use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use dash_bench::{TASKS, TaskShape};
use dash_pipeline::DeviceChoice;
use std::{num::NonZeroUsize, path::PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// The task whose shapes, network and search space are used
    #[arg(long, value_name = "TASK", value_parser = task_parser())]
    #[arg(required_unless_present = "compare", conflicts_with = "compare")]
    pub(crate) task: Option<&'static TaskShape>,
    /// The stage whose training step is timed
    #[arg(long, value_enum, default_value_t = BenchStage::Search, conflicts_with = "compare")]
    pub(crate) stage: BenchStage,
    /// Kernels of the retrained network
    #[arg(long, value_enum, default_value_t = Pattern::Spread, conflicts_with = "compare")]
    pub(crate) pattern: Pattern,
    /// Instead of a task, compare three ways to compute mixed operations on a 1-D network with 16 channels:
    /// over 1 to 49 candidates, and over inputs of length 32 to 2048. No further step starts after 20 seconds at
    /// a point; `runs` is the number of timed steps
    #[arg(long, alias = "sweep")]
    pub(crate) compare: bool,
    /// Use only the first N of seven points along each axis
    #[arg(long, value_name = "N", conflicts_with = "task")]
    pub(crate) points: Option<NonZeroUsize>,
    /// Plot the comparison into this SVG file
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    pub(crate) plot: Option<PathBuf>,
    /// Samples per step; by default the batch size of the DASH paper
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Device to compute on: cpu, auto or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub(crate) device: DeviceChoice,
    /// Number of threads; by default one per core
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Number of timed steps
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) steps: NonZeroUsize,
    /// Number of untimed steps before them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) warmup: usize,
    #[command(flatten)]
    pub(crate) planning: Planning,
    /// Format of standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

fn task_parser() -> impl TypedValueParser<Value = &'static TaskShape> {
    PossibleValuesParser::new(TASKS.iter().map(|task| task.name)).try_map(|name| TaskShape::named(&name))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchStage {
    /// The supernet, whose convolutions are mixed operations
    Search,
    /// The network with the kernels that a search found
    Retrain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// Kernels from the whole search space
    Spread,
    /// Kernel size 3, dilation 1 everywhere
    #[value(name = "3x1")]
    Plain,
}
