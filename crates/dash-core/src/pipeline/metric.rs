//! Declares the table of metrics.

use super::vocabulary::vocabulary;
use crate::card::TargetKind;
use std::fmt;

/// The range of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0 to 100.
    Percent,
    /// From 0 to 1.
    Fraction,
    /// From 0, without an upper bound and without a unit.
    NonNegative,
    /// From 0, in the unit of the target.
    TargetUnit,
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scale::Percent => "in percent",
            Scale::Fraction => "from 0 to 1",
            Scale::NonNegative => "0 or more",
            Scale::TargetUnit => "in the unit of the target",
        })
    }
}

/// What validation, results and reports know about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricSpec {
    /// Its `kind` in pipeline files.
    pub name: &'static str,
    /// Its name in results, which says what the values are: a score for which higher is better is reported as 1 - score.
    pub result_name: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// Its definition, in one or more sentences.
    pub description: &'static str,
    /// The targets that it evaluates.
    pub target: TargetKind,
    /// Whether a lower value is better.
    pub lower_is_better: bool,
    /// The range of its values.
    pub scale: Scale,
}

vocabulary! {
    /// The metric that is reported and that model selection uses.
    #[derive(Eq)]
    pub enum Metric: MetricSpec {
        /// The percentage of samples whose predicted class is wrong.
        ZeroOneError = "zero-one-error" {
            title: "error rate",
            result_name: "zero-one-error",
            target: TargetKind::Class,
            lower_is_better: true,
            scale: Scale::Percent,
        }
        /// 1 − F1, where F1 is the mean over classes of the harmonic mean of precision and recall; classes that are
        /// neither a target nor a prediction are left out.
        MacroF1 = "macro-f1" {
            title: "1 − macro F1",
            result_name: "1-macro-f1",
            target: TargetKind::Class,
            lower_is_better: true,
            scale: Scale::Fraction,
        }
        /// 1 − AUROC, where AUROC is the mean over labels of the area under the ROC curve of all samples; labels that
        /// are positive for all samples or for none are left out.
        Auroc = "auroc" {
            title: "1 − AUROC",
            result_name: "1-auroc",
            target: TargetKind::Labels,
            lower_is_better: true,
            scale: Scale::Fraction,
        }
        /// 1 − mAP, where mAP is the mean over labels of the average precision over all samples (precision at each
        /// threshold times the gain in recall, without interpolation); labels that are positive for no sample are
        /// left out.
        AveragePrecision = "average-precision" {
            title: "1 − mean average precision",
            result_name: "1-map",
            target: TargetKind::Labels,
            lower_is_better: true,
            scale: Scale::Fraction,
        }
        /// The relative L2 error ‖prediction − target‖₂ / ‖target‖₂, averaged over samples.
        RelativeL2 = "relative-l2" {
            title: "relative L2 error",
            result_name: "relative-l2",
            target: TargetKind::Field,
            lower_is_better: true,
            scale: Scale::NonNegative,
        }
        /// The share of the positive positions of all masks whose predicted probability is at most one half; ignored
        /// positions are left out.
        FalseNegativeRate = "false-negative-rate" {
            title: "false negative rate",
            result_name: "false-negative-rate",
            target: TargetKind::Mask,
            lower_is_better: true,
            scale: Scale::Fraction,
        }
        /// Binary cross-entropy (natural logarithm), averaged over samples and positions. The value of a position is
        /// at most 100; ignored positions count as predicted with certainty.
        MaskedBinaryCrossEntropy = "masked-binary-cross-entropy" {
            title: "masked binary cross-entropy",
            result_name: "masked-binary-cross-entropy",
            target: TargetKind::Mask,
            lower_is_better: true,
            scale: Scale::NonNegative,
        }
        /// Mean absolute error of predicted distances, averaged over samples. Only pairs of positions count that are
        /// at least 24 apart in the sequence and at a known true distance of at most 8 (ångström). Predictions are
        /// symmetrised and raised to at least 0.01; samples without such pairs are left out.
        Mae8 = "mae8" {
            title: "mean absolute error of distances up to 8",
            result_name: "mae8",
            target: TargetKind::Field,
            lower_is_better: true,
            scale: Scale::TargetUnit,
        }
    }
}

impl Metric {
    /// The specification of the metric with this name in results.
    ///
    /// ```
    /// use dash_core::pipeline::Metric;
    /// assert_eq!(Metric::of_result("1-auroc").unwrap().name, "auroc");
    /// assert!(Metric::of_result("auroc").is_none());
    /// ```
    pub fn of_result(result_name: &str) -> Option<&'static MetricSpec> {
        Metric::TABLE.iter().find(|spec| spec.result_name == result_name)
    }

    /// The present name of a metric in results of any version: results before format 2 of stage records have the
    /// names of pipeline files. What follows the name, as in `auroc (mean over batches of 8)`, stays.
    ///
    /// ```
    /// use dash_core::pipeline::Metric;
    /// assert_eq!(Metric::renamed("auroc (mean over batches of 8)"), "1-auroc (mean over batches of 8)");
    /// assert_eq!(Metric::renamed("1-auroc"), "1-auroc");
    /// ```
    pub fn renamed(name: &str) -> String {
        let (base, rest) = name.split_at(name.find(' ').unwrap_or(name.len()));
        match Metric::TABLE.iter().find(|spec| spec.name == base) {
            Some(spec) => format!("{}{rest}", spec.result_name),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_those_of_pipeline_files_and_unique() {
        let names: BTreeSet<&str> = Metric::TABLE.iter().map(|spec| spec.name).collect();
        let results: BTreeSet<&str> = Metric::TABLE.iter().map(|spec| spec.result_name).collect();
        assert_eq!((names.len(), results.len()), (Metric::TABLE.len(), Metric::TABLE.len()));
        for spec in Metric::TABLE {
            let metric: Metric = serde_json::from_value(serde_json::json!({ "kind": spec.name })).unwrap();
            assert_eq!(metric.spec(), spec);
            let tidy = !spec.description.contains("  ") && spec.description.ends_with('.');
            assert!(tidy && spec.description == spec.description.trim(), "{}", spec.description);
        }
    }
}
