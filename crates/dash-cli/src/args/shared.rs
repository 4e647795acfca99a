//! Defines the arguments that several commands share.

use clap::ValueEnum;
use dash_conv::{Planner, Policy};
use std::{num::NonZeroUsize, path::PathBuf};

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
    /// Merge the profile with this name over each file
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Override one key, for example search.epochs=5; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Seeds of the runs, separated by commas, instead of those of the files
    #[arg(long, value_name = "SEEDS", value_delimiter = ',')]
    pub(crate) seeds: Option<Vec<u32>>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Folders {
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) runs_dir: PathBuf,
    /// Folder of the reports
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports_dir: PathBuf,
    /// Format of standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Planning {
    /// How the algorithms of convolutions are chosen: by a cost model, with the same results everywhere, or by
    /// measuring them for each new size, which can change the last digits of results
    #[arg(long, value_enum, default_value_t = Plan::Model)]
    pub(crate) plan: Plan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plan {
    /// By a cost model; results of measured plans are not reused
    Model,
    /// By measuring; results of the cost model are not reused
    Measure,
}

impl Planning {
    /// How plans are chosen.
    pub(crate) fn policy(&self) -> Policy {
        match self.plan {
            Plan::Model => Policy::Model,
            Plan::Measure => Policy::Measure,
        }
    }

    /// A planner without any plans yet.
    pub(crate) fn planner(&self) -> Planner {
        Planner::new(self.policy())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Human,
    /// One JSON document
    Json,
}

/// More threads than any machine has cores only wait for each other.
const MOST_THREADS: usize = 4096;

pub(super) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse::<NonZeroUsize>().map_err(|e| e.to_string())?;
    if number.get() > MOST_THREADS {
        return Err(format!("at most {MOST_THREADS} threads"));
    }
    Ok(number)
}
