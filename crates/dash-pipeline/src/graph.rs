//! The stages of a pipeline and what each needs.

use crate::{Error, config, folders::Folders};
use dash_conv::Policy;
use dash_core::{
    pipeline::{Method, Pipeline},
    stage::{RunId, Stage},
};
use serde_json::Value;
use std::{collections::BTreeSet, path::PathBuf};

/// Pipelines that run together.
#[derive(Clone, Debug)]
pub struct RunSet {
    /// The effective configurations. Their names must differ.
    pub pipelines: Vec<Pipeline>,
    /// Name of a report over all of them, besides a report for each.
    pub report: Option<String>,
}

impl RunSet {
    /// A single pipeline.
    pub fn one(pipeline: Pipeline) -> RunSet {
        RunSet { pipelines: vec![pipeline], report: None }
    }

    /// Refuses pipelines that would share their folders.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        match self.pipelines.iter().find(|p| !names.insert(p.run_name())) {
            Some(p) => Err(Error::SameName { name: p.run_name() }),
            None => Ok(()),
        }
    }
}

/// The version of the code of a stage. It is raised when the code changes what results mean: earlier results are not
/// reused then. Changes of the last bits do not count; the commit in the record identifies them.
pub(crate) fn code_format(stage: Stage) -> u32 {
    match stage {
        Stage::Dataset | Stage::Search | Stage::Tune(_) | Stage::Retrain(_) => 1,
        // 2: rows of missing values, provenance.
        Stage::Report => 2,
    }
}

/// A stage of one run.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) stage: Stage,
    pub(crate) run: RunId,
    /// Folder of its results.
    pub(crate) dir: PathBuf,
    /// The settings that it depends on.
    pub(crate) config: Value,
    /// Positions of the stages whose results it needs; always earlier ones.
    pub(crate) inputs: Vec<usize>,
}

impl Node {
    /// Name among the stages of all seeds of a pipeline.
    pub(crate) fn name_among_seeds(&self) -> String {
        match self.run.seed {
            Some(seed) => format!("{seed}/{}", self.stage),
            None => self.stage.to_string(),
        }
    }
}

/// The stages of a pipeline in an order in which they can run. The report is the last one.
pub(crate) fn stages(p: &Pipeline, folders: &Folders, policy: Policy) -> Result<Vec<Node>, Error> {
    let name = p.run_name();
    let node = |stage: Stage, seed: Option<u64>, inputs: Vec<usize>| -> Result<Node, Error> {
        let dir = match (stage, seed) {
            (Stage::Report, _) => folders.report(&name),
            (stage, Some(seed)) => folders.runs.stage(&name, seed, stage.name()),
            (_, None) => folders.runs.dataset(&name),
        };
        let config = config::of_stage(p, stage, seed, policy)?;
        Ok(Node { stage, run: RunId::new(&name, seed), dir, config, inputs })
    };
    let mut nodes = vec![node(Stage::Dataset, None, Vec::new())?];
    for &seed in &p.seeds {
        for &method in &p.methods {
            let chain = match method {
                Method::Dash => vec![Stage::Search, Stage::Tune(method), Stage::Retrain(method)],
                Method::Backbone => vec![Stage::Tune(method), Stage::Retrain(method)],
            };
            let mut inputs = vec![0];
            for stage in chain {
                nodes.push(node(stage, Some(seed), inputs.clone())?);
                inputs.push(nodes.len() - 1);
            }
        }
    }
    let shown = (1..nodes.len()).collect();
    nodes.push(node(Stage::Report, None, shown)?);
    Ok(nodes)
}
