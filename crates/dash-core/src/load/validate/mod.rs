//! What the types of a pipeline cannot state.

mod dataset;
mod stages;
mod task;

use super::{Found, shorten, tree::Node};
use crate::pipeline::{Pipeline, Sweep};
use std::{collections::HashSet, fmt::Debug, hash::Hash};

/// Larger counts are taken for mistakes; they also keep arithmetic far from overflow.
const MOST: usize = 100_000_000;

/// Rows and columns of a window: networks with more would not fit into any memory.
const MOST_ROWS: usize = 8192;

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
    fn require(&mut self, fine: bool, key: &str, message: impl FnOnce() -> String) {
        if !fine {
            self.found.add(self.tree.place(key), key, message());
        }
    }

    fn count(&mut self, key: &str, value: usize) {
        self.require((1..=MOST).contains(&value), key, || format!("must be from 1 to {MOST}, found {value}"));
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

    /// Values whose `identity` is equal are equal.
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
        let fine =
            (1..=100).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-']);
        self.require(fine, key, || {
            let name = shorten(&format!("{name:?}"));
            format!("{name} does not make a safe folder name: use letters, digits, '-', '_' and '.'")
        });
    }

    /// In [0, 1].
    fn probability(&mut self, key: &str, value: f64) {
        self.require((0.0..=1.0).contains(&value), key, || {
            format!("must be at least 0 and at most 1, found {value}")
        });
    }
}
