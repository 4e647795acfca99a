//! Checks what the schema cannot express.

mod stages;
mod task;

use super::{found::Found, tree::Node};
use crate::{
    checks::{Checks, InvalidSetting},
    pipeline::{Pipeline, Sweep},
};

/// The largest number of rows and columns of a window; larger networks do not fit into memory.
const MAX_ROWS: usize = 8192;

pub(super) fn pipeline(p: &Pipeline, tree: &Node, found: &mut Found<'_>) {
    let mut checks = Checks::default();
    checks.folder_name("name", &p.name);
    if let Some(profile) = &p.profile {
        checks.folder_name("profiles", profile);
    }
    checks.distinct("seeds", "seed", &p.seeds);
    checks.distinct("methods", "method", &p.methods);
    p.dataset.add_checks(&mut checks);
    checks.task(p);
    checks.search(p);
    checks.tune(p);
    checks.count("retrain.epochs", p.retrain.epochs);
    checks.count("retrain.batch_size", p.retrain.batch_size);
    checks.schedule("retrain.schedule", &p.retrain.schedule);
    checks.backbone("search.backbone", p.search.backbone.as_ref(), &p.dataset);
    checks.backbone("retrain.backbone", p.retrain.backbone.as_ref(), &p.dataset);
    report(checks, tree, found);
}

pub(super) fn sweep(s: &Sweep, tree: &Node, found: &mut Found<'_>) {
    let mut checks = Checks::default();
    checks.distinct("include", "file", &s.include);
    if let Some(seeds) = &s.seeds {
        checks.distinct("seeds", "seed", seeds);
    }
    if let Some(report) = &s.report {
        checks.folder_name("report", report);
    }
    self::report(checks, tree, found);
}

/// Adds the violated rules to the problems of the file.
fn report(checks: Checks, tree: &Node, found: &mut Found<'_>) {
    for InvalidSetting { key, message } in checks.invalid {
        found.add(tree.place(&key), &key, message);
    }
}
