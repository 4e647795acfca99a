//! Checks what the schema cannot express.

mod dataset;
mod stages;
mod task;

use super::{error::shorten, found::Found, tree::Node};
use crate::pipeline::{Pipeline, Sweep};
use std::{collections::HashSet, fmt::Debug, hash::Hash};

/// The largest accepted count. It excludes mistakes and keeps arithmetic far from overflow.
const MAX_COUNT: usize = 100_000_000;

/// The largest number of rows and columns of a window; larger networks do not fit into memory.
const MAX_ROWS: usize = 8192;

pub(super) fn pipeline(p: &Pipeline, tree: &Node, found: &mut Found<'_>) {
    let mut checks = Checks { tree, found };
    checks.folder_name("name", &p.name);
    if let Some(profile) = &p.profile {
        checks.folder_name("profiles", profile);
    }
    checks.distinct("seeds", "seed", &p.seeds);
    checks.distinct("methods", "method", &p.methods);
    checks.dataset(&p.dataset);
    checks.task(p);
    checks.search(p);
    checks.tune(p);
    checks.count("retrain.epochs", p.retrain.epochs);
    checks.count("retrain.batch_size", p.retrain.batch_size);
    checks.schedule("retrain.schedule", &p.retrain.schedule);
    checks.backbone("search.backbone", p.search.backbone.as_ref(), &p.dataset);
    checks.backbone("retrain.backbone", p.retrain.backbone.as_ref(), &p.dataset);
}

pub(super) fn sweep(s: &Sweep, tree: &Node, found: &mut Found<'_>) {
    let mut checks = Checks { tree, found };
    checks.distinct("include", "file", &s.include);
    if let Some(seeds) = &s.seeds {
        checks.distinct("seeds", "seed", seeds);
    }
    if let Some(report) = &s.report {
        checks.folder_name("report", report);
    }
}

struct Checks<'a, 'b, 'c> {
    tree: &'a Node,
    found: &'b mut Found<'c>,
}

impl Checks<'_, '_, '_> {
    fn require(&mut self, is_valid: bool, key: &str, message: impl FnOnce() -> String) {
        if !is_valid {
            self.found.add(self.tree.place(key), key, message());
        }
    }

    fn count(&mut self, key: &str, value: usize) {
        self.require((1..=MAX_COUNT).contains(&value), key, || {
            format!("must be from 1 to {MAX_COUNT}, found {value}")
        });
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.require(value > 0.0, key, || format!("must be greater than 0, found {value}"));
    }

    fn not_negative(&mut self, key: &str, value: f64) {
        self.require(value >= 0.0, key, || format!("must not be negative, found {value}"));
    }

    /// In (0, 1].
    fn share(&mut self, key: &str, value: f64) {
        self.require(value > 0.0 && value <= 1.0, key, || {
            format!("must be greater than 0 and at most 1, found {value}")
        });
    }

    /// In [0, 1).
    fn below_one(&mut self, key: &str, value: f64) {
        self.require((0.0..1.0).contains(&value), key, || {
            format!("must be at least 0 and less than 1, found {value}")
        });
    }

    fn distinct<T: Eq + Hash + Debug>(&mut self, key: &str, what: &str, values: &[T]) {
        self.distinct_by(key, what, values, |value| value);
    }

    /// Two values are equal if their `identity` is.
    fn distinct_by<'v, T: Debug, K: Eq + Hash>(
        &mut self,
        key: &str,
        what: &str,
        values: &'v [T],
        identity: impl Fn(&'v T) -> K,
    ) {
        self.require(!values.is_empty(), key, || format!("must name at least one {what}"));
        let mut seen = HashSet::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            if !seen.insert(identity(value)) {
                self.require(false, &format!("{key}[{i}]"), || {
                    format!("the {what} {} is given twice", format!("{value:?}").to_lowercase())
                });
            }
        }
    }

    fn folder_name(&mut self, key: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_valid =
            (1..=100).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-']);
        self.require(is_valid, key, || {
            let name = shorten(&format!("{name:?}"));
            format!("{name} is not a safe folder name: use letters, digits, '-', '_' and '.'")
        });
    }

    /// In [0, 1].
    fn probability(&mut self, key: &str, value: f64) {
        self.require((0.0..=1.0).contains(&value), key, || {
            format!("must be at least 0 and at most 1, found {value}")
        });
    }
}
