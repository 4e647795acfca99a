//! Training steps against the clock: what all benchmarks share.

use candle_core::{Device, Tensor};
use dash_core::{
    pipeline::{Loss, Metric},
    random::{Purpose, stream},
};
use dash_nn::{ForwardContext, Gradients, Init, Network, Objective, Params, Rates, Sgd, Targets};
use std::time::{Duration, Instant};

/// What is reported of the times of some steps: milliseconds with two decimals.
pub(crate) struct Times {
    pub(crate) median: f64,
    pub(crate) fastest: f64,
    pub(crate) runs: usize,
}

impl Times {
    pub(crate) fn new(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).map_or(f64::NAN, |ms| (100.0 * ms).round() / 100.0);
        Times { median: at(times.len() / 2), fastest: at(0), runs: times.len() }
    }
}

/// Standard normal values, the same for the same counter.
pub(crate) fn normal(shape: &[usize], counter: u64, device: &Device) -> candle_core::Result<Tensor> {
    let mut rng = stream(0, Purpose::Simulation, [counter, 0, 0]);
    let values = Init::Normal { std: 1.0 }.sample(&mut rng, shape.iter().product());
    Tensor::from_vec(values, shape, device)
}

/// How many steps are taken.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// Steps that are not timed.
    pub(crate) warmup: usize,
    /// Steps that are timed.
    pub(crate) steps: usize,
    /// Time after which no further step is begun, if one was timed.
    pub(crate) limit: Option<Duration>,
}

/// Milliseconds of each timed step.
pub(crate) fn time(
    network: &dyn Network,
    params: &Params,
    input: &Tensor,
    targets: &Expected,
    counts: Counts,
) -> Result<Vec<f64>, dash_nn::Error> {
    let mut sgd = Sgd::new(params, 0.9, 5e-4)?;
    let rates = Rates { weights: 1e-2, architecture: 1e-2 };
    let begun = Instant::now();
    let mut times = Vec::new();
    for number in 0..counts.warmup.saturating_add(counts.steps) {
        let late = counts.limit.is_some_and(|limit| begun.elapsed() > limit);
        if late && !times.is_empty() {
            break;
        }
        let start = Instant::now();
        step(network, params, &mut sgd, rates, number as u64, input, targets)?;
        // A GPU is given work faster than it does it.
        input.device().synchronize()?;
        // Where time is short, a warm-up is worth less than a number.
        if number >= counts.warmup || late {
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
    }
    Ok(times)
}

/// What a batch is compared with.
pub(crate) enum Expected {
    Classes(Vec<i64>),
    Field(Vec<f32>),
}

impl Expected {
    /// All classes in turn.
    pub(crate) fn classes(classes: usize, batch: usize) -> Expected {
        Expected::Classes((0..classes as i64).cycle().take(batch).collect())
    }
}

/// One whole step. What it allocated is free again when it returns.
fn step(
    network: &dyn Network,
    params: &Params,
    sgd: &mut Sgd,
    rates: Rates,
    number: u64,
    input: &Tensor,
    expected: &Expected,
) -> Result<(), dash_nn::Error> {
    let output =
        network.forward(input, &ForwardContext { training: true, seed: 0, epoch: 0, step: number })?;
    let (loss, targets) = match expected {
        Expected::Classes(classes) => (Loss::CrossEntropy, Targets::Class(classes.clone())),
        Expected::Field(field) => (Loss::MeanSquaredError, Targets::Field(field.clone())),
    };
    let objective = Objective { loss, metric: Metric::ZeroOneError, scaling: None };
    let loss = objective.loss(&output, targets)?;
    sgd.step(params, &Gradients::of(&loss, params)?, rates)
}
