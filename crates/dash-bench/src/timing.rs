//! Timing of training steps, shared by all benchmarks.

use candle_core::{Device, Tensor};
use dash_core::{
    pipeline::{Loss, Metric},
    random::{Purpose, stream},
};
use dash_nn::{
    ForwardContext, Gradients, Init, LearningRates, Network, Objective, Optimizer, Params, Sgd, Targets,
};
use std::time::{Duration, Instant};

/// Summary of the times of some steps, in milliseconds with two decimals.
pub(crate) struct TimeSummary {
    pub(crate) median: f64,
    pub(crate) fastest: f64,
    pub(crate) runs: usize,
}

impl TimeSummary {
    pub(crate) fn new(mut times: Vec<f64>) -> TimeSummary {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).map_or(f64::NAN, |ms| (100.0 * ms).round() / 100.0);
        TimeSummary { median: at(times.len() / 2), fastest: at(0), runs: times.len() }
    }
}

/// Standard normal values; equal counters give equal values.
pub(crate) fn normal(shape: &[usize], counter: u64, device: &Device) -> candle_core::Result<Tensor> {
    let mut rng = stream(0, Purpose::Simulation, [counter, 0, 0]);
    let values = Init::Normal { std: 1.0 }.sample(&mut rng, shape.iter().product());
    Tensor::from_vec(values, shape, device)
}

/// The number of steps of a benchmark.
#[derive(Clone, Copy)]
pub(crate) struct StepCounts {
    /// Steps that are not timed.
    pub(crate) warmup: usize,
    /// Steps that are timed.
    pub(crate) steps: usize,
    /// Time after which no further step starts, once a step was timed.
    pub(crate) limit: Option<Duration>,
}

/// Runs training steps and returns the times of the timed ones in milliseconds.
pub(crate) fn time(
    network: &dyn Network,
    params: &Params,
    input: &Tensor,
    targets: &SyntheticTarget,
    counts: StepCounts,
) -> Result<Vec<f64>, dash_nn::Error> {
    let mut sgd = Sgd::new(params, 0.9, 5e-4)?;
    let rates = LearningRates { weights: 1e-2, architecture: 1e-2 };
    let begun = Instant::now();
    let mut times = Vec::new();
    for number in 0..counts.warmup.saturating_add(counts.steps) {
        let late = counts.limit.is_some_and(|limit| begun.elapsed() > limit);
        if late && !times.is_empty() {
            break;
        }
        let start = Instant::now();
        step(network, params, &mut sgd, rates, number as u64, input, targets)?;
        // A GPU computes asynchronously.
        input.device().synchronize()?;
        // After the limit even a warm-up step counts: one measurement is better than none.
        if number >= counts.warmup || late {
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
    }
    Ok(times)
}

/// Synthetic targets of a batch.
pub(crate) enum SyntheticTarget {
    Classes(Vec<i64>),
    Field(Vec<f32>),
}

impl SyntheticTarget {
    /// All classes in turn.
    pub(crate) fn classes(classes: usize, batch: usize) -> SyntheticTarget {
        SyntheticTarget::Classes((0..classes as i64).cycle().take(batch).collect())
    }
}

/// One training step. All of its memory is free again when it returns.
fn step(
    network: &dyn Network,
    params: &Params,
    sgd: &mut Sgd,
    rates: LearningRates,
    number: u64,
    input: &Tensor,
    expected: &SyntheticTarget,
) -> Result<(), dash_nn::Error> {
    let output =
        network.forward(input, &ForwardContext { training: true, seed: 0, epoch: 0, step: number })?;
    let (loss, targets) = match expected {
        SyntheticTarget::Classes(classes) => (Loss::CrossEntropy, Targets::Class(classes.clone())),
        SyntheticTarget::Field(field) => (Loss::MeanSquaredError, Targets::Field(field.clone())),
    };
    let objective = Objective { loss, metric: Metric::ZeroOneError, scaling: None };
    let loss = objective.loss(params.backend(), &output, targets)?;
    sgd.step(params, &Gradients::of(&loss, params)?, rates)
}
