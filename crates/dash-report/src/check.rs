//! Checks the input of a report.

use crate::Error;
use dash_core::{
    architecture::Architecture,
    pipeline::{Candidate, Method, Protocol},
    results::{ResultRow, RunDetail},
};
use std::collections::{BTreeMap, BTreeSet};

/// Larger patterns cannot be drawn; no search produces them.
const MAX_TAPS: usize = 1 << 12;
const MAX_DILATION: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 10;
const MAX_CANDIDATES: usize = 1 << 10;

/// The key by which rows are compared: pipeline, task, protocol, metric, split.
pub(crate) type Comparison<'a> = (&'a str, &'a str, &'static str, &'a str, &'a str);

/// The comparison that a row belongs to.
pub(crate) fn comparison(row: &ResultRow) -> Comparison<'_> {
    let protocol = match row.protocol {
        Protocol::Strict => "strict",
        Protocol::Paper => "paper",
    };
    (&row.pipeline, &row.task, protocol, &row.metric, &row.split)
}

/// The key of the details of a run: pipeline, task, method, seed, folder.
type Run<'a> = (&'a str, &'a str, Method, u64, &'a str);

/// The run and method that a row was measured on.
pub(crate) fn run_of_row(row: &ResultRow) -> Run<'_> {
    (&row.pipeline, &row.task, row.method, row.seed, &row.run)
}

/// The run and method that details describe.
pub(crate) fn run_of_detail(detail: &RunDetail) -> Run<'_> {
    (&detail.pipeline, &detail.task, detail.method, detail.seed, &detail.run)
}

/// Checks that there are rows, that none is given twice, and that each metric has one direction.
pub(crate) fn rows(rows: &[ResultRow]) -> Result<(), Error> {
    if rows.is_empty() {
        return Err(Error::Empty);
    }
    let mut seen = BTreeSet::new();
    let mut directions = BTreeMap::new();
    for row in rows {
        if !seen.insert((comparison(row), row.method, row.seed)) {
            let (pipeline, task, protocol, metric, split) = comparison(row);
            return Err(Error::DuplicateRow {
                row: format!(
                    "pipeline {pipeline:?}, task {task:?}, method {}, seed {}, protocol {protocol}, \
                     metric {metric:?}, split {split:?}, run {:?}",
                    row.method, row.seed, row.run
                ),
            });
        }
        if *directions.entry(comparison(row)).or_insert(row.lower_is_better) != row.lower_is_better {
            return Err(Error::Direction {
                pipeline: row.pipeline.clone(),
                task: row.task.clone(),
                metric: row.metric.clone(),
            });
        }
    }
    Ok(())
}

/// Checks that no run is described twice, and that every pattern can be drawn.
pub(crate) fn details(details: &[RunDetail]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for detail in details {
        if !seen.insert(run_of_detail(detail)) {
            let (pipeline, task, method, seed, run) = run_of_detail(detail);
            return Err(Error::DuplicateDetail {
                detail: format!(
                    "pipeline {pipeline:?}, task {task:?}, method {method}, seed {seed}, run {run:?}"
                ),
            });
        }
        if let Some(found) = &detail.architecture {
            architecture(found)
                .map_err(|problem| Error::Architecture { run: detail.run.clone(), problem })?;
        }
    }
    Ok(())
}

fn architecture(found: &Architecture) -> Result<(), String> {
    let candidates = found.kernel_sizes.len().saturating_mul(found.dilations.len());
    if candidates == 0 || candidates > MAX_CANDIDATES {
        return Err(format!("{candidates} candidates, expected 1 to {MAX_CANDIDATES}"));
    }
    if found.layers.is_empty() || found.layers.len() > MAX_LAYERS {
        return Err(format!("{} layers, expected 1 to {MAX_LAYERS}", found.layers.len()));
    }
    for layer in &found.layers {
        let name = &layer.name;
        let Candidate { kernel_size, dilation } = layer.candidate;
        if !(1..=MAX_TAPS).contains(&kernel_size) || !(1..=MAX_DILATION).contains(&dilation) {
            return Err(format!(
                "layer {name:?}: kernel size {kernel_size} with dilation {dilation}, expected 1 to {MAX_TAPS} with \
                 1 to {MAX_DILATION}"
            ));
        }
        if !found.kernel_sizes.contains(&kernel_size) || !found.dilations.contains(&dilation) {
            return Err(format!(
                "layer {name:?}: kernel size {kernel_size} with dilation {dilation} is not a candidate"
            ));
        }
        if layer.alpha.len() != candidates {
            return Err(format!(
                "layer {name:?}: {} architecture parameters for {candidates} candidates",
                layer.alpha.len()
            ));
        }
    }
    Ok(())
}
