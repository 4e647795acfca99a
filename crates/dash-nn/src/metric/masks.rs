//! Metrics of masks.

use crate::ops::mask_loss;

/// Positions of all samples by mask and prediction; ignored ones are left out.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    /// Positions in the mask.
    positives: u64,
    /// Positions in the mask with a probability of at most one half.
    missed: u64,
    not_a_number: bool,
}

impl Masks {
    /// Adds positions; all slices have the same length.
    pub(super) fn add(&mut self, logits: &[f32], mask: &[u8], ignore: &[u8]) {
        for ((&logit, &mask), &ignore) in logits.iter().zip(mask).zip(ignore) {
            if ignore == 0 {
                self.not_a_number |= logit.is_nan();
                self.positives += u64::from(mask != 0);
                // The sigmoid is above one half where the logit is above 0.
                self.missed += u64::from(mask != 0 && logit <= 0.0);
            }
        }
    }

    /// Share of the positions in the mask that are missed; NaN if there are none.
    pub(super) fn false_negative_rate(&self) -> f64 {
        if self.not_a_number { f64::NAN } else { self.missed as f64 / self.positives as f64 }
    }
}

/// Mean losses of all samples.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    samples: Vec<f64>,
}

impl Losses {
    /// Adds `rows` samples of as many positions each; all slices have the same length.
    pub(super) fn add(&mut self, logits: &[f32], mask: &[u8], ignore: &[u8], rows: usize) {
        let length = (logits.len() / rows.max(1)).max(1);
        let samples = logits.chunks(length).zip(mask.chunks(length)).zip(ignore.chunks(length));
        self.samples.extend(samples.map(|((logits, mask), ignore)| {
            let positions = logits.iter().zip(mask).zip(ignore);
            let sum: f64 = positions.map(|((&logit, &mask), &ignore)| mask_loss(logit, mask, ignore)).sum();
            sum / length as f64
        }));
    }

    /// The mean over the samples; NaN if there are none.
    pub(super) fn mean(&self) -> f64 {
        // Sorted, so that the sum does not depend on the order of the samples.
        let mut sorted = self.samples.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.iter().sum::<f64>() / sorted.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_means_over_positions_and_samples() {
        let mut losses = Losses::default();
        assert!(losses.mean().is_nan());
        // Two samples of two positions: ln 2 and 0 (ignored), then 100 at most and ln(1 + e^-1).
        losses.add(&[0.0, 7.0, -1e4, 1.0], &[1, 0, 1, 1], &[0, 1, 0, 0], 2);
        let expected = (2f64.ln() + 100.0 + (-1f64).exp().ln_1p()) / 4.0;
        assert!((losses.mean() - expected).abs() < 1e-12);
        losses.add(&[f32::NAN, 0.0], &[0, 0], &[0, 0], 1);
        assert!(losses.mean().is_nan());
    }

    #[test]
    fn what_is_in_the_mask_and_not_predicted_is_missed() {
        let mut masks = Masks::default();
        assert!(masks.false_negative_rate().is_nan());
        masks.add(&[1.0, -1.0, 5.0], &[0, 0, 1], &[0, 0, 1]);
        assert!(masks.false_negative_rate().is_nan(), "no position of a mask counts");
        // Probability 1/2 is no prediction.
        masks.add(&[1.0, 0.0, -2.0, -2.0, 3.0], &[1, 1, 1, 1, 0], &[0, 0, 0, 1, 0]);
        assert_eq!(masks.false_negative_rate(), 2.0 / 3.0);
        masks.add(&[f32::NAN], &[0], &[1]);
        assert_eq!(masks.false_negative_rate(), 2.0 / 3.0);
        masks.add(&[f32::NAN], &[0], &[0]);
        assert!(masks.false_negative_rate().is_nan());
    }
}
