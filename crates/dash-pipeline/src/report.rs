//! The report stage: collects what is finished and publishes the report's files.

use crate::{
    Error, attempts, collect, config,
    contents::{self, Contents, Reader},
    graph::{Folders, RunSet, Stage},
    plan::{Decision, Raw, Step, fingerprint_of, steps},
    run::RunOutcome,
};
use dash_conv::Policy;
use dash_core::{
    pipeline::Pipeline,
    results::{ResultRow, RunDetail, Status},
};
use dash_report::{PipelineConfig, ReportInput, render};
use dash_store::{HashMemo, StageRecord, Staging, now_utc};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Rebuilds the reports of `batch` from what is finished with the present settings; no other
/// stage runs, and no raw file is read.
///
/// # Errors
/// If no pipeline has a result, or a report cannot be written.
pub fn report(batch: &RunSet, folders: &Folders) -> Result<RunOutcome, Error> {
    batch.check()?;
    dash_store::recover_shared(&folders.reports)?;
    let hashes = folders.hashes();
    let mut outcome = RunOutcome::default();
    let mut parts = Vec::new();
    for pipeline in &batch.pipelines {
        parts.push(gather(pipeline, folders, batch.planner.policy(), &hashes)?);
    }
    let _ = hashes.save();
    if !parts.iter().any(ReportSection::any_result) {
        let names: Vec<String> = batch.pipelines.iter().map(Pipeline::run_name).collect();
        return Err(Error::NoResults { names: names.join(", ") });
    }
    for part in parts.iter().filter(|part| part.any_result()) {
        write(&part.name, std::slice::from_ref(part), folders)?;
    }
    outcome.finish(batch, folders, parts)?;
    Ok(outcome)
}

/// What one pipeline contributes to a report.
pub(crate) struct ReportSection {
    /// Name of its runs and of its own report.
    pub(crate) name: String,
    /// A row for each value that the pipeline asks for, the missing ones included.
    pub(crate) rows: Vec<ResultRow>,
    details: Vec<RunDetail>,
    notes: Vec<String>,
    config: PipelineConfig,
    settings: Value,
    inputs: Contents,
}

impl ReportSection {
    /// Whether anything was measured.
    pub(crate) fn any_result(&self) -> bool {
        self.rows.iter().any(|row| row.status == Status::Done)
    }
}

/// Collects the methods and seeds that a pipeline asks for from what is finished with its present settings.
///
/// # Errors
/// If the state of the runs cannot be read. A single run that cannot be shown is a row with the reason.
pub(crate) fn gather(
    p: &Pipeline,
    folders: &Folders,
    policy: Policy,
    hashes: &HashMemo,
) -> Result<ReportSection, Error> {
    let steps = steps(p, folders, policy, hashes, Raw::Ignored)?;
    let name = p.run_name();
    let mut part = ReportSection {
        rows: Vec::new(),
        details: Vec::new(),
        notes: notes(p),
        config: PipelineConfig { pipeline: name.clone(), toml: dash_core::load::to_toml(p)? },
        settings: config::of_stage(p, Stage::Report, None, policy)?,
        inputs: Contents::new(),
        name,
    };
    for step in &steps {
        let (Stage::Retrain(method), Some(seed)) = (step.node.stage, step.node.seed) else { continue };
        let collected = match without_result(&steps, step) {
            Some(problem) => Err(problem),
            None => collect::run(p, folders, seed, method)
                .map_err(|failure| (Status::Failed, failure.message.clone())),
        };
        match collected {
            Ok((rows, detail)) => {
                part.rows.extend(rows);
                part.details.push(detail);
                let shown = step.node.inputs.iter().filter_map(|&i| steps.get(i)).chain([step]);
                for node in shown.map(|step| &step.node).filter(|node| node.seed.is_some()) {
                    contents::add(&mut part.inputs, Reader::Report, node, &node.dir, hashes)?;
                }
            }
            Err((status, reason)) => {
                let note = format!("{}, seed {seed}: {method} is {}: {reason}.", part.name, status.name());
                part.notes.push(note);
                // A report with other gaps is another report.
                part.inputs.insert(step.node.name_among_runs(), reason.clone());
                part.rows.push(collect::missing(p, seed, method, status, reason));
            }
        }
    }
    Ok(part)
}

/// What a reader must know of the settings.
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
fn without_result(steps: &[Step], step: &Step) -> Option<(Status, String)> {
    let Decision::Run { .. } = &step.decision else {
        return matches!(step.decision, Decision::Restore { .. }).then(|| {
            (Status::Missing, "its result is kept aside; run the pipeline to restore it".to_owned())
        });
    };
    // The first stage on the way that has no result is the one to name.
    let earlier = step.node.inputs.iter().filter_map(|&i| steps.get(i));
    let mut way = earlier.chain(std::iter::once(step));
    let (stage, reason) = way.find_map(|step| match &step.decision {
        Decision::Run { reason, .. } => Some((step, reason)),
        _ => None,
    })?;
    let name = stage.node.stage.name();
    Some(match attempts::last_failure(&stage.node.dir) {
        Some(failure) => (Status::Failed, format!("{name} failed: {failure}")),
        None if reason == "new" => (Status::Missing, format!("{name} has not been run")),
        None => (Status::Missing, format!("{name} has not been run with these settings: {reason}")),
    })
}

/// Settings and inputs of a report.
fn depends_on(parts: &[ReportSection]) -> (Value, Contents) {
    match parts {
        [one] => (one.settings.clone(), one.inputs.clone()),
        many => {
            let prefixed = |p: &ReportSection| {
                let pipeline = p.name.clone();
                p.inputs.clone().into_iter().map(move |(name, hash)| (format!("{pipeline}/{name}"), hash))
            };
            (many.iter().map(|p| p.settings.clone()).collect(), many.iter().flat_map(prefixed).collect())
        }
    }
}

/// Why the report of a pipeline must be made again; `None` if it shows exactly these results.
pub(crate) fn stale(
    part: &ReportSection,
    folders: &Folders,
    hashes: &HashMemo,
) -> Result<Option<String>, Error> {
    let (settings, inputs) = depends_on(std::slice::from_ref(part));
    let dir = folders.report(&part.name);
    Ok(match StageRecord::read(&dir) {
        Ok(None) => Some("new".to_owned()),
        Ok(Some(record)) if record.fingerprint != fingerprint_of(Stage::Report, &settings, &inputs) => {
            Some("its results have changed".to_owned())
        }
        Ok(Some(record)) => record.damaged_output(&dir, hashes).map(|file| format!("output {file} damaged")),
        Err(dash_store::Error::Damaged { .. }) => Some(format!("{} damaged", dash_store::RECORD_FILE)),
        Err(error) => return Err(error.into()),
    })
}

/// Writes the report `name`, whatever is there of it already.
pub(crate) fn write(name: &str, parts: &[ReportSection], folders: &Folders) -> Result<StageRecord, Error> {
    let (clock, started, dir) = (Instant::now(), now_utc(), folders.report(name));
    check_place(&dir)?;
    let (config, inputs) = depends_on(parts);
    let input = ReportInput {
        name: name.to_owned(),
        generated: started.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        rows: parts.iter().flat_map(|p| p.rows.clone()).collect(),
        details: parts.iter().flat_map(|p| p.details.clone()).collect(),
        notes: parts.iter().flat_map(|p| p.notes.clone()).collect(),
        configs: parts.iter().map(|p| p.config.clone()).collect(),
    };
    let artifacts = render(&input)?;
    let mut out = Staging::begin(&dir)?;
    for artifact in &artifacts {
        out.write(&artifact.path, &artifact.bytes)?;
    }
    let record = StageRecord {
        format: StageRecord::FORMAT,
        stage: Stage::Report.name().into(),
        run: name.to_owned(),
        fingerprint: fingerprint_of(Stage::Report, &config, &inputs),
        config,
        inputs,
        outputs: BTreeMap::new(),
        seconds: clock.elapsed().as_secs_f64(),
        device: "cpu".into(),
        plan: None,
        versions: BTreeMap::from([("dash-nas".into(), env!("CARGO_PKG_VERSION").into())]),
        started,
        finished: now_utc(),
        summary: json!({ "rows": input.rows.len() }),
        provenance: None,
    };
    Ok(record.publish(out, None)?)
}

/// Finds out before anything runs whether the reports of a batch can be written.
pub(crate) fn check_places(batch: &RunSet, folders: &Folders) -> Result<(), Error> {
    let names = batch.pipelines.iter().map(Pipeline::run_name).chain(batch.report.clone());
    for dir in names.map(|name| folders.report(&name)) {
        check_place(&dir)?;
        // Made and dropped: nothing stays.
        drop(Staging::begin(&dir)?);
    }
    Ok(())
}

/// A report replaces its folder; one that holds something else must not be lost.
fn check_place(dir: &Path) -> Result<(), Error> {
    let foreign = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
        && !dir.join(dash_store::RECORD_FILE).exists();
    if foreign { Err(Error::Occupied { path: dir.to_owned() }) } else { Ok(()) }
}

/// Path of the page of a report.
pub(crate) fn page(name: &str, folders: &Folders) -> PathBuf {
    folders.report(name).join("index.html")
}
