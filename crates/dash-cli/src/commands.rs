//! What each command does.

use crate::{
    args::{self, Args, BenchStage, Command, Data, Pattern},
    data,
    error::Error,
    escape::stderr,
    files, memory, output, progress, threads,
};
use clap::CommandFactory;
use dash_bench::{
    KernelPattern, StepBenchmark, TimedStage,
    comparison::{self, ComparisonOptions, MixingMethod},
};
use dash_conv::Planner;
use dash_pipeline::{Device, DeviceChoice, Folders, LocalExecutor, RunSet, Training};
use std::{
    io::{self, Write},
    time::Duration,
};

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    dash_conv::check_instruction_set()?;
    match &args.command {
        // These start their threads when their files have been read, or need none.
        Command::Run(run) if !run.dry_run => {}
        Command::Data(Data::Ingest(_)) | Command::Bench(_) => {}
        Command::Check(_) | Command::Schema | Command::Completions { .. } => {}
        _ => threads::start_some()?,
    }
    match args.command {
        Command::Run(args) => run_pipelines(&args),
        Command::Check(args) => check(&args),
        Command::Status(args) => output::status(&dash_pipeline::status(&folders(&args))?, args.format),
        Command::Explain(args) => explain(&args),
        Command::Runs(args::Runs::Prune(args)) => prune(&args),
        Command::Report(args) => report(&args),
        Command::Data(Data::Ingest(args)) => ingest(&args),
        Command::Data(Data::List(args)) => data::list(&args),
        Command::Data(Data::Fetch(args)) => {
            // One that looks a host up and one that waits for bytes.
            threads::need(2)?;
            data::fetch(&args)
        }
        Command::Data(Data::Inspect(args)) => data::inspect(&args),
        Command::Data(Data::Verify(args)) => data::verify(&args),
        Command::Bench(args) => time(&args),
        Command::Schema => Ok(io::stdout().write_all(dash_core::load::schema().as_bytes())?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "dash-nas", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
    }
}

fn run_pipelines(args: &args::Run) -> Result<(), Error> {
    let batch = files::batch(&args.input, args.planning.planner())?;
    let folders = folders(&args.folders);
    if args.dry_run {
        return output::plan(&dash_pipeline::plan(&batch, &folders)?, args.folders.format);
    }
    let every = args.checkpoint_every.map(|seconds| Duration::from_secs(seconds.into()));
    threads::start(args.execution.threads)?;
    let executor = executor(&args.execution, every)?;
    let listeners = progress::listeners(&args.execution)?;
    let outcome = among_workers(|| dash_pipeline::run(&batch, &folders, &executor, &listeners))?;
    let told = listeners.finish();
    output::outcome(&outcome, args.folders.format)?;
    match outcome.error() {
        Some(error) => Err(error.into()),
        None => told,
    }
}

fn report(args: &args::Report) -> Result<(), Error> {
    threads::start_tables()?;
    let batch = files::batch(&args.input, args.planning.planner())?;
    let outcome = dash_pipeline::report(&batch, &folders(&args.folders))?;
    output::outcome(&outcome, args.folders.format)?;
    match outcome.rows.iter().filter(|row| row.value.is_none()).count() {
        missing @ 1.. if args.strict => Err(Error::Missing { missing }),
        _ => Ok(()),
    }
}

fn prune(args: &args::Prune) -> Result<(), Error> {
    let removed = dash_pipeline::prune(&folders(&args.folders), &args.pipelines, args.dry_run)?;
    output::pruned(&removed, args.dry_run, args.folders.format)
}

fn check(args: &args::Check) -> Result<(), Error> {
    let batch = files::batch(&args.input, Planner::default())?;
    let mut text = String::new();
    for (i, pipeline) in batch.pipelines.iter().enumerate() {
        if i > 0 {
            text += &format!("\n# ---- {}\n\n", pipeline.name);
        }
        text += &dash_core::load::to_toml(pipeline)?;
    }
    output::toml(&text)
}

fn explain(args: &args::Explain) -> Result<(), Error> {
    let pipeline = files::one(&args.file, &args.changes)?;
    let batch = RunSet { planner: args.planning.planner(), ..RunSet::one(pipeline) };
    let planned = dash_pipeline::plan(&batch, &folders(&args.folders))?;
    let chosen: Vec<_> = planned.iter().filter(|p| p.stage == args.stage).cloned().collect();
    if chosen.is_empty() {
        let mut known: Vec<String> = planned.into_iter().map(|p| p.stage).collect();
        known.dedup();
        known.sort();
        known.dedup();
        return Err(dash_pipeline::Error::UnknownStage { name: args.stage.clone(), known }.into());
    }
    output::explanation(&chosen, args.folders.format)
}

fn ingest(args: &args::Ingest) -> Result<(), Error> {
    let batch = files::batch(&args.input, Planner::default())?;
    let folders = folders(&args.folders);
    threads::start_workers(args.execution.threads)?;
    let executor = executor(&args.execution, None)?;
    let listeners = progress::listeners(&args.execution)?;
    let mut made = Vec::new();
    for pipeline in &batch.pipelines {
        made.push(dash_pipeline::ingest(&batch, pipeline, &folders, &executor, &listeners)?);
    }
    let told = listeners.finish();
    output::datasets(&made, args.folders.format)?;
    told
}

fn time(args: &args::Bench) -> Result<(), Error> {
    let kernels = match args.pattern {
        Pattern::Spread => KernelPattern::Spread,
        Pattern::Plain => KernelPattern::Plain,
    };
    let stage = match args.stage {
        BenchStage::Search => TimedStage::Search,
        BenchStage::Retrain => TimedStage::Retrain(kernels),
    };
    let (batch, steps, warmup, plan) = (args.batch, args.steps, args.warmup, args.planning.policy());
    threads::start_workers(args.threads)?;
    let Some(task) = args.task else {
        return compare(args, &ComparisonOptions { batch, steps, warmup, plan });
    };
    let device = open(args.device)?;
    let benchmark = StepBenchmark { task, stage, batch, steps, warmup, plan };
    output::timing(&among_workers(|| dash_bench::time_steps(&benchmark, &device))?, args.format)
}

/// Compares the mixing methods. Each result is printed and plotted at once, so that nothing is lost by interrupting.
fn compare(args: &args::Bench, options: &ComparisonOptions) -> Result<(), Error> {
    let device = open(args.device)?;
    let mut timings = Vec::new();
    for point in comparison::points(args.points) {
        for method in MixingMethod::supported_on(&device) {
            let timing = among_workers(|| comparison::measure(&point, method, options, &device))?;
            output::comparison_point(&timing, args.format)?;
            timings.push(timing);
            if let Some(path) = &args.plot {
                dash_store::publish_file(path, &comparison::plot(&timings))?;
            }
        }
    }
    output::comparison(&timings, args.format)
}

fn folders(args: &args::Folders) -> Folders {
    Folders::new(&args.runs_dir, &args.reports_dir)
}

fn executor(
    args: &args::Execution,
    checkpoint_every: Option<Duration>,
) -> Result<LocalExecutor<Training>, Error> {
    if let Some(most) = args.memory {
        memory::limit_to(usize::try_from(most.get()).unwrap_or(usize::MAX).saturating_mul(1 << 20));
    }
    let memory = memory::left().and_then(|bytes| u64::try_from(bytes).ok());
    Ok(LocalExecutor { work: Training { device: open(args.device)?, checkpoint_every, memory } })
}

/// The device; says why if it is not a GPU where one would have been taken.
fn open(choice: DeviceChoice) -> Result<Device, Error> {
    let (device, reason) = choice.open()?;
    if let Some(reason) = reason {
        writeln!(stderr(), "computing on the CPU: {reason}")?;
    }
    Ok(device)
}

/// Runs `work` on one of the worker threads: from outside of them, each of the many parallel loops of a
/// training step would put this thread to sleep and wake another.
fn among_workers<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
