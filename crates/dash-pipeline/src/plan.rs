//! What must run, and why.

use crate::{
    Error, Failure, config,
    contents::{self, Contents, Reader},
    graph::{self, Folders, Node, RunSet, Stage},
    outlook::{MemoryForecast, MemoryForecaster},
    superseded,
};
use dash_conv::Policy;
use dash_core::pipeline::Pipeline;
use dash_store::{ConvolutionPlan, HashMemo, StageRecord, fingerprint};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf};

/// What will be done about a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It runs.
    Run,
    /// Its earlier result is taken.
    Reuse,
    /// An earlier result that had given way to another comes back.
    Restore,
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
///
/// Whether a stage is reused depends on the content of what earlier stages leave. Behind a stage that must run,
/// stages are planned to run, too; if it leaves what it left before, they will be reused nevertheless.
///
/// # Errors
/// If a record cannot be read, or if raw data is missing.
pub fn plan(batch: &RunSet, folders: &Folders) -> Result<Vec<Planned>, Error> {
    batch.check()?;
    let hashes = folders.hashes();
    let mut planned = Vec::new();
    for pipeline in &batch.pipelines {
        let policy = batch.planner.policy();
        let steps = steps(pipeline, folders, policy, &hashes, Raw::Compared)?;
        let reused = |stage: Stage, seed: Option<u64>| {
            let is = |step: &&Step| step.node.stage == stage && step.node.seed == seed;
            steps.iter().find(is).is_some_and(|step| matches!(step.decision, Decision::Reuse))
        };
        let mut teller = match reused(Stage::Dataset, None) {
            true => MemoryForecaster::new(pipeline, folders, policy),
            false => None,
        };
        let foretold: Vec<MemoryForecast> = (steps.iter())
            .map(|step| match (&mut teller, step.node.seed, &step.decision) {
                (Some(teller), Some(seed), Decision::Run { .. }) => {
                    teller.tell(step.node.stage, seed, reused(Stage::Search, Some(seed)))
                }
                _ => MemoryForecast::default(),
            })
            .collect();
        for (step, foretold) in steps.into_iter().zip(foretold) {
            let (action, reason, differences) = match step.decision {
                Decision::Reuse if step.unchecked.is_some() => (
                    Action::Reuse,
                    "finished with these settings; raw files not found".to_owned(),
                    Vec::new(),
                ),
                Decision::Reuse => {
                    (Action::Reuse, "finished with these settings and inputs".to_owned(), Vec::new())
                }
                Decision::Restore { differences, .. } => {
                    (Action::Restore, "kept from an earlier run with these settings".to_owned(), differences)
                }
                Decision::Run { reason, differences, .. } => (Action::Run, reason, differences),
            };
            let stage = step.node.stage.name().to_owned();
            let plan = StageRecord::read(&step.node.dir).ok().flatten().and_then(|record| record.plan);
            planned.push(Planned {
                run: step.node.run.to_string(),
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
    // Remembered hashes save time, no more.
    let _ = hashes.save();
    Ok(planned)
}

/// Whether the raw files of a dataset take part in decisions. Reports look at results only: a dataset stays what
/// it is when the files that it was made from move, change or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    Compared,
    Ignored,
}

/// A stage and the decision about it.
pub(crate) struct Step {
    pub(crate) node: Node,
    /// What it reads, if all of it exists.
    pub(crate) inputs: Option<Contents>,
    pub(crate) decision: Decision,
    /// Why its inputs could not be compared with what was recorded, if they could not.
    pub(crate) unchecked: Option<Failure>,
    /// What later stages read of it, once a run has seen to its results: from then on to the end of the run it must
    /// be this and nothing else.
    pub(crate) left: Option<Contents>,
}

pub(crate) enum Decision {
    Reuse,
    /// The results in this folder, which had given way to others, are those of the present settings.
    Restore {
        from: PathBuf,
        /// What differs from the results that give way to them.
        differences: Vec<String>,
    },
    Run {
        reason: String,
        differences: Vec<String>,
        /// The output that is not what was recorded.
        damaged: Option<String>,
    },
}

impl Step {
    /// The folder with the results of the present settings and inputs, if they exist.
    fn results(&self) -> Option<PathBuf> {
        match &self.decision {
            Decision::Reuse => Some(self.node.dir.clone()),
            Decision::Restore { from, .. } => Some(from.clone()),
            Decision::Run { .. } => None,
        }
    }

    /// The fingerprint of its settings and inputs, if these exist.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.inputs.as_ref().map(|inputs| fingerprint_of(self.node.stage, &self.node.config, inputs))
    }
}

/// The steps of one pipeline as they are before anything runs.
pub(crate) fn steps(
    p: &Pipeline,
    folders: &Folders,
    policy: Policy,
    hashes: &HashMemo,
    raw: Raw,
) -> Result<Vec<Step>, Error> {
    let mut done: Vec<Step> = Vec::new();
    for node in graph::stages(p, folders, policy)? {
        let step = examine(p, node, &done, hashes, raw)?;
        done.push(step);
    }
    Ok(done)
}

/// Decides about a stage after `earlier` ones.
pub(crate) fn examine(
    p: &Pipeline,
    node: Node,
    earlier: &[Step],
    hashes: &HashMemo,
    raw: Raw,
) -> Result<Step, Error> {
    let needed = || node.inputs.iter().filter_map(|&i| earlier.get(i));
    let waits_for = needed().find(|step| step.results().is_none()).map(|step| step.node.name_among_runs());
    let (mut inputs, mut unchecked) = (Contents::new(), None);
    let recorded = || StageRecord::read(&node.dir).ok().flatten();
    match (node.stage, raw) {
        (Stage::Dataset, Raw::Compared) => match (contents::of_raw_files(p, &node, hashes), recorded()) {
            (Ok(found), _) => inputs = found,
            // The raw folder may be gone once the dataset exists: the dataset is what results depend on.
            (Err(Error::Input(failure)), Some(record))
                if dash_data::raw_folder(&p.dataset).is_some_and(|raw| !raw.is_dir())
                    && config::comparable(&record) == node.config =>
            {
                (inputs, unchecked) = (record.inputs, Some(failure));
            }
            (Err(error), _) => return Err(error),
        },
        // As if they were what was recorded.
        (Stage::Dataset, Raw::Ignored) => inputs = recorded().map(|r| r.inputs).unwrap_or_default(),
        _ if waits_for.is_none() => {
            let reader = if node.stage == Stage::Report { Reader::Report } else { Reader::Stage };
            for step in needed() {
                match (&step.left, step.results()) {
                    (Some(left), _) if reader == Reader::Stage => inputs.extend(left.clone()),
                    (_, Some(dir)) => contents::add(&mut inputs, reader, &step.node, &dir, hashes)?,
                    (_, None) => {}
                }
            }
        }
        _ => {}
    }
    let inputs = if waits_for.is_none() { Some(inputs) } else { None };
    let decision = decide(&node, inputs.as_ref(), waits_for, earlier, hashes)?;
    match (unchecked, decision) {
        // It would have to be made from files that are not there.
        (Some(failure), Decision::Run { .. }) => Err(Error::Input(failure)),
        (unchecked, decision) => Ok(Step { node, inputs, decision, unchecked, left: None }),
    }
}

/// The fingerprint of a stage with these settings and inputs.
pub(crate) fn fingerprint_of(stage: Stage, config: &Value, inputs: &Contents) -> String {
    fingerprint(&json!({
        "stage": stage.name(),
        "code": graph::code_format(stage),
        "config": config,
        "inputs": inputs,
    }))
}

fn decide(
    node: &Node,
    inputs: Option<&Contents>,
    waits_for: Option<String>,
    earlier: &[Step],
    hashes: &HashMemo,
) -> Result<Decision, Error> {
    let print = inputs.map(|inputs| fingerprint_of(node.stage, &node.config, inputs));
    let run = |reason: String, differences| {
        let kept = print.as_ref().filter(|_| node.stage != Stage::Report);
        match kept.and_then(|print| superseded::find(&node.dir, print, hashes)) {
            Some(from) => Ok(Decision::Restore { from, differences }),
            None => Ok(Decision::Run { reason, differences, damaged: None }),
        }
    };
    let damaged = |reason: String, file: String| {
        Ok(Decision::Run { reason, differences: Vec::new(), damaged: Some(file) })
    };
    let record = match StageRecord::read(&node.dir) {
        Ok(Some(record)) => record,
        Ok(None) => return run("new".into(), Vec::new()),
        Err(dash_store::Error::Damaged { .. }) => {
            let file = dash_store::RECORD_FILE.to_owned();
            return damaged(format!("{file} damaged"), file);
        }
        Err(error) => return Err(error.into()),
    };
    let fits = match (&print, inputs) {
        (Some(print), _) if record.format > 1 => record.fingerprint == *print,
        (Some(_), Some(inputs)) => fits_format_1(&record, node, inputs, earlier),
        _ => false,
    };
    if fits {
        return match record.damaged_output(&node.dir, hashes) {
            Some(file) => damaged(format!("output {file} damaged"), file),
            None => Ok(Decision::Reuse),
        };
    }
    let mut differences = config::differences(&config::comparable(&record), &node.config);
    if let (Some(inputs), true) = (inputs, record.format > 1 || node.stage == Stage::Dataset) {
        differences.extend(input_differences(&record.inputs, inputs));
    }
    let reason = match (differences.as_slice(), waits_for) {
        ([], Some(stage)) => format!("after {stage}"),
        ([], None) if record.format == 1 => "an input was made again".into(),
        ([], None) => "this version of dash-nas computes it differently".into(),
        ([one], _) => one.clone(),
        ([first, rest @ ..], _) => format!("{first} and {} more", rest.len()),
    };
    run(reason, differences)
}

fn input_differences(old: &Contents, new: &Contents) -> Vec<String> {
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let differs = |name: &&String| new.get(*name) != old.get(*name);
    let tell = |name: &String| match (old.get(name), new.get(name)) {
        (None, _) => format!("input {name} added"),
        (_, None) => format!("input {name} removed"),
        _ => format!("input {name} changed"),
    };
    names.into_iter().filter(differs).map(tell).collect()
}

/// Whether a record of format 1, which holds no contents of inputs, is that of the present settings and inputs:
/// its inputs must be stages of format 1, too, with the fingerprints that it names, finished before it started.
/// Hashes of raw files are compared without their names, which could be paths, and as far as they were recorded.
fn fits_format_1(record: &StageRecord, node: &Node, inputs: &Contents, earlier: &[Step]) -> bool {
    let code =
        record.versions.get("stage").is_none_or(|code| *code == graph::code_format(node.stage).to_string());
    if !code || config::comparable(record) != node.config {
        return false;
    }
    if node.stage == Stage::Dataset {
        return record.inputs.values().all(|hash| inputs.values().any(|found| found == hash));
    }
    let mut needed = node.inputs.iter().filter_map(|&i| earlier.get(i));
    needed.all(|step| {
        let input = step.results().and_then(|dir| StageRecord::read(&dir).ok().flatten());
        input.is_some_and(|input| {
            input.format == 1
                && record.inputs.get(step.node.stage.name()) == Some(&input.fingerprint)
                && input.finished <= record.started
        })
    })
}
