//! The stages of a pipeline and what each needs.

use crate::{Error, config};
use dash_conv::{Planner, Policy};
use dash_core::pipeline::{Method, Pipeline};
use dash_core::provenance::Program;
use dash_core::stage::RunId;
pub use dash_core::stage::Stage;
use dash_store::{HashMemo, RunsRoot};
use serde_json::Value;
use std::{collections::BTreeSet, path::PathBuf};

/// The version of the code of a stage. It is raised when the code changes what results mean: earlier results are not
/// reused then. Changes of the last bits do not count; the commit in the record identifies them.
pub(crate) fn code_format(stage: Stage) -> u32 {
    match stage {
        Stage::Dataset | Stage::Search | Stage::Tune(_) | Stage::Retrain(_) => 1,
        // Missing values, provenance.
        Stage::Report => 2,
    }
}

/// Pipelines that are run together.
#[derive(Clone, Debug)]
pub struct RunSet {
    /// The effective configurations; their names differ.
    pub pipelines: Vec<Pipeline>,
    /// Name of a report over all of them, besides their own.
    pub report: Option<String>,
    /// Who plans the convolutions of their networks.
    pub planner: Planner,
    /// The program at work, for records.
    pub program: Program,
}

impl RunSet {
    /// A single pipeline, its convolutions planned by the cost model.
    pub fn one(pipeline: Pipeline) -> RunSet {
        RunSet {
            pipelines: vec![pipeline],
            report: None,
            planner: Planner::default(),
            program: Program::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        match self.pipelines.iter().find(|p| !names.insert(p.run_name())) {
            Some(p) => Err(Error::SameName { name: p.run_name() }),
            None => Ok(()),
        }
    }
}

/// Where things are written.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The root of all runs.
    pub runs: RunsRoot,
    /// The root of all reports.
    pub reports: PathBuf,
}

impl Folders {
    /// Runs below `runs`, reports below `reports`.
    pub fn new(runs: impl Into<PathBuf>, reports: impl Into<PathBuf>) -> Folders {
        Folders { runs: RunsRoot::new(runs), reports: reports.into() }
    }

    /// Where hashes of files are remembered.
    pub(crate) fn hashes(&self) -> HashMemo {
        HashMemo::open(&self.runs.path().join(HASHES))
    }

    /// Folder of the report with this name.
    pub fn report(&self, name: &str) -> PathBuf {
        self.reports.join(name)
    }
}

/// Remembered hashes, below the runs root.
const HASHES: &str = ".file-hashes";

/// A stage of one run.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) stage: Stage,
    pub(crate) seed: Option<u64>,
    pub(crate) run: RunId,
    pub(crate) dir: PathBuf,
    pub(crate) config: Value,
    /// Positions of the stages whose results it needs; always earlier ones.
    pub(crate) inputs: Vec<usize>,
}

impl Node {
    /// Name among the stages of several runs.
    pub(crate) fn name_among_runs(&self) -> String {
        match self.seed {
            Some(seed) => format!("{seed}/{}", self.stage.name()),
            None => self.stage.name().to_owned(),
        }
    }
}

/// The stages of a pipeline in an order in which they can run, the report last.
pub(crate) fn stages(p: &Pipeline, folders: &Folders, policy: Policy) -> Result<Vec<Node>, Error> {
    let name = p.run_name();
    let mut nodes = vec![Node {
        stage: Stage::Dataset,
        seed: None,
        run: RunId::new(&name, None),
        dir: folders.runs.dataset(&name),
        config: config::of_stage(p, Stage::Dataset, None, policy)?,
        inputs: Vec::new(),
    }];
    for &seed in &p.seeds {
        for &method in &p.methods {
            let mut inputs = vec![0];
            let chain = match method {
                Method::Dash => vec![Stage::Search, Stage::Tune(method), Stage::Retrain(method)],
                Method::Backbone => vec![Stage::Tune(method), Stage::Retrain(method)],
            };
            for stage in chain {
                nodes.push(Node {
                    stage,
                    seed: Some(seed),
                    run: RunId::new(&name, Some(seed)),
                    dir: folders.runs.stage(&name, seed, stage.name()),
                    config: config::of_stage(p, stage, Some(seed), policy)?,
                    inputs: inputs.clone(),
                });
                inputs.push(nodes.len() - 1);
            }
        }
    }
    let shown = (1..nodes.len()).collect();
    nodes.push(Node {
        stage: Stage::Report,
        seed: None,
        run: RunId::new(&name, None),
        dir: folders.report(&name),
        config: config::of_stage(p, Stage::Report, None, policy)?,
        inputs: shown,
    });
    Ok(nodes)
}
