//! Counts predictions by class, for metrics of classes.

use super::state::{Outputs, unsuitable};
use crate::{Error, Targets};
use dash_core::pipeline::Metric;

/// The samples of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClassCount {
    /// Samples of the class that are predicted as it.
    pub(super) hits: u64,
    /// Samples of the class.
    pub(super) samples: u64,
    /// Samples that are predicted as the class.
    pub(super) predictions: u64,
}

/// The samples of all classes.
#[derive(Debug)]
pub(super) struct ClassCounts {
    classes: Vec<ClassCount>,
    has_nan: bool,
}

impl ClassCounts {
    pub(super) fn new(classes: usize) -> ClassCounts {
        ClassCounts { classes: vec![ClassCount::default(); classes], has_nan: false }
    }

    /// Adds a batch on behalf of `metric`.
    pub(super) fn add(
        &mut self,
        metric: Metric,
        outputs: &Outputs<'_>,
        targets: &Targets,
    ) -> Result<(), Error> {
        let Targets::Class(classes) = targets else { return Err(unsuitable(metric, targets)) };
        let k = self.classes.len();
        if outputs.dims != [classes.len(), k] {
            return Err(Error::Target(format!(
                "output {:?} for {} samples of {k} classes",
                outputs.dims,
                classes.len()
            )));
        }
        for (row, &class) in outputs.values.chunks(k.max(1)).zip(classes) {
            self.add_sample(row, class)?;
        }
        Ok(())
    }

    fn add_sample(&mut self, logits: &[f32], class: i64) -> Result<(), Error> {
        if logits.iter().any(|v| v.is_nan()) {
            self.has_nan = true;
        }
        let mut best = 0;
        for (i, v) in logits.iter().enumerate() {
            // Ties go to the first class.
            if *v > logits[best] {
                best = i;
            }
        }
        let known = self.classes.len();
        let truth = usize::try_from(class).ok().filter(|&t| t < known);
        let truth = truth.ok_or_else(|| Error::Target(format!("class {class} of {known}")))?;
        self.classes[truth].hits += u64::from(truth == best);
        self.classes[truth].samples += 1;
        self.classes[best].predictions += 1;
        Ok(())
    }

    /// The counts by class; `None` if an output was NaN.
    pub(super) fn get(&self) -> Option<&[ClassCount]> {
        (!self.has_nan).then_some(&self.classes)
    }
}
