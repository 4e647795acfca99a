//! Decides which stages must run, and why.

use crate::{
    config,
    contents::{self, Contents},
    error::{Error, Failure},
    folders::Folders,
    graph::{self, Node, code_format},
    superseded,
};
use dash_conv::Policy;
use dash_core::{pipeline::Pipeline, stage::Stage};
use dash_store::{HashMemo, StageRecord, fingerprint};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};

/// Whether the raw files of a dataset take part in decisions. Reports only look at results: a dataset stays the same
/// when the files that it was made from move, change or disappear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawFiles {
    Compared,
    Ignored,
}

/// A stage and the decision about it.
pub(crate) struct Step {
    pub(crate) node: Node,
    /// What it reads, if all of it exists.
    pub(crate) inputs: Option<Contents>,
    pub(crate) decision: Decision,
    /// The record in its folder, if there is one that can be read.
    pub(crate) record: Option<StageRecord>,
    /// Why its inputs could not be compared with the recorded ones, if they could not.
    pub(crate) unchecked: Option<Failure>,
    /// What later stages read of it, once its results are available in a run: until the end of the run, its results
    /// must have this content.
    pub(crate) outputs: Option<Contents>,
}

/// What to do about a stage.
pub(crate) enum Decision {
    /// Its results are those of the present settings and inputs.
    Reuse,
    /// The results in this folder, which were superseded, are those of the present settings and inputs.
    Restore {
        from: PathBuf,
        /// How the settings and inputs differ from those of the results that will be replaced.
        differences: Vec<String>,
    },
    /// It must run.
    Run {
        reason: String,
        /// How the settings and inputs differ from those of the results that will be replaced.
        differences: Vec<String>,
        /// The output whose content is not the recorded one, if that is the reason.
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

    /// The record of these results.
    fn result_record(&self) -> Option<StageRecord> {
        match &self.decision {
            Decision::Reuse => self.record.clone(),
            Decision::Restore { from, .. } => StageRecord::read(from).ok().flatten(),
            Decision::Run { .. } => None,
        }
    }

    /// The fingerprint of its settings and inputs, if the inputs exist.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.inputs.as_ref().map(|inputs| fingerprint_of(&self.node, inputs))
    }
}

/// Reads what decisions depend on.
#[derive(Clone, Copy)]
pub(crate) struct Planning<'a> {
    pub(crate) folders: &'a Folders,
    /// How the algorithms of convolutions are chosen.
    pub(crate) policy: Policy,
    pub(crate) hashes: &'a HashMemo,
    pub(crate) raw_files: RawFiles,
}

impl Planning<'_> {
    /// The steps of one pipeline as they are before anything runs.
    pub(crate) fn steps(&self, p: &Pipeline) -> Result<Vec<Step>, Error> {
        let mut steps: Vec<Step> = Vec::new();
        for node in graph::stages(p, self.folders, self.policy)? {
            let step = self.step(p, node, &steps)?;
            steps.push(step);
        }
        Ok(steps)
    }

    /// Decides about a stage after `earlier` ones.
    pub(crate) fn step(&self, p: &Pipeline, node: Node, earlier: &[Step]) -> Result<Step, Error> {
        if node.stage == Stage::Dataset {
            return self.dataset_step(p, node);
        }
        let needed = || node.inputs.iter().filter_map(|&i| earlier.get(i));
        let waits_for =
            needed().find(|step| step.results().is_none()).map(|step| step.node.name_among_seeds());
        let mut inputs = Contents::new();
        if waits_for.is_none() {
            for step in needed() {
                match (&step.outputs, step.results()) {
                    (_, Some(dir)) if node.stage == Stage::Report => {
                        contents::add_to_report(&mut inputs, &step.node, &dir, self.hashes)?;
                    }
                    (Some(outputs), _) => inputs.extend(outputs.clone()),
                    (None, Some(dir)) => contents::add(&mut inputs, &step.node, &dir, self.hashes)?,
                    (None, None) => {}
                }
            }
        }
        let inputs = waits_for.is_none().then_some(inputs);
        self.decide(node, inputs, waits_for, earlier)
    }

    /// Decides about a stage whose inputs are known.
    pub(crate) fn step_with_inputs(&self, node: Node, inputs: Contents) -> Result<Step, Error> {
        self.decide(node, Some(inputs), None, &[])
    }

    fn dataset_step(&self, p: &Pipeline, node: Node) -> Result<Step, Error> {
        let recorded = || StageRecord::read(&node.dir).ok().flatten();
        let (inputs, unchecked) = match self.raw_files {
            // As if they were the recorded ones.
            RawFiles::Ignored => (recorded().map(|record| record.inputs).unwrap_or_default(), None),
            RawFiles::Compared => match contents::of_raw_files(p, &node, self.hashes) {
                Ok(inputs) => (inputs, None),
                Err(Error::Input(failure)) => {
                    // The raw folder may be gone once the dataset exists: results depend on the dataset only.
                    let raw_is_gone = p.dataset.raw_folder().is_some_and(|raw| !raw.is_dir());
                    match recorded() {
                        Some(record) if raw_is_gone && config::comparable(&record) == node.config => {
                            (record.inputs, Some(failure))
                        }
                        _ => return Err(Error::Input(failure)),
                    }
                }
                Err(error) => return Err(error),
            },
        };
        let step = self.decide(node, Some(inputs), None, &[])?;
        match (unchecked, &step.decision) {
            // The dataset would have to be made from files that do not exist.
            (Some(failure), Decision::Run { .. }) => Err(Error::Input(failure)),
            (unchecked, _) => Ok(Step { unchecked, ..step }),
        }
    }

    fn decide(
        &self,
        node: Node,
        inputs: Option<Contents>,
        waits_for: Option<String>,
        earlier: &[Step],
    ) -> Result<Step, Error> {
        let found = match StageRecord::read(&node.dir) {
            Ok(record) => Ok(record),
            Err(dash_store::Error::Damaged { .. }) => Err(dash_store::RECORD_FILE),
            Err(error) => return Err(error.into()),
        };
        let decision = match &found {
            Ok(record) => self.compare(&node, inputs.as_ref(), waits_for, earlier, record.as_ref()),
            Err(file) => damaged(format!("{file} damaged"), (*file).to_owned()),
        };
        let record = found.ok().flatten();
        Ok(Step { node, inputs, decision, record, unchecked: None, outputs: None })
    }

    /// Compares the settings and inputs of a stage with those of its record.
    fn compare(
        &self,
        node: &Node,
        inputs: Option<&Contents>,
        waits_for: Option<String>,
        earlier: &[Step],
        record: Option<&StageRecord>,
    ) -> Decision {
        let fingerprint = inputs.map(|inputs| fingerprint_of(node, inputs));
        let run = |reason: String, differences| {
            let found =
                |fingerprint: &String| superseded::find(node.stage, &node.dir, fingerprint, self.hashes);
            match fingerprint.as_ref().and_then(found) {
                Some(from) => Decision::Restore { from, differences },
                None => Decision::Run { reason, differences, damaged: None },
            }
        };
        let Some(record) = record else { return run("new".into(), Vec::new()) };
        let fits = match (&fingerprint, inputs) {
            (Some(fingerprint), _) if record.format > 1 => record.fingerprint == *fingerprint,
            (Some(_), Some(inputs)) => fits_format_1(record, node, inputs, earlier),
            _ => false,
        };
        if fits {
            return match record.damaged_output(&node.dir, self.hashes) {
                Some(file) => damaged(format!("output {file} damaged"), file),
                None => Decision::Reuse,
            };
        }
        let mut differences = config::differences(&config::comparable(record), &node.config);
        if let (Some(inputs), true) = (inputs, record.format > 1 || node.stage == Stage::Dataset) {
            differences.extend(input_differences(&record.inputs, inputs));
        }
        let reason = match (differences.as_slice(), waits_for) {
            ([], Some(stage)) => format!("after {stage}"),
            ([], None) if record.format == 1 => "an input was computed again".into(),
            ([], None) => "this version of dash-nas computes it differently".into(),
            ([one], _) => one.clone(),
            ([first, rest @ ..], _) => format!("{first} and {} more", rest.len()),
        };
        run(reason, differences)
    }
}

/// The fingerprint of a stage with these inputs.
fn fingerprint_of(node: &Node, inputs: &Contents) -> String {
    fingerprint(&json!({
        "stage": node.stage.name(),
        "code": code_format(node.stage),
        "config": node.config,
        "inputs": inputs,
    }))
}

fn damaged(reason: String, file: String) -> Decision {
    Decision::Run { reason, differences: Vec::new(), damaged: Some(file) }
}

fn input_differences(old: &Contents, new: &Contents) -> Vec<String> {
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let differs = |name: &&String| new.get(*name) != old.get(*name);
    let describe = |name: &String| match (old.get(name), new.get(name)) {
        (None, _) => format!("input {name} added"),
        (_, None) => format!("input {name} removed"),
        _ => format!("input {name} changed"),
    };
    names.into_iter().filter(differs).map(describe).collect()
}

/// Whether a record of format 1, which does not hold the contents of inputs, belongs to the present settings and inputs:
/// its inputs must be stages of format 1 as well, with the fingerprints that it names, finished before it started.
/// Hashes of raw files are compared without their names, which could be paths, and only as far as they were recorded.
fn fits_format_1(record: &StageRecord, node: &Node, inputs: &Contents, earlier: &[Step]) -> bool {
    let code = code_format(node.stage).to_string();
    if record.versions.get("stage").is_some_and(|recorded| *recorded != code)
        || config::comparable(record) != node.config
    {
        return false;
    }
    if node.stage == Stage::Dataset {
        return record.inputs.values().all(|hash| inputs.values().any(|found| found == hash));
    }
    let mut needed = node.inputs.iter().filter_map(|&i| earlier.get(i));
    needed.all(|step| {
        step.result_record().is_some_and(|input| {
            input.format == 1
                && record.inputs.get(step.node.stage.name()) == Some(&input.fingerprint)
                && input.finished <= record.started
        })
    })
}
