//! The recipe `satellite`: what it makes of small files, and every bad input.

use super::standardise;
use crate::testing::*;

/// Series n is n, n + 0.5, n + 1; labels run from 1 to 3.
fn satellite_file(samples: usize) -> Vec<u8> {
    let values: Vec<f64> = (0..samples * 3).map(|k| (k / 3) as f64 + 0.5 * (k % 3) as f64).collect();
    let labels: Vec<i64> = (0..samples).map(|n| n as i64 % 3 + 1).collect();
    satellite(&values, &labels)
}

fn satellite(values: &[f64], labels: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let data = array("<f8", &[values.len() / 3, 3], &bytes);
    object_npy(&dict(&[("data", data), ("label", ints(labels))]))
}

#[test]
fn satellite_series_keep_their_values_and_labels_start_at_zero() {
    for protocol in [Protocol::Strict, Protocol::Paper] {
        let place = Place::new();
        place.put("satellite_train.npy", &satellite_file(10));
        place.put("sub/satellite_test.npy", &satellite_file(4));
        let card = place
            .ingest(&dataset(&place, "satellite", json!({"validation_fraction": 0.2})), protocol)
            .unwrap();
        assert_eq!(card.input.shape, [1, 3]);
        assert_eq!(card.sources[1].path, "sub/satellite_test.npy");
        let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
        assert_eq!(labels, &["1", "2", "3"]);
        // The last two of permutation(10) = 2 8 4 9 1 6 7 3 0 5 are for validation.
        let row = |n: usize| (vec![n as f32, n as f32 + 0.5, n as f32 + 1.0], n as i64 % 3);
        assert_eq!(rows(&place, Split::Validation), [row(0), row(5)]);
        assert_eq!(rows(&place, Split::Test), (0..4).map(row).collect::<Vec<_>>());
        let train: Vec<usize> = match protocol {
            Protocol::Strict => vec![1, 2, 3, 4, 6, 7, 8, 9],
            Protocol::Paper => (0..10).collect(),
        };
        assert_eq!(rows(&place, Split::Train), train.into_iter().map(row).collect::<Vec<_>>());
        let expected = (protocol == Protocol::Paper).then(|| vec![1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(tuning(&place), expected);
    }
    let place = Place::new();
    place.put("satellite_train.npy", &satellite_file(20));
    place.put("satellite_test.npy", &satellite_file(4));
    place.ingest(&dataset(&place, "satellite", json!({"standardise": true})), Protocol::Strict).unwrap();
    let deviation = (1.0f64 / 6.0).sqrt();
    for (series, _) in rows(&place, Split::Test) {
        for (value, expected) in series.iter().zip([-0.5, 0.0, 0.5]) {
            assert!((f64::from(*value) - expected / deviation).abs() < 1e-6);
        }
    }
}

#[test]
fn bad_satellite_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "satellite", json!({}));
    assert!(place.refusal(&wanted).contains("no such folder"));
    place.put("satellite_train.npy", &satellite_file(20));
    assert!(place.refusal(&wanted).contains("satellite_test.npy: there is no such file; the folder holds"));
    place.put("a/satellite_test.npy", &satellite_file(4));
    place.put("b/satellite_test.npy", &satellite_file(4));
    assert!(place.refusal(&wanted).contains("several files have this name"));

    let wanted = dataset(&place, "satellite", json!({"test_file": "a/satellite_test.npy"}));
    let refusal = |bytes: &[u8]| {
        place.put("a/satellite_test.npy", bytes);
        place.refusal(&wanted)
    };
    let whole = satellite_file(4);
    assert!(refusal(&whole[..whole.len() / 2]).contains("ends early"));
    assert!(refusal(&npy_f32(&[4, 3], &[0.0; 12])).contains("objects are expected"));
    assert!(refusal(&object_npy(&list(&[]))).contains("the file holds a list of 0; a dict is expected"));
    assert!(refusal(&object_npy(&dict(&[("data", ints(&[1]))]))).contains("field `data`: is an array"));
    let data = || array("<f8", &[2, 3], &[0; 48]);
    assert!(
        refusal(&object_npy(&dict(&[("data", data())]))).contains("no field `label`; the file has `data`")
    );
    let message = refusal(&object_npy(&dict(&[("data", data()), ("label", ints(&[1, 2, 3]))])));
    assert!(message.contains("field `label`: 3 labels for the 2 samples of `data`"), "{message}");
    let message = refusal(&satellite(&[0.0, 1.0, 2.0, 3.0, f64::NAN, 5.0], &[1, 2]));
    assert!(message.contains("field `data[1]`: element 1 is not a finite number"), "{message}");
    assert!(refusal(&satellite(&[0.0; 6], &[1, -2])).contains("field `label[1]`: the label -2 is negative"));
    assert!(refusal(&satellite(&[0.0; 6], &[1, 1 << 40])).contains("field `label[1]`"));
    let narrow = array("<f8", &[3, 2], &[0; 48]);
    let message = refusal(&object_npy(&dict(&[("data", narrow), ("label", ints(&[1, 2, 3]))])));
    assert!(message.contains("series of length 2, those of the training file have 3"), "{message}");
    // Nothing that a pickle asks for is executed.
    let evil = npy("|O", false, &[], b"\x80\x02cposix\nsystem\nU\x02id\x85R.");
    assert!(refusal(&evil).contains("posix.system"));
}

#[test]
fn series_are_standardised_with_the_population_deviation() {
    let mut series = [1.0, 3.0, 1.0, 3.0];
    standardise(&mut series);
    assert_eq!(series, [-1.0, 1.0, -1.0, 1.0]);
    let mut constant = [2.5; 3];
    standardise(&mut constant);
    assert_eq!(constant, [0.0; 3]);
}
