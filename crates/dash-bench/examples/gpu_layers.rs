//! Times every GPU algorithm on the layers of the ten tasks' networks, beside the cost model: a table in Markdown.
//! Where the model is wrong, its constants in `dash_conv` should be replaced by those of the GPU that was measured.
//!
//!     cargo run --release --features cuda -p dash-bench --example gpu_layers [TASK [BATCH]]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the example prints its results")]

use dash_bench::{KernelPattern, TASKS, TaskShape, TimedStage, survey};
use dash_conv::{Algorithm, GpuModel, Machine, Plan, measure};

/// Algorithms that the model puts this far behind its choice are not timed.
const HOPELESS: f64 = 50.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let backend = match dash_nn::Backend::open_gpu(0) {
        Ok(backend) => backend,
        Err(error) => {
            eprintln!("skipped: {error}");
            return Ok(());
        }
    };
    let Some(gpu) = backend.gpu() else { return Ok(()) };
    let mut arguments = std::env::args().skip(1);
    let (task, batch) = (arguments.next(), arguments.next().map(|batch| batch.parse()).transpose()?);
    println!("| task | layer | plan | model, ms | measured, ms | best |");
    println!("|---|---|---|---|---|---|");
    for shape in TASKS.iter().filter(|shape| task.as_deref().is_none_or(|task| task == shape.name)) {
        let shape = TaskShape { batch: batch.unwrap_or(shape.batch), ..*shape };
        let mut seen = Vec::new();
        for stage in [TimedStage::Search, TimedStage::Retrain(KernelPattern::Spread)] {
            for problem in survey(&shape, stage)?.0.convolutions {
                if seen.contains(&problem) {
                    continue;
                }
                let machine = Machine::Gpu(GpuModel::H100);
                let plan = |&algorithm| Plan::choose_among(&[algorithm], &problem, &machine).ok();
                let plans: Vec<Plan> = Algorithm::ON_GPU.iter().filter_map(plan).collect();
                let least = plans.iter().fold(f64::INFINITY, |least, plan| least.min(plan.cost().seconds));
                let mut rows = Vec::new();
                for plan in plans.iter().filter(|plan| plan.cost().seconds <= HOPELESS * least) {
                    if let Some(seconds) = measure(plan, &problem, Some(gpu))? {
                        rows.push((plan, seconds));
                    }
                }
                let best = rows.iter().fold(f64::INFINITY, |best, row| best.min(row.1));
                for (plan, seconds) in &rows {
                    let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
                    let chosen = mark(plan.cost().seconds == least, "model");
                    let fastest = mark(*seconds == best, " clock");
                    let (name, model, measured) = (shape.name, 1e3 * plan.cost().seconds, 1e3 * seconds);
                    println!(
                        "| {name} | {problem} | {plan} | {model:.3} | {measured:.3} | {chosen}{fastest} |"
                    );
                }
                seen.push(problem);
            }
        }
    }
    Ok(())
}
