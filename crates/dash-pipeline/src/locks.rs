//! Locks of runs and datasets.
//!
//! A process that makes a dataset holds the lock of its pipeline and looks at the locks of the pipeline's runs
//! ([`for_dataset`]). A process that runs holds the locks of its runs and looks at the lock of the pipeline
//! ([`for_runs`]). So a dataset is never replaced while another process uses it.

use crate::{error::Error, folders::Folders, graph::RunSet};
use dash_core::{
    event::{Event, Listener},
    pipeline::Pipeline,
};
use dash_store::{Holder, Lock, Patience, recover};
use std::{path::Path, time::Duration};

/// How long to wait for a process that makes a dataset and shows no sign of work: the longest silence of an ingestion
/// is the time it takes to read its largest raw file.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Time between two warnings about waiting for another process.
const WARN_EVERY: Duration = Duration::from_secs(300);

/// Locks all runs of a set. This happens before anything runs, so that a second process is refused at once and not
/// after hours.
pub(crate) fn for_runs(
    runs: &RunSet,
    folders: &Folders,
    listener: &dyn Listener,
) -> Result<Vec<Lock>, Error> {
    dash_store::require_descriptors(runs.pipelines.iter().map(|pipeline| pipeline.seeds.len()).sum())?;
    let mut locks = Vec::new();
    for pipeline in &runs.pipelines {
        for &seed in &pipeline.seeds {
            let dir = folders.runs.run(&pipeline.run_name(), seed);
            locks.push(Lock::acquire(&dir)?);
            recover(&dir)?;
        }
        drop(of_pipeline(pipeline, folders, listener)?);
    }
    Ok(locks)
}

/// Locks the dataset of a pipeline in order to replace it.
///
/// # Errors
/// If a run of another process uses the dataset.
pub(crate) fn for_dataset(
    pipeline: &Pipeline,
    folders: &Folders,
    listener: &dyn Listener,
) -> Result<Lock, Error> {
    let lock = of_pipeline(pipeline, folders, listener)?;
    let name = pipeline.run_name();
    recover(&folders.runs.pipeline(&name))?;
    refuse_if_used(&name, &folders.runs.dataset(&name), folders)?;
    Ok(lock)
}

/// Locks the folder of a pipeline. Waits while another process makes the dataset and shows signs of work.
fn of_pipeline(pipeline: &Pipeline, folders: &Folders, listener: &dyn Listener) -> Result<Lock, Error> {
    let name = pipeline.run_name();
    let dir = folders.runs.pipeline(&name);
    let warn = |holder: &Holder, waited: Duration| {
        let message = match waited.as_secs() / 60 {
            0 => format!("waiting for {holder}, which makes the dataset of {name}"),
            minutes => format!("waiting for {minutes} min for {holder}, which makes the dataset of {name}"),
        };
        listener.on(&Event::Warning { message });
    };
    let sign = || dash_store::last_change(&dir);
    let patience = Patience { limit: PATIENCE, sign: &sign, report: &warn, report_every: WARN_EVERY };
    Ok(Lock::wait(&dir, &patience)?)
}

fn refuse_if_used(pipeline: &str, dataset: &Path, folders: &Folders) -> Result<(), Error> {
    if !dataset.exists() {
        return Ok(());
    }
    for seed in folders.runs.seeds(pipeline)? {
        let path = folders.runs.run(pipeline, seed);
        if let Some(holder) = Lock::holder(&path)?.filter(|holder| !holder.own) {
            return Err(dash_store::Error::Locked { path, holder }.into());
        }
    }
    Ok(())
}
