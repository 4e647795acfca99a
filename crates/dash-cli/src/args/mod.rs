//! Defines the command line: one module per group of commands.

mod bench;
mod data;
mod run;
mod shared;

pub(crate) use bench::{Bench, BenchStage, Pattern};
pub(crate) use data::{Data, DataList, Fetch, Ingest, Inspect, Verify};
pub(crate) use run::{Check, Execution, Explain, Report, Run, Runs};
pub(crate) use shared::{Changes, Folders, Format, Input};

use crate::program;
use clap::{Parser, Subcommand, ValueEnum};

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
    /// Run pipelines from raw data to a report; finished stages are reused
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
    /// List runs with their finished stages, superseded results, and the processes that work on them
    Status(Folders),
    /// Manage the folders of runs
    #[command(subcommand)]
    Runs(Runs),
    /// Explain why a stage would run or be reused, with all differences and the plans of its convolutions
    #[command(after_help = "Example:\n  dash-nas explain pipelines/ecg.toml retrain --set retrain.epochs=50")]
    Explain(Explain),
    /// Rebuild the report from finished runs
    Report(Report),
    /// List, fetch, make, show and verify datasets
    #[command(subcommand)]
    Data(Data),
    /// Time training steps on synthetic data: those of a task, or of three ways to compute mixed
    /// operations as in the DASH paper
    #[command(after_help = "\
Examples:
  dash-nas bench --task cifar100 --stage search --batch 16
  dash-nas bench --task ecg --stage retrain --pattern 3x1 --batch 128 --threads 2 --format json
  dash-nas bench --compare --plot speed.svg
  dash-nas bench --compare --points 3 --batch 32 --steps 2 --format json")]
    Bench(Bench),
    /// Print a JSON schema
    Schema {
        /// What the schema describes
        #[arg(value_enum, default_value_t = SchemaKind::Pipeline)]
        kind: SchemaKind,
    },
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
    /// The format of standard output and of errors.
    pub(crate) fn format(&self) -> Format {
        match self {
            Command::Run(args) => args.folders.format,
            Command::Status(folders) => folders.format,
            Command::Runs(Runs::Prune(args)) => args.folders.format,
            Command::Explain(args) => args.folders.format,
            Command::Report(args) => args.folders.format,
            Command::Bench(args) => args.format,
            Command::Data(args) => args.format(),
            Command::Check(_) | Command::Schema { .. } | Command::Completions { .. } => Format::Human,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaKind {
    /// Pipeline files
    Pipeline,
    /// The JSON that commands print with --format json, and the events of --events
    Output,
}
