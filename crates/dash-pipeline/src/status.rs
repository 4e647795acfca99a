//! What is there.

use crate::{
    Error, Folders, StageProgress,
    superseded::{self, Superseded},
};
use dash_core::pipeline::Method;
use dash_store::{Holder, Lock, StageRecord};
use std::path::Path;

/// A run, or a pipeline with its dataset, and the stages that are finished.
#[derive(Clone, Debug, PartialEq)]
pub struct RunStatus {
    /// `<pipeline>/<seed>`, or `<pipeline>`.
    pub run: String,
    /// Who works on it now.
    pub holder: Option<Holder>,
    /// How far the stage at work has come, if somebody works on it.
    pub progress: Option<StageProgress>,
    /// Its finished stages in the order in which they ran.
    pub stages: Vec<StageStatus>,
    /// Results of other settings that are kept until `dash-nas runs prune`.
    pub superseded: Vec<Superseded>,
}

/// A finished stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStatus {
    /// Name of the stage.
    pub stage: String,
    /// Wall time in whole seconds.
    pub seconds: u64,
    /// UTC date and time of the end.
    pub finished: String,
    /// What is wrong with its record, if it cannot be read.
    pub damage: Option<String>,
}

/// All runs below the root of the runs. Nothing is locked: a run may be at work meanwhile.
pub fn status(folders: &Folders) -> Result<Vec<RunStatus>, Error> {
    let runs = &folders.runs;
    let mut found = Vec::new();
    for pipeline in runs.pipelines()? {
        let folder = runs.pipeline(&pipeline);
        let holder = Lock::holder(&folder).ok().flatten();
        found.push(RunStatus {
            progress: holder.as_ref().and_then(|_| StageProgress::read(&folder)),
            holder,
            stages: stage("dataset", &runs.dataset(&pipeline)).into_iter().collect(),
            superseded: superseded::list(&folder),
            run: pipeline.clone(),
        });
        for seed in runs.seeds(&pipeline)? {
            let names = runs.stages(&pipeline, seed)?;
            let mut stages: Vec<StageStatus> =
                names.iter().filter_map(|name| stage(name, &runs.stage(&pipeline, seed, name))).collect();
            stages.sort_by_key(|s| order(&s.stage));
            let folder = runs.run(&pipeline, seed);
            let holder = Lock::holder(&folder).ok().flatten();
            let progress = holder.as_ref().and_then(|_| StageProgress::read(&folder));
            let superseded = superseded::list(&folder);
            found.push(RunStatus { run: format!("{pipeline}/{seed}"), holder, progress, stages, superseded });
        }
    }
    Ok(found)
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
    use crate::Stage::{Retrain, Search, Tune};
    let (dash, backbone) = (Method::Dash, Method::Backbone);
    let all = [Search, Tune(dash), Retrain(dash), Tune(backbone), Retrain(backbone)];
    all.iter().position(|stage| stage.name() == name).unwrap_or(all.len())
}
