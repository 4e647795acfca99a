//! Computes the relative L2 error of fields.

use super::state::{MetricState, Outputs, mean, unsuitable};
use crate::{Error, Targets, backend::cpu};
use dash_core::{card::Scaling, pipeline::Metric};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct RelativeL2 {
    scaling: Option<Arc<Scaling>>,
    /// Of each sample.
    errors: Vec<f64>,
}

impl RelativeL2 {
    pub(super) fn new(scaling: Option<Arc<Scaling>>) -> RelativeL2 {
        RelativeL2 { scaling, errors: Vec::new() }
    }
}

impl MetricState for RelativeL2 {
    fn add(&mut self, outputs: &Outputs<'_>, targets: &Targets) -> Result<(), Error> {
        let Targets::Field(field) = targets else { return Err(unsuitable(Metric::RelativeL2, targets)) };
        let len = field.len() / outputs.rows().max(1);
        let scaled = |s: &Arc<Scaling>| s.mean.len() == len && s.scale.len() == len;
        if outputs.values.len() != field.len() || !self.scaling.as_ref().is_none_or(scaled) {
            return Err(Error::Target(format!(
                "output {:?}, {} target values, or scaling disagree",
                outputs.dims,
                field.len()
            )));
        }
        self.errors.extend(cpu::relative_l2_errors(outputs.values, field, len, self.scaling.as_deref()));
        Ok(())
    }

    fn value(&self) -> f64 {
        mean(&self.errors)
    }
}
