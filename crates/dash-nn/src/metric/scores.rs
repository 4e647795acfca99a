//! Metrics of label rankings: the outputs of all samples with their labels, label by label.

use dash_core::pipeline::Metric;
use rayon::prelude::*;

/// Scores and labels of all samples: five bytes for each label of each sample.
#[derive(Clone, Debug)]
pub struct Scores {
    metric: Metric,
    /// Labels of one sample.
    width: usize,
    /// Sample after sample. Logits: the sigmoid ranks alike, but its rounding would make ties.
    scores: Vec<f32>,
    /// 0 or 1, in the same order.
    labels: Vec<u8>,
}

/// Samples with one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tied {
    /// Those that have the label.
    positive: u64,
    /// Those that do not.
    negative: u64,
}

impl Scores {
    pub(super) fn new(metric: Metric, width: usize) -> Scores {
        Scores { metric, width, scores: Vec::new(), labels: Vec::new() }
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    /// Labels of one sample.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Adds samples; as many labels as logits.
    pub(super) fn add(&mut self, logits: &[f32], labels: &[u8]) {
        self.scores.extend_from_slice(logits);
        self.labels.extend_from_slice(labels);
    }

    /// One minus the mean over the labels that have a value.
    pub(super) fn value(&self) -> f64 {
        if self.scores.iter().any(|score| score.is_nan()) {
            return f64::NAN;
        }
        let of_label = match self.metric {
            Metric::AveragePrecision => average_precision,
            _ => auroc,
        };
        let values: Vec<Option<f64>> =
            (0..self.width).into_par_iter().map(|label| of_label(&self.ranking(label))).collect();
        let values: Vec<f64> = values.into_iter().flatten().collect();
        1.0 - values.iter().sum::<f64>() / values.len() as f64
    }

    /// The samples by their score for one label, best first. Counts only, so that the order in which
    /// the samples came leaves no trace.
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

/// An integer in the order of the scores; both zeros have the same.
fn rank(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | (1 << 31) } else { !bits }
}

/// Samples with and without the label.
fn totals(ranking: &[Tied]) -> (u64, u64) {
    ranking.iter().fold((0, 0), |(p, n), tied| (p + tied.positive, n + tied.negative))
}

/// Area under the ROC curve: trapezoids between the thresholds. `None` if all samples have the label,
/// or none.
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

/// Sum over thresholds of precision times gain in recall, without interpolation. `None` if no sample
/// has the label.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(metric: Metric, width: usize, logits: &[f32], labels: &[u8]) -> Scores {
        let mut scores = Scores::new(metric, width);
        scores.add(logits, labels);
        scores
    }

    #[test]
    fn worked_examples() {
        let value = |metric, logits: &[f32], labels: &[u8]| scores(metric, 1, logits, labels).value();
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
            let value = scores(metric, 5, &logits, &labels).value();
            assert!((value - (1.0 - mean)).abs() < 1e-14, "{metric:?}: {value}");
        }
    }

    #[test]
    fn labels_without_a_value_are_left_out() {
        // Label 0 is everywhere, label 1 nowhere, label 2 ranks 3 of 4 pairs right.
        let logits: Vec<f32> = [0.1, 0.4, 0.35, 0.8].iter().flat_map(|&v| [v, v, v]).collect();
        let labels = [1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1];
        assert_eq!(scores(Metric::Auroc, 3, &logits, &labels).value(), 0.25);
        // Average precision is 1 for label 0 and 5 / 6 for label 2.
        let value = scores(Metric::AveragePrecision, 3, &logits, &labels).value();
        assert!((value - 1.0 / 12.0).abs() < 1e-15);
        assert!(scores(Metric::Auroc, 1, &[1.0, 2.0], &[1, 1]).value().is_nan());
        assert!(scores(Metric::AveragePrecision, 1, &[1.0, 2.0], &[0, 0]).value().is_nan());
        assert!(scores(Metric::Auroc, 1, &[1.0, f32::NAN], &[0, 1]).value().is_nan());
    }
}
