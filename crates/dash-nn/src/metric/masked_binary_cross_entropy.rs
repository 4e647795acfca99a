//! Computes the binary cross-entropy of masks.

use super::state::{MetricState, Outputs, mask_of, mean};
use crate::{Error, Targets, backend::cpu::mask_loss};
use dash_core::pipeline::Metric;

#[derive(Debug, Default)]
pub(super) struct MaskedBinaryCrossEntropy {
    /// The mean over the positions of each sample.
    samples: Vec<f64>,
}

impl MaskedBinaryCrossEntropy {
    /// Adds `rows` samples of the same number of positions; all slices have the same length.
    fn add_samples(&mut self, logits: &[f32], mask: &[u8], ignore: &[u8], rows: usize) {
        let length = (logits.len() / rows.max(1)).max(1);
        let samples = logits.chunks(length).zip(mask.chunks(length)).zip(ignore.chunks(length));
        self.samples.extend(samples.map(|((logits, mask), ignore)| {
            let positions = logits.iter().zip(mask).zip(ignore);
            let sum: f64 = positions.map(|((&logit, &mask), &ignore)| mask_loss(logit, mask, ignore)).sum();
            sum / length as f64
        }));
    }
}

impl MetricState for MaskedBinaryCrossEntropy {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        let (mask, ignore) = mask_of(Metric::MaskedBinaryCrossEntropy, outputs, targets)?;
        self.add_samples(outputs.values, mask, ignore, outputs.rows());
        Ok(())
    }

    fn value(&self) -> f64 {
        mean(&self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_means_over_positions_and_samples() {
        let mut losses = MaskedBinaryCrossEntropy::default();
        assert!(losses.value().is_nan());
        // Two samples of two positions: ln 2 and 0 (ignored), then 100 at most and ln(1 + e^-1).
        losses.add_samples(&[0.0, 7.0, -1e4, 1.0], &[1, 0, 1, 1], &[0, 1, 0, 0], 2);
        let expected = (2f64.ln() + 100.0 + (-1f64).exp().ln_1p()) / 4.0;
        assert!((losses.value() - expected).abs() < 1e-12);
        losses.add_samples(&[f32::NAN, 0.0], &[0, 0], &[0, 0], 1);
        assert!(losses.value().is_nan());
    }
}
