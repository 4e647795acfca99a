//! Arguments of the commands that run pipelines and look at runs.

use super::shared::{Changes, Folders, Input, Planning, threads};
use clap::Subcommand;
use dash_pipeline::DeviceChoice;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) execution: Execution,
    #[command(flatten)]
    pub(crate) planning: Planning,
    /// Seconds between checkpoints inside a stage, 0 for one after every step; by default as often as takes
    /// less than two per cent of the time
    #[arg(long, value_name = "SECONDS")]
    pub(crate) checkpoint_every: Option<u32>,
    /// Print what would be done and why, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Execution {
    /// Number of threads of each thread pool; by default one per core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Device to compute on: cpu, auto or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub(crate) device: DeviceChoice,
    /// Memory limit in MiB; by default the memory that is available at the start. Stages that would need more
    /// are refused
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<NonZeroU64>,
    /// Append events to this file, one JSON object per line. If that fails, the run continues and ends with exit
    /// code 6 unless something else fails
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Write losses, validation metrics and learning rates to this folder, for TensorBoard
    #[arg(long, value_name = "DIR")]
    pub(crate) tensorboard: Option<PathBuf>,
    /// Show no progress on standard error, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) input: Input,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// Pipeline file
    pub(crate) file: PathBuf,
    /// Stage: dataset, search, tune, retrain, backbone-tune, backbone-retrain or report
    pub(crate) stage: String,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) input: Input,
    /// End with exit code 7 if a result that the pipelines ask for is missing
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// Remove superseded results: results that others with different settings replaced. Until then, a run with
    /// the earlier settings restores them
    #[command(after_help = "\
Examples:
  dash-nas runs prune --dry-run
  dash-nas runs prune ecg ecg@smoke")]
    Prune(Prune),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Names of pipelines, with the profile as in ecg@smoke; by default all
    #[arg(value_name = "NAME")]
    pub(crate) pipelines: Vec<String>,
    /// Print what would be removed, without removing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) folders: Folders,
}
