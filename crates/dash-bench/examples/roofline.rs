//! Estimates the time of training steps of the ten tasks on an H100 by the cost model: the tables of `docs/cuda.md`.
//!
//!     cargo run --release -p dash-bench --example roofline            # all tasks
//!     cargo run --release -p dash-bench --example roofline -- ecg     # and how each layer of one is computed
//!
//! The roof is a lower bound for any program that computes these algorithms: all flops at the GPU's peak rate, or every
//! saved activation written once and read twice at its bandwidth, whichever takes longer. The model adds the efficiency
//! that our kernels are expected to reach (constants in `dash_conv`) and the time from one launch to the next.
#![allow(clippy::print_stdout, reason = "the example prints its results")]

use dash_bench::{KernelPattern, TASKS, TimedStage, survey};
use dash_conv::{Machine, Plan};

/// Flop/s of f32, bytes per second, seconds from a launch to the next.
const PEAK: [f64; 3] = [67e12, 3.35e12, 4e-6];
/// Largest shared memory of a block, in bytes.
const SHARED: usize = 227 << 10;
/// Launches per convolution besides its own: batch norm with ReLU, sums, mixtures, optimizer, forward and backward.
const LAUNCHES: f64 = 30.0;

fn main() -> Result<(), dash_bench::Error> {
    println!("| task, batch | stage | GFLOP | GB | roof, ms | model, ms | bound by |");
    println!("|---|---|---|---|---|---|---|");
    for task in &TASKS {
        for stage in [TimedStage::Search, TimedStage::Retrain(KernelPattern::Spread)] {
            let (network, params) = survey(task, stage)?;
            let machine = Machine::gpu(SHARED);
            let plans = network.convolutions.iter().map(|problem| Plan::choose(problem, &machine));
            let (mut flops, mut convolutions, mut count) = (0.0, 0.0, 0.0);
            for (plan, problem) in plans.zip(&network.convolutions) {
                if std::env::args().nth(1).is_some_and(|name| name == task.name) {
                    println!("{problem}: {plan}, {:.3} ms", 1e3 * plan.cost().seconds);
                }
                flops += plan.cost().flops;
                convolutions += plan.cost().seconds;
                count += 1.0;
            }
            // Activations: written once, read forward and backward. Parameters, gradients, momentum: read and written.
            let bytes = 3.0 * network.saved() as f64 + 6.0 * 4.0 * params.count() as f64;
            let [compute, memory] = [flops / PEAK[0], bytes / PEAK[1]];
            // Batch norm and element-wise operations pass over the activations about five times more.
            let rest = 5.0 * network.saved() as f64 / (0.8 * PEAK[1]) + LAUNCHES * count * PEAK[2];
            let stage = match stage {
                TimedStage::Search => "search",
                TimedStage::Retrain(_) => "retrain, spread",
            };
            println!(
                "| {}, {} | {stage} | {:.1} | {:.2} | {:.2} | {:.1} | {} |",
                task.name,
                task.batch,
                flops / 1e9,
                bytes / 1e9,
                1e3 * compute.max(memory),
                1e3 * (convolutions + rest),
                if compute > memory { "arithmetic" } else { "memory" },
            );
        }
    }
    Ok(())
}
