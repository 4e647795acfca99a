//! `dash-nas bench`.

use super::bench;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn a_timed_task_is_one_line_of_json() {
    let line = |more: &[&str]| -> Value {
        let base = ["bench", "--task", "ecg", "--batch", "2", "--steps", "1", "--warmup", "0"];
        let ran = bench().run(&[&base[..], &["--format", "json"], more].concat()).well();
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let timing = line(&[]);
    let keys: Vec<&str> = timing.as_object().unwrap().keys().map(String::as_str).collect();
    let contract = [
        "task",
        "stage",
        "method",
        "batch",
        "threads",
        "ms_per_step",
        "min_ms",
        "runs",
        "params",
        "peak_rss_mib",
        "estimated_mib",
    ];
    assert_eq!(keys, contract);
    assert_eq!(
        (&timing["task"], &timing["stage"], &timing["method"]),
        (&"ecg".into(), &"search".into(), &"dash-nas".into())
    );
    assert_eq!(
        (&timing["batch"], &timing["runs"], &timing["params"]),
        (&2.into(), &1.into(), &18_948.into())
    );
    assert!(timing["ms_per_step"].as_f64().unwrap() > 0.0);
    assert_eq!(line(&["--plan", "measure"])["plan"], "measure");
    bench().run(&["bench"]).failed(2, &["--task"]);
    bench().run(&["bench", "--task", "ecg", "--points", "1"]).failed(2, &["--points"]);
}

#[test]
fn the_comparison_times_three_methods_at_every_point_and_plots_them() {
    let bench = bench();
    // `--sweep` is the former name of `--compare`.
    let base = ["bench", "--sweep", "--batch", "1", "--steps", "1", "--warmup", "0"];
    let arguments = [&base[..], &["--points", "3", "--format", "json", "--plot", "plots/speed.svg"]].concat();
    let lines: Vec<Value> =
        bench.run(&arguments).well().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let found: BTreeSet<_> = (lines.iter())
        .map(|l| (text(l, "sweep"), number(l, "candidates"), number(l, "length"), text(l, "method")))
        .collect();
    let points = [("candidates", 1, 1000), ("candidates", 4, 1000), ("candidates", 9, 1000)];
    let lengths = [("length", 25, 32), ("length", 25, 64), ("length", 25, 128)];
    let expected = points.into_iter().chain(lengths).flat_map(|(sweep, candidates, length)| {
        ["fourier", "mixed-weights", "mixed-results"]
            .map(|method| (sweep.to_owned(), candidates, length, method.to_owned()))
    });
    assert_eq!(found, expected.collect());
    assert_eq!(lines.len(), 18);
    for line in &lines {
        assert_eq!((number(line, "batch"), number(line, "runs")), (1, 1));
        assert!(number(line, "threads") >= 1);
        let ms = line["ms_per_step"].as_f64().unwrap();
        assert_eq!(line["min_ms"], line["ms_per_step"], "one step");
        assert!((line["seconds_per_epoch"].as_f64().unwrap() - 0.469 * ms).abs() < 1e-6);
        assert_eq!(text(line, "grouping"), "depthwise where c_in == c_out");
        assert_eq!(text(line, "plan"), "model");
    }
    let plot = String::from_utf8(bench.files("plots")["speed.svg"].clone()).unwrap();
    assert_eq!(plot.matches("<circle").count(), lines.len());

    let table = bench.run(&[&base[..], &["--points", "1"]].concat()).well();
    for word in ["mixed-results", "depthwise where c_in == c_out", "469 steps"] {
        assert!(table.stdout.contains(word), "{}", table.stdout);
    }
    bench.run(&["bench", "--compare", "--task", "ecg"]).failed(2, &["--compare"]);
}
