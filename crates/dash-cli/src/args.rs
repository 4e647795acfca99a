//! The command line.

use crate::program;
use clap::{
    Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use dash_bench::{TASKS, TaskShape};
use dash_conv::{Planner, Policy};
use dash_core::card::Split;
use dash_data::RawTask;
use dash_pipeline::DeviceChoice;
use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

/// Differentiable architecture search for any kind of data: from pipeline files to a report.
#[derive(Debug, Parser)]
#[command(name = "dash-nas", version = program::short(), long_version = program::long())]
#[command(propagate_version = true, arg_required_else_help = true)]
#[command(after_long_help = program::CONVENTIONS)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run pipelines from raw data to a report; what is finished already is reused
    #[command(after_help = "\
Examples:
  dash-nas run pipelines/quickstart.toml
  dash-nas run pipelines/ecg.toml --profile smoke --set dataset.raw=/data/ecg
  dash-nas run pipelines/ecg.toml --set search.epochs=5 --dry-run
  dash-nas run pipelines/ecg.toml --plan measure
  dash-nas run pipelines/ecg.toml pipelines/darcy-flow.toml --format json")]
    Run(Run),
    /// Check pipeline files and print their effective configuration
    #[command(after_help = "\
Examples:
  dash-nas check pipelines/ecg.toml
  dash-nas check pipelines/ecg.toml --profile smoke --set search.epochs=5")]
    Check(Check),
    /// Show what is finished, what is kept aside, and which process works on which run
    Status(Folders),
    /// Work with the folders of runs
    #[command(subcommand)]
    Runs(Runs),
    /// Say why a stage would run or be reused, everything that differs, and how the convolutions of its
    /// earlier result were computed
    #[command(after_help = "Example:\n  dash-nas explain pipelines/ecg.toml retrain --set retrain.epochs=50")]
    Explain(Explain),
    /// Build the report again from finished runs
    Report(Report),
    /// Work with datasets
    #[command(subcommand)]
    Data(Data),
    /// Time whole training steps on synthetic data: of a task's shape, or the publication's comparison
    /// of three ways to compute mixtures
    #[command(after_help = "\
Examples:
  dash-nas bench --task cifar100 --stage search --batch 16
  dash-nas bench --task ecg --stage retrain --pattern 3x1 --batch 128 --threads 2 --format json
  dash-nas bench --compare --plot speed.svg
  dash-nas bench --compare --points 3 --batch 32 --steps 2 --format json")]
    Bench(Bench),
    /// Print the JSON schema of pipeline files
    Schema,
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  dash-nas completions bash > ~/.local/share/bash-completion/completions/dash-nas"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// What is printed, errors included.
    pub(crate) fn format(&self) -> Format {
        match self {
            Command::Run(args) => args.folders.format,
            Command::Status(folders) => folders.format,
            Command::Runs(Runs::Prune(args)) => args.folders.format,
            Command::Explain(args) => args.folders.format,
            Command::Report(args) => args.folders.format,
            Command::Bench(args) => args.format,
            Command::Data(Data::Ingest(args)) => args.folders.format,
            Command::Data(Data::List(args)) => args.format,
            Command::Data(Data::Fetch(args)) => args.format,
            Command::Data(Data::Inspect(args)) => args.folders.format,
            Command::Data(Data::Verify(args)) => args.folders.format,
            Command::Check(_) | Command::Schema | Command::Completions { .. } => Format::Human,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// Remove results that gave way to results of other settings. Until then a run with the earlier settings
    /// restores them
    #[command(after_help = "\
Examples:
  dash-nas runs prune --dry-run
  dash-nas runs prune ecg ecg@smoke")]
    Prune(Prune),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Names of pipelines, with their profile as in ecg@smoke; by default all
    #[arg(value_name = "NAME")]
    pub(crate) pipelines: Vec<String>,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Convert or simulate the dataset of a pipeline, without any training
    #[command(after_help = "Example:\n  dash-nas data ingest pipelines/ecg.toml")]
    Ingest(Ingest),
    /// List the benchmark's raw files: sizes, terms, where they come from, and which are here
    #[command(after_help = "Example:\n  dash-nas data list --raw data/raw")]
    List(DataList),
    /// Bring a task's raw files into the raw folder, over the network or from a folder, and record or
    /// compare their hashes. A file that was begun earlier is continued
    #[command(after_help = "\
Examples:
  dash-nas data fetch satellite
  dash-nas data fetch ecg --from ~/Downloads
  dash-nas data fetch ecg --mirrors mirrors.toml    # with lines such as \"challenge2017.pkl\" = [\"https://...\"]")]
    Fetch(Fetch),
    /// Show what a dataset holds: shapes, ranges, histograms, classes, and pictures of samples
    #[command(after_help = "\
Examples:
  dash-nas data inspect pipelines/ecg.toml --samples ecg.svg
  dash-nas data inspect runs/ecg/dataset --split test --format json")]
    Inspect(Inspect),
    /// Hash the files of a dataset again and compare them with its card; for a pipeline file also the
    /// raw files
    #[command(after_help = "Example:\n  dash-nas data verify runs/ecg/dataset")]
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DataList {
    /// The folder that holds the raw folders of all tasks
    #[arg(long, value_name = "DIR", default_value = "data/raw")]
    pub(crate) raw: PathBuf,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// The task
    #[arg(value_parser = raw_task)]
    pub(crate) task: RawTask,
    /// Copy the files from this folder, or a folder in it, instead of fetching them
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// A TOML file with more addresses per file, which are tried first
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) mirrors: Option<PathBuf>,
    /// No progress on standard error, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The folder that holds the raw folders of all tasks
    #[arg(long, value_name = "DIR", default_value = "data/raw")]
    pub(crate) raw: PathBuf,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

fn raw_task(name: &str) -> Result<RawTask, String> {
    let tasks = dash_data::catalogue().map_err(|e| e.to_string())?;
    let names: Vec<String> = tasks.iter().map(|task| task.recipe.clone()).collect();
    tasks
        .into_iter()
        .find(|task| task.recipe == name)
        .ok_or_else(|| format!("there is no such task; the tasks are {}", names.join(", ")))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Folder of a dataset, or a pipeline file whose dataset was made
    pub(crate) dataset: PathBuf,
    /// Only this split
    #[arg(long, value_enum)]
    pub(crate) split: Option<DataSplit>,
    /// Intervals of the histograms
    #[arg(long, value_name = "N", default_value = "24")]
    pub(crate) bins: NonZeroU16,
    /// Draw samples of the training split, or of --split, into this SVG file, or PNG file if its name
    /// ends in .png
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,
    /// How many samples are drawn
    #[arg(long, value_name = "N", default_value = "6")]
    pub(crate) count: NonZeroU16,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Folder of a dataset, or a pipeline file whose dataset was made
    pub(crate) dataset: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataSplit {
    /// What weights are trained on
    Train,
    /// What hyperparameters and checkpoints are chosen on
    Validation,
    /// What results are reported on
    Test,
}

impl From<DataSplit> for Split {
    fn from(split: DataSplit) -> Split {
        match split {
            DataSplit::Train => Split::Train,
            DataSplit::Validation => Split::Validation,
            DataSplit::Test => Split::Test,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Input {
    /// Pipeline files, or sweep files that list them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Changes {
    /// Merge the profile of this name over each file
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Override one key, such as search.epochs=5; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Seeds of the runs, separated by commas, instead of those of the files
    #[arg(long, value_name = "SEEDS", value_delimiter = ',')]
    pub(crate) seeds: Option<Vec<u32>>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Folders {
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) runs_dir: PathBuf,
    /// Where reports are written
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports_dir: PathBuf,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Planning {
    /// How the algorithms of convolutions are chosen: by a cost model, the same everywhere, or by
    /// timing them where a size is met first, which can change the last digits of results
    #[arg(long, value_enum, default_value_t = Plan::Model)]
    pub(crate) plan: Plan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plan {
    /// By a cost model; stages that were run with measured plans are not reused
    Model,
    /// By timing; stages that were run with the cost model are not reused
    Measure,
}

impl Planning {
    /// What plans are chosen by.
    pub(crate) fn policy(&self) -> Policy {
        match self.plan {
            Plan::Model => Policy::Model,
            Plan::Measure => Policy::Measure,
        }
    }

    /// A planner that has planned nothing yet.
    pub(crate) fn planner(&self) -> Planner {
        Planner::new(self.policy())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Execution {
    /// Threads to compute with, in each pool of threads; by default one per core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Device to compute on: cpu, auto or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub(crate) device: DeviceChoice,
    /// Memory that may be used, in MiB; by default what is available at the start. A stage that would need more
    /// is refused
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<NonZeroU64>,
    /// Append one JSON object per line and event to this file. Where that fails, the run continues and ends
    /// with exit code 6 if nothing else fails
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Write losses, scores and learning rates to this folder, for TensorBoard
    #[arg(long, value_name = "DIR")]
    pub(crate) tensorboard: Option<PathBuf>,
    /// No progress on standard error, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// More threads than any machine has cores for only wait for each other.
const MOST_THREADS: usize = 4096;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse::<NonZeroUsize>().map_err(|e| e.to_string())?;
    match number.get() <= MOST_THREADS {
        true => Ok(number),
        false => Err(format!("at most {MOST_THREADS} threads")),
    }
}

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
    /// Seconds between checkpoints inside a stage, 0 for one after every step; by default as often as
    /// takes less than two per cent of the time
    #[arg(long, value_name = "SECONDS")]
    pub(crate) checkpoint_every: Option<u32>,
    /// Print what would be done and why, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
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

#[derive(Debug, clap::Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) folders: Folders,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// The task whose shapes, network and search space are taken
    #[arg(long, value_name = "TASK", value_parser = task_parser())]
    #[arg(required_unless_present = "compare", conflicts_with = "compare")]
    pub(crate) task: Option<&'static TaskShape>,
    /// The stage that the step belongs to
    #[arg(long, value_enum, default_value_t = BenchStage::Search, conflicts_with = "compare")]
    pub(crate) stage: BenchStage,
    /// Kernels of the retrained network
    #[arg(long, value_enum, default_value_t = Pattern::Spread, conflicts_with = "compare")]
    pub(crate) pattern: Pattern,
    /// Instead of a task, compare three ways to compute mixtures on a 1-D network of 16 channels:
    /// over 1 to 49 candidates, and over inputs of length 32 to 2048. Steps of one way at one point
    /// end after 20 seconds; `runs` says how many were timed
    #[arg(long, alias = "sweep")]
    pub(crate) compare: bool,
    /// Of each axis only the first N of seven points
    #[arg(long, value_name = "N", conflicts_with = "task")]
    pub(crate) points: Option<NonZeroUsize>,
    /// Plot the comparison into this SVG file
    #[arg(long, value_name = "FILE", conflicts_with = "task")]
    pub(crate) plot: Option<PathBuf>,
    /// Samples per step; by default the publication's
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Device to compute on: cpu, auto or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub(crate) device: DeviceChoice,
    /// Threads to compute with; by default one per core
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Timed steps
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) steps: NonZeroUsize,
    /// Steps before them that are not timed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) warmup: usize,
    #[command(flatten)]
    pub(crate) planning: Planning,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

fn task_parser() -> impl TypedValueParser<Value = &'static TaskShape> {
    PossibleValuesParser::new(TASKS.iter().map(|task| task.name)).try_map(|name| TaskShape::named(&name))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchStage {
    /// The network of mixtures
    Search,
    /// The network of the kernels that a search has found
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Human,
    /// One JSON document
    Json,
}
