//! The recipe `mnist`: what it makes of small files, and every bad input.

use crate::testing::*;

/// An IDX file of bytes.
fn idx(shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|axis| out.extend(axis.to_be_bytes()));
    out.extend(elements);
    out
}

/// Images of 2 x 3 pixels: pixel k of image n is 10 n + k.
fn digits(samples: usize) -> Vec<u8> {
    let pixels: Vec<u8> = (0..samples * 6).map(|k| (k / 6 * 10 + k % 6) as u8).collect();
    idx(&[samples as u32, 2, 3], &pixels)
}

fn digit_labels(samples: usize) -> Vec<u8> {
    idx(&[samples as u32], &(0..samples).map(|n| n as u8 % 3).collect::<Vec<_>>())
}

#[test]
fn mnist_is_a_series_of_pixels_from_files_of_all_places() {
    // numpy.random.RandomState(5).permutation(6) = 5 2 4 1 0 3.
    for (folder, end, permuted, order) in [
        ("", "", false, [0, 1, 2, 3, 4, 5]),
        ("MNIST/raw/", ".gz", true, [5, 2, 4, 1, 0, 3]),
        ("raw/", ".gz", false, [0, 1, 2, 3, 4, 5]),
    ] {
        let place = Place::new();
        for (part, samples) in [("train", 10), ("t10k", 2)] {
            let pack = |bytes: Vec<u8>| if end.is_empty() { bytes } else { gzip(&bytes) };
            place.put(&format!("{folder}{part}-images-idx3-ubyte{end}"), &pack(digits(samples)));
            place.put(&format!("{folder}{part}-labels-idx1-ubyte{end}"), &pack(digit_labels(samples)));
        }
        let wanted = dataset(
            &place,
            "mnist",
            json!({
                "validation_fraction": 0.2, "mean": 0.5, "deviation": 0.25, "permuted": permuted,
                "permutation_seed": 5
            }),
        );
        let card = place.ingest(&wanted, Protocol::Strict).unwrap();
        assert_eq!(card.input.shape, [1, 6]);
        assert_eq!((&card.notes["image"], card.sources.len()), (&json!([2, 3]), 4));
        let row = |n: usize| {
            let value = |k: &usize| ((f64::from((10 * n + k) as u32) / 255.0 - 0.5) / 0.25) as f32;
            (order.iter().map(value).collect::<Vec<f32>>(), n as i64 % 3)
        };
        // The first two of permutation(10) are 2 and 8.
        for ((found, class), n) in rows(&place, Split::Validation).into_iter().zip([2, 8]) {
            let (expected, of) = row(n);
            assert_eq!(class, of);
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
        }
        assert_eq!(rows(&place, Split::Test).len(), 2);
        assert_eq!(rows(&place, Split::Train).len(), 8);
    }
}

#[test]
fn bad_mnist_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "mnist", json!({}));
    assert!(place.refusal(&wanted).contains("no such folder"));
    place.put("notes.txt", b"x");
    let message = place.refusal(&wanted);
    assert!(message.contains("train-images-idx3-ubyte: there is no such file"), "{message}");
    assert!(message.contains("`dataset.train_file` can name another"), "{message}");
    let refusal = |name: &str, bytes: &[u8]| {
        for (part, samples) in [("train", 10), ("t10k", 2)] {
            place.put(&format!("{part}-images-idx3-ubyte"), &digits(samples));
            place.put(&format!("{part}-labels-idx1-ubyte"), &digit_labels(samples));
        }
        place.put(name, bytes);
        let message = place.refusal(&wanted);
        assert!(message.contains(name), "{message}");
        message
    };
    let whole = digits(10);
    assert!(
        refusal("train-images-idx3-ubyte", &whole[..40]).contains("takes 60 bytes, 24 follow the header")
    );
    assert!(refusal("train-images-idx3-ubyte", &digit_labels(10)).contains("an array of 1 axes; 3 are"));
    assert!(refusal("train-labels-idx1-ubyte", &digit_labels(9)).contains("9 labels for the 10 samples"));
    assert!(refusal("t10k-labels-idx1-ubyte", b"x").contains("ends early"));
    let other = idx(&[2, 3, 3], &[0; 18]);
    let message = refusal("t10k-images-idx3-ubyte", &other);
    assert!(message.contains("images of [3, 3] pixels, those of the training file have [2, 3]"), "{message}");
}
