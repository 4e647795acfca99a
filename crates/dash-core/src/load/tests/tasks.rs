//! What the types of datasets and tasks cannot express.

use super::*;
use crate::pipeline::{Augment, Loss, Mask};

#[test]
fn losses_and_metrics_must_fit_the_target() {
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
fn custom_data_states_its_target_and_its_files() {
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
fn masks_and_backgrounds_are_checked() {
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
fn variable_size_samples_are_brought_to_windows() {
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
fn settings_of_audio_are_checked() {
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
