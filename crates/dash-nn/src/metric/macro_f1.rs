//! Computes 1 - F1, averaged over classes.

use super::{
    class_counts::{ClassCount, ClassCounts},
    state::{MetricState, Outputs},
};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;

#[derive(Debug)]
pub(super) struct MacroF1(ClassCounts);

impl MacroF1 {
    pub(super) fn new(classes: usize) -> MacroF1 {
        MacroF1(ClassCounts::new(classes))
    }
}

impl MetricState for MacroF1 {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        self.0.add(Metric::MacroF1, outputs, targets)
    }

    fn value(&self) -> f64 {
        self.0.get().map_or(f64::NAN, one_minus_f1)
    }
}

/// F1 = 2 hits / (samples + predictions), over the classes that have either.
fn one_minus_f1(classes: &[ClassCount]) -> f64 {
    let f1: Vec<f64> = classes
        .iter()
        .filter(|c| c.samples + c.predictions > 0)
        .map(|c| 2.0 * c.hits as f64 / (c.samples + c.predictions) as f64)
        .collect();
    1.0 - f1.iter().sum::<f64>() / f1.len() as f64
}
