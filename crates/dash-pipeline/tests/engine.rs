//! The engine with stages that do nothing but leave files: what runs, what is reused, what a
//! failure stops.

#![allow(clippy::unwrap_used, reason = "tests")]

use dash_conv::Planner;
use dash_core::{
    architecture::{Architecture, Hyperparameters, LayerChoice},
    error::{Classify, ErrorKind},
    event::{Event, Listener},
    pipeline::{Candidate, Method, Pipeline},
    provenance::Program,
    results::{Epoch, Status},
};
use dash_pipeline::{
    Done, Error, Failure, Folders, LocalExecutor, RunOutcome, RunSet, Stage, StageJob, StageRunner, plan,
    prune, report, run, status,
};
use dash_retrain::{MetricValue, Metrics};
use dash_store::{Lock, Staging, publish_file};
use dash_train::write_history;
use serde_json::{Value, json};
use std::sync::Mutex;

#[derive(Debug, thiserror::Error)]
#[error("it broke")]
struct Broken(ErrorKind);

impl Classify for Broken {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// Fails in the stages named `run stage`, with a kind; its search finds a kernel of this size, its dataset has as
/// many rows.
struct Fake {
    fails: Vec<(String, ErrorKind)>,
    found: usize,
}

/// A dataset card with this number of training rows.
fn card(rows: usize) -> Value {
    let split = |rows: usize| json!({ "rows": rows, "sha256": format!("{rows:064x}") });
    json!({
        "format": 1, "recipe": "fake", "sources": [], "licence": "none",
        "input": { "column": "x", "shape": [1, 4], "element": "f32" },
        "target": { "kind": "field", "column": "y", "shape": [1, 4], "element": "f32" },
        "splits": { "train": split(rows), "validation": split(1), "test": split(1) },
    })
}

impl StageRunner for Fake {
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<Done, Failure> {
        out.write("half", b"written").map_err(|e| job.failure(&e))?;
        let name = format!("{} {}", job.run, job.stage.name());
        if let Some((_, kind)) = self.fails.iter().find(|(fails, _)| *fails == name) {
            return Err(job.failure(&Broken(*kind)));
        }
        let epoch = Epoch { epoch: 0, learning_rate: 0.1, train_loss: 1.0, score: None };
        let mut json = |file: &str, value: Value| out.write(file, value.to_string().as_bytes()).unwrap();
        match job.stage {
            Stage::Dataset => json("dataset.json", card(self.found)),
            Stage::Search => json(
                "architecture.json",
                json!(Architecture {
                    format: 1,
                    kernel_sizes: vec![3, 5, 7, 9],
                    dilations: vec![1],
                    layers: vec![LayerChoice {
                        name: "stem".into(),
                        candidate: Candidate { kernel_size: self.found, dilation: 1 },
                        alpha: vec![0.0; 4]
                    }],
                }),
            ),
            Stage::Tune(_) => json(
                "hyperparameters.json",
                json!(Hyperparameters { learning_rate: 0.1, dropout: 0.0, weight_decay: 0.0, momentum: 0.9 }),
            ),
            Stage::Retrain(method) => {
                // As the stage before left it.
                let search = job.folders.runs.run(&job.pipeline.run_name(), job.seed.unwrap()).join("search");
                let pattern = (method == Method::Dash).then(|| {
                    let text = std::fs::read(search.join("architecture.json")).unwrap();
                    serde_json::from_slice::<Architecture>(&text).unwrap().pattern()
                });
                json("model.json", json!({ "pattern": pattern, "params": 7 }));
                json(
                    "metrics.json",
                    json!(Metrics {
                        params: 7,
                        epochs: 1,
                        values: vec![MetricValue {
                            metric: "relative-l2".into(),
                            value: if method == Method::Dash { 0.1 } else { 0.2 },
                            lower_is_better: true,
                            split: "test".into(),
                        }],
                    }),
                )
            }
            _ => {}
        }
        if matches!(job.stage, Stage::Search | Stage::Retrain(_)) {
            write_history(out, &[epoch], &[]).unwrap();
        }
        Ok(Done::default())
    }

    fn device(&self) -> String {
        "none".into()
    }

    fn device_name(&self) -> String {
        "no device".into()
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Listener for Heard {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    folders: Folders,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let folders = Folders::new(dir.path().join("runs"), dir.path().join("reports"));
    Bench { _dir: dir, folders }
}

fn pipeline(name: &str, sets: &[&str]) -> Pipeline {
    let text = format!(
        r#"name = "{name}"
        seeds = [0, 1]
        methods = ["dash", "backbone"]
        dataset = {{ recipe = "darcy-flow", simulate = {{ grid = 21 }}, subsample = 2 }}
        task = {{ loss = {{ kind = "relative-l2" }}, metric = {{ kind = "relative-l2" }} }}"#
    );
    let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
    dash_core::load::pipeline("f.toml", &text, None, &sets).unwrap()
}

impl Bench {
    /// Runs and returns the outcome with the names of the stages that were started.
    fn run(
        &self,
        pipelines: Vec<Pipeline>,
        fails: &[(&str, ErrorKind)],
    ) -> (Result<RunOutcome, Error>, Vec<String>) {
        self.run_finding(3, pipelines, fails)
    }

    /// The same where stages leave other results.
    fn run_finding(
        &self,
        found: usize,
        pipelines: Vec<Pipeline>,
        fails: &[(&str, ErrorKind)],
    ) -> (Result<RunOutcome, Error>, Vec<String>) {
        let fails = fails.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let heard = Heard::default();
        let batch =
            RunSet { pipelines, report: None, planner: Planner::default(), program: Program::default() };
        let outcome = run(&batch, &self.folders, &LocalExecutor { work: Fake { fails, found } }, &heard);
        let started = heard.0.into_inner().unwrap().into_iter().filter_map(|event| match event {
            Event::StageStarted { run, stage, .. } => Some(format!("{run} {stage}")),
            _ => None,
        });
        (outcome, started.collect())
    }
}

#[test]
fn a_failed_stage_stops_only_what_depends_on_it_and_is_tried_again() {
    let bench = bench();
    let (outcome, started) = bench.run(vec![pipeline("p", &[])], &[("p/0 search", ErrorKind::Internal)]);
    let outcome = outcome.unwrap();
    assert_eq!(
        started,
        [
            "p dataset",
            "p/0 search",
            "p/0 backbone-tune",
            "p/0 backbone-retrain",
            "p/1 search",
            "p/1 tune",
            "p/1 retrain",
            "p/1 backbone-tune",
            "p/1 backbone-retrain",
            "p report"
        ]
    );
    let runs: Vec<(Method, u64, Status)> =
        outcome.rows.iter().map(|row| (row.method, row.seed, row.status)).collect();
    let (dash, backbone) = (Method::Dash, Method::Backbone);
    let expected = [
        (dash, 0, Status::Failed),
        (backbone, 0, Status::Done),
        (dash, 1, Status::Done),
        (backbone, 1, Status::Done),
    ];
    assert_eq!(runs, expected);
    let error = outcome.error().unwrap();
    assert_eq!((error.kind().exit_code(), error.to_string().as_str()), (7, "p/0: search failed: it broke"));
    // Nothing of the failed stage is left.
    assert!(!bench.folders.runs.stage("p", 0, "search").exists());
    let page = std::fs::read_to_string(bench.folders.report("p").join("index.html")).unwrap();
    assert!(page.contains("seed 0: dash is failed: search failed: it broke"), "{page}");

    let (outcome, started) = bench.run(vec![pipeline("p", &[])], &[]);
    assert_eq!(started, ["p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
    assert!(outcome.unwrap().error().is_none());
}

#[test]
fn failures_of_one_kind_keep_it_whatever_else_ran() {
    let data = ErrorKind::Data;
    let kind = |outcome: Result<RunOutcome, Error>| outcome.unwrap().error().unwrap().kind();
    let one = bench();
    let (outcome, _) = one.run(vec![pipeline("p", &[])], &[("p dataset", data)]);
    assert_eq!(kind(outcome), data);
    assert!(!one.folders.report("p").exists());
    // Another pipeline goes on, the first time; the second time there is nothing left for it to do.
    let two = bench();
    for count in [12, 0] {
        let (outcome, started) =
            two.run(vec![pipeline("p", &[]), pipeline("q", &[])], &[("p dataset", data)]);
        assert_eq!(started.iter().filter(|name| name.starts_with('q')).count(), count);
        assert_eq!(kind(outcome), data);
    }
    let disk = [("p/0 retrain", ErrorKind::Device), ("p/1 retrain", ErrorKind::Device)];
    assert_eq!(kind(bench().run(vec![pipeline("p", &[])], &disk).0), ErrorKind::Device);
    let mixed = [("p/0 retrain", ErrorKind::Device), ("p/1 retrain", data)];
    assert_eq!(kind(bench().run(vec![pipeline("p", &[])], &mixed).0), ErrorKind::Stage);
    let (outcome, _) = bench().run(vec![pipeline("p", &[])], &[("p dataset", ErrorKind::Internal)]);
    assert_eq!(kind(outcome), ErrorKind::Stage);
}

#[test]
fn each_setting_reaches_exactly_the_stages_that_depend_on_it() {
    let bench = bench();
    let dash = ["methods=[\"dash\"]", "seeds=[0]"];
    bench.run(vec![pipeline("p", &dash)], &[]).0.unwrap();
    for (set, stages) in [
        ("dataset.test=50", &["dataset", "search", "tune", "retrain", "report"][..]),
        ("protocol=\"paper\"", &["dataset", "search", "tune", "retrain", "report"]),
        ("search.epochs=7", &["search", "tune", "retrain", "report"]),
        ("task.decode_target=true", &["search", "tune", "retrain", "report"]),
        ("retrain.schedule.factor=0.3", &["tune", "retrain", "report"]),
        ("retrain.backbone={kind=\"wrn\"}", &["tune", "retrain", "report"]),
        ("tune.epochs=3", &["tune", "retrain", "report"]),
        ("retrain.batch_size=3", &["retrain", "report"]),
        ("task.name=x", &["report"]),
        ("search.epochs=100", &[]),
    ] {
        let batch = RunSet::one(pipeline("p", &[&dash[..], &[set]].concat()));
        let planned = plan(&batch, &bench.folders).unwrap();
        let runs: Vec<&str> = planned
            .iter()
            .filter(|p| p.action == dash_pipeline::Action::Run)
            .map(|p| p.stage.as_str())
            .collect();
        assert_eq!(runs, stages, "{set}");
    }
    // More seeds and methods leave what is there alone.
    let (_, started) = bench.run(vec![pipeline("p", &[])], &[]);
    assert!(!started.iter().any(|name| ["p dataset", "p/0 search", "p/0 retrain"].contains(&name.as_str())));
}

#[test]
fn a_held_run_and_foreign_files_are_left_alone() {
    let held = bench();
    let lock = Lock::acquire(&held.folders.runs.run("p", 1)).unwrap();
    let (outcome, started) = held.run(vec![pipeline("p", &[])], &[]);
    assert_eq!((outcome.unwrap_err().kind(), started.len()), (ErrorKind::Locked, 0));
    assert!(status(&held.folders).unwrap().iter().any(|r| r.run == "p/1" && r.holder.is_some()));
    drop(lock);

    let occupied = bench();
    publish_file(&occupied.folders.report("p").join("thesis.tex"), b"mine").unwrap();
    let (outcome, _) = occupied.run(vec![pipeline("p", &[])], &[]);
    assert!(matches!(outcome, Err(Error::Occupied { .. })));
    assert!(occupied.folders.report("p").join("thesis.tex").exists());

    let newer = bench();
    publish_file(&newer.folders.runs.stage("p", 0, "search").join("stage.json"), b"{\"format\": 99}")
        .unwrap();
    let (outcome, _) = newer.run(vec![pipeline("p", &[])], &[]);
    assert!(outcome.unwrap_err().to_string().contains("has format 99, this program reads up to 2"));
    assert!(newer.folders.runs.stage("p", 0, "search").join("stage.json").exists());
}

#[test]
fn a_dataset_is_not_replaced_under_a_run_in_a_linked_folder_whatever_its_lock_says() {
    let bench = bench();
    let scratch = bench.folders.runs.path().join("scratch");
    publish_file(&scratch.join("notes"), b"").unwrap();
    publish_file(&bench.folders.runs.pipeline("p").join("notes"), b"").unwrap();
    std::os::unix::fs::symlink(&scratch, bench.folders.runs.run("p", 0)).unwrap();
    bench.run(vec![pipeline("p", &[])], &[]).0.unwrap();
    assert!(status(&bench.folders).unwrap().iter().any(|r| r.run == "p/0" && r.stages.len() == 5));
    // Another open file is another process to the system. The text is of a process with this very number, which
    // another PID namespace may have, or of one that is gone.
    let me = std::process::id();
    for (pid, host) in [(me, "here"), (1, "gone")] {
        let text = json!({ "pid": pid, "host": host, "since": "then" }).to_string();
        publish_file(&scratch.join(".lock"), text.as_bytes()).unwrap();
        let other = std::fs::File::open(scratch.join(".lock")).unwrap();
        other.try_lock().unwrap();
        let changed = pipeline("p", &["dataset.test=50", "seeds=[1]"]);
        let (outcome, started) = bench.run(vec![changed], &[]);
        assert_eq!((outcome.unwrap_err().kind(), started.len()), (ErrorKind::Locked, 0));
        assert!(status(&bench.folders).unwrap().iter().any(|r| r.run == "p/0" && r.holder.is_some()));
    }
    // With nobody at work it may be, though the text is still there.
    let changed = pipeline("p", &["dataset.test=50", "seeds=[1]"]);
    assert!(bench.run(vec![changed], &[]).1.contains(&"p dataset".to_owned()));
}

#[test]
fn two_seeds_in_one_folder_are_refused() {
    let bench = bench();
    publish_file(&bench.folders.runs.run("p", 0).join("notes"), b"").unwrap();
    std::os::unix::fs::symlink("0", bench.folders.runs.run("p", 1)).unwrap();
    let (outcome, started) = bench.run(vec![pipeline("p", &[])], &[]);
    let error = outcome.unwrap_err();
    assert!(error.kind() == ErrorKind::Locked && error.hint().unwrap().contains("links"), "{error}");
    assert!(started.is_empty());
}

#[test]
fn a_report_is_rebuilt_from_what_fits_the_present_settings() {
    let bench = bench();
    let batch = RunSet::one(pipeline("p", &[]));
    assert!(matches!(report(&batch, &bench.folders), Err(Error::NoResults { .. })));
    bench.run(vec![pipeline("p", &[])], &[]).0.unwrap();
    dash_store::remove(&bench.folders.report("p")).unwrap();
    let outcome = report(&batch, &bench.folders).unwrap();
    assert_eq!((outcome.rows.len(), outcome.ran), (4, 0));
    assert!(outcome.reports[0].is_file());
    let other = RunSet::one(pipeline("p", &["retrain.epochs=3"]));
    assert!(matches!(report(&other, &bench.folders), Err(Error::NoResults { .. })));
}

const ONE: [&str; 2] = ["methods=[\"dash\"]", "seeds=[0]"];

#[test]
fn a_stage_that_is_made_again_takes_with_it_what_read_another_result() {
    let bench = bench();
    let go = |found| bench.run_finding(found, vec![pipeline("p", &ONE)], &[]);
    go(3).0.unwrap();
    let search = bench.folders.runs.stage("p", 0, "search");
    // The same again: nothing else has to run.
    dash_store::remove(&search).unwrap();
    assert_eq!(go(3).1, ["p/0 search", "p report"]);
    // Another pattern, from the same settings: the scores of the old one are no results any more.
    dash_store::remove(&search).unwrap();
    let planned = plan(&RunSet::one(pipeline("p", &ONE)), &bench.folders).unwrap();
    let reason = |stage: &str| planned.iter().find(|p| p.stage == stage).unwrap().reason.clone();
    assert_eq!((reason("search").as_str(), reason("tune").as_str()), ("new", "after 0/search"));
    let (outcome, started) = go(5);
    assert_eq!(started, ["p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
    assert_eq!(outcome.unwrap().rows.len(), 1);
    // And a dataset with another content takes everything with it.
    dash_store::remove(&bench.folders.runs.dataset("p")).unwrap();
    assert_eq!(go(7).1, ["p dataset", "p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
}

#[test]
fn a_report_shows_no_score_beside_an_architecture_that_was_not_trained() {
    let bench = bench();
    let batch = RunSet::one(pipeline("p", &ONE));
    bench.run_finding(3, batch.pipelines.clone(), &[]).0.unwrap();
    let row = || report(&batch, &bench.folders).map(|outcome| outcome.rows[0].clone());
    assert_eq!(row().unwrap().status, Status::Done);
    // As if it had been searched on another machine, with another result, and nothing else had been run.
    let stage = bench.folders.runs.stage("p", 0, "search");
    let record = dash_store::StageRecord::read(&stage).unwrap().unwrap();
    let text = std::fs::read_to_string(stage.join("architecture.json")).unwrap();
    let mut again = Staging::begin(&stage).unwrap();
    again
        .write("architecture.json", text.replace("\"kernel_size\":3", "\"kernel_size\":5").as_bytes())
        .unwrap();
    write_history(&mut again, &[], &[]).unwrap();
    record.publish(again, None).unwrap();
    assert!(matches!(row(), Err(Error::NoResults { .. })));
    // A model that is not what the search found is refused even where all hashes agree.
    let bench = self::bench();
    bench.run_finding(3, batch.pipelines.clone(), &[]).0.unwrap();
    let stage = bench.folders.runs.stage("p", 0, "retrain");
    let record = dash_store::StageRecord::read(&stage).unwrap().unwrap();
    let mut again = Staging::begin(&stage).unwrap();
    for file in ["metrics.json", "history.parquet"] {
        again.write(file, &std::fs::read(stage.join(file)).unwrap()).unwrap();
    }
    let other = json!({ "pattern": [{ "kernel_size": 5, "dilation": 1 }], "params": 7 });
    again.write("model.json", other.to_string().as_bytes()).unwrap();
    record.publish(again, None).unwrap();
    let outcome = bench.run(batch.pipelines.clone(), &[]).0.unwrap();
    let row = &outcome.rows[0];
    assert_eq!((row.status, row.value), (Status::Failed, None));
    assert!(row.reason.as_deref().unwrap().contains("is not the one that the search found"), "{row:?}");
}

#[test]
fn a_missing_stage_costs_its_own_row_and_no_other() {
    let bench = bench();
    let batch = RunSet::one(pipeline("p", &[]));
    bench.run(batch.pipelines.clone(), &[]).0.unwrap();
    dash_store::remove(&bench.folders.runs.stage("p", 1, "tune")).unwrap();
    let outcome = report(&batch, &bench.folders).unwrap();
    let rows: Vec<(Method, u64, Status)> =
        outcome.rows.iter().map(|row| (row.method, row.seed, row.status)).collect();
    assert_eq!(rows[2], (Method::Dash, 1, Status::Missing));
    assert_eq!(rows.iter().filter(|row| row.2 == Status::Done).count(), 3);
    let csv = std::fs::read_to_string(bench.folders.report("p").join("results.csv")).unwrap();
    assert!(csv.contains(",missing,tune has not been run,"), "{csv}");
}

#[test]
fn pipelines_without_a_result_are_rows_of_the_common_report() {
    let bench = bench();
    let pipelines = vec![pipeline("p", &ONE), pipeline("q", &ONE)];
    bench.run(vec![pipelines[0].clone()], &[]).0.unwrap();
    let batch = RunSet { pipelines, report: Some("all".into()), ..RunSet::one(pipeline("p", &ONE)) };
    let outcome = report(&batch, &bench.folders).unwrap();
    assert_eq!(outcome.rows.len(), 2);
    let page = std::fs::read_to_string(bench.folders.report("all").join("index.html")).unwrap();
    assert!(page.contains("q, seed 0: dash is missing: dataset has not been run"), "{page}");
}

#[test]
fn results_of_other_settings_are_kept_restored_and_pruned() {
    let bench = bench();
    let (first, second) = (pipeline("p", &ONE), pipeline("p", &[&ONE[..], &["search.epochs=7"]].concat()));
    bench.run(vec![first.clone()], &[]).0.unwrap();
    let page = |name: &str| bench.folders.runs.run("p", 0).join(name);
    let before = std::fs::read(page("retrain/stage.json")).unwrap();
    bench.run_finding(5, vec![second.clone()], &[]).0.unwrap();
    let kept = || -> Vec<String> {
        let runs = status(&bench.folders).unwrap();
        runs.iter().flat_map(|run| run.superseded.iter().map(|s| s.stage.clone())).collect()
    };
    // Tuning and retraining read another pattern, so that they gave way, too.
    assert_eq!(kept(), ["retrain", "search", "tune"]);
    let planned = plan(&RunSet::one(first.clone()), &bench.folders).unwrap();
    let restored = planned.iter().filter(|p| p.action == dash_pipeline::Action::Restore).count();
    assert_eq!(restored, 3);
    // Back to the first settings: nothing is computed again.
    let (outcome, started) = bench.run_finding(9, vec![first], &[]);
    assert_eq!((started, outcome.unwrap().ran), (vec!["p report".to_owned()], 0));
    assert_eq!(std::fs::read(page("retrain/stage.json")).unwrap(), before);
    assert_eq!(kept(), ["retrain", "search", "tune"]);

    assert!(matches!(prune(&bench.folders, &["q".into()], false), Err(Error::NoRuns { .. })));
    assert_eq!(prune(&bench.folders, &[], true).unwrap().len(), 3);
    assert_eq!(prune(&bench.folders, &["p".into()], false).unwrap().len(), 3);
    assert!(kept().is_empty());
    let (_, started) = bench.run_finding(5, vec![second], &[]);
    assert_eq!(started, ["p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
}

#[test]
fn profiles_have_runs_and_reports_of_their_own() {
    let bench = bench();
    bench.run(vec![pipeline("p", &ONE)], &[]).0.unwrap();
    let mut quick = pipeline("p", &[&ONE[..], &["search.epochs=1"]].concat());
    quick.profile = Some("quick".into());
    let outcome = bench.run(vec![quick], &[]).0.unwrap();
    assert_eq!((outcome.rows[0].pipeline.as_str(), outcome.rows[0].run.as_str()), ("p@quick", "p@quick/0"));
    let record = dash_store::StageRecord::read(&bench.folders.runs.stage("p@quick", 0, "search"));
    let provenance = record.unwrap().unwrap().provenance.unwrap();
    assert_eq!(provenance.profile.as_deref(), Some("quick"));
    assert_eq!(provenance.overrides.last().map(String::as_str), Some("search.epochs=1"));
    let page = std::fs::read_to_string(bench.folders.report("p@quick").join("index.html")).unwrap();
    assert!(page.contains("made with the profile quick"), "{page}");
    // The runs without a profile are as they were.
    assert!(bench.run(vec![pipeline("p", &ONE)], &[]).1.is_empty());
}

#[test]
fn times_and_attempts_are_those_of_all_processes_that_worked_on_a_stage() {
    let bench = bench();
    let fails = [("p/0 search", ErrorKind::Stopped)];
    bench.run(vec![pipeline("p", &ONE)], &fails).0.unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    bench.run(vec![pipeline("p", &ONE)], &fails).0.unwrap();
    bench.run(vec![pipeline("p", &ONE)], &[]).0.unwrap();
    let stage = bench.folders.runs.stage("p", 0, "search");
    let record = dash_store::StageRecord::read(&stage).unwrap().unwrap();
    let provenance = record.provenance.unwrap();
    assert_eq!(provenance.attempts, 3);
    assert_eq!((provenance.seconds, &provenance.first_started), (record.seconds, &record.started));
    assert_eq!(provenance.device_name, "no device");
    assert!(!stage.with_file_name(".search.attempts.json").exists());
}
