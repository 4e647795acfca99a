//! Random changes to training batches. What is drawn for a sample depends on the seed, the stage, the
//! epoch and the sample alone: not on the batch that it is in, and not on what was drawn before.

use crate::{Error, Stage, StageContext};
use dash_core::{
    pipeline::Augment,
    random::{ChaCha8Rng, Purpose, stream},
};
use dash_data::Batch;
use rand::Rng;

/// The changes of a task, and where their draws come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Augmentation<'a> {
    changes: &'a [Augment],
    seed: u64,
    stage: Stage,
}

impl<'a> Augmentation<'a> {
    pub(crate) fn new(ctx: &StageContext<'a>, stage: Stage) -> Augmentation<'a> {
        Augmentation { changes: &ctx.pipeline.task.augment, seed: ctx.seed, stage }
    }

    /// Changes the inputs of a batch of the given rows of the training split.
    ///
    /// # Errors
    /// If the dataset lacks what a change needs.
    pub(crate) fn apply(&self, epoch: usize, rows: &[usize], batch: &mut Batch) -> Result<(), Error> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let length = batch.input.len() / batch.rows.max(1);
        for (at, (input, &row)) in batch.input.chunks_mut(length.max(1)).zip(rows).enumerate() {
            let counter = [self.stage as u64, epoch as u64, row as u64];
            let mut rng = stream(self.seed, Purpose::Augmentation, counter);
            for change in self.changes {
                match *change {
                    Augment::Background { low, high } => {
                        let level = batch.background.get(at).ok_or(Error::NoBackground)?;
                        background(input, *level, (low, high), &mut rng);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Adds the level times a number in [low, high) to all elements.
fn background(input: &mut [f32], level: f32, (low, high): (f64, f64), rng: &mut ChaCha8Rng) {
    // One draw whatever the range: what follows in the stream does not depend on it.
    let factor = low + (high - low) * rng.random::<f64>();
    let added = (factor * f64::from(level)) as f32;
    for value in input {
        *value += added;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_data::BatchTarget;

    const SKY: [Augment; 1] = [Augment::Background { low: -0.9, high: 3.0 }];

    fn batch(rows: &[usize], background: Vec<f32>) -> Batch {
        Batch {
            rows: rows.len(),
            input: rows.iter().flat_map(|&row| [row as f32, 10.0]).collect(),
            target: BatchTarget::Class(vec![0; rows.len()]),
            background,
        }
    }

    fn changed(seed: u64, stage: Stage, epoch: usize, rows: &[usize]) -> Vec<f32> {
        let mut batch = batch(rows, rows.iter().map(|&row| 100.0 + row as f32).collect());
        Augmentation { changes: &SKY, seed, stage }.apply(epoch, rows, &mut batch).unwrap();
        batch.input
    }

    #[test]
    fn the_background_of_each_sample_is_scaled_within_the_range() {
        let rows: Vec<usize> = (0..200).collect();
        let added: Vec<f32> = changed(0, Stage::Search, 0, &rows)
            .chunks(2)
            .zip(&rows)
            .map(|(input, &row)| {
                let (first, second) = (input[0] - row as f32, input[1] - 10.0);
                assert!((first - second).abs() < 1e-3, "one number for all elements of a sample");
                second / (100.0 + row as f32)
            })
            .collect();
        assert!(added.iter().all(|factor| (-0.9001..3.0001).contains(factor)));
        let mean = added.iter().sum::<f32>() / 200.0;
        assert!((mean - 1.05).abs() < 0.3, "{mean}");
    }

    #[test]
    fn draws_belong_to_the_sample_and_not_to_the_batch() {
        let whole = changed(3, Stage::Retrain, 5, &[4, 9, 2]);
        assert_eq!(whole[2..4], changed(3, Stage::Retrain, 5, &[9]));
        assert_eq!(whole[..2], changed(3, Stage::Retrain, 5, &[2, 4])[2..]);
        for other in [
            changed(2, Stage::Retrain, 5, &[9]),
            changed(3, Stage::Tune, 5, &[9]),
            changed(3, Stage::Retrain, 6, &[9]),
        ] {
            assert_ne!(whole[2..4], other);
        }
    }

    #[test]
    fn a_dataset_without_background_is_refused() {
        let rows = [0, 1];
        let mut without = batch(&rows, vec![]);
        let sky = Augmentation { changes: &SKY, seed: 0, stage: Stage::Search };
        let error = sky.apply(0, &rows, &mut without).unwrap_err();
        assert_eq!(error.to_string(), "`task.augment`: the samples of the dataset have no background level");
        let none = Augmentation { changes: &[], seed: 0, stage: Stage::Search };
        none.apply(0, &rows, &mut without).unwrap();
        assert_eq!(without, batch(&rows, vec![]));
    }
}
