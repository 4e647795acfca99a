//! Checks values of a pipeline file that the schema cannot express.

use crate::text::shorten;
use std::{collections::HashSet, fmt::Debug, hash::Hash};

/// The largest accepted count. It excludes mistakes and keeps arithmetic far from overflow.
pub(crate) const MAX_COUNT: usize = 100_000_000;

/// A value of a pipeline file that a rule does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The key of the pipeline file.
    pub key: String,
    /// What is wrong with its value.
    pub message: String,
}

/// Collects the values that violate a rule.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) invalid: Vec<InvalidSetting>,
}

impl Checks {
    pub(crate) fn require(&mut self, is_valid: bool, key: &str, message: impl FnOnce() -> String) {
        if !is_valid {
            self.invalid.push(InvalidSetting { key: key.to_owned(), message: message() });
        }
    }

    pub(crate) fn count(&mut self, key: &str, value: usize) {
        self.require((1..=MAX_COUNT).contains(&value), key, || {
            format!("must be from 1 to {MAX_COUNT}, found {value}")
        });
    }

    pub(crate) fn positive(&mut self, key: &str, value: f64) {
        self.require(value > 0.0, key, || format!("must be greater than 0, found {value}"));
    }

    pub(crate) fn not_negative(&mut self, key: &str, value: f64) {
        self.require(value >= 0.0, key, || format!("must not be negative, found {value}"));
    }

    /// In (0, 1].
    pub(crate) fn share(&mut self, key: &str, value: f64) {
        self.require(value > 0.0 && value <= 1.0, key, || {
            format!("must be greater than 0 and at most 1, found {value}")
        });
    }

    /// In [0, 1).
    pub(crate) fn below_one(&mut self, key: &str, value: f64) {
        self.require((0.0..1.0).contains(&value), key, || {
            format!("must be at least 0 and less than 1, found {value}")
        });
    }

    pub(crate) fn distinct<T: Eq + Hash + Debug>(&mut self, key: &str, what: &str, values: &[T]) {
        self.distinct_by(key, what, values, |value| value);
    }

    /// Two values are equal if their `identity` is.
    pub(crate) fn distinct_by<'v, T: Debug, K: Eq + Hash>(
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

    pub(crate) fn folder_name(&mut self, key: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_valid =
            (1..=100).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-']);
        self.require(is_valid, key, || {
            let name = shorten(&format!("{name:?}"));
            format!("{name} is not a safe folder name: use letters, digits, '-', '_' and '.'")
        });
    }

    /// In [0, 1].
    pub(crate) fn probability(&mut self, key: &str, value: f64) {
        self.require((0.0..=1.0).contains(&value), key, || {
            format!("must be at least 0 and at most 1, found {value}")
        });
    }

    /// In (0, 1): rows must be left on both sides.
    pub(crate) fn held_out(&mut self, fraction: f64) {
        self.require(fraction > 0.0 && fraction < 1.0, "dataset.validation_fraction", || {
            format!("must be greater than 0 and less than 1, found {fraction}")
        });
    }
}
