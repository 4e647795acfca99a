//! What reports show.

use super::support::{ONE, bench, pipeline};
use dash_core::{pipeline::Method, results::Status};
use dash_pipeline::{Error, RunSet};
use dash_store::Staging;
use dash_train::write_history;
use serde_json::json;

#[test]
fn a_report_is_rebuilt_from_what_fits_the_present_settings() {
    let bench = bench();
    let runs = RunSet::one(pipeline("p", &[]));
    assert!(matches!(bench.engine().report(&runs), Err(Error::NoResults { .. })));
    bench.run(vec![pipeline("p", &[])], &[]).0.unwrap();
    dash_store::remove(&bench.folders.report("p")).unwrap();
    let outcome = bench.engine().report(&runs).unwrap();
    assert_eq!((outcome.rows.len(), outcome.ran()), (4, 0));
    assert!(outcome.reports[0].is_file());
    let other = RunSet::one(pipeline("p", &["retrain.epochs=3"]));
    assert!(matches!(bench.engine().report(&other), Err(Error::NoResults { .. })));
}

#[test]
fn a_report_shows_no_score_beside_an_architecture_that_was_not_trained() {
    let bench = bench();
    let runs = RunSet::one(pipeline("p", &ONE));
    bench.run_finding(3, runs.pipelines.clone(), &[]).0.unwrap();
    let row = || bench.engine().report(&runs).map(|outcome| outcome.rows[0].clone());
    assert_eq!(row().unwrap().status, Status::Done);
    // As if another machine had repeated the search with another result, and nothing else had run.
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
    // A model with another pattern than that of the search is refused even if all hashes agree.
    let bench = self::bench();
    bench.run_finding(3, runs.pipelines.clone(), &[]).0.unwrap();
    let stage = bench.folders.runs.stage("p", 0, "retrain");
    let record = dash_store::StageRecord::read(&stage).unwrap().unwrap();
    let mut again = Staging::begin(&stage).unwrap();
    for file in ["metrics.json", "history.parquet"] {
        again.write(file, &std::fs::read(stage.join(file)).unwrap()).unwrap();
    }
    let other = json!({ "pattern": [{ "kernel_size": 5, "dilation": 1 }], "params": 7 });
    again.write("model.json", other.to_string().as_bytes()).unwrap();
    record.publish(again, None).unwrap();
    let outcome = bench.run(runs.pipelines.clone(), &[]).0.unwrap();
    let row = &outcome.rows[0];
    assert_eq!((row.status, row.value), (Status::Failed, None));
    assert!(row.reason.as_deref().unwrap().contains("is not the one that the search found"), "{row:?}");
}

#[test]
fn a_missing_stage_costs_its_own_row_and_no_other() {
    let bench = bench();
    let runs = RunSet::one(pipeline("p", &[]));
    bench.run(runs.pipelines.clone(), &[]).0.unwrap();
    dash_store::remove(&bench.folders.runs.stage("p", 1, "tune")).unwrap();
    let outcome = bench.engine().report(&runs).unwrap();
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
    let runs = RunSet { pipelines, report: Some("all".into()) };
    let outcome = bench.engine().report(&runs).unwrap();
    assert_eq!(outcome.rows.len(), 2);
    let page = std::fs::read_to_string(bench.folders.report("all").join("index.html")).unwrap();
    assert!(page.contains("q, seed 0: dash is missing: dataset has not been run"), "{page}");
}
