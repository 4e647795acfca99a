//! Lists runs, their finished stages, and the processes that work on them.

use crate::{
    error::Error,
    folders::Folders,
    progress::StageProgress,
    superseded::{self, Superseded},
};
use dash_core::{
    pipeline::Method,
    stage::{RunId, Stage},
};
use dash_store::{Holder, Lock, StageRecord};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// A run, or what all seeds of a pipeline share, and its finished stages.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunStatus {
    /// The run.
    pub run: RunId,
    /// The process that works on the run now, if any.
    pub holder: Option<Holder>,
    /// Progress of the running stage, if a process works on the run.
    pub progress: Option<StageProgress>,
    /// The finished stages in the order in which they ran.
    pub stages: Vec<StageStatus>,
    /// Results of other settings that are kept until `dash-nas runs prune`.
    pub superseded: Vec<Superseded>,
}

/// A finished stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StageStatus {
    /// Name of the stage.
    pub stage: String,
    /// Wall time in whole seconds.
    pub seconds: u64,
    /// UTC date and time at which it finished.
    pub finished: String,
    /// Why its record cannot be read, if it cannot.
    pub damage: Option<String>,
}

/// Lists all runs below the root of the runs. Nothing is locked, so that runs may be in progress meanwhile.
pub(crate) fn status(folders: &Folders) -> Result<Vec<RunStatus>, Error> {
    let runs = &folders.runs;
    let mut found = Vec::new();
    for pipeline in runs.pipelines()? {
        let dataset = stage("dataset", &runs.dataset(&pipeline)).into_iter().collect();
        found.push(of_run(RunId::new(&pipeline, None), &runs.pipeline(&pipeline), dataset));
        for seed in runs.seeds(&pipeline)? {
            let names = runs.stages(&pipeline, seed)?;
            let mut stages: Vec<StageStatus> =
                names.iter().filter_map(|name| stage(name, &runs.stage(&pipeline, seed, name))).collect();
            stages.sort_by_key(|s| order(&s.stage));
            found.push(of_run(RunId::new(&pipeline, Some(seed)), &runs.run(&pipeline, seed), stages));
        }
    }
    Ok(found)
}

fn of_run(run: RunId, folder: &Path, stages: Vec<StageStatus>) -> RunStatus {
    let holder = Lock::holder(folder).ok().flatten();
    let progress = holder.as_ref().and_then(|_| StageProgress::read(folder));
    RunStatus { run, holder, progress, stages, superseded: superseded::list(folder) }
}

fn stage(name: &str, dir: &Path) -> Option<StageStatus> {
    let status = |record: StageRecord| StageStatus {
        stage: name.to_owned(),
        seconds: record.seconds.round() as u64,
        finished: record.finished,
        damage: None,
    };
    match StageRecord::read(dir) {
        Ok(record) => record.map(status),
        Err(error) => Some(StageStatus {
            stage: name.to_owned(),
            seconds: 0,
            finished: String::new(),
            damage: Some(error.to_string()),
        }),
    }
}

fn order(name: &str) -> usize {
    use Stage::{Retrain, Search, Tune};
    let (dash, backbone) = (Method::Dash, Method::Backbone);
    let all = [Search, Tune(dash), Retrain(dash), Tune(backbone), Retrain(backbone)];
    all.iter().position(|stage| stage.name() == name).unwrap_or(all.len())
}
