//! Runs the training loop that all stages share.

use crate::{
    batches::training_samples,
    checkpoints::Checkpoint,
    context::StageContext,
    error::Error,
    hooks::FitHooks,
    state::{StageState, TrainingLength, TrainingPosition},
    trainer::{TrainOptions, Trainer},
};
use dash_core::{event::Event, results::Epoch};
use std::time::Instant;

/// Loads the checkpoint of an earlier attempt at this stage, if there is one: the stage's own part of it into `state`,
/// the rest for [`fit`]. Warns of a damaged checkpoint, which is not used.
///
/// # Errors
/// If a newer version of the program wrote it, or the training split cannot be read.
pub fn resume(
    ctx: &StageContext<'_>,
    options: &TrainOptions,
    state: &mut dyn StageState,
) -> Result<Option<Checkpoint>, Error> {
    let Some(checkpoints) = ctx.checkpoints else { return Ok(None) };
    let steps = options.sampling.steps(training_samples(ctx, options.stage)?.len());
    checkpoints.load(TrainingLength { epochs: options.epochs, steps }, state, ctx.listener)
}

/// Trains to the last epoch, from the beginning or from a checkpoint, and returns the history.
///
/// Takes checkpoints between steps when they are due, and one before it stops because the listener asks for it. Rolls
/// back once if the loss stops being finite and the options allow it. Reports each step and each epoch.
///
/// # Errors
/// [`Error::Stopped`], [`Error::Diverged`], or if data cannot be read or a checkpoint cannot be written; and the errors
/// of the hooks.
pub fn fit<H: FitHooks>(
    trainer: &mut Trainer<'_>,
    hooks: &mut H,
    checkpoint: Option<Checkpoint>,
) -> Result<Vec<Epoch>, H::Error> {
    let epochs = trainer.options().epochs;
    let (mut position, mut history) = match checkpoint {
        Some(checkpoint) => trainer.restore(checkpoint)?,
        None => Default::default(),
    };
    for epoch in position.epoch..epochs {
        let start = Instant::now();
        let rates = hooks.learning_rates(epoch);
        position = trainer.epoch(position, rates, hooks, &history)?;
        let train_loss = position.loss / position.step.max(1) as f64;
        let score = match hooks.validate(epoch) {
            Err(Error::Stopped) => {
                trainer.take_checkpoint(position, &history, hooks.state())?;
                return Err(Error::Stopped.into());
            }
            other => other?,
        };
        let learning_rate = trainer.rate_factor() * rates.weights;
        let finished = Epoch { epoch, learning_rate, train_loss, score };
        hooks.epoch_end(&finished)?;
        history.push(finished);
        trainer.report(&Event::Epoch {
            epoch,
            epochs,
            train_loss,
            score,
            learning_rate,
            seconds: start.elapsed().as_secs_f64(),
        });
        position = TrainingPosition::start_of(epoch + 1);
    }
    Ok(history)
}
