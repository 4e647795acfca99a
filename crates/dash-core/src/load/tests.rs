use super::*;
use crate::error::Classify;
use crate::pipeline::{Backbone, Dataset, Pipeline, ReceptiveFieldPenalty};

mod large;
mod tasks;

const DARCY: &str = r#"name = "d"

[dataset]
recipe = "darcy-flow"
simulate = { grid = 57 }
subsample = 2

[task]
loss = { kind = "relative-l2" }
metric = { kind = "relative-l2" }
decode_target = true

[search]
pull = { kind = "kernel-size", weight = 1e-4 }

[profiles.small]
dataset.simulate.grid = 29
search = { epochs = 3, receptive_field_penalty = { kind = "extent" } }

[profiles.other]
search.pull.weight = 2e-4
"#;

fn load(text: &str, sets: &[&str]) -> Result<Pipeline, Error> {
    let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
    pipeline("f.toml", text, None, &sets)
}

/// The one message that `sets` on top of a good file lead to.
fn complaint(sets: &[&str]) -> String {
    load(DARCY, sets).unwrap_err().to_string()
}

#[test]
fn defaults_are_the_published_numbers() {
    let p = load(DARCY, &[]).unwrap();
    assert_eq!(p.seeds, [0]);
    assert_eq!((p.search.epochs, p.tune.epochs, p.retrain.epochs), (100, 80, 200));
    assert_eq!(p.search.receptive_field_penalty, ReceptiveFieldPenalty::KernelSize { weight: 1e-4 });
    assert_eq!(p.search.schedule.milestones, [60, 120, 160]);
}

#[test]
fn profiles_merge_by_key_and_replace_other_variants() {
    let small = pipeline("f.toml", DARCY, Some("small"), &[]).unwrap();
    let Dataset::DarcyFlow(d) = &small.dataset else { panic!() };
    assert_eq!((d.simulate.as_ref().unwrap().grid, d.subsample), (29, 2));
    // The weight of the other kind of penalty is dropped.
    assert_eq!(small.search.receptive_field_penalty, ReceptiveFieldPenalty::Extent { weight: 1e-5 });
    let other = pipeline("f.toml", DARCY, Some("other"), &[]).unwrap();
    assert_eq!(other.search.receptive_field_penalty, ReceptiveFieldPenalty::KernelSize { weight: 2e-4 });
}

#[test]
fn overrides_take_toml_values_or_text() {
    let p = load(
        DARCY,
        &[
            "seeds=[4, 5]",
            "task.name=my-task",
            "search.backbone={ kind = \"wrn\", width = 2 }",
            "tune.epochs = 7",
        ],
    )
    .unwrap();
    assert_eq!((p.seeds.as_slice(), p.task_name(), p.tune.epochs), (&[4, 5][..], "my-task", 7));
    assert_eq!(p.search.backbone, Some(Backbone::Wrn { depth: 16, width: 2 }));
    let p = load(DARCY, &["search.backbone={kind=\"wrn\"}", "search.pull={ kind = 'extent' }"]).unwrap();
    assert_eq!(p.search.backbone, Some(Backbone::Wrn { depth: 16, width: 1 }));
    assert_eq!(p.search.receptive_field_penalty, ReceptiveFieldPenalty::Extent { weight: 1e-5 });
    let text = DARCY.replace("simulate = { grid = 57 }", "raw = \"x\"");
    let p = load(&text, &["dataset.raw=../a b/data=1"]).unwrap();
    let Dataset::DarcyFlow(d) = p.dataset else { panic!() };
    assert_eq!(d.raw.unwrap().to_str(), Some("../a b/data=1"));
}

#[test]
fn overrides_that_are_not_assignments_are_refused() {
    for text in ["search.epochs", "=3", "", "a b=3", "x\ny=3", "[a]=3", "name=\"x\"\nseeds=[1]\u{0}\n["] {
        let result = load(DARCY, &[text]);
        assert!(result.is_err(), "{text:?}");
    }
    assert!(matches!(load(DARCY, &["search.epochs"]), Err(Error::Override { .. })));
    // A value cannot add another key.
    let p = load(DARCY, &["task.name=x\nseeds=[9]"]);
    assert!(p.unwrap_err().to_string().contains("safe folder name"));
}

#[test]
fn a_renamed_key_has_one_of_its_names() {
    let new = DARCY.replace("pull", "receptive_field_penalty");
    for profile in [None, Some("small"), Some("other")] {
        let of = |text| pipeline("f.toml", text, profile, &[]).unwrap();
        assert_eq!(of(&new), of(DARCY));
        assert!(to_toml(&of(DARCY)).unwrap().contains("[search.receptive_field_penalty]"));
    }
    for key in ["pull", "receptive_field_penalty"] {
        let p = load(DARCY, &[&format!("search.{key}.weight=0.5")]).unwrap();
        assert_eq!(p.search.receptive_field_penalty, ReceptiveFieldPenalty::KernelSize { weight: 0.5 });
    }
    let both = DARCY.replace("[search]\n", "[search]\nreceptive_field_penalty = { kind = \"extent\" }\n");
    assert_eq!(
        load(&both, &[]).unwrap_err().to_string(),
        "f.toml:15: search.pull: is the old name of `receptive_field_penalty`, which is given too: remove one of them"
    );
    let complaint = |key: &str| complaint(&[&format!("search.{key}.weight=1")]);
    assert!(complaint("pul").ends_with("unknown key; did you mean `pull`?"));
    assert!(complaint("receptive_field").contains("unknown key"));
    assert!(complaint("receptive_field_penalti").ends_with("did you mean `receptive_field_penalty`?"));
}

#[test]
fn mistakes_in_the_file_name_the_line_and_the_key() {
    let cases = [
        (
            "recipe = \"darcy-flow\"",
            "recipe = \"darci-flow\"",
            "f.toml:4: dataset.recipe: unknown value \"darci-flow\", expected one of cosmic, darcy-flow, deepsea, ecg, satellite, ninapro, fsd50k, cifar100, spherical, cifar10, mnist, music, psicov, npz, parquet; did you mean `darcy-flow`?",
        ),
        (
            "subsample = 2",
            "subsampel = 2",
            "f.toml:6: dataset.subsampel: unknown key; did you mean `subsample`?",
        ),
        ("subsample = 2", "zzz = 2", "f.toml:6: dataset.zzz: unknown key"),
        (
            "subsample = 2",
            "subsample = \"2\"",
            "f.toml:6: dataset.subsample: expected a whole number, found the text \"2\"",
        ),
        (
            "subsample = 2",
            "subsample = 2.0",
            "f.toml:6: dataset.subsample: expected a whole number, found the number 2.0",
        ),
        (
            "subsample = 2",
            "subsample = -2",
            "f.toml:6: dataset.subsample: expected a whole number from 0 to 9223372036854775807, found -2",
        ),
        ("subsample = 2", "subsample = 3", "f.toml:6: dataset.subsample: must divide grid - 1 = 56, found 3"),
        ("{ grid = 57 }", "57", "f.toml:5: dataset.simulate: expected a table, found the number 57"),
        (
            "simulate = { grid = 57 }",
            "",
            "f.toml:3: dataset: either `raw` (a folder with files) or `simulate` must be given",
        ),
        (
            "[search]\n",
            "[search]\nepochs = 0\n",
            "f.toml:14: search.epochs: must be from 1 to 100000000, found 0",
        ),
        (
            "[search]\n",
            "[search]\nkernel_sizes = [3,\n  4]\n",
            "f.toml:15: search.kernel_sizes[1]: must be odd and at most 1001, found 4",
        ),
        ("[search]\n", "[serach]\n", "f.toml:13: serach: unknown key; did you mean `search`?"),
        (
            "[search]\n",
            "[search]\nlearning_rate = inf\n",
            "f.toml:14: search.learning_rate: expected a finite number, found inf",
        ),
        (
            "\n[dataset]",
            "protocol = 3\n[dataset]",
            "f.toml:2: protocol: expected one of strict, paper, found the number 3",
        ),
        ("\n[dataset]", "seeds = [1, 2, 1]\n[dataset]", "f.toml:2: seeds[2]: the seed 1 is given twice"),
        (
            "\n[dataset]",
            "methods = [\"dash\", \"dash\"]\n[dataset]",
            "f.toml:2: methods[1]: the method dash is given twice",
        ),
        (
            "loss = { kind = \"relative-l2\" }",
            "loss = { kind = \"cross-entropy\" }",
            "f.toml:9: task.loss: cross-entropy does not fit: darcy-flow predicts a field; use relative-l2 or mean-squared-error",
        ),
        (
            "loss = { kind = \"relative-l2\" }",
            "loss = {}",
            "f.toml:9: task.loss: the key `kind` is missing: one of cross-entropy, focal, binary-cross-entropy, relative-l2, mean-squared-error, masked-binary-cross-entropy",
        ),
        ("name = \"d\"", "", "f.toml: the key `name` is missing"),
        (
            "name = \"d\"",
            "name = \"../d\"",
            "f.toml:1: name: \"../d\" is not a safe folder name: use letters, digits, '-', '_' and '.'",
        ),
        (
            "weight = 2e-4",
            "wieght = 2e-4",
            "f.toml:21: profiles.other.search.receptive_field_penalty.wieght: unknown key; did you mean `weight`?",
        ),
        ("[profiles.other]", "[profil.other]", "f.toml:20: profil: unknown key; did you mean `profiles`?"),
        (
            "weight = 2e-4",
            "weight = true",
            "f.toml:21: profiles.other.search.receptive_field_penalty.weight: expected a number, found true",
        ),
    ];
    for (old, new, message) in cases {
        let text = DARCY.replacen(old, new, 1);
        assert_ne!(text, DARCY, "{old}");
        assert_eq!(load(&text, &[]).unwrap_err().to_string(), message, "{new}");
    }
}

#[test]
fn overrides_are_named_in_messages() {
    assert_eq!(
        complaint(&["search.epoch=3"]),
        "--set search.epoch=3: search.epoch: unknown key; did you mean `epochs`?"
    );
    assert_eq!(
        complaint(&["tune.dropouts=[0, 1]"]),
        "--set tune.dropouts=[0, 1]: tune.dropouts[1]: must be at least 0 and less than 1, found 1"
    );
    assert_eq!(
        complaint(&["dataset.simulate.test_seed=1"]),
        "--set dataset.simulate.test_seed=1: dataset.simulate.test_seed: must differ from train_seed, both are 1"
    );
    assert_eq!(
        complaint(&["retrain.backbone.kind=resnet1d"]),
        "--set retrain.backbone.kind=resnet1d: retrain.backbone: resnet1d needs 1-D data, darcy-flow is 2-D"
    );
    assert_eq!(
        complaint(&["search.schedule.milestones=[3, 3]"]),
        "--set search.schedule.milestones=[3, 3]: search.schedule.milestones: must ascend, found [3, 3]"
    );
}

#[test]
fn the_pipelines_of_the_repository_load_with_all_their_profiles() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        if kind(&name, &text).unwrap() == FileKind::Sweep {
            continue;
        }
        pipeline(&name, &text, None, &[]).unwrap_or_else(|e| panic!("{e}"));
        let profiles =
            text.lines().filter_map(|line| line.strip_prefix("[profiles.")?.split([']', '.']).next());
        for profile in profiles {
            pipeline(&name, &text, Some(profile), &[]).unwrap_or_else(|e| panic!("{e}"));
        }
        loaded += 1;
    }
    assert!(loaded >= 7);
}

#[test]
fn all_problems_are_reported_together() {
    let text =
        DARCY.replace("subsample = 2", "subsampl = 2").replace("[search]\n", "[search]\nepochs = \"many\"\n");
    let Err(Error::Invalid(problems)) = load(&text, &["retrain.epochz=1"]) else { panic!() };
    let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["dataset.subsampl", "search.epochs", "retrain.epochz"]);
}

#[test]
fn unknown_profiles_are_suggested_and_listed() {
    let error = pipeline("f.toml", DARCY, Some("smal"), &[]).unwrap_err();
    assert_eq!(error.to_string(), "f.toml: there is no profile `smal`; did you mean `small`?");
    assert_eq!(error.hint().unwrap(), "its profiles are other, small");
    assert!(load(&format!("{DARCY}\n[profiles]\nx = 1"), &[]).is_err());
    assert_eq!(
        load("name = 'x'\nprofiles = 3", &[]).unwrap_err().to_string(),
        "f.toml:2: profiles: expected a table of profiles, found the number 3"
    );
}

#[test]
fn text_that_is_not_toml_names_the_line() {
    let error = load("name = \"d\"\nseeds = [1,\n[x", &[]).unwrap_err();
    assert!(matches!(&error, Error::Syntax { line: 2..=3, .. }), "{error}");
    assert!(error.to_string().starts_with("f.toml:"));
}

#[test]
fn the_effective_configuration_is_a_pipeline_file_again() {
    let p = pipeline("f.toml", DARCY, Some("small"), &["seeds=[1, 2]".into()]).unwrap();
    let text = to_toml(&p).unwrap();
    let again = load(&text, &[]).unwrap();
    assert_eq!(again, Pipeline { profile: None, overrides: vec![], ..p }, "{text}");
}

#[test]
fn the_name_of_a_profile_must_be_a_safe_folder_name() {
    let name = |profile| pipeline("f.toml", DARCY, profile, &[]).unwrap().run_name();
    assert_eq!((name(None), name(Some("small"))), ("d".to_owned(), "d@small".to_owned()));
    let text = format!("{DARCY}\n[profiles.\"a/b\"]\nsearch.epochs = 1\n");
    let error = pipeline("f.toml", &text, Some("a/b"), &[]).unwrap_err();
    assert!(error.to_string().contains("is not a safe folder name"), "{error}");
}

#[test]
fn sweeps_are_recognised_and_checked() {
    let text = "include = [\"a.toml\", \"b.toml\"]\nseeds = [0, 1]\nreport = \"all\"";
    assert_eq!(kind("s.toml", text).unwrap(), FileKind::Sweep);
    assert_eq!(kind("f.toml", DARCY).unwrap(), FileKind::Pipeline);
    let s = sweep("s.toml", text).unwrap();
    assert_eq!((s.include.len(), s.seeds.unwrap().len(), s.report.unwrap().as_str()), (2, 2, "all"));
    assert_eq!(
        sweep("s.toml", "include = [\"a.toml\"]\nseed = [1]").unwrap_err().to_string(),
        "s.toml:2: seed: unknown key; did you mean `seeds`?"
    );
    assert_eq!(
        sweep("s.toml", "include = []").unwrap_err().to_string(),
        "s.toml:1: include: must name at least one file"
    );
}

#[test]
fn the_committed_schema_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCHEMA_FILE);
    let committed: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
    let generated: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert!(committed == generated, "run: dash-nas schema > {SCHEMA_FILE}");
}

#[test]
fn every_reference_of_the_schema_has_its_definition() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let mut pending = vec![&schema];
    let mut references = 0;
    while let Some(value) = pending.pop() {
        if let Some(name) = value.get("$ref").and_then(|r| r.as_str()?.strip_prefix("#/$defs/")) {
            assert!(schema["$defs"].get(name).is_some(), "{name}");
            references += 1;
        }
        match value {
            serde_json::Value::Object(map) => pending.extend(map.values()),
            serde_json::Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    assert!(references > 10);
    // Profiles require nothing, at any depth.
    assert!(schema["$defs"]["PartialTask"].get("required").is_none());
    assert!(schema["$defs"]["Task"].get("required").is_some());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,60}", key in "[a-z.\\[\\]{}\"= 0-9]{0,20}") {
        let _ = kind("f.toml", &text);
        let _ = load(&format!("{DARCY}\n{text}"), &[&key, &format!("search.{key}")]);
    }
}
