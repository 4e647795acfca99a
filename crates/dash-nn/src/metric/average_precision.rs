//! Computes 1 - average precision, averaged over labels.

use super::{
    ranking::{LabelScores, Tied, totals},
    state::{MetricState, Outputs},
};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;

#[derive(Debug)]
pub(super) struct AveragePrecision(LabelScores);

impl AveragePrecision {
    pub(super) fn new(labels: usize) -> AveragePrecision {
        AveragePrecision(LabelScores::new(labels))
    }
}

impl MetricState for AveragePrecision {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        self.0.add(Metric::AveragePrecision, outputs, targets)
    }

    fn value(&self) -> f64 {
        self.0.one_minus_mean(average_precision)
    }
}

/// The sum over thresholds of precision times gain in recall, without interpolation; `None` if no sample has the label.
fn average_precision(ranking: &[Tied]) -> Option<f64> {
    let (positives, _) = totals(ranking);
    let (mut sum, mut found, mut taken) = (0.0, 0u64, 0u64);
    for tied in ranking {
        found += tied.positive;
        taken += tied.positive + tied.negative;
        sum += tied.positive as f64 * (found as f64 / taken as f64);
    }
    (positives > 0).then(|| sum / positives as f64)
}
