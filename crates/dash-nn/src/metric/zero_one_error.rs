//! Computes the percentage of samples with a wrong class.

use super::{
    class_counts::{ClassCount, ClassCounts},
    state::{MetricState, Outputs},
};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;

#[derive(Debug)]
pub(super) struct ZeroOneError(ClassCounts);

impl ZeroOneError {
    pub(super) fn new(classes: usize) -> ZeroOneError {
        ZeroOneError(ClassCounts::new(classes))
    }
}

impl MetricState for ZeroOneError {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        self.0.add(Metric::ZeroOneError, outputs, targets)
    }

    fn value(&self) -> f64 {
        self.0.get().map_or(f64::NAN, percentage)
    }
}

fn percentage(classes: &[ClassCount]) -> f64 {
    let hits: u64 = classes.iter().map(|c| c.hits).sum();
    let samples: u64 = classes.iter().map(|c| c.samples).sum();
    100.0 * (samples - hits) as f64 / samples as f64
}
