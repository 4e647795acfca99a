//! Defines the arguments of `dash-nas data`.

use super::{
    run::Execution,
    shared::{Changes, Folders, Format, Input},
};
use clap::{Subcommand, ValueEnum};
use dash_core::card::Split;
use dash_recipes::RawTask;
use std::{num::NonZeroU16, path::PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Convert or simulate the dataset of a pipeline, without any training
    #[command(after_help = "Example:\n  dash-nas data ingest pipelines/ecg.toml")]
    Ingest(Ingest),
    /// List the benchmark's raw files: sizes, licences, addresses, and which exist in the raw folder
    #[command(after_help = "Example:\n  dash-nas data list --raw data/raw")]
    List(DataList),
    /// Download or copy a task's raw files into the raw folder, and record or compare their hashes. Incomplete
    /// downloads are resumed
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
    /// Compare the files of a dataset with the hashes in its dataset card; for a pipeline file also the raw files
    #[command(after_help = "Example:\n  dash-nas data verify runs/ecg/dataset")]
    Verify(Verify),
}

impl Data {
    pub(super) fn format(&self) -> Format {
        match self {
            Data::Ingest(args) => args.folders.format,
            Data::List(args) => args.format,
            Data::Fetch(args) => args.format,
            Data::Inspect(args) => args.folders.format,
            Data::Verify(args) => args.folders.format,
        }
    }
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
pub(crate) struct DataList {
    /// The folder that holds the raw folders of all tasks
    #[arg(long, value_name = "DIR", default_value = "data/raw")]
    pub(crate) raw: PathBuf,
    /// Format of standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// The task
    #[arg(value_parser = raw_task)]
    pub(crate) task: RawTask,
    /// Copy the files from this folder, or a folder in it, instead of downloading them
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// A TOML file with further addresses of files, which are tried first
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) mirrors: Option<PathBuf>,
    /// Show no progress on standard error, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The folder that holds the raw folders of all tasks
    #[arg(long, value_name = "DIR", default_value = "data/raw")]
    pub(crate) raw: PathBuf,
    /// Format of standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

fn raw_task(name: &str) -> Result<RawTask, String> {
    let tasks = dash_recipes::catalogue().map_err(|e| e.to_string())?;
    let names: Vec<String> = tasks.iter().map(|task| task.recipe.clone()).collect();
    tasks
        .into_iter()
        .find(|task| task.recipe == name)
        .ok_or_else(|| format!("unknown task; the tasks are {}", names.join(", ")))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Folder of a dataset, or a pipeline file whose dataset exists
    pub(crate) dataset: PathBuf,
    /// Show only this split
    #[arg(long, value_enum)]
    pub(crate) split: Option<DataSplit>,
    /// Number of bins of the histograms
    #[arg(long, value_name = "N", default_value = "24")]
    pub(crate) bins: NonZeroU16,
    /// Draw samples of the training split, or of --split, into this SVG file, or PNG file if its name ends
    /// in .png
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,
    /// Number of samples to draw
    #[arg(long, value_name = "N", default_value = "6")]
    pub(crate) count: NonZeroU16,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Folder of a dataset, or a pipeline file whose dataset exists
    pub(crate) dataset: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataSplit {
    /// Weights are trained on it
    Train,
    /// Hyperparameters and checkpoints are selected on it
    Validation,
    /// Results are reported on it
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
