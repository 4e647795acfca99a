//! Declares what a metric implements.

use crate::{Error, Targets};
use dash_core::pipeline::Metric;
use std::fmt::Debug;

/// The outputs of a batch.
pub(super) struct Outputs<'a> {
    /// Sample after sample.
    pub(super) values: &'a [f32],
    /// [B, K] for classes and labels, [B, C, ...] for fields and masks.
    pub(super) dims: &'a [usize],
}

impl Outputs<'_> {
    /// The number of samples.
    pub(super) fn rows(&self) -> usize {
        self.dims.first().copied().unwrap_or(0)
    }
}

/// What a metric has accumulated. Its value must not depend on the order of the samples, nor on how they were divided
/// into batches, to the last bit.
pub(super) trait MetricState: Debug + Send + Sync {
    /// Adds the samples of a batch.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the targets are of another kind, [`Error::Target`] if their number differs from that of
    /// the outputs.
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error>;

    /// The value over all samples so far; NaN without samples, or if an output was NaN.
    fn value(&self) -> f64;
}

/// The error of `metric` for targets of another kind.
pub(super) fn unsuitable(metric: Metric, targets: &Targets) -> Error {
    Error::unsuitable_metric(metric, targets.kind())
}

/// The mean of `values`, summed in ascending order so that it does not depend on the order of the samples; NaN without
/// values.
pub(super) fn mean(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.iter().sum::<f64>() / sorted.len() as f64
}

/// The bytes of a mask and of its ignored positions, if there is one of both for each output.
///
/// # Errors
/// As [`MetricState::add`].
pub(super) fn mask_of<'a>(
    metric: Metric,
    outputs: &Outputs<'_>,
    targets: &'a Targets,
) -> Result<(&'a [u8], &'a [u8]), Error> {
    let Targets::Mask { values: mask, ignore } = targets else { return Err(unsuitable(metric, targets)) };
    if outputs.values.len() == mask.len() && ignore.len() == mask.len() {
        return Ok((mask, ignore));
    }
    Err(Error::Target(format!(
        "output {:?} for a mask of {} and {} ignored positions",
        outputs.dims,
        mask.len(),
        ignore.len()
    )))
}
