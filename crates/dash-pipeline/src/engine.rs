//! The engine: plans and runs pipelines, reports on them, and shows what is finished.

use crate::{
    error::Error,
    executor::{Executor, LocalExecutor},
    folders::Folders,
    graph::{self, RunSet},
    locks,
    outcome::RunOutcome,
    plan::{Decision, Planning, RawFiles},
    planned::{self, Planned},
    report::{self, ReportSection},
    run::PipelineRun,
    status::{self, RunStatus},
    superseded::{self, Superseded},
    training::TrainingRunner,
};
use dash_conv::Planner;
use dash_core::{
    event::{Listener, Silent},
    pipeline::Pipeline,
    provenance::Program,
    stage::Stage,
};
use dash_nn::Backend;
use dash_store::{HashMemo, Lock, publish_file, recover_shared};
use std::{path::PathBuf, sync::Arc};

/// Plans and runs pipelines below its folders.
///
/// By default, stages run in this process on the CPU, convolutions are planned by the cost model, and events are
/// dropped.
pub struct Engine {
    folders: Folders,
    planner: Planner,
    program: Program,
    executor: Box<dyn Executor>,
    listener: Arc<dyn Listener>,
}

impl Engine {
    /// Creates an engine that keeps runs and reports in `folders`.
    pub fn new(folders: Folders) -> Engine {
        let cpu = TrainingRunner { backend: Backend::cpu(), checkpoint_every: None, memory: None };
        Engine {
            folders,
            planner: Planner::default(),
            program: Program::default(),
            executor: Box::new(LocalExecutor { runner: cpu }),
            listener: Arc::new(Silent),
        }
    }

    /// Plans convolutions with `planner`.
    pub fn with_planner(self, planner: Planner) -> Engine {
        Engine { planner, ..self }
    }

    /// Names the running program in records.
    pub fn with_program(self, program: Program) -> Engine {
        Engine { program, ..self }
    }

    /// Runs stages with `executor`. Reports are always written by this process.
    pub fn with_executor(self, executor: impl Executor + 'static) -> Engine {
        Engine { executor: Box::new(executor), ..self }
    }

    /// Sends events to `listener`.
    pub fn with_listener(self, listener: Arc<dyn Listener>) -> Engine {
        Engine { listener, ..self }
    }

    /// The folders of runs and reports.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Returns what [`Engine::run`] would do, without changing anything.
    ///
    /// Whether a stage is reused depends on the content of what earlier stages leave. Stages after one that must run are
    /// planned to run as well; if it leaves the same content as before, they will be reused nevertheless.
    ///
    /// # Errors
    /// If a record cannot be read, or if raw data is missing.
    pub fn plan(&self, runs: &RunSet) -> Result<Vec<Planned>, Error> {
        runs.check()?;
        let hashes = self.folders.hashes();
        let planned = planned::plan(runs, &self.planning(&hashes, RawFiles::Compared))?;
        save(&hashes);
        Ok(planned)
    }

    /// Runs the pipelines. Stages whose results exist already are reused, a failed stage stops only the stages that
    /// depend on it, and the reports show what is finished.
    ///
    /// # Errors
    /// What prevents the run as a whole: another process holds a run, or files cannot be written. Failed stages are part
    /// of the outcome.
    pub fn run(&self, runs: &RunSet) -> Result<RunOutcome, Error> {
        runs.check()?;
        report::check_folders(runs, &self.folders)?;
        recover_shared(&self.folders.reports)?;
        let locks = locks::for_runs(runs, &self.folders, self.listener.as_ref())?;
        let hashes = self.folders.hashes();
        let mut outcome = RunOutcome::default();
        let mut sections = Vec::new();
        for pipeline in &runs.pipelines {
            let run = self.pipeline_run(pipeline, &hashes, &locks);
            let can_run = run.check(&mut outcome)?;
            if can_run {
                self.prepare(pipeline)?;
                let mut nodes = graph::stages(pipeline, &self.folders, self.planner.policy())?;
                nodes.retain(|node| node.stage != Stage::Report);
                run.run_stages(nodes, &mut outcome)?;
                save(&hashes);
                if outcome.is_stopped() {
                    return Ok(outcome);
                }
            }
            let section = ReportSection::collect(pipeline, &self.planning(&hashes, RawFiles::Ignored))?;
            if can_run && section.has_results() {
                let sections = std::slice::from_ref(&section);
                let rebuild = Rebuild::IfChanged;
                self.write_report(&section.name, pipeline, sections, &hashes, rebuild, &mut outcome)?;
            }
            sections.push(section);
        }
        self.finish(runs, sections, &hashes, Rebuild::IfChanged, &mut outcome)?;
        Ok(outcome)
    }

    /// Makes the dataset of a pipeline and nothing else. Returns its folder.
    ///
    /// # Errors
    /// As [`Engine::run`], and if the dataset cannot be made.
    pub fn ingest(&self, pipeline: &Pipeline) -> Result<PathBuf, Error> {
        let hashes = self.folders.hashes();
        let mut outcome = RunOutcome::default();
        let mut nodes = graph::stages(pipeline, &self.folders, self.planner.policy())?;
        nodes.retain(|node| node.stage == Stage::Dataset);
        self.pipeline_run(pipeline, &hashes, &[]).run_stages(nodes, &mut outcome)?;
        save(&hashes);
        match outcome.error() {
            Some(error) => Err(error),
            None => Ok(self.folders.runs.dataset(&pipeline.run_name())),
        }
    }

    /// Rebuilds the reports of the pipelines from what is finished with the present settings. No other stage runs, and no
    /// raw file is read.
    ///
    /// # Errors
    /// If no pipeline has a result, or a report cannot be written.
    pub fn report(&self, runs: &RunSet) -> Result<RunOutcome, Error> {
        runs.check()?;
        recover_shared(&self.folders.reports)?;
        let hashes = self.folders.hashes();
        let planning = self.planning(&hashes, RawFiles::Ignored);
        let sections = runs.pipelines.iter().map(|pipeline| ReportSection::collect(pipeline, &planning));
        let sections = sections.collect::<Result<Vec<_>, _>>()?;
        save(&hashes);
        if !sections.iter().any(ReportSection::has_results) {
            let names: Vec<String> = runs.pipelines.iter().map(Pipeline::run_name).collect();
            return Err(Error::NoResults { names: names.join(", ") });
        }
        report::check_folders(runs, &self.folders)?;
        let mut outcome = RunOutcome::default();
        for (pipeline, section) in runs.pipelines.iter().zip(&sections) {
            if section.has_results() {
                let sections = std::slice::from_ref(section);
                self.write_report(&section.name, pipeline, sections, &hashes, Rebuild::Always, &mut outcome)?;
            }
        }
        self.finish(runs, sections, &hashes, Rebuild::Always, &mut outcome)?;
        match outcome.error() {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    /// Lists all runs and what is finished. Nothing is locked: runs may be in progress meanwhile.
    ///
    /// # Errors
    /// If the folders cannot be read.
    pub fn status(&self) -> Result<Vec<RunStatus>, Error> {
        status::status(&self.folders)
    }

    /// Removes the superseded results of all pipelines, or of those named, and returns them. With `dry_run`, nothing is
    /// removed.
    ///
    /// # Errors
    /// If a run is in use, files cannot be removed, or there is no pipeline with one of the names.
    pub fn prune(&self, pipelines: &[String], dry_run: bool) -> Result<Vec<Superseded>, Error> {
        superseded::prune(&self.folders, pipelines, dry_run)
    }

    fn planning<'a>(&'a self, hashes: &'a HashMemo, raw_files: RawFiles) -> Planning<'a> {
        Planning { folders: &self.folders, policy: self.planner.policy(), hashes, raw_files }
    }

    fn pipeline_run<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        hashes: &'a HashMemo,
        locks: &'a [Lock],
    ) -> PipelineRun<'a> {
        PipelineRun {
            pipeline,
            planning: self.planning(hashes, RawFiles::Compared),
            planner: &self.planner,
            program: &self.program,
            executor: self.executor.as_ref(),
            listener: self.listener.as_ref(),
            locks,
        }
    }

    /// Cleans up after crashed processes and writes the effective configuration into the folders of the runs.
    fn prepare(&self, pipeline: &Pipeline) -> Result<(), Error> {
        let name = pipeline.run_name();
        // Processes that read the dataset keep caches beside it without a lock.
        recover_shared(&self.folders.runs.dataset(&name).join("cache"))?;
        let text = dash_core::load::to_toml(pipeline)?;
        for &seed in &pipeline.seeds {
            publish_file(&self.folders.runs.run(&name, seed).join("pipeline.toml"), text.as_bytes())?;
        }
        Ok(())
    }

    fn write_report(
        &self,
        name: &str,
        pipeline: &Pipeline,
        sections: &[ReportSection],
        hashes: &HashMemo,
        rebuild: Rebuild,
        outcome: &mut RunOutcome,
    ) -> Result<(), Error> {
        let mut step = report::step(name, sections, &self.planning(hashes, RawFiles::Ignored))?;
        if let (Rebuild::Always, Decision::Reuse) = (rebuild, &step.decision) {
            let reason = "requested".to_owned();
            step.decision = Decision::Run { reason, differences: Vec::new(), damaged: None };
        }
        self.pipeline_run(pipeline, hashes, &[]).run_report(&step, sections, outcome)
    }

    /// Writes the report over all pipelines, if the set asks for one, and adds pages and rows to the outcome.
    fn finish(
        &self,
        runs: &RunSet,
        sections: Vec<ReportSection>,
        hashes: &HashMemo,
        rebuild: Rebuild,
        outcome: &mut RunOutcome,
    ) -> Result<(), Error> {
        let with_results = sections.iter().filter(|section| section.has_results());
        let mut names: Vec<String> = with_results.map(|section| section.name.clone()).collect();
        if let (Some(name), Some(first), false) = (&runs.report, runs.pipelines.first(), names.is_empty()) {
            self.write_report(name, first, &sections, hashes, rebuild, outcome)?;
            names.push(name.clone());
        }
        let pages = names.iter().map(|name| self.folders.report_page(name));
        outcome.reports = pages.filter(|page| page.is_file()).collect();
        outcome.rows = sections.into_iter().flat_map(|section| section.rows).collect();
        save(hashes);
        Ok(())
    }
}

/// Whether reports that show exactly the present results are written again.
#[derive(Clone, Copy)]
enum Rebuild {
    IfChanged,
    Always,
}

/// Saves remembered hashes. They only save time, so that errors are ignored.
fn save(hashes: &HashMemo) {
    let _ = hashes.save();
}
