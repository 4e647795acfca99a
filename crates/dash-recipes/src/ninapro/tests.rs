//! The recipe `ninapro`: what it makes of small files, and every bad input.

use crate::testing::*;

/// Windows of 4 times and `channels` channels: value = 100 sample + 10 time + channel.
fn windows(samples: usize, channels: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..samples * 4 * channels)
        .map(|k| (100 * (k / (4 * channels)) + 10 * (k / channels % 4) + k % channels) as f32)
        .collect();
    npy_f32(&[samples, 4, channels], &values)
}

fn put_ninapro(place: &Place, channels: usize) {
    for (part, samples) in [("train", 5), ("val", 3), ("test", 2)] {
        place.put(&format!("ninaPro/ninapro_{part}.npy"), &windows(samples, channels));
        let labels: Vec<i64> = (0..samples as i64).map(|n| n % 3).collect();
        place.put(&format!("ninaPro/label_{part}.npy"), &npy_i64(&[samples], &labels));
    }
}

#[test]
fn ninapro_windows_become_planes_of_electrodes_and_time() {
    for channels in [2, 3] {
        let place = Place::new();
        put_ninapro(&place, channels);
        let card = place.ingest(&dataset(&place, "ninapro", json!({})), Protocol::Strict).unwrap();
        assert_eq!(card.input.shape, [1, channels, 4]);
        assert_eq!(card.target.outputs(), 3);
        assert_eq!(card.sources.len(), 6);
        assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [5, 3, 2]);
        let (input, class) = rows(&place, Split::Test)[1].clone();
        let expected: Vec<f32> =
            (0..channels).flat_map(|c| (0..4).map(move |t| (100 + 10 * t + c) as f32)).collect();
        assert_eq!((input, class), (expected, 1));
    }
    let place = Place::new();
    put_ninapro(&place, 2);
    let card = place.ingest(&dataset(&place, "ninapro", json!({})), Protocol::Paper).unwrap();
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [8, 3, 2]);
    assert_eq!(tuning(&place).unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(rows(&place, Split::Train)[5..], rows(&place, Split::Validation));
}

#[test]
fn bad_ninapro_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "ninapro", json!({}));
    put_ninapro(&place, 2);
    let refusal = |name: &str, bytes: &[u8]| {
        let path = format!("ninaPro/{name}");
        let before = std::fs::read(place.raw().join(&path)).unwrap();
        place.put(&path, bytes);
        let message = place.refusal(&wanted);
        place.put(&path, &before);
        assert!(message.contains(name), "{message}");
        message
    };
    assert!(refusal("ninapro_val.npy", &windows(3, 4)).contains("windows of 4 times and 4 channels"));
    assert!(refusal("ninapro_val.npy", &windows(2, 2)).contains("3 labels for the 2 samples"));
    assert!(refusal("ninapro_val.npy", &windows(3, 2)[..200]).contains("follow its header"));
    assert!(refusal("ninapro_val.npy", &npy_f32(&[3, 8], &[0.0; 24])).contains("(samples, time, channels)"));
    assert!(refusal("ninapro_val.npy", &npy_f32(&[0, 4, 2], &[])).contains("there are no windows"));
    assert!(
        refusal("label_val.npy", &npy_f32(&[3], &[0.0, 0.5, 1.0])).contains("row 1 holds something else")
    );
    assert!(refusal("label_val.npy", &npy_i64(&[3, 1], &[0, 1, 2])).contains("one label per sample"));
    assert!(refusal("label_test.npy", &npy_i64(&[2], &[0, -1])).contains("the label -1 is negative"));
    let mut values = [0.0; 24];
    values[13] = f32::INFINITY;
    let message = refusal("ninapro_val.npy", &npy_f32(&[3, 4, 2], &values));
    assert!(message.contains("field `array[1]`: element 5 is not a finite number"), "{message}");
    dash_store::remove(&place.raw().join("ninaPro/label_val.npy")).unwrap();
    assert!(place.refusal(&wanted).contains("`dataset.validation_label_file` can name another"));
}
