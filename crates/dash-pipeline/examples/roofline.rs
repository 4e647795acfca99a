//! What training steps of the ten tasks would take on an H100, by model: the tables of `docs/cuda.md`.
//!
//!     cargo run --release -p dash-pipeline --example roofline            # all tasks
//!     cargo run --release -p dash-pipeline --example roofline -- ecg     # and how each layer of one is computed
//!
//! The roof is what no program can be faster than that computes these algorithms: all flops at the GPU's peak, or every
//! activation that is kept written once and read twice at its bandwidth, whichever takes longer. The model adds what our
//! kernels are expected to reach (`dash_conv`, `gpu`), and the time from one launch to the next.
#![allow(clippy::print_stdout, reason = "it prints")]

use dash_conv::Plan;
use dash_pipeline::bench::{self, Kernels, TASKS, TimedStage};

/// Flop/s of f32, bytes per second, seconds from a launch to the next.
const PEAK: [f64; 3] = [67e12, 3.35e12, 4e-6];
/// Bytes of shared memory that a block may have.
const SHARED: usize = 227 << 10;
/// Launches per convolution besides its own: batch norm with ReLU, sums, mixtures, descent, forward and backward.
const LAUNCHES: f64 = 30.0;

fn main() -> Result<(), dash_pipeline::Error> {
    println!("| task, batch | stage | GFLOP | GB | roof, ms | model, ms | bound by |");
    println!("|---|---|---|---|---|---|---|");
    for task in &TASKS {
        for stage in [TimedStage::Search, TimedStage::Retrain(Kernels::Spread)] {
            let (survey, params) = bench::survey(task, stage)?;
            let plans = survey.convolutions.iter().map(|problem| Plan::choose_on_gpu(problem, SHARED));
            let (mut flops, mut convolutions, mut count) = (0.0, 0.0, 0.0);
            for (plan, problem) in plans.zip(&survey.convolutions) {
                if std::env::args().nth(1).is_some_and(|name| name == task.name) {
                    println!("{problem}: {plan}, {:.3} ms", 1e3 * plan.seconds);
                }
                flops += plan.flops;
                convolutions += plan.seconds;
                count += 1.0;
            }
            // Kept once, read once more forward and once backward; parameters, gradients, momenta read and written.
            let bytes = 3.0 * survey.kept() as f64 + 6.0 * 4.0 * params.count() as f64;
            let [compute, memory] = [flops / PEAK[0], bytes / PEAK[1]];
            // Batch norm and what surrounds it passes over activations about five times more.
            let rest = 5.0 * survey.kept() as f64 / (0.8 * PEAK[1]) + LAUNCHES * count * PEAK[2];
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
