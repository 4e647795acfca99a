//! Computes 1 - the area under the ROC curve, averaged over labels.

use super::{
    ranking::{LabelScores, Tied, totals},
    state::{MetricState, Outputs},
};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;

#[derive(Debug)]
pub(super) struct Auroc(LabelScores);

impl Auroc {
    pub(super) fn new(labels: usize) -> Auroc {
        Auroc(LabelScores::new(labels))
    }
}

impl MetricState for Auroc {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        self.0.add(Metric::Auroc, outputs, targets)
    }

    fn value(&self) -> f64 {
        self.0.one_minus_mean(auroc)
    }
}

/// The area under the ROC curve by the trapezoidal rule; `None` if all samples have the label, or none has it.
fn auroc(ranking: &[Tied]) -> Option<f64> {
    let (positives, negatives) = totals(ranking);
    // Twice the area, in units of one positive and one negative sample: whole numbers.
    let (mut twice, mut above) = (0u64, 0u64);
    for tied in ranking {
        twice += tied.negative * (2 * above + tied.positive);
        above += tied.positive;
    }
    (positives > 0 && negatives > 0).then(|| twice as f64 / (2.0 * positives as f64 * negatives as f64))
}
