//! Computes the false negative rate of masks.

use super::state::{MetricState, Outputs, mask_of};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;

/// Counts of the positions of all samples that are not ignored.
#[derive(Debug, Default)]
pub(super) struct FalseNegativeRate {
    /// Positions in the mask.
    positives: u64,
    /// Positions in the mask with a predicted probability of at most one half.
    missed: u64,
    has_nan: bool,
}

impl FalseNegativeRate {
    /// Adds positions; all slices have the same length.
    fn add_positions(&mut self, logits: &[f32], mask: &[u8], ignore: &[u8]) {
        for ((&logit, &mask), &ignore) in logits.iter().zip(mask).zip(ignore) {
            if ignore == 0 {
                self.has_nan |= logit.is_nan();
                self.positives += u64::from(mask != 0);
                // The sigmoid is above one half where the logit is above 0.
                self.missed += u64::from(mask != 0 && logit <= 0.0);
            }
        }
    }
}

impl MetricState for FalseNegativeRate {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        let (mask, ignore) = mask_of(Metric::FalseNegativeRate, outputs, targets)?;
        self.add_positions(outputs.values, mask, ignore);
        Ok(())
    }

    fn value(&self) -> f64 {
        if self.has_nan { f64::NAN } else { self.missed as f64 / self.positives as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positive_positions_that_are_not_predicted_are_missed() {
        let mut masks = FalseNegativeRate::default();
        assert!(masks.value().is_nan());
        masks.add_positions(&[1.0, -1.0, 5.0], &[0, 0, 1], &[0, 0, 1]);
        assert!(masks.value().is_nan(), "no position of a mask counts");
        // A probability of 1/2 is not a positive prediction.
        masks.add_positions(&[1.0, 0.0, -2.0, -2.0, 3.0], &[1, 1, 1, 1, 0], &[0, 0, 0, 1, 0]);
        assert_eq!(masks.value(), 2.0 / 3.0);
        masks.add_positions(&[f32::NAN], &[0], &[1]);
        assert_eq!(masks.value(), 2.0 / 3.0);
        masks.add_positions(&[f32::NAN], &[0], &[0]);
        assert!(masks.value().is_nan());
    }
}
