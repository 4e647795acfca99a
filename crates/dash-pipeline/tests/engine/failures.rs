//! Failures, locks and attempts.

use super::support::{ONE, bench, pipeline};
use dash_core::{
    error::{Classify, ErrorKind},
    pipeline::Method,
    results::Status,
};
use dash_pipeline::{Error, RunOutcome, StepResult};
use dash_store::{Lock, publish_file};
use serde_json::json;

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
    let skipped = outcome.steps.iter().filter(|step| matches!(step.result, StepResult::Skipped));
    let skipped: Vec<String> = skipped.map(|step| format!("{} {}", step.run, step.stage)).collect();
    assert_eq!(skipped, ["p/0 tune", "p/0 retrain"]);
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
    // Another pipeline continues. The second time, it has nothing left to do.
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
fn a_held_run_and_foreign_files_are_left_alone() {
    let held = bench();
    let lock = Lock::acquire(&held.folders.runs.run("p", 1)).unwrap();
    let (outcome, started) = held.run(vec![pipeline("p", &[])], &[]);
    assert_eq!((outcome.unwrap_err().kind(), started.len()), (ErrorKind::Locked, 0));
    assert!(held.engine().status().unwrap().iter().any(|r| r.run.to_string() == "p/1" && r.holder.is_some()));
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
    assert!(
        bench.engine().status().unwrap().iter().any(|r| r.run.to_string() == "p/0" && r.stages.len() == 5)
    );
    // To the system, another open file is like another process. The file names a process with the number of this one,
    // which may exist in another PID namespace, or a process that has ended.
    let me = std::process::id();
    for (pid, host) in [(me, "here"), (1, "gone")] {
        let text = json!({ "pid": pid, "host": host, "since": "then" }).to_string();
        publish_file(&scratch.join(".lock"), text.as_bytes()).unwrap();
        let other = std::fs::File::open(scratch.join(".lock")).unwrap();
        other.try_lock().unwrap();
        let changed = pipeline("p", &["dataset.test=50", "seeds=[1]"]);
        let (outcome, started) = bench.run(vec![changed], &[]);
        assert_eq!((outcome.unwrap_err().kind(), started.len()), (ErrorKind::Locked, 0));
        assert!(
            bench.engine().status().unwrap().iter().any(|r| r.run.to_string() == "p/0" && r.holder.is_some())
        );
    }
    // Once no process holds the lock, the dataset may be replaced although the file still names one.
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
