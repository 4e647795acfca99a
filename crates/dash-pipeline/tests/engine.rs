//! The engine with stages that do nothing but leave files: what runs, what is reused, what a
//! failure stops.

#![allow(clippy::unwrap_used, reason = "tests")]

use dash_conv::Planner;
use dash_core::{
    architecture::{Architecture, FoundLayer, Hyperparameters},
    error::{Classify, ErrorKind},
    event::{Event, Listener},
    pipeline::{Method, Pipeline},
    results::Epoch,
};
use dash_pipeline::{
    Batch, Error, Failure, Folders, Job, Local, Outcome, Stage, Work, plan, report, run, status,
};
use dash_store::{Lock, Staging, publish_file};
use dash_train::{MetricValue, Metrics, write_history};
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

/// Fails in the stages named `run stage`, with a kind.
#[derive(Default)]
struct Fake {
    fails: Vec<(String, ErrorKind)>,
}

impl Work for Fake {
    fn perform(&self, job: &Job<'_>, out: &mut Staging) -> Result<Value, Failure> {
        out.write("half", b"written").map_err(|e| job.failure(&e))?;
        let name = format!("{} {}", job.run, job.stage.name());
        if let Some((_, kind)) = self.fails.iter().find(|(fails, _)| *fails == name) {
            return Err(job.failure(&Broken(*kind)));
        }
        let epoch = Epoch { epoch: 0, learning_rate: 0.1, train_loss: 1.0, score: None };
        let mut json = |file: &str, value: Value| out.write(file, value.to_string().as_bytes()).unwrap();
        match job.stage {
            Stage::Search => json(
                "architecture.json",
                json!(Architecture {
                    format: 1,
                    kernel_sizes: vec![3],
                    dilations: vec![1],
                    layers: vec![FoundLayer {
                        name: "stem".into(),
                        kernel_size: 3,
                        dilation: 1,
                        alpha: vec![0.0]
                    }],
                }),
            ),
            Stage::Tune(_) => json(
                "hyperparameters.json",
                json!(Hyperparameters { learning_rate: 0.1, dropout: 0.0, weight_decay: 0.0, momentum: 0.9 }),
            ),
            Stage::Retrain(method) => json(
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
            ),
            _ => {}
        }
        if matches!(job.stage, Stage::Search | Stage::Retrain(_)) {
            write_history(out, &[epoch], &[]).unwrap();
        }
        Ok(Value::Null)
    }

    fn device(&self) -> String {
        "none".into()
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
    ) -> (Result<Outcome, Error>, Vec<String>) {
        let fails = fails.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let heard = Heard::default();
        let batch = Batch { pipelines, report: None, planner: Planner::default() };
        let outcome = run(&batch, &self.folders, &Local { work: Fake { fails } }, &heard);
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
    let runs: Vec<(Method, u64)> = outcome.rows.iter().map(|row| (row.method, row.seed)).collect();
    assert_eq!(runs, [(Method::Backbone, 0), (Method::Dash, 1), (Method::Backbone, 1)]);
    let error = outcome.error().unwrap();
    assert_eq!((error.kind().exit_code(), error.to_string().as_str()), (7, "p/0: search failed: it broke"));
    // Nothing of the failed stage is left.
    assert!(!bench.folders.runs.stage("p", 0, "search").exists());
    let page = std::fs::read_to_string(bench.folders.report("p").join("index.html")).unwrap();
    assert!(page.contains("seed 0: dash is not finished"));

    let (outcome, started) = bench.run(vec![pipeline("p", &[])], &[]);
    assert_eq!(started, ["p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
    assert!(outcome.unwrap().error().is_none());
}

#[test]
fn failures_of_one_kind_keep_it_whatever_else_ran() {
    let data = ErrorKind::Data;
    let kind = |outcome: Result<Outcome, Error>| outcome.unwrap().error().unwrap().kind();
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
        let batch = Batch::one(pipeline("p", &[&dash[..], &[set]].concat()));
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
    assert!(outcome.unwrap_err().to_string().contains("has format 99, this program reads up to 1"));
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
    let batch = Batch::one(pipeline("p", &[]));
    assert!(matches!(report(&batch, &bench.folders), Err(Error::NoResults { .. })));
    bench.run(vec![pipeline("p", &[])], &[]).0.unwrap();
    dash_store::remove(&bench.folders.report("p")).unwrap();
    let outcome = report(&batch, &bench.folders).unwrap();
    assert_eq!((outcome.rows.len(), outcome.ran), (4, 0));
    assert!(outcome.reports[0].is_file());
    let other = Batch::one(pipeline("p", &["retrain.epochs=3"]));
    assert!(matches!(report(&other, &bench.folders), Err(Error::NoResults { .. })));
}
