//! Times every CPU algorithm on the layers of the ten tasks' networks and compares the fastest with the choice of the
//! cost model: a table in Markdown. The last column says how much slower the choice is than the fastest algorithm.
//!
//!     cargo run --release -p dash-bench --example layers [TASK [BATCH]]
//!
//! Without `BATCH`, an eighth of the published batch size is used.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the example prints its results")]

use dash_bench::{KernelPattern, TASKS, TaskShape, TimedStage, survey};
use dash_conv::{Algorithm, Machine, Plan, measure};

/// Algorithms that the model puts this far behind its choice are not timed.
const HOPELESS: f64 = 20.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (wanted, batch) = (arguments.next(), arguments.next().map(|batch| batch.parse()).transpose()?);
    let names = Algorithm::ON_CPU.map(|algorithm| algorithm.to_string()).join(" | ");
    println!("| task | stage | layer | plan | {names} | slower by |");
    println!("|---|---|---|---{}|--:|", "|--:".repeat(Algorithm::ON_CPU.len()));
    let mut worst = (1.0, String::new());
    for task in TASKS.iter().filter(|task| wanted.as_deref().is_none_or(|name| name == task.name)) {
        let task = TaskShape { batch: batch.unwrap_or((task.batch / 8).max(1)), ..*task };
        for (stage, name) in [
            (TimedStage::Search, "search"),
            (TimedStage::Retrain(KernelPattern::Spread), "spread"),
            (TimedStage::Retrain(KernelPattern::Plain), "3x1"),
        ] {
            let mut seen = Vec::new();
            for problem in survey(&task, stage)?.0.convolutions {
                if seen.contains(&problem) {
                    continue;
                }
                let model = Plan::choose(&problem, &Machine::CPU);
                let mut measured = Vec::new();
                for algorithm in Algorithm::ON_CPU {
                    let plan = Plan::choose_among(&[algorithm], &problem, &Machine::CPU).ok();
                    let plan = plan.filter(|plan| plan.cost().seconds <= HOPELESS * model.cost().seconds);
                    let seconds = plan.map(|plan| measure(&plan, &problem, None)).transpose()?;
                    measured.extend(seconds.flatten().map(|seconds| (algorithm, seconds)));
                }
                let seconds = |algorithm: Algorithm| {
                    measured.iter().find(|(other, _)| *other == algorithm).map(|(_, seconds)| *seconds)
                };
                let best = measured.iter().fold(f64::MAX, |best, (_, seconds)| best.min(*seconds));
                let cell =
                    |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.2}", 1e3 * s));
                let cells = Algorithm::ON_CPU.map(|algorithm| cell(seconds(algorithm))).join(" | ");
                let ratio = seconds(model.algorithm()).map_or(f64::NAN, |seconds| seconds / best);
                println!("| {} | {name} | {problem} | {model} | {cells} | {ratio:.2} |", task.name);
                if ratio > worst.0 {
                    worst = (ratio, format!("{}, {name}, {problem}", task.name));
                }
                seen.push(problem);
            }
        }
    }
    eprintln!("the choice is at most {:.2} times as slow as the fastest algorithm: {}", worst.0, worst.1);
    Ok(())
}
