//! The recipe `darcy-flow`: what it makes of small files and simulations, and every bad input.

use super::*;
use crate::testing::*;

fn darcy_dataset(place: &Place, more: serde_json::Value) -> Dataset {
    let mut settings = serde_json::json!({"subsample": 2, "train": 4, "validation": 2, "test": 3});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    dataset(place, "darcy-flow", settings)
}

// A small MATLAB writer: uncompressed little-endian doubles, sample index fastest.

fn mat(fields: &[(&str, &[u32], &[f64])]) -> Vec<u8> {
    let mut out = b"MATLAB 5.0 MAT-file, written by a test".to_vec();
    out.resize(124, b' ');
    out.extend([0, 1, b'I', b'M']);
    let word = |out: &mut Vec<u8>, value: usize| out.extend((value as u32).to_le_bytes());
    for (name, dimensions, values) in fields {
        let mut body = vec![];
        for value in [6, 8, 6, 0, 5, 4 * dimensions.len()] {
            word(&mut body, value);
        }
        dimensions.iter().for_each(|&d| word(&mut body, d as usize));
        body.resize(body.len().next_multiple_of(8), 0);
        word(&mut body, 1);
        word(&mut body, name.len());
        body.extend(name.as_bytes());
        body.resize(body.len().next_multiple_of(8), 0);
        word(&mut body, 9);
        word(&mut body, 8 * values.len());
        values.iter().for_each(|v| body.extend(v.to_le_bytes()));
        word(&mut out, 14);
        word(&mut out, body.len());
        out.extend(body);
    }
    out
}

/// Value of sample n at row i, column j; distinct everywhere.
fn value(n: usize, i: usize, j: usize) -> f64 {
    ((n * n + 1) * 100 + i * 10 + j) as f64
}

/// (samples, 5, 5) in the order of the file.
fn cube(samples: usize, scale: f64) -> Vec<f64> {
    (0..samples * 25).map(|k| scale * value(k % samples, k / samples % 5, k / samples / 5)).collect()
}

fn darcy_file(samples: usize) -> Vec<u8> {
    let shape = [samples as u32, 5, 5];
    mat(&[("coeff", &shape, &cube(samples, 1.0)), ("sol", &shape, &cube(samples, 0.25))])
}

// The files hold the value 100 sample + 10 row + column, and minus a quarter of it: see
// tests/fixtures/hdf5.py.
#[test]
fn darcy_files_of_matlab_7_3_are_those_of_level_5() {
    let field = |samples: usize, scale: f64| -> Vec<f64> {
        let value = |k: usize| 100 * (k % samples) + 10 * (k / samples % 5) + k / samples / 5;
        (0..samples * 25).map(|k| scale * value(k) as f64).collect()
    };
    let level5 = Place::new();
    let level7 = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hdf5");
    for (name, samples, fixture) in [
        ("piececonst_r5_N7_smooth1.mat", 7, "chunked.mat"),
        ("piececonst_r5_N3_smooth2.mat", 3, "contiguous.mat"),
    ] {
        let shape = [samples as u32, 5, 5];
        let fields = [field(samples, 1.0), field(samples, -0.25)];
        level5.put(name, &mat(&[("coeff", &shape, &fields[0]), ("sol", &shape, &fields[1])]));
        level7.put(name, &std::fs::read(fixtures.join(fixture)).unwrap());
    }
    let darcy = |place: &Place| darcy_dataset(place, serde_json::json!({}));
    let expected = level5.ingest(&darcy(&level5), Protocol::Strict).unwrap();
    let card = level7.ingest(&darcy(&level7), Protocol::Strict).unwrap();
    assert_eq!(card.splits, expected.splits);
    assert_eq!(card.target_scaling, expected.target_scaling);

    let refused = Place::new();
    for part in ["smooth1", "smooth2"] {
        let bytes = std::fs::read(fixtures.join("refused.mat")).unwrap();
        refused.put(&format!("piececonst_r5_N3_{part}.mat"), &bytes);
    }
    let few = darcy_dataset(&refused, serde_json::json!({"train": 2, "validation": 1}));
    let message = refused.refusal(&few);
    assert!(message.contains("field `coeff[0, 0, 0]`: the value is not a finite number"), "{message}");
}

#[test]
fn darcy_files_are_thinned_encoded_and_laid_out_as_documented() {
    for protocol in [Protocol::Strict, Protocol::Paper] {
        let place = Place::new();
        place.put("data/piececonst_r5_N7_smooth1.mat", &darcy_file(7));
        place.put("data/piececonst_r5_N3_smooth2.mat", &darcy_file(3));
        let card = place.ingest(&darcy_dataset(&place, serde_json::json!({})), protocol).unwrap();
        assert_eq!(card.input.shape, [3, 3, 3]);
        assert_eq!(card.sources[1].path, "data/piececonst_r5_N3_smooth2.mat");
        let fitted = if protocol == Protocol::Strict { 4 } else { 6 };
        let rows = Split::ALL.map(|split| card.splits[&split].rows);
        assert_eq!(rows, [fitted, 2, 3]);

        let folder = DatasetFolder::open(&place.target()).unwrap();
        let tuning = folder.split(Split::Train).unwrap().tuning_rows();
        match protocol {
            Protocol::Strict => assert_eq!(tuning, None),
            Protocol::Paper => assert_eq!(tuning, Some(&[0, 1, 2, 3][..])),
        }
        // Validation row 1 is sample 5 of the first file.
        let batch = folder.split(Split::Validation).unwrap().gather(&[1]).unwrap();
        let Targets::Field(target) = batch.target else { panic!("a field is expected") };
        let statistics = |i, j| {
            let values: Vec<f64> = (0..fitted).map(|n| value(n, i, j)).collect();
            let mean = values.iter().sum::<f64>() / fitted as f64;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            (mean, (square / (fitted - 1) as f64).sqrt())
        };
        let scaling = card.target_scaling.unwrap();
        for row in 0..3 {
            for column in 0..3 {
                let at = row * 3 + column;
                let (mean, deviation) = statistics(2 * row, 2 * column);
                let original = value(5, 2 * row, 2 * column);
                let encoded = (original - mean) / (deviation + 1e-5);
                assert!((f64::from(batch.input[at]) - encoded).abs() < 1e-5);
                assert_eq!(batch.input[9 + at], column as f32 / 2.0);
                assert_eq!(batch.input[18 + at], row as f32 / 2.0);
                let decoded = target[at] * scaling.scale[at] + scaling.mean[at];
                assert!((f64::from(decoded) - 0.25 * original).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn bad_darcy_files_are_refused() {
    let place = Place::new();
    let darcy = darcy_dataset(&place, serde_json::json!({}));
    assert!(place.refusal(&darcy).contains("no such folder"));
    place.put("piececonst_r5_N7_smooth1.mat", &darcy_file(7));
    assert!(place.refusal(&darcy).contains("piececonst_r421_N1024_smooth2.mat"));
    place.put("a/piececonst_r5_N3_smooth2.mat", &darcy_file(3));
    place.put("b/piececonst_r9_N3_smooth2.mat", &darcy_file(3));
    let message = place.refusal(&darcy);
    assert!(message.contains("several") && message.contains("b/piececonst_r9_N3_smooth2.mat"), "{message}");

    let named = darcy_dataset(&place, serde_json::json!({"test_file": "a/piececonst_r5_N3_smooth2.mat"}));
    let refusal = |bytes: &[u8]| {
        place.put("a/piececonst_r5_N3_smooth2.mat", bytes);
        place.refusal(&named)
    };
    assert!(refusal(&darcy_file(3)[..500]).contains("ends early"));
    let message = refusal(&darcy_file(2));
    assert!(message.contains("3 samples are requested (`dataset.test`), the file has 2"), "{message}");
    let whole = cube(3, 1.0);
    let message = refusal(&mat(&[("coeff", &[3, 5, 5], &whole), ("Kcoeff", &[3, 5, 5], &whole)]));
    assert!(message.contains("no field `sol`; the file has `coeff`, `Kcoeff`"), "{message}");
    assert!(refusal(&mat(&[("coeff", &[15, 5], &whole), ("sol", &[3, 5, 5], &whole)])).contains("[15, 5]"));
    assert!(
        refusal(&mat(&[("coeff", &[5, 3, 5], &whole), ("sol", &[3, 5, 5], &whole)])).contains("[5, 3, 5]")
    );
    let four = cube(4, 1.0);
    assert!(
        refusal(&mat(&[("coeff", &[3, 5, 5], &whole), ("sol", &[4, 5, 5], &four)])).contains("[4, 5, 5]")
    );
    let mut infinite = whole.clone();
    infinite[3 * (2 + 5 * 4) + 1] = f64::INFINITY;
    let message = refusal(&mat(&[("coeff", &[3, 5, 5], &whole), ("sol", &[3, 5, 5], &infinite)]));
    assert!(message.contains("field `sol[1, 2, 4]`: the value is not a finite number"), "{message}");
    let nine: Vec<f64> = (0..3 * 81).map(f64::from).collect();
    let finer = mat(&[("coeff", &[3, 9, 9], &nine), ("sol", &[3, 9, 9], &nine)]);
    place.put("a/piececonst_r5_N3_smooth2.mat", &finer);
    let error = place.ingest(&named, Protocol::Strict).unwrap_err().to_string();
    assert!(error.contains("the test grid has 5 points per axis, the training grid 3"), "{error}");
}

#[test]
fn bad_settings_name_their_key() {
    let place = Place::new();
    let refusal = |dataset: Dataset| {
        let error = place.ingest(&dataset, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    };
    let darcy = |more| refusal(darcy_dataset(&place, serde_json::from_str(more).unwrap()));
    assert!(darcy(r#"{"subsample": 0}"#).contains("`dataset.subsample`"));
    assert!(darcy(r#"{"train": 1}"#).contains("`dataset.train`"));
    assert!(darcy(r#"{"test": 0}"#).contains("`dataset.test`"));
    assert!(darcy(r#"{"simulate": {"grid": 9}}"#).contains("`raw` and `simulate` cannot be given together"));
    assert!(darcy(r#"{"raw": null}"#).contains("either `raw`"));
}

#[test]
fn simulation_reports_progress_and_is_reproducible() {
    let hashes = |threads| {
        let place = Place::new();
        let recorder = Recorder::default();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let card = pool.install(|| {
            let mut staging = Staging::begin(&place.target()).unwrap();
            let card = ingest(&simulated(), Protocol::Strict, &mut staging, &recorder).unwrap();
            staging.publish().unwrap();
            card
        });
        let counts: Vec<usize> = recorder
            .0
            .into_inner()
            .unwrap()
            .iter()
            .filter_map(|event| match event {
                Event::Progress { what, done, total: 10 } if what == "simulated fields" => Some(*done),
                _ => None,
            })
            .collect();
        assert_eq!(counts, (1..=10).collect::<Vec<_>>());
        assert!(card.sources.is_empty());
        card.splits.values().map(|info| info.sha256.clone()).collect::<Vec<_>>()
    };
    assert_eq!(hashes(1), hashes(4));
    assert_eq!(sources(&simulated()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn names_of_the_benchmark() {
    assert!(matches_benchmark("piececonst_r421_N1024_smooth1.mat", "smooth1"));
    for other in [
        "piececonst_r421_N1024_smooth2.mat",
        "synthetic_piececonst_r421_N3_smooth1.mat",
        "piececonst_r32_N30_smooth1_v73.mat",
        "piececonst_r_N30_smooth1.mat",
        "piececonst_r32_N3x_smooth1.mat",
        "piececonst_smooth1.mat",
    ] {
        assert!(!matches_benchmark(other, "smooth1"), "{other}");
    }
}

#[test]
fn coordinates_run_along_the_named_axes() {
    assert_eq!(
        coordinates(3),
        [0., 0.5, 1., 0., 0.5, 1., 0., 0.5, 1., 0., 0., 0., 0.5, 0.5, 0.5, 1., 1., 1.]
    );
}

#[test]
fn statistics_are_those_of_the_first_samples_with_n_minus_1() {
    let fields = Fields { side: 1, coefficient: vec![1.0, 4.0, 100.0], solution: vec![] };
    let normaliser = Normaliser::fit(&fields, &fields.coefficient, 2);
    assert_eq!(normaliser.mean, [2.5]);
    // (1.5^2 + 1.5^2) / 1 = 4.5
    assert_eq!(normaliser.scale, [(4.5f64.sqrt() + 1e-5) as f32]);
    let mut code = vec![];
    normaliser.encode(&[4.0], &mut code);
    assert!((code[0] - (1.5 / (4.5f64.sqrt() + 1e-5)) as f32).abs() < 1e-6);
}
