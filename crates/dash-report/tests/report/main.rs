//! The files of a report, read back by readers that know nothing of this crate.

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, UInt64Type},
};
use dash_core::{
    architecture::{Architecture, Hyperparameters, LayerChoice},
    pipeline::{Candidate, Method, Protocol},
    provenance::{Program, Provenance},
    results::{Epoch, ResultRow, RunDetail, StageSeconds, Status},
};
use dash_report::{Artifact, Error, PipelineConfig, ReportInput, render};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeSet;

mod page;

fn row(method: Method, seed: u64, value: f64) -> ResultRow {
    let searched = method == Method::Dash;
    ResultRow {
        pipeline: "quickstart".to_owned(),
        task: "darcy-flow".to_owned(),
        method,
        seed,
        protocol: Protocol::Strict,
        metric: "relative-l2".to_owned(),
        value: Some(value),
        lower_is_better: true,
        split: "test".to_owned(),
        primary: true,
        status: Status::Done,
        reason: None,
        params: Some(if searched { 1_234_567 } else { 174_657 }),
        stage_seconds: StageSeconds {
            search: searched.then_some(41.25),
            tune: Some(20.5),
            retrain: Some(63.0),
        },
        run: format!("quickstart/{seed}"),
        dataset: None,
        fingerprint: None,
        provenance: None,
    }
}

fn detail(method: Method, seed: u64) -> RunDetail {
    let layer = |(name, kernel_size, dilation): (&str, usize, usize)| LayerChoice {
        name: name.to_owned(),
        candidate: Candidate { kernel_size, dilation },
        alpha: vec![0.0, 0.5, 1.0, 0.25],
    };
    let searched = method == Method::Dash;
    let history = |epochs: usize| -> Vec<Epoch> {
        let epoch = |epoch: usize| Epoch {
            epoch,
            learning_rate: 0.1,
            train_loss: 2.0 / (1.0 + epoch as f64),
            score: (epoch % 2 == 1).then_some(0.1),
        };
        (0..epochs).map(epoch).collect()
    };
    RunDetail {
        pipeline: "quickstart".to_owned(),
        task: "darcy-flow".to_owned(),
        method,
        seed,
        architecture: searched.then(|| Architecture {
            format: Architecture::FORMAT,
            kernel_sizes: vec![3, 5],
            dilations: vec![1, 3],
            layers: [("conv1", 3, 3), ("layer1.0.conv1", 5, 1)].map(layer).to_vec(),
        }),
        hyperparameters: Some(Hyperparameters {
            learning_rate: 0.01,
            dropout: 0.05,
            weight_decay: 5e-6,
            momentum: 0.9,
        }),
        search_history: if searched { history(4) } else { Vec::new() },
        retrain_history: history(6),
        run: format!("quickstart/{seed}"),
        fingerprint: "0123456789abcdef0123456789abcdef".to_owned(),
        device: "cpu, 2 threads".to_owned(),
        finished: "2026-01-02 03:04:05 UTC".to_owned(),
    }
}

/// Two methods with two seeds each and everything that can be known of them.
fn input() -> ReportInput {
    let runs = [(Method::Dash, 0), (Method::Dash, 1), (Method::Backbone, 0), (Method::Backbone, 1)];
    let values = [0.0405, 0.0421, 0.0493, 0.0512];
    ReportInput {
        name: "quickstart".to_owned(),
        generated: "2026-01-02 03:10:00 UTC".to_owned(),
        version: "0.1.0".to_owned(),
        rows: runs.iter().zip(values).map(|(&(m, s), v)| row(m, s, v)).collect(),
        details: runs.iter().map(|&(m, s)| detail(m, s)).collect(),
        notes: vec!["Made by a test.".to_owned()],
        configs: vec![PipelineConfig {
            pipeline: "quickstart".to_owned(),
            toml: "name = \"quickstart\"\n".to_owned(),
        }],
    }
}

fn text(artifacts: &[Artifact], path: &str) -> String {
    let found = artifacts.iter().find(|a| a.path == path).unwrap_or_else(|| panic!("no {path}"));
    String::from_utf8(found.bytes.clone()).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn parse(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("{e}"))
}

/// Text of an element and all below it.
fn content(node: roxmltree::Node<'_, '_>) -> String {
    node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect::<String>().trim().to_owned()
}

#[test]
fn the_files_are_those_of_the_contract() {
    let artifacts = render(&input()).unwrap();
    let paths: Vec<&str> = artifacts.iter().map(|a| a.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "index.html",
            "results.json",
            "results.csv",
            "results.parquet",
            "results.md",
            "results.tex",
            "figures/quickstart-darcy-flow-pattern.svg",
            "figures/quickstart-darcy-flow-alpha.svg",
            "figures/quickstart-darcy-flow-search-curves.svg",
            "figures/quickstart-darcy-flow-retrain-curves.svg",
            "figures/quickstart-darcy-flow-time.svg",
        ]
    );
    assert_eq!(artifacts, render(&input()).unwrap(), "equal inputs give equal bytes");
}

#[test]
fn json_has_the_keys_that_scripts_rely_on() {
    let input = input();
    let json: serde_json::Value =
        serde_json::from_str(&text(&render(&input).unwrap(), "results.json")).unwrap();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "pipeline",
            "task",
            "method",
            "seed",
            "protocol",
            "metric",
            "value",
            "lower_is_better",
            "split",
            "params",
            "stage_seconds",
            "run",
            "primary",
            "status",
            "reason",
            "dataset",
            "fingerprint",
            "provenance"
        ]
    );
    assert_eq!(rows[0]["stage_seconds"], serde_json::json!({"search": 41.25, "tune": 20.5, "retrain": 63.0}));
    assert_eq!(rows[2]["stage_seconds"]["search"], serde_json::Value::Null);
    assert_eq!((&rows[0]["method"], &rows[0]["protocol"]), (&"dash".into(), &"strict".into()));
    assert_eq!(serde_json::from_value::<Vec<ResultRow>>(json).unwrap(), input.rows);
}

/// The columns of tables, in order.
const COLUMNS: &str = "pipeline,task,method,seed,protocol,metric,value,lower_is_better,split,params,search_seconds,\
     tune_seconds,retrain_seconds,run,primary,status,reason,profile,overrides,dataset,fingerprint,version,commit,\
     dirty,instruction_set,device,device_name,threads,os,plan_policy,first_started,attempts,peak_memory,\
     predicted_memory";

/// How a stage was run.
fn provenance() -> Provenance {
    Provenance {
        program: Program { version: "0.1.0".into(), commit: "e0c543b4d1c2".into(), ..Program::default() },
        instruction_set: "avx2".into(),
        device: "cpu".into(),
        device_name: "A CPU".into(),
        threads: 2,
        profile: Some("smoke".into()),
        overrides: vec!["search.epochs=1".into(), "seeds=[0]".into()],
        attempts: 3,
        peak_memory: Some(1 << 30),
        ..Provenance::default()
    }
}

#[test]
fn a_missing_value_is_a_row_with_its_reason_in_every_format() {
    let mut input = input();
    input.rows[0].provenance = Some(provenance());
    let gap = &mut input.rows[1];
    (gap.value, gap.params, gap.status) = (None, None, Status::Failed);
    gap.reason = Some("search failed: it broke".into());
    let artifacts = render(&input).unwrap();
    let csv = text(&artifacts, "results.csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let records: Vec<std::collections::BTreeMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    let of = |row: usize, column: &str| records[row][column].clone();
    assert_eq!(
        (of(1, "value"), of(1, "params"), of(1, "status")),
        (String::new(), String::new(), "failed".into())
    );
    assert_eq!(of(1, "reason"), "search failed: it broke");
    assert_eq!((of(0, "profile"), of(0, "overrides")), ("smoke".into(), "search.epochs=1; seeds=[0]".into()));
    assert_eq!(
        (of(0, "attempts"), of(0, "commit"), of(0, "dirty")),
        ("3".into(), "e0c543b4d1c2".into(), "false".into())
    );
    let json: serde_json::Value = serde_json::from_str(&text(&artifacts, "results.json")).unwrap();
    assert_eq!((&json[1]["value"], &json[1]["status"]), (&serde_json::Value::Null, &"failed".into()));
    assert_eq!(json[0]["provenance"]["device_name"], "A CPU");
    for file in ["index.html", "results.md", "results.tex"] {
        assert!(text(&artifacts, file).contains("1 of 2 seeds have no result"), "{file}");
    }
    for file in ["index.html", "results.md"] {
        let page = text(&artifacts, file);
        assert!(page.contains("One result is missing.") && page.contains("failed"), "{file}");
    }
}

#[test]
fn secondary_values_are_not_compared() {
    let mut input = input();
    let mut second: Vec<ResultRow> = input.rows.clone();
    for row in &mut second {
        row.metric = "relative-l2 (best on test)".into();
        row.primary = false;
        row.value = row.value.map(|value| value / 2.0);
    }
    input.rows.extend(second);
    let page = text(&render(&input).unwrap(), "results.md");
    let findings = page.lines().filter(|line| line.starts_with("- ") && line.contains("(best)")).count();
    assert_eq!(findings, 1, "{page}");
}

#[test]
fn csv_comes_back_as_it_was() {
    let mut input = input();
    input.rows[0].task = "a \"quoted\", task\nof two lines".to_owned();
    input.rows[1].value = Some(0.1 + 0.2); // needs all 17 digits
    input.rows[3].value = Some(f64::NAN);
    let file = text(&render(&input).unwrap(), "results.csv");
    assert_eq!(file.lines().next(), Some(COLUMNS));
    let records: Vec<csv::StringRecord> =
        csv::Reader::from_reader(file.as_bytes()).records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 4);
    assert_eq!(&records[0][1], input.rows[0].task);
    assert_eq!(records[1][6].parse::<f64>().unwrap(), 0.1 + 0.2);
    assert_eq!((&records[0][10], &records[2][10]), ("41.25", ""));
    assert!(records[3][6].parse::<f64>().unwrap().is_nan());
}

#[test]
fn parquet_comes_back_as_it_was() {
    let mut input = input();
    input.rows[3].value = Some(f64::NAN);
    input.rows[2].seed = u64::MAX;
    let artifacts = render(&input).unwrap();
    let file = artifacts.iter().find(|a| a.path == "results.parquet").unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes.clone())).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names.join(","), COLUMNS);
    let reals = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
    let texts = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    for (i, row) in input.rows.iter().enumerate() {
        assert_eq!(texts("method").value(i), row.method.to_string());
        assert_eq!(texts("run").value(i), row.run);
        assert_eq!(batch["seed"].as_primitive::<UInt64Type>().value(i), row.seed);
        assert_eq!(reals("value").value(i).to_bits(), row.value.unwrap().to_bits());
        let search = reals("search_seconds");
        assert_eq!(search.is_valid(i).then(|| search.value(i)), row.stage_seconds.search);
    }
    assert!(batch["lower_is_better"].as_boolean().value(0));
}

#[test]
fn markdown_and_latex_are_as_before() {
    let artifacts = render(&input()).unwrap();
    insta::assert_snapshot!("markdown", text(&artifacts, "results.md"));
    insta::assert_snapshot!("latex", text(&artifacts, "results.tex"));
}

#[test]
fn names_that_collide_in_file_names_stay_apart() {
    let mut input = input();
    input.details.clear();
    for (row, task) in input.rows.iter_mut().zip(["a b", "a/b", "A-B", "…"]) {
        task.clone_into(&mut row.task);
    }
    let artifacts = render(&input).unwrap();
    let paths: BTreeSet<&str> = artifacts.iter().map(|a| a.path.as_str()).collect();
    assert_eq!(paths.len(), artifacts.len());
    assert_eq!(paths.iter().filter(|p| p.ends_with("time.svg")).count(), 4);
}

#[test]
fn protocols_have_tables_of_their_own() {
    let mut input = input();
    for row in &mut input.rows[2..] {
        row.protocol = Protocol::Paper;
    }
    let markdown = text(&render(&input).unwrap(), "results.md");
    let results = markdown.split("\n## ").find(|s| s.starts_with("Results")).unwrap();
    let tables: Vec<&str> = results.split("| Method |").collect();
    assert_eq!(tables.len(), 3);
    assert!(tables[0].contains("protocol strict") && tables[1].contains("protocol paper"));
    assert!(tables[1].contains("| dash |") && !tables[1].contains("| backbone |"));
    assert!(tables[2].contains("| backbone |") && !tables[2].contains("| dash |"));
    assert!(!results.contains("**"), "alone in its table, nothing is best");
}

#[test]
fn values_that_are_not_finite_are_shown_as_such() {
    let mut input = input();
    input.rows[0].value = Some(f64::NAN);
    input.rows[1].value = Some(f64::INFINITY);
    input.rows[2].stage_seconds.retrain = Some(f64::NAN);
    for epoch in &mut input.details[0].retrain_history {
        epoch.train_loss = f64::NAN;
        epoch.score = Some(f64::NEG_INFINITY);
    }
    for layer in input.details[0].architecture.iter_mut().flat_map(|a| &mut a.layers) {
        layer.alpha[0] = f32::NAN;
    }
    let artifacts = render(&input).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text(&artifacts, "results.json")).unwrap();
    assert_eq!(json[0]["value"], serde_json::Value::Null);
    let markdown = text(&artifacts, "results.md");
    assert!(markdown.contains("dash: 2 of 2 values not finite."));
    assert!(markdown.contains("| dash | — | 2 | — | — |"));
    for artifact in artifacts.iter().filter(|a| a.path.ends_with(".svg")) {
        parse(std::str::from_utf8(&artifact.bytes).unwrap());
    }
    parse(&text(&artifacts, "index.html"));
}

#[test]
fn rows_without_details_are_reported() {
    let mut input = input();
    input.details.clear();
    let page = text(&render(&input).unwrap(), "index.html");
    let all = content(parse(&page).root_element());
    assert!(all.contains("0.0413 ± 0.0011") && !all.contains("Found pattern"));
}

#[test]
fn contradictions_are_refused_with_the_place() {
    let empty = ReportInput::default();
    assert!(matches!(render(&empty), Err(Error::Empty)));

    let mut twice = input();
    twice.details.push(twice.details[0].clone());
    assert!(matches!(render(&twice), Err(Error::DuplicateDetail { .. })));

    type Damage = fn(&mut Architecture);
    let damages: [(Damage, &str); 6] = [
        (|a| a.layers[1].alpha.truncate(3), "layer \"layer1.0.conv1\": 3 architecture parameters for 4"),
        (|a| a.layers[0].candidate.kernel_size = 0, "layer \"conv1\": kernel size 0"),
        (|a| a.layers[0].candidate.dilation = usize::MAX, "layer \"conv1\": kernel size 3 with dilation"),
        (|a| a.layers[0].candidate.kernel_size = 7, "is not a candidate"),
        (|a| a.dilations.clear(), "0 candidates"),
        (|a| a.layers.clear(), "0 layers"),
    ];
    for (damage, words) in damages {
        let mut input = input();
        damage(input.details[0].architecture.as_mut().unwrap());
        let error = render(&input).unwrap_err();
        assert!(matches!(error, Error::Architecture { .. }));
        let message = error.to_string();
        assert!(message.contains(words) && message.contains("quickstart/0"), "{message}");
    }
}
