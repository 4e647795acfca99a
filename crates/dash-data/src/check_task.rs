//! Checks that loss and metric of a task are defined on a dataset. Some are undefined on some data, whatever a
//! network predicts; this is reported before hours of training.

use crate::{DatasetFolder, Error, SplitData, Subject};
use dash_core::{
    card::{Scaling, Split, Target},
    pipeline::{Loss, Metric, Task},
    targets::Targets,
};
use std::path::PathBuf;

/// Residues that are at least so far apart in the sequence, and at most so far apart in space, count in `mae8`.
const MAE8: (usize, f32) = (24, 8.0);

/// The number of rows that are read at once.
const ROWS: usize = 256;

impl DatasetFolder {
    /// Checks that the loss has a value for every training sample, and the metric for the validation and the test
    /// split. Of classes and labels the card says it; fields and masks are read, once.
    ///
    /// # Errors
    /// [`Subject::Undefined`] with the split, and the row where it is one sample; and if the data cannot be read.
    pub fn check_task(&self, task: &Task) -> Result<(), Error> {
        let scaling = self.card().target_scaling.as_ref().filter(|_| task.decode_target);
        if let Loss::RelativeL2 = task.loss {
            self.check_norms(Split::Train, scaling, "the loss `relative-l2` divides by its norm")?;
        }
        for split in [Split::Validation, Split::Test] {
            self.check_metric(task.metric, split, scaling)?;
        }
        Ok(())
    }

    fn check_metric(&self, metric: Metric, split: Split, scaling: Option<&Scaling>) -> Result<(), Error> {
        let info = self.card().splits.get(&split);
        // The counts of labels; cards of other targets have none.
        let counts = info.filter(|_| matches!(self.card().target, Target::Labels { .. }));
        let (rows, counts) = counts.map_or((0, &[][..]), |info| (info.rows, &info.class_counts));
        let undefined = |problem: &str| Err(self.undefined(split, problem.to_owned()));
        match metric {
            Metric::Auroc
                if !counts.is_empty() && counts.iter().all(|&count| count == 0 || count == rows) =>
            {
                undefined(
                    "each label is that of all samples or of none: `auroc` compares samples that have a \
                           label with others that do not",
                )
            }
            Metric::AveragePrecision if !counts.is_empty() && counts.iter().all(|&count| count == 0) => {
                undefined("no sample has any label: `average-precision` is about those that have one")
            }
            Metric::RelativeL2 => {
                self.check_norms(split, scaling, "the metric `relative-l2` divides by its norm")
            }
            Metric::FalseNegativeRate if !any(self.split(split)?, &mut has_mask)? => {
                undefined("no position is in a mask: `false-negative-rate` is a share of those that are")
            }
            Metric::Mae8 if !any(self.split(split)?, &mut has_contact)? => undefined(
                "no two positions that are 24 or more apart in the sequence are known to be at a distance of at \
                 most 8: `mae8` is about those",
            ),
            _ => Ok(()),
        }
    }

    /// Refuses a field of zeros.
    fn check_norms(&self, split: Split, scaling: Option<&Scaling>, why: &str) -> Result<(), Error> {
        let Target::Field { tensor } = &self.card().target else { return Ok(()) };
        let data = self.split(split)?;
        let length = tensor.len().max(1);
        let zero = |values: &[f32]| match scaling {
            None => values.iter().all(|&value| value == 0.0),
            Some(Scaling { mean, scale }) => {
                values.iter().zip(mean.iter().zip(scale)).all(|(&value, (&mean, &scale))| {
                    f64::from(value) * f64::from(scale) + f64::from(mean) == 0.0
                })
            }
        };
        for first in (0..data.len()).step_by(ROWS) {
            let rows: Vec<usize> = (first..data.len().min(first + ROWS)).collect();
            let Targets::Field(values) = data.gather_targets(&rows)? else { return Ok(()) };
            if let Some(at) = values.chunks_exact(length).position(zero) {
                let problem = format!("row {}: the target is 0 everywhere, and {why}", first + at);
                return Err(self.undefined(split, problem));
            }
        }
        Ok(())
    }

    fn undefined(&self, split: Split, problem: String) -> Error {
        Error::invalid(Subject::Undefined, self.file(split), problem)
    }

    fn file(&self, split: Split) -> PathBuf {
        self.path().join(split.file_name())
    }
}

/// Whether `is_there` holds for the target of any row; it gets the target and the side of the sample.
fn any(data: &SplitData, is_there: &mut dyn FnMut(&Targets, usize) -> bool) -> Result<bool, Error> {
    for row in 0..data.len() {
        if is_there(&data.gather_targets(&[row])?, data.side(row).unwrap_or(0)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_mask(target: &Targets, _: usize) -> bool {
    let Targets::Mask { values, ignore } = target else { return true };
    values.iter().zip(ignore).any(|(&value, &ignored)| value != 0 && ignored == 0)
}

fn has_contact(target: &Targets, side: usize) -> bool {
    let Targets::Field(values) = target else { return true };
    let (apart, near) = MAE8;
    // The upper triangle says what counts.
    values
        .chunks_exact(side.max(1))
        .enumerate()
        .any(|(row, line)| line.iter().skip(row + apart).any(|&distance| distance > 0.0 && distance <= near))
}
