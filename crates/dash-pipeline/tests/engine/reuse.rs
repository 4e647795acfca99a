//! What must run, what is reused, and what is kept.

use super::support::{ONE, bench, pipeline};
use dash_pipeline::{Action, Error, RunSet};

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
        let runs = RunSet::one(pipeline("p", &[&dash[..], &[set]].concat()));
        let planned = bench.engine().plan(&runs).unwrap();
        let runs: Vec<&str> =
            planned.iter().filter(|p| p.action == Action::Run).map(|p| p.stage.name()).collect();
        assert_eq!(runs, stages, "{set}");
    }
    // More seeds and methods do not affect finished stages.
    let (_, started) = bench.run(vec![pipeline("p", &[])], &[]);
    assert!(!started.iter().any(|name| ["p dataset", "p/0 search", "p/0 retrain"].contains(&name.as_str())));
}

#[test]
fn a_repeated_stage_with_another_result_repeats_what_depends_on_it() {
    let bench = bench();
    let go = |found| bench.run_finding(found, vec![pipeline("p", &ONE)], &[]);
    go(3).0.unwrap();
    let search = bench.folders.runs.stage("p", 0, "search");
    // The repeated search finds the same pattern: nothing else has to run.
    dash_store::remove(&search).unwrap();
    assert_eq!(go(3).1, ["p/0 search", "p report"]);
    // It finds another pattern with the same settings: values of the former one are not results any more.
    dash_store::remove(&search).unwrap();
    let planned = bench.engine().plan(&RunSet::one(pipeline("p", &ONE))).unwrap();
    let reason = |stage: &str| planned.iter().find(|p| p.stage.name() == stage).unwrap().reason.clone();
    assert_eq!((reason("search").as_str(), reason("tune").as_str()), ("new", "after 0/search"));
    let (outcome, started) = go(5);
    assert_eq!(started, ["p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
    assert_eq!(outcome.unwrap().rows.len(), 1);
    // With another content of the dataset, everything is repeated.
    dash_store::remove(&bench.folders.runs.dataset("p")).unwrap();
    assert_eq!(go(7).1, ["p dataset", "p/0 search", "p/0 tune", "p/0 retrain", "p report"]);
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
        let runs = bench.engine().status().unwrap();
        runs.iter().flat_map(|run| run.superseded.iter().map(|s| s.stage.clone())).collect()
    };
    // Tuning and retraining read another pattern, so that their results were superseded as well.
    assert_eq!(kept(), ["retrain", "search", "tune"]);
    let planned = bench.engine().plan(&RunSet::one(first.clone())).unwrap();
    let restored = planned.iter().filter(|p| p.action == Action::Restore).count();
    assert_eq!(restored, 3);
    // Back to the first settings: nothing is computed again.
    let (outcome, started) = bench.run_finding(9, vec![first], &[]);
    assert_eq!((started, outcome.unwrap().ran()), (vec!["p report".to_owned()], 0));
    assert_eq!(std::fs::read(page("retrain/stage.json")).unwrap(), before);
    assert_eq!(kept(), ["retrain", "search", "tune"]);

    assert!(matches!(bench.engine().prune(&["q".into()], false), Err(Error::NoRuns { .. })));
    assert_eq!(bench.engine().prune(&[], true).unwrap().len(), 3);
    assert_eq!(bench.engine().prune(&["p".into()], false).unwrap().len(), 3);
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
    // The runs without a profile are unchanged.
    assert!(bench.run(vec![pipeline("p", &ONE)], &[]).1.is_empty());
}
