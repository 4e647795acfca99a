//! The epoch loop.

use crate::{
    Cause, Error, LoadedCheckpoint, Recovery, StageContext, TrainingPosition, TrainingStage,
    augment::Augmentation,
    blame::not_finite,
    gather::{Gather, to_device},
    prefetch::prefetch,
};
use candle_core::Device;
use dash_core::{
    event::{Event, Listener},
    pipeline::{Augment, OnDivergence},
    random::{Purpose, permutation, stream},
};
use dash_cuda::{AsyncScalar, Gpu};
use dash_data::{Batch, DatasetFolder, Noise, SplitData};
use dash_nn::{ForwardContext, Gradients, LearningRates, Network, Objective, Optimizer, Params, Sgd};
use rand::Rng;

/// Steps in an epoch of `batches` batches of which the share `fraction` is used:
/// floor(fraction * batches) + 1, at most all (DASH, section 6).
pub fn steps_per_epoch(batches: usize, fraction: f64) -> usize {
    ((fraction * batches as f64).floor() as usize).saturating_add(1).min(batches)
}

/// A network in training.
pub struct Trainer<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// Its parameters.
    pub params: &'a Params,
    /// What is minimised.
    pub objective: &'a Objective,
    /// The optimiser.
    pub sgd: Sgd,
    stage: TrainingStage,
    seed: u64,
    folder: &'a DatasetFolder,
    gather: Gather,
    augmentation: Augmentation<'a>,
    device: &'a Device,
    listener: &'a dyn Listener,
    batch_size: usize,
    fraction: f64,
    recovery: Option<Recovery>,
    /// For the loss, if a GPU computes it.
    read_back: Option<AsyncScalar>,
}

/// Where a training stands between two steps.
#[derive(Clone, Copy)]
pub struct StepState<'t> {
    /// The optimiser.
    pub sgd: &'t Sgd,
    /// The next step.
    pub position: TrainingPosition,
    /// What it could go back to, if it may.
    pub recovery: Option<&'t Recovery>,
}

impl<'a> Trainer<'a> {
    /// A trainer of a stage that takes `batch_size` samples per step and the share `fraction` of
    /// the batches per epoch.
    ///
    /// # Errors
    /// If the task's changes to training inputs do not fit the dataset.
    pub fn new(
        ctx: &StageContext<'a>,
        stage: TrainingStage,
        network: &'a dyn Network,
        params: &'a Params,
        objective: &'a Objective,
        sgd: Sgd,
        (batch_size, fraction): (usize, f64),
    ) -> Result<Trainer<'a>, Error> {
        let augmentation = Augmentation::new(&ctx.pipeline.task.augment, ctx.data.card())?;
        Ok(Trainer {
            network,
            params,
            objective,
            sgd,
            stage,
            seed: ctx.seed,
            folder: ctx.data,
            gather: Gather::new(ctx),
            augmentation: augmentation.with_noise(noise(ctx)?)?,
            device: ctx.device,
            listener: ctx.listener,
            batch_size: batch_size.max(1),
            fraction,
            recovery: None,
            read_back: Gpu::of(ctx.device).map(AsyncScalar::new),
        })
    }

    /// The same trainer that goes back once when the loss stops being finite, if the pipeline says so.
    pub fn on_divergence(self, on_divergence: OnDivergence) -> Trainer<'a> {
        let recovery = (on_divergence == OnDivergence::RollBack).then(Recovery::default);
        Trainer { recovery, ..self }
    }

    /// Goes on from a checkpoint, whose tensors and what could be gone back to come back.
    ///
    /// # Errors
    /// If the tensors are not those of this network.
    pub fn resume(&mut self, saved: &LoadedCheckpoint) -> Result<(), Error> {
        saved.restore(self.params, &mut self.sgd)?;
        if let (Some(recovery), Some(saved)) = (&mut self.recovery, &saved.progress.recovery) {
            recovery.clone_from(saved);
        }
        Ok(())
    }

    /// What the learning rates of the epochs are multiplied with: 1, or less after going back.
    pub fn factor(&self) -> f64 {
        self.recovery.as_ref().map_or(1.0, Recovery::factor)
    }

    /// Where training stands at `position`.
    pub fn now(&self, position: TrainingPosition) -> StepState<'_> {
        StepState { sgd: &self.sgd, position, recovery: self.recovery.as_ref() }
    }

    /// Trains one epoch, or what remains of it `from` a position, on `samples` of `data`, newly shuffled and
    /// changed by the task's augmentation; of samples with several parts, a random one is taken. `adjust`
    /// may change the gradients of each step before they are used, `between` is told the position after
    /// each. Returns the mean loss per batch. The rates are multiplied with [`Trainer::factor`].
    ///
    /// # Errors
    /// If the data cannot be read, or the loss stops being finite; and what `between` says.
    pub fn epoch(
        &mut self,
        from: TrainingPosition,
        data: &SplitData,
        samples: &[usize],
        rates: LearningRates,
        mut adjust: impl FnMut(&mut Gradients) -> Result<(), Error>,
        mut between: impl FnMut(StepState<'_>) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        if let (0, Some(recovery)) = (from.step, &mut self.recovery) {
            recovery.remember(self.params, &self.sgd)?;
        }
        let diverged = match self.steps(from, data, samples, rates, &mut adjust, &mut between) {
            Err(error) => self.blame(error, data, samples),
            trained => return trained,
        };
        let hopeful = matches!(&diverged, Error::Diverged { cause, .. } if *cause != Cause::BeforeAnyStep);
        let Some(recovery) = self.recovery.as_mut().filter(|_| hopeful) else { return Err(diverged) };
        if !recovery.go_back(self.params, &mut self.sgd)? {
            return Err(diverged);
        }
        let message =
            format!("{diverged}; went back to the beginning of the epoch, with half the learning rate");
        self.listener.on(&Event::Warning { message });
        let start = TrainingPosition::start_of(from.epoch);
        let trained = self.steps(start, data, samples, rates, &mut adjust, &mut between);
        trained.map_err(|error| self.blame(error, data, samples))
    }

    /// Finds out why training diverged; other errors stay as they are.
    fn blame(&self, error: Error, data: &SplitData, samples: &[usize]) -> Error {
        let Error::Diverged { stage, epoch, step, learning_rate, loss, gradient_norm, .. } = error else {
            return error;
        };
        // The data first: no setting helps against them.
        if let Err(error) = self.folder.recheck() {
            return error.into();
        }
        if let Err(error) = self.check_batch(data, samples, epoch, step) {
            return error;
        }
        let cause = match Cause::of_decay(learning_rate, self.sgd.weight_decay()) {
            _ if epoch == 0 && step == 1 => Ok(Cause::BeforeAnyStep),
            Some(decay) => Ok(decay),
            None if self.read_back.is_some() => Ok(Cause::Unknown),
            None => Cause::of(self.params),
        };
        match cause {
            Ok(cause) => Error::Diverged { stage, epoch, step, learning_rate, loss, gradient_norm, cause },
            Err(error) => error,
        }
    }

    /// Whether what a step was taken on are finite numbers.
    ///
    /// # Errors
    /// [`Error::NotFinite`], or if the data cannot be read.
    fn check_batch(
        &self,
        data: &SplitData,
        samples: &[usize],
        epoch: usize,
        step: usize,
    ) -> Result<(), Error> {
        let order = shuffled(self.seed, self.stage, epoch, samples);
        let batch = order.chunks(self.batch_size).nth(step.saturating_sub(1)).unwrap_or_default();
        let place = (self.seed, self.stage, epoch);
        for (augmentation, augmented) in [(None, false), (Some(&self.augmentation), true)] {
            let batch = training_batch(self.gather, augmentation, data, batch, place)?;
            if let Some(what) = not_finite(&batch) {
                return Err(Error::NotFinite { what, epoch, step, augmented });
            }
        }
        Ok(())
    }

    /// The steps of an epoch from a position on.
    fn steps(
        &mut self,
        from: TrainingPosition,
        data: &SplitData,
        samples: &[usize],
        rates: LearningRates,
        adjust: &mut dyn FnMut(&mut Gradients) -> Result<(), Error>,
        between: &mut dyn FnMut(StepState<'_>) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        let factor = self.factor();
        let rates = rates.scaled(factor);
        let TrainingPosition { epoch, step: taken, loss: mut total } = from;
        let order = shuffled(self.seed, self.stage, epoch, samples);
        let steps = steps_per_epoch(samples.len().div_ceil(self.batch_size), self.fraction);
        let (seed, stage, device) = (self.seed, self.stage, self.device);
        let (gather, augmentation) = (self.gather, &self.augmentation);
        let (network, params, objective, listener) =
            (self.network, self.params, self.objective, self.listener);
        let (sgd, recovery, read_back) = (&mut self.sgd, self.recovery.as_ref(), &mut self.read_back);
        let prepare = |samples: &[usize]| {
            training_batch(gather, Some(augmentation), data, samples, (seed, stage, epoch))
        };
        let batches = order.chunks(self.batch_size).take(steps).skip(taken);
        prefetch(read_back.is_some(), batches, prepare, |batches| {
            let mut next = || {
                let batch = batches.next().transpose()?;
                batch.map(|batch| to_device(batch, device)).transpose()
            };
            let mut batch = next()?;
            let mut number = taken;
            while let Some((input, targets)) = batch {
                let pass =
                    ForwardContext { training: true, seed, epoch, step: (epoch * steps + number) as u64 };
                number += 1;
                let output = network.forward(&input, &pass)?;
                let loss = objective.loss(&output, targets)?;
                // A GPU copies the loss when it has it, and goes on meanwhile with what comes behind.
                read_back.as_mut().map(|read_back| read_back.record(&loss)).transpose()?;
                let mut gradients = Gradients::of(&loss, params)?;
                let finite = |value: f32, gradients: &Gradients| match f64::from(value) {
                    value if value.is_finite() => Ok(value),
                    loss => {
                        let (step, learning_rate) = (number, rates.weights);
                        let gradient_norm = gradients.norm()?;
                        let cause = Cause::Unknown;
                        Err(Error::Diverged { stage, epoch, step, learning_rate, loss, gradient_norm, cause })
                    }
                };
                let mut value = 0.0;
                if read_back.is_none() {
                    value = finite(loss.to_scalar::<f32>()?, &gradients)?;
                }
                adjust(&mut gradients)?;
                sgd.step(params, &gradients, rates)?;
                let mut following = None;
                if read_back.is_some() {
                    // While the GPU computes: its next inputs, behind all of this step.
                    following = Some(next());
                }
                if let Some(read_back) = read_back {
                    value = finite(read_back.wait().map_err(candle_core::Error::from)?, &gradients)?;
                }
                // What comes between steps may need the memory.
                drop((output, loss, gradients));
                total += value;
                listener.on(&Event::Step { step: number, steps });
                between(StepState {
                    sgd,
                    position: TrainingPosition { epoch, step: number, loss: total },
                    recovery,
                })?;
                batch = following.unwrap_or_else(&mut next)?;
            }
            Ok(total / steps.max(1) as f64)
        })
    }
}

/// The samples in the order of an epoch.
fn shuffled(seed: u64, stage: TrainingStage, epoch: usize, samples: &[usize]) -> Vec<usize> {
    let mut rng = stream(seed, Purpose::Shuffle, [stage as u64, epoch as u64, 0]);
    permutation(&mut rng, samples.len()).into_iter().filter_map(|i| samples.get(i).copied()).collect()
}

/// What a step of an epoch is taken on.
fn training_batch(
    gather: Gather,
    augmentation: Option<&Augmentation<'_>>,
    data: &SplitData,
    samples: &[usize],
    (seed, stage, epoch): (u64, TrainingStage, usize),
) -> Result<Batch, Error> {
    let rows: Vec<usize> = samples.iter().map(|&sample| part(seed, stage, epoch, data, sample)).collect();
    let mut batch = gather.training(data, &rows, seed, stage, epoch)?;
    if let Some(augmentation) = augmentation {
        augmentation.apply(&mut batch, &rows, seed, stage, epoch)?;
    }
    Ok(batch)
}

/// The row that a sample is trained on in an epoch: a random one of its parts.
fn part(seed: u64, stage: TrainingStage, epoch: usize, data: &SplitData, sample: usize) -> usize {
    let parts = data.parts(sample);
    if parts.len() < 2 {
        return parts.start;
    }
    let counter = [stage as u64, epoch as u64, sample as u64];
    let mut rng = stream(seed, Purpose::Part, counter);
    // Drawn as u64: the width of usize must not change the part.
    parts.start + rng.random_range(0..parts.len() as u64) as usize
}

/// The recordings that the task mixes in; none, and none opened, if it does not.
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
