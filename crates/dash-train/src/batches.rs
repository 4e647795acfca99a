//! Makes the batches of a training.

use crate::{
    augment::Augmentation,
    context::StageContext,
    error::Error,
    gather::Gather,
    stage::{DrawKey, TrainingStage},
};
use dash_core::{
    card::Split,
    pipeline::Augment,
    random::{Purpose, permutation},
};
use dash_data::{Batch, Noise, SplitData};
use rand::Rng;

/// How an epoch samples the training data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Samples per step.
    pub batch_size: usize,
    /// The share of the batches that an epoch uses, in (0, 1].
    pub fraction: f64,
}

impl Sampling {
    /// Steps of an epoch on `samples` samples.
    pub fn steps(&self, samples: usize) -> usize {
        steps_per_epoch(samples.div_ceil(self.batch_size.max(1)), self.fraction)
    }
}

/// Steps in an epoch of `batches` batches of which the share `fraction` is used:
/// floor(fraction * batches) + 1, at most all (DASH, section 6).
fn steps_per_epoch(batches: usize, fraction: f64) -> usize {
    ((fraction * batches as f64).floor() as usize).saturating_add(1).min(batches)
}

/// The samples of the training split that `stage` trains on: those that are not held out, if it tunes.
///
/// # Errors
/// If the split cannot be read or has no rows.
pub(crate) fn training_samples(ctx: &StageContext<'_>, stage: TrainingStage) -> Result<Vec<usize>, Error> {
    let data = ctx.split(Split::Train)?;
    let tuning = if stage == TrainingStage::Tune { data.tuning_samples() } else { None };
    Ok(tuning.unwrap_or_else(|| (0..data.samples()).collect()))
}

/// Makes the batches of a training, newly shuffled in each epoch. Every draw depends on the seed, the stage, the epoch
/// and the sample alone.
pub(crate) struct TrainingBatches<'a> {
    data: &'a SplitData,
    samples: Vec<usize>,
    sampling: Sampling,
    seed: u64,
    stage: TrainingStage,
    gather: Gather,
    augmentation: Augmentation<'a>,
}

impl<'a> TrainingBatches<'a> {
    /// The batches of `stage`.
    ///
    /// # Errors
    /// If the training split cannot be read, or `task.augment` does not fit the dataset.
    pub(crate) fn new(
        ctx: &StageContext<'a>,
        stage: TrainingStage,
        sampling: Sampling,
    ) -> Result<TrainingBatches<'a>, Error> {
        let augmentation = Augmentation::new(&ctx.pipeline.task.augment, ctx.data.card())?;
        Ok(TrainingBatches {
            data: ctx.split(Split::Train)?,
            samples: training_samples(ctx, stage)?,
            sampling,
            seed: ctx.seed,
            stage,
            gather: Gather::new(ctx),
            augmentation: augmentation.with_noise(noise(ctx)?)?,
        })
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.sampling.steps(self.samples.len())
    }

    /// The samples of each step of an epoch.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let order = permutation(&mut self.key(epoch).stream(Purpose::Shuffle, 0), self.samples.len());
        let order: Vec<usize> = order.into_iter().filter_map(|i| self.samples.get(i).copied()).collect();
        order.chunks(self.sampling.batch_size.max(1)).take(self.steps()).map(<[usize]>::to_vec).collect()
    }

    /// The batch of the given samples in an epoch, augmented.
    pub(crate) fn prepare(&self, epoch: usize, samples: &[usize]) -> Result<Batch, Error> {
        let (mut batch, rows) = self.gather(epoch, samples)?;
        self.augmentation.apply(&mut batch, &rows, self.key(epoch))?;
        Ok(batch)
    }

    /// The same as it is in the dataset, and its rows.
    pub(crate) fn gather(&self, epoch: usize, samples: &[usize]) -> Result<(Batch, Vec<usize>), Error> {
        let rows: Vec<usize> = samples.iter().map(|&sample| self.draw_row(epoch, sample)).collect();
        let batch = self.gather.training(self.data, &rows, self.key(epoch))?;
        Ok((batch, rows))
    }

    fn key(&self, epoch: usize) -> DrawKey {
        DrawKey { seed: self.seed, stage: self.stage, epoch }
    }

    /// The row that a sample is trained on in an epoch: a random one of its rows.
    fn draw_row(&self, epoch: usize, sample: usize) -> usize {
        let rows = self.data.parts(sample);
        if rows.len() < 2 {
            return rows.start;
        }
        let mut rng = self.key(epoch).stream(Purpose::Part, sample);
        // Drawn as u64: the width of usize must not change the row.
        rows.start + rng.random_range(0..rows.len() as u64) as usize
    }
}

/// The recordings that the task mixes in; not opened if the task does not mix any.
fn noise<'a>(ctx: &StageContext<'a>) -> Result<Option<&'a Noise>, Error> {
    let mixes = |augment: &Augment| matches!(augment, Augment::Noise { .. });
    if ctx.pipeline.task.augment.iter().any(mixes) { Ok(ctx.data.noise()?) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_the_published_tasks() {
        // DASH, section 15.2: main batches and search batches per epoch.
        for (batches, steps) in [
            (782, 157),
            (100, 21),
            (432, 87),
            (26, 6),
            (1103, 221),
            (288, 58),
            (289, 58),
            (3516, 704),
            (291, 59),
        ] {
            assert_eq!(steps_per_epoch(batches, 0.2), steps);
        }
        // Tuning: training batches of the split, ratio, batches per epoch.
        for (batches, fraction, steps) in [
            (625, 0.01, 7),
            (90, 0.05, 5),
            (432, 0.05, 22),
            (21, 0.2, 5),
            (1103, 0.01, 12),
            (288, 0.05, 15),
            (256, 0.05, 13),
            (3125, 0.01, 32),
            (281, 0.05, 15),
        ] {
            assert_eq!(steps_per_epoch(batches, fraction), steps);
        }
        assert_eq!(steps_per_epoch(3, 1.0), 3);
        assert_eq!(steps_per_epoch(1, 0.2), 1);
        assert_eq!(steps_per_epoch(0, 0.2), 0);
    }
}
