//! Pipeline files: the committed ones, the output of `check`, and invalid ones.

use super::tiny;
use dash_tests::TINY;
use serde_json::Value;

#[test]
fn bad_pipeline_files_have_one_clear_error() {
    let bench = tiny();
    let run = |text: &str, more: &[&str]| {
        bench.write("bad.toml", text.as_bytes());
        bench.run(&[&["run", "bad.toml"], more].concat())
    };
    run(&TINY.replace("batch_size = 4", "batch_sise = 4"), &[])
        .failed(3, &["bad.toml:23: search.batch_sise: unknown key; did you mean `batch_size`?", "hint: "]);
    run(&TINY.replace("seeds = [0, 1]", "seeds = [1, 1]"), &[])
        .failed(3, &["bad.toml:2: seeds[1]: the seed 1 is given twice"]);
    run(TINY, &["--set", "retrain.epoch=5"])
        .failed(3, &["--set retrain.epoch=5: retrain.epoch: unknown key; did you mean `epochs`?"]);
    run(TINY, &["--profile", "long"]).failed(3, &["there is no profile `long`", "longer"]);
    run("name = ", &[]).failed(3, &["bad.toml:1: "]);
    bench.run(&["run", "missing.toml"]).failed(3, &["cannot read the pipeline file missing.toml"]);
    bench.run(&["run", "tiny.toml", "tiny.toml"]).failed(3, &["two pipelines are named \"tiny\""]);
    assert!(bench.files("runs").is_empty() && bench.files("reports").is_empty());

    assert_eq!(bench.run(&["run"]).code, Some(2));
    assert_eq!(bench.run(&["run", "tiny.toml", "--device", "gpu"]).code, Some(2));
    bench.run(&["run", "tiny.toml", "--device", "cuda:0"]).failed(6, &["cuda:0", "hint: --device cpu"]);
    bench.run(&["report", "tiny.toml"]).failed(4, &["no finished stage of tiny", "hint: "]);
}

#[test]
fn check_prints_the_effective_configuration_as_a_pipeline_file() {
    let bench = tiny();
    let printed =
        bench.run(&["check", "tiny.toml", "--profile", "longer", "--set", "tune.epochs=9"]).well().stdout;
    bench.write("printed.toml", printed.as_bytes());
    assert_eq!(bench.run(&["check", "printed.toml"]).well().stdout, printed);
    for line in ["epochs = 3", "epochs = 9", "name = \"tiny\""] {
        assert!(printed.lines().any(|l| l == line), "{line} in {printed}");
    }
    let schema: Value = serde_json::from_str(&bench.run(&["schema"]).well().stdout).unwrap();
    assert!(schema["properties"]["search"].is_object());
    assert!(bench.run(&["completions", "bash"]).well().stdout.contains("dash-nas"));
}

#[test]
fn the_committed_pipelines_state_the_published_protocol() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let mut loaded = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if dash_core::load::kind(&name, &text).unwrap() == dash_core::load::FileKind::Sweep {
            continue;
        }
        assert!(text.starts_with("#:schema ../schemas/pipeline.json\n"), "{name}");
        let load = |profile: Option<&str>| {
            dash_core::load::pipeline(&name, &text, profile, &[]).unwrap_or_else(|e| panic!("{e}"))
        };
        let profiles = text.lines().filter_map(|line| line.strip_prefix("[profiles.")?.strip_suffix(']'));
        for profile in profiles {
            load(Some(profile));
        }
        let pipeline = load(None);
        assert_eq!(pipeline.name, name);
        loaded.insert(name, serde_json::to_value(pipeline).unwrap());
    }
    // As the authors' released code sets them; a task's own values replace shared ones.
    let shared = [
        ("/search/epochs", "100"),
        ("/search/fraction", "0.2"),
        ("/search/momentum", "0.9"),
        ("/search/weight_decay", "0.0005"),
        ("/search/clip_norm", "1.0"),
        ("/search/grad_scale", "100.0"),
        ("/search/dilations", "[1,3,7,15]"),
        ("/search/separable", "true"),
        ("/search/schedule/factor", "0.2"),
        ("/tune/epochs", "80"),
        ("/tune/fraction", "0.05"),
        ("/tune/learning_rates", "[0.1,0.01,0.001]"),
        ("/tune/dropouts", "[0.0,0.05]"),
        ("/tune/weight_decays", "[0.0005,5e-6]"),
        ("/tune/momenta", "[0.9,0.99]"),
        ("/retrain/epochs", "200"),
    ];
    let ecg = [
        ("/search/kernel_sizes", "[3,7,11,15,19]"),
        ("/search/learning_rate", "0.1"),
        ("/search/arch_learning_rate", "0.05"),
        ("/search/batch_size", "1024"),
        ("/tune/batch_size", "1024"),
        ("/retrain/batch_size", "1024"),
        ("/search/schedule/milestones", "[30,60,90,120,160]"),
        ("/retrain/schedule/milestones", "[30,60,90,120,160]"),
        ("/search/receptive_field_penalty/kind", "\"extent\""),
        ("/search/backbone/causal", "false"),
        ("/retrain/backbone/causal", "true"),
    ];
    let darcy = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/batch_size", "10"),
        ("/tune/batch_size", "10"),
        ("/retrain/batch_size", "10"),
        ("/search/schedule/milestones", "[60,120,160]"),
        ("/retrain/schedule/milestones", "[60,120,160]"),
        ("/search/receptive_field_penalty/kind", "\"kernel-size\""),
        ("/search/backbone/width", "1"),
        ("/retrain/backbone/width", "4"),
        ("/task/decode_target", "true"),
        ("/dataset/subsample", "5"),
        ("/dataset/train", "900"),
        ("/dataset/validation", "100"),
    ];
    let cosmic = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/grad_scale", "1000.0"),
        ("/search/batch_size", "4"),
        ("/tune/batch_size", "4"),
        ("/tune/fraction", "0.01"),
        ("/tune/learning_rates", "[0.01,0.001,0.0001]"),
        ("/tune/dropouts", "[0.0]"),
        ("/tune/weight_decays", "[0.00005]"),
        ("/tune/momenta", "[0.99]"),
        ("/retrain/batch_size", "4"),
        ("/search/schedule/milestones", "[60,120,160]"),
        ("/retrain/schedule/milestones", "[60,120,160]"),
        ("/search/receptive_field_penalty/kind", "\"kernel-size\""),
        ("/search/backbone/width", "1"),
        ("/retrain/backbone/width", "4"),
        ("/task/augment", "[{\"kind\":\"background\",\"low\":-0.9,\"high\":3.0}]"),
        ("/dataset/crop", "128"),
        ("/dataset/validation", "420"),
    ];
    let psicov = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/batch_size", "8"),
        ("/tune/batch_size", "8"),
        ("/tune/learning_rates", "[0.01,0.001,0.0001]"),
        ("/tune/dropouts", "[0.0]"),
        ("/tune/weight_decays", "[0.00005]"),
        ("/tune/momenta", "[0.99]"),
        ("/retrain/batch_size", "8"),
        ("/search/schedule/milestones", "[60,120,160]"),
        ("/retrain/schedule/milestones", "[60,120,160]"),
        ("/search/receptive_field_penalty/kind", "\"kernel-size\""),
        ("/search/backbone/width", "1"),
        ("/retrain/backbone/width", "4"),
        ("/task/window/training", "128"),
        ("/task/window/evaluation", "512"),
        ("/task/window/padding", "5"),
        ("/task/window/target_padding", "100.0"),
        ("/task/window/target_limit", "16.0"),
        ("/dataset/validation", "100"),
    ];
    let mnist = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/dilations", "[1,3,7,15,31,63,127]"),
        ("/search/learning_rate", "0.1"),
        ("/search/arch_learning_rate", "0.05"),
        ("/search/batch_size", "256"),
        ("/tune/batch_size", "256"),
        ("/retrain/batch_size", "256"),
        ("/search/schedule/milestones", "[30,60,90,120,160]"),
        ("/search/receptive_field_penalty/kind", "\"extent\""),
        ("/retrain/backbone/causal", "true"),
        ("/dataset/mean", "0.1307"),
        ("/dataset/deviation", "0.3081"),
    ];
    let mut permuted = mnist.to_vec();
    permuted.extend([("/dataset/permuted", "true"), ("/dataset/permutation_seed", "1111")]);
    let music = [
        ("/search/kernel_sizes", "[3,7,11,15,19]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/batch_size", "4"),
        ("/tune/batch_size", "4"),
        ("/retrain/batch_size", "4"),
        ("/search/receptive_field_penalty/kind", "\"kernel-size\""),
        ("/retrain/backbone/causal", "true"),
    ];
    let nottingham = [&music[..], &[("/dataset/steps", "513")]].concat();
    let jsb = [&music[..], &[("/dataset/steps", "255"), ("/tune/fraction", "0.1")]].concat();
    let cifar10 = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/grad_scale", "5000.0"),
        ("/search/batch_size", "64"),
        ("/tune/fraction", "0.01"),
        ("/retrain/backbone/width", "4"),
        ("/dataset/mean", "[0.4914,0.4822,0.4465]"),
        ("/dataset/deviation", "[0.2023,0.1994,0.201]"),
        ("/task/augment", "[{\"kind\":\"crop\",\"padding\":4},{\"kind\":\"flip\"}]"),
    ];
    for (name, own) in [
        ("ecg", &ecg[..]),
        ("darcy-flow", &darcy[..]),
        ("cosmic", &cosmic[..]),
        ("psicov", &psicov[..]),
        ("mnist", &mnist[..]),
        ("mnist-permuted", &permuted[..]),
        ("jsb", &jsb[..]),
        ("nottingham", &nottingham[..]),
        ("cifar10", &cifar10[..]),
    ] {
        let shared = shared.iter().filter(|(key, _)| !own.iter().any(|(other, _)| other == key));
        for (key, expected) in shared.chain(own) {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(loaded[name].pointer(key), Some(&expected), "{name} {key}");
        }
    }
}
