//! Ranks outputs label by label, for metrics of label rankings.

use super::state::{Outputs, unsuitable};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;
use rayon::prelude::*;

/// The outputs and labels of all samples: five bytes for each label of each sample.
#[derive(Debug)]
pub(super) struct LabelScores {
    /// Labels of one sample.
    width: usize,
    /// Sample after sample. Logits: the sigmoid has the same ranking, but its rounding would make ties.
    scores: Vec<f32>,
    /// 0 or 1, in the same order.
    labels: Vec<u8>,
}

/// The samples that have the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tied {
    /// Samples with the label.
    pub(super) positive: u64,
    /// Samples without it.
    pub(super) negative: u64,
}

impl LabelScores {
    pub(super) fn new(width: usize) -> LabelScores {
        LabelScores { width, scores: Vec::new(), labels: Vec::new() }
    }

    /// Adds a batch on behalf of `metric`.
    pub(super) fn add(
        &mut self,
        metric: Metric,
        outputs: &Outputs<'_>,
        targets: &Targets,
    ) -> Result<(), Error> {
        let Targets::Labels(labels) = targets else { return Err(unsuitable(metric, targets)) };
        if outputs.dims != [outputs.rows(), self.width] || labels.len() != outputs.values.len() {
            return Err(Error::Target(format!(
                "output {:?} for {} values of {} labels",
                outputs.dims,
                labels.len(),
                self.width
            )));
        }
        self.scores.extend_from_slice(outputs.values);
        self.labels.extend_from_slice(labels);
        Ok(())
    }

    /// One minus the mean of `of_label` over the labels for which it has a value; NaN if an output was NaN.
    pub(super) fn one_minus_mean(&self, of_label: fn(&[Tied]) -> Option<f64>) -> f64 {
        if self.scores.iter().any(|score| score.is_nan()) {
            return f64::NAN;
        }
        let values: Vec<Option<f64>> =
            (0..self.width).into_par_iter().map(|label| of_label(&self.ranking(label))).collect();
        let values: Vec<f64> = values.into_iter().flatten().collect();
        1.0 - values.iter().sum::<f64>() / values.len() as f64
    }

    /// The samples by their score for one label, best first: counts, which do not depend on the order of the samples.
    fn ranking(&self, label: usize) -> Vec<Tied> {
        let scores = self.scores.iter().skip(label).step_by(self.width.max(1));
        let labels = self.labels.iter().skip(label).step_by(self.width.max(1));
        let mut ranks: Vec<u64> = scores
            .zip(labels)
            .map(|(&score, &label)| (u64::from(rank(score)) << 1) | u64::from(label == 1))
            .collect();
        ranks.sort_unstable_by(|a, b| b.cmp(a));
        ranks
            .chunk_by(|a, b| a >> 1 == b >> 1)
            .map(|tied| {
                let positive = tied.iter().map(|rank| rank & 1).sum();
                Tied { positive, negative: tied.len() as u64 - positive }
            })
            .collect()
    }
}

/// Maps a score to an integer in the same order; both zeros have the same integer.
fn rank(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | (1 << 31) } else { !bits }
}

/// The number of samples with and without the label.
pub(super) fn totals(ranking: &[Tied]) -> (u64, u64) {
    ranking.iter().fold((0, 0), |(p, n), tied| (p + tied.positive, n + tied.negative))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accumulator;
    use candle_core::{Device, Tensor};

    fn value(metric: Metric, width: usize, logits: &[f32], labels: &[u8]) -> f64 {
        let mut accumulator = Accumulator::new(metric, width, None);
        let outputs = Tensor::from_slice(logits, (logits.len() / width, width), &Device::Cpu).unwrap();
        accumulator.add(&outputs, &Targets::Labels(labels.to_vec())).unwrap();
        accumulator.value()
    }

    #[test]
    fn worked_examples() {
        let value = |metric, logits: &[f32], labels: &[u8]| value(metric, 1, logits, labels);
        // Pairs: 3 of 4 in order. Precision at the two gains of recall: 1 and 2 / 3.
        let (logits, labels) = ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]);
        assert_eq!(value(Metric::Auroc, &logits, &labels), 0.25);
        assert!((value(Metric::AveragePrecision, &logits, &labels) - (1.0 - 5.0 / 6.0)).abs() < 1e-15);
        // Ties count half, and both zeros are one score.
        assert_eq!(value(Metric::Auroc, &[0.0, -0.0, 0.0, -0.0], &[1, 0, 0, 1]), 0.5);
        assert_eq!(value(Metric::AveragePrecision, &[0.0, -0.0, 0.0, -0.0], &[1, 0, 0, 1]), 0.5);
        // A perfect and a reversed ranking, infinities included.
        let far = [f32::NEG_INFINITY, -3.0, 1e-40, f32::INFINITY];
        assert_eq!(value(Metric::Auroc, &far, &[0, 0, 1, 1]), 0.0);
        assert_eq!(value(Metric::Auroc, &far, &[1, 1, 0, 0]), 1.0);
        assert_eq!(value(Metric::AveragePrecision, &far, &[0, 0, 1, 1]), 0.0);
    }

    /// scikit-learn 1.9.1:
    ///
    ///     i, k = np.mgrid[:60, :5]
    ///     s = (i * 37 + k * 11) % 17 / 8 - 1
    ///     y = (i * i * 13 + k * 7 + i) % 5 < 2
    ///     y[:, 3], y[:, 4] = False, True
    ///     [roc_auc_score(y[:, c], s[:, c]) for c in range(3)]
    ///     [average_precision_score(y[:, c], s[:, c]) for c in (0, 1, 2, 4)]
    #[test]
    fn values_of_scikit_learn() {
        let each = || (0..60u32).flat_map(|i| (0..5u32).map(move |k| (i, k)));
        let logits: Vec<f32> = each().map(|(i, k)| ((i * 37 + k * 11) % 17) as f32 / 8.0 - 1.0).collect();
        let label = |(i, k)| match k {
            3 => 0,
            4 => 1,
            _ => u8::from((i * i * 13 + k * 7 + i) % 5 < 2),
        };
        let labels: Vec<u8> = each().map(label).collect();
        for (metric, expected) in [
            (Metric::Auroc, &[0.5613425925925926, 0.5734953703703703, 0.5685763888888888][..]),
            (Metric::AveragePrecision, &[0.460578022041092, 0.4484389519495739, 0.26154110272612324, 1.0]),
        ] {
            let mean = expected.iter().sum::<f64>() / expected.len() as f64;
            let value = value(metric, 5, &logits, &labels);
            assert!((value - (1.0 - mean)).abs() < 1e-14, "{metric:?}: {value}");
        }
    }

    #[test]
    fn labels_without_a_value_are_left_out() {
        // Label 0 is everywhere, label 1 nowhere, label 2 ranks 3 of 4 pairs right.
        let logits: Vec<f32> = [0.1, 0.4, 0.35, 0.8].iter().flat_map(|&v| [v, v, v]).collect();
        let labels = [1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1];
        assert_eq!(value(Metric::Auroc, 3, &logits, &labels), 0.25);
        // Average precision is 1 for label 0 and 5 / 6 for label 2.
        let found = value(Metric::AveragePrecision, 3, &logits, &labels);
        assert!((found - 1.0 / 12.0).abs() < 1e-15);
        assert!(value(Metric::Auroc, 1, &[1.0, 2.0], &[1, 1]).is_nan());
        assert!(value(Metric::AveragePrecision, 1, &[1.0, 2.0], &[0, 0]).is_nan());
        assert!(value(Metric::Auroc, 1, &[1.0, f32::NAN], &[0, 1]).is_nan());
    }
}
