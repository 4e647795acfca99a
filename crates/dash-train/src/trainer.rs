//! A network in training, and the steps of one epoch.

use crate::{
    batches::{Sampling, TrainingBatches},
    cause::{Cause, not_finite},
    checkpoints::{Checkpoint, Snapshot},
    context::StageContext,
    error::Error,
    hooks::FitHooks,
    prefetch::{Uploads, prefetch},
    recovery::Recovery,
    stage::TrainingStage,
    state::{StageState, TrainingPosition},
    tensors::write_checkpoint,
};
use dash_core::{event::Event, pipeline::OnDivergence, results::Epoch};
use dash_nn::{ForwardContext, Gradients, LearningRates, Network, Objective, Optimizer, Params};
use dash_store::Staging;

/// How a network is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// The stage that trains: it names the random draws and selects the samples.
    pub stage: TrainingStage,
    /// The number of epochs.
    pub epochs: usize,
    /// How an epoch samples the training data.
    pub sampling: Sampling,
    /// What happens when the loss stops being finite.
    pub on_divergence: OnDivergence,
}

/// A network in training.
pub struct Trainer<'a> {
    ctx: StageContext<'a>,
    options: TrainOptions,
    network: &'a dyn Network,
    params: &'a Params,
    objective: Objective,
    optimizer: Box<dyn Optimizer>,
    batches: TrainingBatches<'a>,
    recovery: Option<Recovery>,
}

impl<'a> Trainer<'a> {
    /// A trainer of `network` on the training split.
    ///
    /// # Errors
    /// If the split cannot be read, or loss, metric or `task.augment` do not fit the dataset.
    pub fn new(
        ctx: &StageContext<'a>,
        options: TrainOptions,
        network: &'a dyn Network,
        params: &'a Params,
        optimizer: Box<dyn Optimizer>,
    ) -> Result<Trainer<'a>, Error> {
        Ok(Trainer {
            ctx: *ctx,
            options,
            network,
            params,
            objective: ctx.objective()?,
            optimizer,
            batches: TrainingBatches::new(ctx, options.stage, options.sampling)?,
            recovery: (options.on_divergence == OnDivergence::RollBack).then(Recovery::default),
        })
    }

    /// How the network is trained.
    pub fn options(&self) -> TrainOptions {
        self.options
    }

    /// The optimizer, with what it remembers between steps.
    pub fn optimizer(&self) -> &dyn Optimizer {
        self.optimizer.as_ref()
    }

    /// The factor on the learning rates: 1, or less after training rolled back.
    pub fn rate_factor(&self) -> f64 {
        self.recovery.as_ref().map_or(1.0, Recovery::factor)
    }

    /// Writes the folder `checkpoint/` of a stage's results: the network and the optimizer as they are.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_checkpoint(&self, out: &mut Staging) -> Result<(), Error> {
        write_checkpoint(out, self.options.epochs, self.params, self.optimizer.as_ref())
    }

    /// Sends an event to the listener.
    pub(crate) fn report(&self, event: &Event) {
        self.ctx.listener.on(event);
    }

    /// Loads network, optimizer and what training can roll back to from a checkpoint. Returns the position and the
    /// history from which training resumes.
    pub(crate) fn restore(
        &mut self,
        checkpoint: Checkpoint,
    ) -> Result<(TrainingPosition, Vec<Epoch>), Error> {
        checkpoint.restore(self.params, self.optimizer.as_mut())?;
        let Checkpoint { position, history, recovery, .. } = checkpoint;
        if let (Some(own), Some(loaded)) = (&mut self.recovery, recovery) {
            *own = loaded;
        }
        Ok((position, history))
    }

    /// Takes a checkpoint at `position`.
    pub(crate) fn take_checkpoint(
        &self,
        position: TrainingPosition,
        history: &[Epoch],
        state: &dyn StageState,
    ) -> Result<(), Error> {
        let Some(checkpoints) = self.ctx.checkpoints else { return Ok(()) };
        checkpoints.save(&Snapshot {
            position,
            params: self.params,
            optimizer: self.optimizer.as_ref(),
            recovery: self.recovery.as_ref(),
            history,
            state,
        })
    }

    /// Trains one epoch, or the rest of it from a position on; `history` holds the epochs before. Returns the position
    /// after the last step.
    ///
    /// # Errors
    /// If the loss stops being finite and training cannot roll back, or as [`fit`](crate::fit).
    pub(crate) fn epoch<H: FitHooks>(
        &mut self,
        from: TrainingPosition,
        rates: LearningRates,
        hooks: &mut H,
        history: &[Epoch],
    ) -> Result<TrainingPosition, Error> {
        if let (0, Some(recovery)) = (from.step, &mut self.recovery) {
            recovery.remember(self.params, self.optimizer.as_ref())?;
        }
        let diverged = match self.steps(from, rates, hooks, history) {
            Err(error) => self.find_cause(error),
            trained => return trained,
        };
        // Without a step there is nothing that smaller learning rates would change.
        let hopeful = matches!(&diverged, Error::Diverged { cause, .. } if *cause != Cause::BeforeAnyStep);
        let Some(recovery) = self.recovery.as_mut().filter(|_| hopeful) else { return Err(diverged) };
        if !recovery.roll_back(self.params, self.optimizer.as_mut())? {
            return Err(diverged);
        }
        let message =
            format!("{diverged}; rolled back to the beginning of the epoch, with half the learning rate");
        self.report(&Event::Warning { message });
        let start = TrainingPosition::start_of(from.epoch);
        self.steps(start, rates, hooks, history).map_err(|error| self.find_cause(error))
    }

    /// The steps of an epoch from a position on.
    fn steps<H: FitHooks>(
        &mut self,
        from: TrainingPosition,
        rates: LearningRates,
        hooks: &mut H,
        history: &[Epoch],
    ) -> Result<TrainingPosition, Error> {
        let rates = rates.scaled(self.rate_factor());
        let Trainer { ctx, options, network, params, objective, optimizer, batches, recovery } = self;
        let (steps, epoch) = (batches.steps(), from.epoch);
        let remaining = batches.epoch(epoch).into_iter().skip(from.step);
        let prepare = |samples: Vec<usize>| batches.prepare(epoch, &samples);
        prefetch(ctx.backend.is_asynchronous(), remaining, prepare, |prepared| {
            let mut uploads = Uploads::new(prepared, ctx.backend);
            let mut position = from;
            while let Some((input, targets)) = uploads.next()? {
                let step = (epoch * steps + position.step) as u64;
                let pass = ForwardContext { training: true, seed: ctx.seed, epoch, step };
                position.step += 1;
                let output = network.forward(&input, &pass)?;
                let loss = objective.loss(ctx.backend, &output, targets)?;
                // A GPU copies the loss as soon as it is known, and computes what follows meanwhile.
                let value = ctx.backend.read_scalar(&loss)?;
                let mut gradients = Gradients::of(&loss, params)?;
                let finite = |value: f32, gradients: &Gradients| match f64::from(value) {
                    value if value.is_finite() => Ok(value),
                    loss => Err(Error::Diverged {
                        stage: options.stage,
                        epoch,
                        step: position.step,
                        learning_rate: rates.weights,
                        loss,
                        gradient_norm: gradients.norm()?,
                        cause: Cause::Unknown,
                    }),
                };
                // A loss that is known already is checked before the step, while the parameters show what caused it.
                value.ready().map(|value| finite(value, &gradients)).transpose()?;
                hooks.adjust_gradients(&mut gradients)?;
                optimizer.step(params, &gradients, rates)?;
                uploads.upload_ahead();
                let value = finite(value.wait()?, &gradients)?;
                // A checkpoint may need their memory.
                drop((output, loss, gradients));
                position.loss += value;
                ctx.listener.on(&Event::Step { step: position.step, steps });
                if let Some(checkpoints) = ctx.checkpoints {
                    let stop = ctx.stop_requested();
                    if stop || checkpoints.is_due() {
                        checkpoints.save(&Snapshot {
                            position,
                            params,
                            optimizer: &**optimizer,
                            recovery: recovery.as_ref(),
                            history,
                            state: hooks.state(),
                        })?;
                    }
                    if stop {
                        return Err(Error::Stopped);
                    }
                }
            }
            Ok(position)
        })
    }

    /// Finds out why training diverged; returns other errors as they are.
    fn find_cause(&self, error: Error) -> Error {
        let Error::Diverged { stage, epoch, step, learning_rate, loss, gradient_norm, .. } = error else {
            return error;
        };
        // The data first: if it is at fault, no setting helps.
        if let Err(error) = self.ctx.data.recheck() {
            return error.into();
        }
        if let Err(error) = self.check_batch(epoch, step) {
            return error;
        }
        let cause = match Cause::of_decay(learning_rate, self.optimizer.weight_decay()) {
            _ if epoch == 0 && step == 1 => Ok(Cause::BeforeAnyStep),
            Some(decay) => Ok(decay),
            // The step was taken before the loss was known.
            None if self.ctx.backend.is_asynchronous() => Ok(Cause::Unknown),
            None => Cause::of(self.params),
        };
        match cause {
            Ok(cause) => Error::Diverged { stage, epoch, step, learning_rate, loss, gradient_norm, cause },
            Err(error) => error.into(),
        }
    }

    /// Checks that the batch of a step (one-based) holds finite numbers, before and after augmentation.
    fn check_batch(&self, epoch: usize, step: usize) -> Result<(), Error> {
        let batches = self.batches.epoch(epoch);
        let samples = batches.get(step.saturating_sub(1)).map_or(&[][..], Vec::as_slice);
        let (stored, _) = self.batches.gather(epoch, samples)?;
        if let Some(what) = not_finite(&stored) {
            return Err(Error::NotFinite { what, epoch, step, augmented: false });
        }
        match not_finite(&self.batches.prepare(epoch, samples)?) {
            Some(what) => Err(Error::NotFinite { what, epoch, step, augmented: true }),
            None => Ok(()),
        }
    }
}
