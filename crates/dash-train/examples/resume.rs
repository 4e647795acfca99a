//! A training that is interrupted between two steps, and resumes from its checkpoint as if nothing had happened.
//!
//!     cargo run --release -p dash-train --example resume
#![allow(clippy::print_stdout, reason = "a program for people")]

use dash_conv::Planner;
use dash_core::{
    event::{Event, Listener, Silent},
    pipeline::{OnDivergence, Pipeline},
};
use dash_data::DatasetFolder;
use dash_nn::{LearningRates, Sgd};
use dash_store::Staging;
use dash_train::{
    Checkpoints, Error, FitHooks, Sampling, StageContext, StageState, TrainOptions, Trainer, TrainingStage,
    fit, resume,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What this training adds to the loop: a constant learning rate. Checkpoints hold nothing else of it.
struct ConstantRate;

impl FitHooks for ConstantRate {
    type Error = Error;

    fn learning_rates(&self, _: usize) -> LearningRates {
        LearningRates::uniform(0.02)
    }

    fn state(&self) -> &dyn StageState {
        &()
    }
}

/// Asks the training to stop after so many steps, as a signal would.
struct Interrupt {
    left: AtomicUsize,
}

impl Listener for Interrupt {
    fn on(&self, event: &Event) {
        match event {
            Event::Step { .. } => {
                self.left.fetch_sub(1, Ordering::Relaxed);
            }
            Event::Resumed { epoch, step, .. } => println!("resumes in epoch {epoch} after step {step}"),
            Event::Epoch { epoch, train_loss, .. } => println!("epoch {epoch}: loss {train_loss:.4}"),
            _ => {}
        }
    }

    fn stopping(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// Trains for three epochs, from a checkpoint if there is one.
fn train(ctx: &StageContext<'_>) -> Result<(), Error> {
    let options = TrainOptions {
        stage: TrainingStage::Retrain,
        epochs: 3,
        sampling: Sampling { batch_size: 4, fraction: 1.0 },
        on_divergence: OnDivergence::Stop,
    };
    let (network, params) = ctx.retrain_network(None, 0.0)?;
    let optimizer = Box::new(Sgd::new(&params, 0.9, 5e-4)?);
    let mut trainer = Trainer::new(ctx, options, network.as_ref(), &params, optimizer)?;
    let checkpoint = resume(ctx, &options, &mut ())?;
    fit(&mut trainer, &mut ConstantRate, checkpoint).map(drop)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A small simulated dataset: 12 fields of 9 x 9 positions for training.
    let pipeline: Pipeline = serde_json::from_value(serde_json::json!({
        "name": "resume",
        "dataset": {
            "recipe": "darcy-flow", "simulate": { "grid": 17 }, "subsample": 2,
            "train": 12, "validation": 4, "test": 4,
        },
        "task": { "loss": { "kind": "relative-l2" }, "metric": { "kind": "relative-l2" } },
        "retrain": { "backbone": { "kind": "wrn", "depth": 10, "width": 1 } },
    }))?;
    let folder = tempfile::tempdir()?;
    let dataset = folder.path().join("dataset");
    let mut staging = Staging::begin(&dataset)?;
    dash_recipes::ingest(&pipeline.dataset, pipeline.protocol, &mut staging, &Silent)?;
    staging.publish()?;
    let data = DatasetFolder::open(&dataset)?;

    let checkpoints = Checkpoints::new(folder.path().join("checkpoint"), "an example", None);
    for attempt in 1.. {
        let listener = Interrupt { left: AtomicUsize::new(4) };
        let ctx = StageContext {
            pipeline: &pipeline,
            seed: 0,
            data: &data,
            backend: &dash_nn::Backend::cpu(),
            planner: &Planner::default(),
            listener: &listener,
            checkpoints: Some(&checkpoints),
        };
        match train(&ctx) {
            Err(Error::Stopped) => println!("attempt {attempt}: stopped"),
            other => return Ok(other?),
        }
    }
    Ok(())
}
