use super::*;
use crate::error::Classify;
use crate::pipeline::{Augment, Backbone, Dataset, Loss, Mask, Pipeline, ReceptiveFieldPenalty};

mod large;

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
    // The weight of the other kind of pull does not survive.
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
fn overrides_that_are_no_assignment_are_refused() {
    for text in ["search.epochs", "=3", "", "a b=3", "x\ny=3", "[a]=3", "name=\"x\"\nseeds=[1]\u{0}\n["] {
        let result = load(DARCY, &[text]);
        assert!(result.is_err(), "{text:?}");
    }
    assert!(matches!(load(DARCY, &["search.epochs"]), Err(Error::Override { .. })));
    // A value cannot smuggle in another key.
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
fn losses_and_metrics_must_suit_the_target() {
    let deepsea = |loss: &str, metric: &str, sets: &[&str]| {
        let text = format!(
            "name = \"s\"\ndataset = {{ recipe = \"deepsea\", raw = \"x\" }}\n[task]\n\
             loss = {{ kind = \"{loss}\" }}\nmetric = {{ kind = \"{metric}\" }}"
        );
        load(&text, sets)
    };
    let refusal = |loss, metric, sets: &[&str]| deepsea(loss, metric, sets).unwrap_err().to_string();
    let p = deepsea("binary-cross-entropy", "average-precision", &[]).unwrap();
    assert_eq!(p.task.loss, Loss::BinaryCrossEntropy { positive_weight: 1.0 });
    assert_eq!((p.task_name(), p.task.batch_average), ("deepsea", None));
    assert_eq!(
        refusal("mean-squared-error", "auroc", &[]),
        "f.toml:4: task.loss: mean-squared-error does not fit: deepsea predicts labels; use binary-cross-entropy"
    );
    assert_eq!(
        refusal("binary-cross-entropy", "macro-f1", &[]),
        "f.toml:5: task.metric: macro-f1 does not fit: deepsea predicts labels; use auroc or average-precision"
    );
    for (set, message) in [
        ("task.loss.positive_weight=0", "task.loss.positive_weight: must be greater than 0, found 0"),
        ("task.batch_average=0", "task.batch_average: must be from 1 to 100000000, found 0"),
        ("dataset.labels=['a', 'a']", "dataset.labels[1]: the label \"a\" is given twice"),
        ("dataset.labels=[]", "dataset.labels: must name at least one label"),
        (
            "task.decode_target=true",
            "task.decode_target: does not fit: deepsea predicts labels: there is no scaling to decode",
        ),
    ] {
        let found = refusal("binary-cross-entropy", "auroc", &[set]);
        assert_eq!(found, format!("--set {set}: {message}"));
    }
}

#[test]
fn own_data_says_what_it_predicts_and_where_its_samples_are() {
    let text = "name = \"o\"\ndataset = { recipe = \"npz\", raw = \"x\", file = \"a.npz\", target_kind = \"class\" }\n\
                [task]\nloss = { kind = \"cross-entropy\" }\nmetric = { kind = \"macro-f1\" }";
    let p = load(text, &[]).unwrap();
    assert_eq!(p.dataset.recipe(), "npz");
    // Only the data says how many axes it has, unless the file does.
    assert!(load(text, &["retrain.backbone={ kind = \"wrn\" }"]).is_ok());
    assert!(load(text, &["dataset.input_shape=[3, 8, 8]", "retrain.backbone={ kind = \"wrn\" }"]).is_ok());
    let refusal = |sets: &[&str]| load(text, sets).unwrap_err().to_string();
    let cases: [(&[&str], &str); 12] = [
        (
            &["task.loss.kind=relative-l2"],
            "task.loss: relative-l2 does not fit: npz predicts a class; use cross-entropy or focal",
        ),
        (
            &["dataset.input_shape=[8, 8]", "retrain.backbone={ kind = \"wrn\" }"],
            "wrn needs 2-D data, npz is 1-D",
        ),
        (&["dataset.input_shape=[1, 2, 3, 4]"], "must have one or two spatial axes beside the channels"),
        (&["dataset.input_shape=[0]"], "dataset.input_shape[0]: must be from 1"),
        (&["dataset.train_file=b"], "`file` and files per split cannot be given together"),
        (&["dataset.target_kind=kind"], "unknown value \"kind\", expected one of class, labels, field"),
        (&["dataset.test_fraction=0.95"], "leaves no training samples"),
        (&["dataset.validation_fraction=1"], "must be at least 0 and less than 1, found 1"),
        (&["dataset.input=x_{split}"], "`{split}` must be in the names of both"),
        (&["dataset.labels=[\"a\", \"a\"]"], "the name \"a\" is given twice"),
        (&["dataset.standardise_target=true"], "dataset.standardise_target: is only valid for fields"),
        (&["dataset.target_shape=[3]"], "dataset.target_shape: is only valid for fields"),
    ];
    for (sets, words) in cases {
        let message = refusal(sets);
        assert!(message.contains(words), "{message}");
    }
    let field = text
        .replace("class\"", "field\"")
        .replace("cross-entropy", "relative-l2")
        .replace("macro-f1", "relative-l2");
    let message = load(&field, &["task.decode_target=true"]).unwrap_err().to_string();
    assert!(message.contains("there is no scaling to decode: set dataset.standardise_target"), "{message}");
    let parts = text.replace("file = \"a.npz\"", "train_file = \"a.npz\"");
    let message = load(&parts, &[]).unwrap_err().to_string();
    assert!(message.contains("both `train_file` and `test_file` must be given"), "{message}");
    let parquet = text.replace("\"npz\"", "\"parquet\"");
    let names = ["dataset.input=x_{split}", "dataset.target=y_{split}"];
    assert!(load(text, &names).is_ok());
    let message = load(&parquet, &names).unwrap_err().to_string();
    assert!(message.contains("only valid for the arrays of an npz archive"), "{message}");
}

#[test]
fn masks_and_backgrounds_have_rules_of_their_own() {
    let text = "name = \"c\"\ndataset = { recipe = \"cosmic\", raw = \"x\" }\n[task]\n\
                loss = { kind = \"masked-binary-cross-entropy\" }\nmetric = { kind = \"false-negative-rate\" }";
    let p = load(text, &[]).unwrap();
    let Dataset::Cosmic(cosmic) = &p.dataset else { panic!("the recipe is cosmic") };
    assert_eq!((cosmic.filter.as_str(), cosmic.fields.len(), cosmic.validation), ("f435w", 27, 420));
    assert!(p.task.augment.is_empty());
    let background = |low: &str, high: &str| format!("{{kind='background', low={low}, high={high}}}");
    let sky = background("-0.9", "3.0");
    let augment = |changes: &[&str]| format!("task.augment=[{}]", changes.join(", "));
    assert_eq!(load(text, &[&augment(&[&sky])]).unwrap().task.augment.len(), 1);
    for (set, message) in [
        (
            augment(&[&background("1.0", "1.0")]),
            "task.augment[0].high: must be greater than low = 1, found 1",
        ),
        (augment(&[&sky, &sky]), "task.augment[1]: is given twice"),
        (
            "task.loss={kind='relative-l2'}".to_owned(),
            "task.loss: relative-l2 does not fit: cosmic predicts a mask; use masked-binary-cross-entropy",
        ),
        (
            "task.metric={kind='macro-f1'}".to_owned(),
            "task.metric: macro-f1 does not fit: cosmic predicts a mask; use false-negative-rate or masked-binary-cross-entropy",
        ),
        ("dataset.crop=0".to_owned(), "dataset.crop: must be from 1 to 100000000, found 0"),
        ("dataset.validation=0".to_owned(), "dataset.validation: must be from 1 to 100000000, found 0"),
        ("dataset.filter=''".to_owned(), "dataset.filter: must name a filter"),
        ("dataset.fields=['a', 'a']".to_owned(), "dataset.fields[1]: the field \"a\" is given twice"),
        (
            "search.backbone={kind='resnet1d'}".to_owned(),
            "search.backbone: resnet1d needs 1-D data, cosmic is 2-D",
        ),
    ] {
        let found = load(text, &[&set]).unwrap_err().to_string();
        assert_eq!(found, format!("--set {set}: {message}"));
    }
    let found = load(DARCY, &[&augment(&[&sky])]).unwrap_err().to_string();
    assert!(
        found.ends_with("task.augment[0]: does not fit: the samples of darcy-flow have no background level"),
        "{found}"
    );
}

#[test]
fn samples_of_differing_size_are_brought_to_windows() {
    let text = "name = \"p\"\ndataset = { recipe = \"psicov\", raw = \"x\" }\n[task]\n\
                loss = { kind = \"mean-squared-error\" }\nmetric = { kind = \"mae8\" }";
    let p = load(text, &[]).unwrap();
    let Dataset::Psicov(psicov) = &p.dataset else { panic!("the recipe is psicov") };
    assert_eq!((psicov.validation, psicov.validation_fraction, p.task.window), (100, 0.2, None));
    let window = load(text, &["task.window.evaluation=64"]).unwrap().task.window.unwrap();
    assert_eq!((window.training, window.evaluation, window.padding), (128, 64, 5));
    assert_eq!((window.target_padding, window.target_limit), (100.0, 16.0));
    for (set, message) in [
        ("task.window.training=0", "task.window.training: must be from 1 to 8192, found 0"),
        ("task.window.evaluation=8193", "task.window.evaluation: must be from 1 to 8192, found 8193"),
        (
            "task.window.evaluation_batch_size=0",
            "task.window.evaluation_batch_size: must be from 1 to 100000000, found 0",
        ),
        ("task.window.target_limit=inf", "task.window.target_limit: expected a finite number, found inf"),
        ("dataset.validation=0", "dataset.validation: must be from 1 to 100000000, found 0"),
        (
            "dataset.validation_fraction=1",
            "dataset.validation_fraction: must be greater than 0 and less than 1, found 1",
        ),
        ("task.decode_target=true", "task.decode_target: does not fit: psicov has no scaling to decode"),
        (
            "task.metric={kind='macro-f1'}",
            "task.metric: macro-f1 does not fit: psicov predicts a field; use relative-l2 or mae8",
        ),
        (
            "task.augment=[{kind='flip'}]",
            "task.augment: does not fit: psicov predicts a field, which does not move with the input",
        ),
        ("retrain.backbone={kind='resnet1d'}", "retrain.backbone: resnet1d needs 1-D data, psicov is 2-D"),
    ] {
        let found = load(text, &[set]).unwrap_err().to_string();
        assert_eq!(found, format!("--set {set}: {message}"));
    }
    let found = load(DARCY, &["task.window.training=64"]).unwrap_err().to_string();
    assert!(found.ends_with("task.window: does not fit: all samples of darcy-flow have one size"), "{found}");
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
fn settings_of_sound_are_checked() {
    let text = |more: &str| {
        format!(
            "name = \"s\"\ndataset = {{ recipe = \"fsd50k\", raw = \"x\" }}\n[task]\n\
             loss = {{ kind = \"binary-cross-entropy\" }}\nmetric = {{ kind = \"average-precision\" }}\n{more}"
        )
    };
    let augment = "augment = [{ kind = \"spec-augment\" }, { kind = \"noise\", mask = { rows = 0.5 } }]";
    let p = load(&text(augment), &[]).unwrap();
    let mask = Mask { probability: 0.5, rounds: 2, rows: 0.15, columns: 0.2 };
    let noise = Augment::Noise { probability: 0.75, share: 0.5, mask: Some(Mask { rows: 0.5, ..mask }) };
    assert_eq!(p.task.augment, [Augment::SpecAugment(mask), noise]);
    assert_eq!(load(&to_toml(&p).unwrap(), &[]).unwrap(), p);
    let Dataset::Fsd50k(fsd50k) = &p.dataset else { panic!("the recipe is fsd50k") };
    assert_eq!((fsd50k.chunk / fsd50k.hop + 1 + fsd50k.zero_columns, fsd50k.bands), (102, 96));
    let complaint = |sets: &[&str]| load(&text(augment), sets).unwrap_err().to_string();
    for (set, message) in [
        ("dataset.fft=33", "dataset.fft: must be even and at most 1048576, found 33"),
        ("dataset.window=2000", "dataset.window: must be at most fft = 1920, found 2000"),
        ("dataset.chunk=960", "dataset.chunk: must be more than fft / 2 = 960, found 960"),
        ("dataset.hop=0", "dataset.hop: must be from 1"),
        ("dataset.bands=5000", "dataset.bands: must be at most 4096, found 5000"),
        ("dataset.zero_columns=99999999", "dataset.hop: makes 100000100 columns of 96 bands: too many"),
        ("dataset.top_db=0", "dataset.top_db: must be greater than 0, found 0"),
        ("dataset.noise=\"a/b\"", "dataset.noise: must be the name of a folder, not a path"),
        ("dataset.noise=\"\"", "task.augment[1]: does not fit: fsd50k holds no recordings of noise"),
        ("task.metric.kind=\"macro-f1\"", "task.metric: macro-f1 does not fit: fsd50k predicts labels"),
    ] {
        assert!(complaint(&[set]).contains(message), "{}", complaint(&[set]));
    }
    for (more, message) in [
        (
            "augment = [{ kind = \"spec-augment\", rows = 1.5 }]",
            "augment[0].rows: must be at least 0 and at most 1",
        ),
        ("augment = [{ kind = \"spec-augment\", rounds = 0 }]", "augment[0].rounds: must be from 1"),
        (
            "augment = [{ kind = \"spec-augment\", row = 1 }]",
            "augment[0].row: unknown key; did you mean `rows`?",
        ),
        ("augment = [{ kind = \"noise\", share = -1 }]", "augment[0].share: must be at least 0"),
        (
            "augment = [{ kind = \"noise\", mask = { columns = 2 } }]",
            "augment[0].mask.columns: must be at least 0",
        ),
    ] {
        let error = load(&text(more), &[]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn settings_of_classified_tasks_are_checked() {
    let text = |more: &str| {
        format!(
            "name = \"c\"\ndataset = {{ recipe = \"cifar100\", raw = \"x\" }}\n[task]\n\
             loss = {{ kind = \"focal\" }}\nmetric = {{ kind = \"zero-one-error\" }}\n{more}"
        )
    };
    let augment = "augment = [{ kind = \"crop\" }, { kind = \"flip\" }]";
    let p = load(&text(augment), &[]).unwrap();
    assert_eq!(p.task.loss, Loss::Focal { gamma: 0.0 });
    assert_eq!(p.task.augment, [Augment::Crop { padding: 4 }, Augment::Flip]);
    assert_eq!(load(&to_toml(&p).unwrap(), &[]).unwrap(), p);
    let complaint = |sets: &[&str]| load(&text(augment), sets).unwrap_err().to_string();
    assert!(complaint(&["task.loss.gamma=-1"]).ends_with("task.loss.gamma: must not be negative, found -1"));
    assert!(complaint(&["dataset.validation_fraction=1"]).contains("must be greater than 0 and less than 1"));
    assert!(complaint(&["dataset.mean=[0.5]"]).ends_with("one number for each of 3 channels, found 1"));
    assert!(complaint(&["dataset.deviation=[0.5, 0, 1]"]).contains("dataset.deviation[1]: must be greater"));
    let mistakes = [
        ("augment = [{ kind = \"flip\" }, { kind = \"flip\" }]", "task.augment[1]: is given twice"),
        ("augment = [{ kind = \"crop\", padding = 0 }]", "task.augment[0].padding: must be from 1"),
        ("augment = [{ kind = \"crop\", paddin = 1 }]", "task.augment[0].paddin: unknown key"),
        ("augment = [{ kind = \"turn\" }]", "task.augment[0].kind: unknown value \"turn\""),
    ];
    for (more, message) in mistakes {
        let error = load(&text(more), &[]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let dense = DARCY.replace("decode_target = true", "augment = [{ kind = \"flip\" }]");
    let error = load(&dense, &[]).unwrap_err().to_string();
    assert!(error.contains("task.augment: does not fit: darcy-flow predicts a field"), "{error}");
}

#[test]
fn settings_of_further_tasks_are_checked() {
    let text = |dataset: &str, loss: &str| {
        format!(
            "name = \"c\"\ndataset = {{ {dataset}, raw = \"x\" }}\n[task]\n\
             loss = {{ kind = \"{loss}\" }}\nmetric = {{ kind = \"zero-one-error\" }}"
        )
    };
    let complaint = |text: &str, set: &str| load(text, &[set]).unwrap_err().to_string();
    let cifar = text("recipe = \"cifar10\"", "cross-entropy");
    let p = load(&cifar, &[]).unwrap();
    let Dataset::Cifar10(config) = &p.dataset else { panic!("the recipe is cifar10") };
    assert_eq!((config.mean.as_slice(), config.permuted), (&[0.4914, 0.4822, 0.4465][..], false));
    assert_eq!(load(&to_toml(&p).unwrap(), &[]).unwrap(), p);
    assert!(complaint(&cifar, "dataset.mean=[1]").contains("one number for each of 3 channels, found 1"));
    let mnist = text("recipe = \"mnist\"", "cross-entropy");
    let p = load(&mnist, &["dataset.permuted=true"]).unwrap();
    let Dataset::Mnist(config) = &p.dataset else { panic!("the recipe is mnist") };
    assert_eq!((config.permuted, config.permutation_seed), (true, 1111));
    assert!(complaint(&mnist, "dataset.deviation=0").contains("dataset.deviation: must be greater than 0"));
    assert!(complaint(&mnist, "search.backbone={kind='wrn'}").contains("wrn needs 2-D data, mnist is 1-D"));
    let music = text("recipe = \"music\", file = \"a.mat\"", "masked-binary-cross-entropy")
        .replace("zero-one-error", "masked-binary-cross-entropy");
    assert_eq!(load(&music, &[]).unwrap().task.metric.name(), "masked-binary-cross-entropy");
    assert!(complaint(&music, "dataset.steps=1").contains("dataset.steps: must be at least 2"));
    assert!(complaint(&music, "dataset.steps=0").contains("dataset.steps: must be from 1"));
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
fn a_profile_names_the_run_folder_and_must_be_able_to() {
    let name = |profile| pipeline("f.toml", DARCY, profile, &[]).unwrap().run_name();
    assert_eq!((name(None), name(Some("small"))), ("d".to_owned(), "d@small".to_owned()));
    let text = format!("{DARCY}\n[profiles.\"a/b\"]\nsearch.epochs = 1\n");
    let error = pipeline("f.toml", &text, Some("a/b"), &[]).unwrap_err();
    assert!(error.to_string().contains("is not a safe folder name"), "{error}");
}

#[test]
fn projections_are_checked() {
    let text = DARCY.split("[profiles").next().unwrap();
    let text = text
        .replace("darcy-flow", "spherical")
        .replace("simulate = { grid = 57 }\nsubsample = 2", "raw = \"x\"\nproject = { bandwidth = 30 }")
        .replace("{ kind = \"relative-l2\" }\nmetric", "{ kind = \"cross-entropy\" }\nmetric")
        .replace("{ kind = \"relative-l2\" }\ndecode_target = true", "{ kind = \"zero-one-error\" }");
    let Dataset::Spherical(s) = load(&text, &["dataset.project={}"]).unwrap().dataset else { panic!() };
    assert_eq!(s.project, Some(crate::pipeline::Projection::default()));
    for (set, message) in [
        ("dataset.project.bandwidth=0", "dataset.project.bandwidth: must be from 1 to 512, found 0"),
        ("dataset.project.bandwidth=513", "dataset.project.bandwidth: must be from 1 to 512, found 513"),
        ("dataset.project.images_per_rotation=0", "dataset.project.images_per_rotation: must be from 1 to"),
        ("dataset.project.bandwith=3", "dataset.project.bandwith: unknown key; did you mean `bandwidth`?"),
    ] {
        let error = load(&text, &[set]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn sweeps_are_told_apart_and_checked() {
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
