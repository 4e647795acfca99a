//! Runs each command.

use crate::{
    args::{self, Args, BenchStage, Command, Data, Pattern, SchemaKind},
    data, documents,
    error::Error,
    escape::stderr,
    files, output,
    platform::{memory, threads},
    program::program,
    progress,
};
use clap::CommandFactory;
use dash_bench::{
    KernelPattern, StepBenchmark, TimedStage,
    comparison::{self, ComparisonOptions, MixingMethod},
};
use dash_pipeline::{
    Backend, DeviceChoice, Engine, Folders, LocalExecutor, Planned, RunSet, Stage, TrainingRunner,
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<(), Error> {
    dash_conv::check_instruction_set()?;
    match &args.command {
        // These start their threads after they have read their files, or need none.
        Command::Run(run) if !run.dry_run => {}
        Command::Data(Data::Ingest(_)) | Command::Bench(_) => {}
        Command::Check(_) | Command::Schema { .. } | Command::Completions { .. } => {}
        _ => threads::start_some()?,
    }
    match args.command {
        Command::Run(args) if args.dry_run => dry_run(&args),
        Command::Run(args) => run_pipelines(&args),
        Command::Check(args) => check(&args),
        Command::Status(args) => output::status(&engine(&args).status()?, args.format),
        Command::Explain(args) => explain(&args),
        Command::Runs(args::Runs::Prune(args)) => {
            let removed = engine(&args.folders).prune(&args.pipelines, args.dry_run)?;
            output::pruned(&removed, args.dry_run, args.folders.format)
        }
        Command::Report(args) => report(&args),
        Command::Data(Data::Ingest(args)) => ingest(&args),
        Command::Data(Data::List(args)) => data::list(&args),
        Command::Data(Data::Fetch(args)) => {
            // One that resolves a host name and one that waits for bytes.
            threads::require(2)?;
            data::fetch(&args)
        }
        Command::Data(Data::Inspect(args)) => data::inspect(&args),
        Command::Data(Data::Verify(args)) => data::verify(&args),
        Command::Bench(args) if args.compare => compare(&args),
        Command::Bench(args) => time_step(&args),
        Command::Schema { kind } => {
            let schema = match kind {
                SchemaKind::Pipeline => dash_core::load::schema(),
                SchemaKind::Output => documents::schema()?,
            };
            Ok(io::stdout().write_all(schema.as_bytes())?)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "dash-nas", &mut script);
            Ok(io::stdout().write_all(&script)?)
        }
    }
}

fn dry_run(args: &args::Run) -> Result<(), Error> {
    let runs = files::load_all(&args.input)?;
    let engine = engine(&args.folders).with_planner(args.planning.planner());
    output::plan(&engine.plan(&runs)?, args.folders.format)
}

fn run_pipelines(args: &args::Run) -> Result<(), Error> {
    let runs = files::load_all(&args.input)?;
    let checkpoint_every = args.checkpoint_every.map(|seconds| Duration::from_secs(seconds.into()));
    threads::start(args.execution.threads)?;
    let executor = executor(&args.execution, checkpoint_every)?;
    let listeners = progress::listeners(&args.execution)?;
    let engine = engine(&args.folders)
        .with_planner(args.planning.planner())
        .with_executor(executor)
        .with_listener(listeners.clone());
    let outcome = on_worker(|| engine.run(&runs))?;
    drop(engine);
    let logged = listeners.finish();
    output::outcome(&outcome, args.folders.format)?;
    match outcome.error() {
        Some(error) => Err(error.into()),
        None => logged,
    }
}

fn report(args: &args::Report) -> Result<(), Error> {
    threads::start_tables()?;
    let runs = files::load_all(&args.input)?;
    let outcome = engine(&args.folders).with_planner(args.planning.planner()).report(&runs)?;
    output::outcome(&outcome, args.folders.format)?;
    match outcome.rows.iter().filter(|row| row.value.is_none()).count() {
        missing @ 1.. if args.strict => Err(Error::Missing { missing }),
        _ => Ok(()),
    }
}

fn check(args: &args::Check) -> Result<(), Error> {
    let runs = files::load_all(&args.input)?;
    let mut text = String::new();
    for (i, pipeline) in runs.pipelines.iter().enumerate() {
        if i > 0 {
            text += &format!("\n# ---- {}\n\n", pipeline.name);
        }
        text += &dash_core::load::to_toml(pipeline)?;
    }
    output::toml(&text)
}

fn explain(args: &args::Explain) -> Result<(), Error> {
    let runs = RunSet::one(files::load(&args.file, &args.changes)?);
    let planned = engine(&args.folders).with_planner(args.planning.planner()).plan(&runs)?;
    let stage = Stage::named(&args.stage);
    let (chosen, others): (Vec<Planned>, Vec<Planned>) =
        planned.into_iter().partition(|planned| Some(planned.stage) == stage);
    if chosen.is_empty() {
        let is_known = |stage: &Stage| others.iter().any(|planned| planned.stage == *stage);
        let known = Stage::ALL.into_iter().filter(is_known).collect();
        return Err(dash_pipeline::Error::NoStage { name: args.stage.clone(), known }.into());
    }
    output::explanation(&chosen, args.folders.format)
}

fn ingest(args: &args::Ingest) -> Result<(), Error> {
    let runs = files::load_all(&args.input)?;
    threads::start_workers(args.execution.threads)?;
    let listeners = progress::listeners(&args.execution)?;
    let engine = engine(&args.folders)
        .with_executor(executor(&args.execution, None)?)
        .with_listener(listeners.clone());
    let made = runs.pipelines.iter().map(|pipeline| engine.ingest(pipeline));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    drop(engine);
    let logged = listeners.finish();
    output::datasets(&made, args.folders.format)?;
    logged
}

fn time_step(args: &args::Bench) -> Result<(), Error> {
    let stage = match (args.stage, args.pattern) {
        (BenchStage::Search, _) => TimedStage::Search,
        (BenchStage::Retrain, Pattern::Spread) => TimedStage::Retrain(KernelPattern::Spread),
        (BenchStage::Retrain, Pattern::Plain) => TimedStage::Retrain(KernelPattern::Plain),
    };
    // The parser requires a task unless the methods are compared.
    let Some(task) = args.task else { return Ok(()) };
    threads::start_workers(args.threads)?;
    let backend = open(args.device)?;
    let plan = args.planning.policy();
    let (batch, steps, warmup) = (args.batch, args.steps, args.warmup);
    let benchmark = StepBenchmark { task, stage, batch, steps, warmup, plan };
    output::timing(&on_worker(|| dash_bench::time_steps(&benchmark, &backend))?, args.format)
}

/// Compares the mixing methods. Each result is printed and plotted at once, so that an interrupt loses nothing.
fn compare(args: &args::Bench) -> Result<(), Error> {
    threads::start_workers(args.threads)?;
    let backend = open(args.device)?;
    let plan = args.planning.policy();
    let options = ComparisonOptions { batch: args.batch, steps: args.steps, warmup: args.warmup, plan };
    let mut timings = Vec::new();
    for point in comparison::points(args.points) {
        for method in MixingMethod::supported_on(&backend) {
            let timing = on_worker(|| comparison::measure(&point, method, &options, &backend))?;
            output::comparison_point(&timing, args.format)?;
            timings.push(timing);
            if let Some(path) = &args.plot {
                dash_store::publish_file(path, &comparison::plot(&timings))?;
            }
        }
    }
    output::comparison(&timings, args.format)
}

fn engine(args: &args::Folders) -> Engine {
    Engine::new(Folders::new(&args.runs_dir, &args.reports_dir)).with_program(program())
}

fn executor(
    args: &args::Execution,
    checkpoint_every: Option<Duration>,
) -> Result<LocalExecutor<TrainingRunner>, Error> {
    if let Some(limit) = args.memory {
        memory::limit_to(usize::try_from(limit.get()).unwrap_or(usize::MAX).saturating_mul(1 << 20));
    }
    let memory = memory::left().and_then(|bytes| u64::try_from(bytes).ok());
    Ok(LocalExecutor { runner: TrainingRunner { backend: open(args.device)?, checkpoint_every, memory } })
}

/// Opens the device. If `auto` falls back to the CPU, the reason is printed.
fn open(choice: DeviceChoice) -> Result<Backend, Error> {
    let (backend, reason) = choice.open()?;
    if let Some(reason) = reason {
        writeln!(stderr(), "computing on the CPU: {reason}")?;
    }
    Ok(backend)
}

/// Runs `work` on one of the worker threads. From any other thread, each of the many parallel loops of a training step
/// would put that thread to sleep and wake another.
fn on_worker<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
