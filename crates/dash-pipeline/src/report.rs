//! The stage `report`: collects what is finished and writes the report's files.

use crate::{
    attempts, collect, config,
    contents::{self, Contents},
    error::{Error, Failure, StageError},
    executor::{StageJob, StageRunner, StageSummary},
    folders::Folders,
    graph::{Node, RunSet},
    host,
    plan::{Decision, Planning, Step},
};
use dash_core::{
    pipeline::Pipeline,
    results::{ResultRow, RunDetail, Status},
    stage::{RunId, Stage},
};
use dash_report::{PipelineConfig, ReportInput, render};
use dash_store::{Staging, now_utc};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// What one pipeline contributes to a report.
pub(crate) struct ReportSection {
    /// Name of its runs and of its own report.
    pub(crate) name: String,
    /// A row for each value that the pipeline asks for, including missing ones.
    pub(crate) rows: Vec<ResultRow>,
    details: Vec<RunDetail>,
    notes: Vec<String>,
    config: PipelineConfig,
    settings: Value,
    inputs: Contents,
}

impl ReportSection {
    /// Whether there is any value.
    pub(crate) fn has_results(&self) -> bool {
        self.rows.iter().any(|row| row.status == Status::Done)
    }

    /// Collects the results of a pipeline's methods and seeds that are finished with its present settings.
    ///
    /// # Errors
    /// If the state of the runs cannot be read. A single run that cannot be shown becomes a row with the reason.
    pub(crate) fn collect(p: &Pipeline, planning: &Planning<'_>) -> Result<ReportSection, Error> {
        let steps = planning.steps(p)?;
        let name = p.run_name();
        let mut section = ReportSection {
            rows: Vec::new(),
            details: Vec::new(),
            notes: notes(p),
            config: PipelineConfig { pipeline: name.clone(), toml: dash_core::load::to_toml(p)? },
            settings: config::of_stage(p, Stage::Report, None, planning.policy)?,
            inputs: Contents::new(),
            name,
        };
        for step in &steps {
            let (Stage::Retrain(method), Some(seed)) = (step.node.stage, step.node.run.seed) else {
                continue;
            };
            let collected = match missing_result(&steps, step) {
                Some(missing) => Err(missing),
                None => collect::collect(p, planning.folders, seed, method).map_err(|error| {
                    let failure = Failure::of_stage(&step.node.run, Stage::Report, &error);
                    (Status::Failed, failure.message)
                }),
            };
            match collected {
                Ok((rows, detail)) => {
                    section.rows.extend(rows);
                    section.details.push(detail);
                    let shown = step.node.inputs.iter().filter_map(|&i| steps.get(i)).chain([step]);
                    for node in shown.map(|step| &step.node).filter(|node| node.run.seed.is_some()) {
                        contents::add_to_report(&mut section.inputs, node, &node.dir, planning.hashes)?;
                    }
                }
                Err((status, reason)) => {
                    let note =
                        format!("{}, seed {seed}: {method} is {}: {reason}.", section.name, status.name());
                    section.notes.push(note);
                    // A report with other missing values is another report.
                    section.inputs.insert(step.node.name_among_seeds(), reason.clone());
                    section.rows.push(collect::missing(p, seed, method, status, reason));
                }
            }
        }
        Ok(section)
    }
}

/// What a reader must know about the settings.
fn notes(p: &Pipeline) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(profile) = &p.profile {
        notes.push(format!(
            "{}: made with the profile {profile}, not with the settings of the pipeline file alone.",
            p.name
        ));
    }
    if !p.overrides.is_empty() {
        notes.push(format!("{}: overridden by {}.", p.run_name(), p.overrides.join("; ")));
    }
    notes
}

/// Why a retraining has no result with the present settings, if it has none.
fn missing_result(steps: &[Step], step: &Step) -> Option<(Status, String)> {
    let Decision::Run { .. } = &step.decision else {
        return matches!(step.decision, Decision::Restore { .. }).then(|| {
            (Status::Missing, "its result is superseded; run the pipeline to restore it".to_owned())
        });
    };
    // The first stage of the chain that has no result is the one to name.
    let earlier = step.node.inputs.iter().filter_map(|&i| steps.get(i));
    let (node, reason) = earlier.chain([step]).find_map(|step| match &step.decision {
        Decision::Run { reason, .. } => Some((&step.node, reason)),
        Decision::Reuse | Decision::Restore { .. } => None,
    })?;
    let name = node.stage;
    Some(match attempts::last_failure(&node.dir) {
        Some(failure) => (Status::Failed, format!("{name} failed: {failure}")),
        None if reason == "new" => (Status::Missing, format!("{name} has not been run")),
        None => (Status::Missing, format!("{name} has not been run with these settings: {reason}")),
    })
}

/// The step that writes the report `name` with these sections.
pub(crate) fn step(name: &str, sections: &[ReportSection], planning: &Planning<'_>) -> Result<Step, Error> {
    let (config, inputs) = match sections {
        [one] => (one.settings.clone(), one.inputs.clone()),
        many => {
            let prefixed = |section: &ReportSection| {
                let pipeline = section.name.clone();
                let inputs = section.inputs.clone();
                inputs.into_iter().map(move |(name, hash)| (format!("{pipeline}/{name}"), hash))
            };
            let settings = many.iter().map(|section| section.settings.clone()).collect();
            (settings, many.iter().flat_map(prefixed).collect())
        }
    };
    let (run, dir) = (RunId::new(name, None), planning.folders.report(name));
    planning.step_with_inputs(Node { stage: Stage::Report, run, dir, config, inputs: Vec::new() }, inputs)
}

/// Renders the sections of a report.
pub(crate) struct ReportRunner<'a> {
    pub(crate) sections: &'a [ReportSection],
}

impl StageRunner for ReportRunner<'_> {
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<StageSummary, StageError> {
        let sections = self.sections.iter();
        let input = ReportInput {
            name: job.run.pipeline.clone(),
            generated: now_utc(),
            version: env!("CARGO_PKG_VERSION").into(),
            rows: sections.clone().flat_map(|s| s.rows.clone()).collect(),
            details: sections.clone().flat_map(|s| s.details.clone()).collect(),
            notes: sections.clone().flat_map(|s| s.notes.clone()).collect(),
            configs: sections.map(|s| s.config.clone()).collect(),
        };
        for artifact in render(&input)? {
            out.write(&artifact.path, &artifact.bytes)?;
        }
        let facts = json!({ "rows": input.rows.len() });
        Ok(StageSummary { facts, predicted_memory: None })
    }

    fn device(&self) -> String {
        "cpu".into()
    }

    fn device_name(&self) -> String {
        host::cpu_name()
    }
}

/// Checks before anything runs that the reports can be written.
///
/// # Errors
/// If a folder cannot be written, or holds files that are not a report and would be lost.
pub(crate) fn check_folders(runs: &RunSet, folders: &Folders) -> Result<(), Error> {
    let names = runs.pipelines.iter().map(Pipeline::run_name).chain(runs.report.clone());
    for dir in names.map(|name| folders.report(&name)) {
        if holds_other_files(&dir) {
            return Err(Error::Occupied { path: dir });
        }
        // Created and dropped: nothing remains.
        drop(Staging::begin(&dir)?);
    }
    Ok(())
}

fn holds_other_files(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
        && !dir.join(dash_store::RECORD_FILE).exists()
}
