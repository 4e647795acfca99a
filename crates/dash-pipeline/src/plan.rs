//! What must run, and why.

use crate::{
    Error, config,
    error::Failure,
    graph::{self, Batch, Folders, Node, Stage},
    outlook::{Foretold, Teller},
};
use dash_conv::Policy;
use dash_core::pipeline::Pipeline;
use dash_store::{ConvolutionPlan, StageRecord, fingerprint, sha256_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What will be done about a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It runs.
    Run,
    /// Its earlier result is taken.
    Reuse,
}

/// A stage and what will be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
    pub run: String,
    /// Name of the stage.
    pub stage: String,
    /// What will be done.
    pub action: Action,
    /// Why, in a few words.
    pub reason: String,
    /// Everything that differs from the earlier result; empty if there is none.
    pub differences: Vec<String>,
    /// How the convolutions of the earlier result were computed, if its record says so.
    pub plan: Option<ConvolutionPlan>,
    /// How convolutions will be computed by a stage that runs, if that is known already.
    pub expected_plan: Option<ConvolutionPlan>,
    /// About how many bytes of memory a stage that runs will need at its height. Where kernels are not found
    /// yet, of the largest that may be; none where the dataset is not there yet.
    pub memory: Option<u64>,
}

/// What a run of `batch` would do; nothing is changed.
pub fn plan(batch: &Batch, folders: &Folders) -> Result<Vec<Planned>, Error> {
    batch.check()?;
    let mut planned = Vec::new();
    for pipeline in &batch.pipelines {
        let policy = batch.planner.policy();
        let steps = steps(pipeline, folders, policy)?;
        let reused = |stage: Stage, seed: Option<u64>| {
            let is = |step: &&Step| step.node.stage == stage && step.node.seed == seed;
            steps.iter().find(is).is_some_and(|step| matches!(step.decision, Decision::Reuse))
        };
        let mut teller = match reused(Stage::Dataset, None) {
            true => Teller::new(pipeline, folders, policy),
            false => None,
        };
        let foretold: Vec<Foretold> = (steps.iter())
            .map(|step| match (&mut teller, step.node.seed, &step.decision) {
                (Some(teller), Some(seed), Decision::Run { .. }) => {
                    teller.tell(step.node.stage, seed, reused(Stage::Search, Some(seed)))
                }
                _ => Foretold::default(),
            })
            .collect();
        for (step, foretold) in steps.into_iter().zip(foretold) {
            let (action, reason, differences) = match step.decision {
                Decision::Reuse => (Action::Reuse, "finished with these settings".to_owned(), Vec::new()),
                Decision::Run { reason, differences, .. } => (Action::Run, reason, differences),
            };
            let stage = step.node.stage.name().to_owned();
            let plan = StageRecord::read(&step.node.dir).ok().flatten().and_then(|record| record.plan);
            planned.push(Planned {
                run: step.node.run,
                stage,
                action,
                reason,
                differences,
                plan,
                expected_plan: foretold.plan,
                memory: foretold.bytes,
            });
        }
    }
    Ok(planned)
}

/// A stage with its fingerprint and the decision about it.
pub(crate) struct Step {
    pub(crate) node: Node,
    pub(crate) fingerprint: String,
    /// Fingerprint of each input stage, SHA-256 of each input file.
    pub(crate) inputs: BTreeMap<String, String>,
    pub(crate) decision: Decision,
}

pub(crate) enum Decision {
    Reuse,
    Run {
        reason: String,
        differences: Vec<String>,
        /// The output that is not what was recorded.
        damaged: Option<String>,
    },
}

/// The steps of one pipeline. Fingerprints depend on settings and raw files only, so all of them
/// are known before anything runs.
pub(crate) fn steps(p: &Pipeline, folders: &Folders, policy: Policy) -> Result<Vec<Step>, Error> {
    let mut done: Vec<Step> = Vec::new();
    for node in graph::stages(p, folders, policy)? {
        let inputs = match node.stage {
            Stage::Dataset => raw_hashes(p).map_err(|cause| {
                Error::Input(Failure { run: node.run.clone(), stage: node.stage.name().into(), ..cause })
            })?,
            _ => {
                let name = |step: &Step| match node.seed {
                    Some(_) => step.node.stage.name().to_owned(),
                    None => step.name_among_runs(),
                };
                let needed = node.inputs.iter().filter_map(|&i| done.get(i));
                needed.map(|step| (name(step), step.fingerprint.clone())).collect()
            }
        };
        let print = fingerprint_of(node.stage, &node.config, &inputs);
        let decision = decide(&node, &print, &inputs)?;
        done.push(Step { node, fingerprint: print, inputs, decision });
    }
    Ok(done)
}

impl Step {
    /// Name among the stages of several runs.
    pub(crate) fn name_among_runs(&self) -> String {
        match self.node.seed {
            Some(seed) => format!("{seed}/{}", self.node.stage.name()),
            None => self.node.stage.name().to_owned(),
        }
    }
}

/// The fingerprint of a stage with these settings and inputs.
pub(crate) fn fingerprint_of(stage: Stage, config: &Value, inputs: &BTreeMap<String, String>) -> String {
    fingerprint(&json!({
        "stage": stage.name(),
        "code": stage.code_format(),
        "config": config,
        "inputs": inputs,
    }))
}

fn decide(node: &Node, fingerprint: &str, inputs: &BTreeMap<String, String>) -> Result<Decision, Error> {
    let run = |reason: String, differences, damaged| Ok(Decision::Run { reason, differences, damaged });
    let record = match StageRecord::read(&node.dir) {
        Ok(Some(record)) => record,
        Ok(None) => return run("new".into(), Vec::new(), None),
        Err(dash_store::Error::Damaged { .. }) => {
            let file = dash_store::RECORD_FILE.to_owned();
            return run(format!("{file} damaged"), Vec::new(), Some(file));
        }
        Err(error) => return Err(error.into()),
    };
    if record.fingerprint != fingerprint {
        let mut differences = config::differences(&record.config, &node.config);
        let names: std::collections::BTreeSet<&String> = inputs.keys().chain(record.inputs.keys()).collect();
        for name in names {
            if inputs.get(name) != record.inputs.get(name) {
                differences.push(match (record.inputs.get(name), inputs.get(name)) {
                    (None, _) => format!("input {name} added"),
                    (_, None) => format!("input {name} removed"),
                    _ => format!("input {name} changed"),
                });
            }
        }
        let reason = match differences.as_slice() {
            [] => "this version of dash-nas computes it differently".into(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        return run(reason, differences, None);
    }
    match record.damaged_output(&node.dir) {
        Some(file) => run(format!("output {file} damaged"), Vec::new(), Some(file)),
        None => Ok(Decision::Reuse),
    }
}

/// SHA-256 of the raw files of a dataset, by file name, or by path where names are the same.
fn raw_hashes(p: &Pipeline) -> Result<BTreeMap<String, String>, Failure> {
    let sources = dash_data::sources(&p.dataset).map_err(|e| Failure::new("", "", &e))?;
    let mut hashes = BTreeMap::new();
    for path in sources {
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let hash = sha256_file(&path).map_err(|e| Failure::new("", "", &MissingSource(e)))?;
        let name = if hashes.contains_key(&name) { path.display().to_string() } else { name };
        hashes.insert(name, hash);
    }
    Ok(hashes)
}

/// A raw file that cannot be read is missing data, whatever the reason.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct MissingSource(dash_store::Error);

impl dash_core::error::Classify for MissingSource {
    fn kind(&self) -> dash_core::error::ErrorKind {
        dash_core::error::ErrorKind::Data
    }
    fn hint(&self) -> Option<String> {
        Some(
            "data/README.md says where the benchmark's files come from; `dataset.raw` names their folder"
                .into(),
        )
    }
}
