//! The report stage: collects what is finished and publishes the report's files.

use crate::{
    Error, collect, config,
    graph::{Batch, Folders, Stage},
    plan::{Decision, Step, fingerprint_of, steps},
    run::Outcome,
};
use dash_core::{
    pipeline::Pipeline,
    results::{ResultRow, RunDetail},
};
use dash_report::{PipelineConfig, ReportInput, render};
use dash_store::{StageRecord, Staging, now_utc};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Rebuilds the reports of `batch` from what is finished with the present settings; no other
/// stage runs.
pub fn report(batch: &Batch, folders: &Folders) -> Result<Outcome, Error> {
    batch.check()?;
    let mut outcome = Outcome::default();
    let mut parts = Vec::new();
    for pipeline in &batch.pipelines {
        let finished = |step: &Step| matches!(step.decision, Decision::Reuse);
        let part = gather(pipeline, folders, &steps(pipeline, folders, batch.planner.policy())?, &finished)?;
        if !part.rows.is_empty() {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        let names: Vec<&str> = batch.pipelines.iter().map(|p| p.name.as_str()).collect();
        return Err(Error::NoResults { names: names.join(", ") });
    }
    for part in &parts {
        write(&part.config.pipeline, std::slice::from_ref(part), folders)?;
    }
    outcome.finish(batch, folders, parts)?;
    Ok(outcome)
}

/// What one pipeline contributes to a report.
pub(crate) struct Part {
    pub(crate) rows: Vec<ResultRow>,
    details: Vec<RunDetail>,
    notes: Vec<String>,
    pub(crate) config: PipelineConfig,
    settings: Value,
    inputs: BTreeMap<String, String>,
}

/// Collects the methods and seeds whose last stage is `finished`.
pub(crate) fn gather(
    p: &Pipeline,
    folders: &Folders,
    steps: &[Step],
    finished: &dyn Fn(&Step) -> bool,
) -> Result<Part, Error> {
    let mut part = Part {
        rows: Vec::new(),
        details: Vec::new(),
        notes: Vec::new(),
        config: PipelineConfig { pipeline: p.name.clone(), toml: dash_core::load::to_toml(p)? },
        settings: config::json(p)?,
        inputs: BTreeMap::new(),
    };
    for step in steps {
        let (Stage::Retrain(method), Some(seed)) = (step.node.stage, step.node.seed) else { continue };
        if !finished(step) {
            part.notes.push(format!("{}, seed {seed}: {method} is not finished and not shown.", p.name));
            continue;
        }
        let (rows, detail) = collect::run(p, folders, seed, method).map_err(Error::Input)?;
        part.rows.extend(rows);
        part.details.push(detail);
        part.inputs.insert(step.name_among_runs(), step.fingerprint.clone());
    }
    Ok(part)
}

/// Writes the report `name`, whatever is there of it already.
pub(crate) fn write(name: &str, parts: &[Part], folders: &Folders) -> Result<StageRecord, Error> {
    let (clock, started, dir) = (Instant::now(), now_utc(), folders.report(name));
    check_place(&dir)?;
    let (config, inputs) = match parts {
        // As the plan of the pipeline computes it.
        [one] => (one.settings.clone(), one.inputs.clone()),
        many => {
            let prefixed = |p: &Part| {
                let pipeline = p.config.pipeline.clone();
                p.inputs.clone().into_iter().map(move |(name, print)| (format!("{pipeline}/{name}"), print))
            };
            (many.iter().map(|p| p.settings.clone()).collect(), many.iter().flat_map(prefixed).collect())
        }
    };
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
    };
    Ok(record.publish(out)?)
}

/// Finds out before anything runs whether the reports of a batch can be written.
pub(crate) fn check_places(batch: &Batch, folders: &Folders) -> Result<(), Error> {
    let names = batch.pipelines.iter().map(|p| p.name.as_str()).chain(batch.report.as_deref());
    for dir in names.map(|name| folders.report(name)) {
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
