//! The recipe `spherical`: what it makes of small files, and every bad input.

use crate::testing::*;

fn sphere(samples: usize, labels: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = (0..samples * 27).map(|k| (k % 251) as u8).collect();
    dict(&[("images", array("|u1", &[samples, 3, 3, 3], &bytes)), ("labels", ints(labels))])
}

fn spherical_file(test: Vec<u8>) -> Vec<u8> {
    pickle(&dict(&[("train", sphere(10, &[0, 1, 2, 3, 0, 1, 2, 3, 0, 1])), ("test", test)]))
}

#[test]
fn spherical_images_keep_their_bytes() {
    for (name, packed) in [("s2_cifar100.gz", true), ("plain.pkl", false)] {
        let place = Place::new();
        let bytes = spherical_file(sphere(2, &[3, 0]));
        place.put(name, &if packed { gzip(&bytes) } else { bytes });
        let wanted = dataset(&place, "spherical", json!({"file": name}));
        let card = place.ingest(&wanted, Protocol::Strict).unwrap();
        assert_eq!((card.input.shape.as_slice(), card.target.outputs()), (&[3, 3, 3][..], 4));
        assert_eq!((card.input.element, card.input_scaling), (dash_core::card::ElementType::U8, None));
        assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [8, 2, 2]);
        let expected: Vec<f32> = (27..54).map(|k| k as f32).collect();
        assert_eq!(rows(&place, Split::Test)[1], (expected, 0));
        // The last two of permutation(10) are 0 and 5.
        let classes: Vec<i64> = rows(&place, Split::Validation).iter().map(|(_, class)| *class).collect();
        assert_eq!(classes, [0, 1]);
    }
}

#[test]
fn bad_spherical_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "spherical", json!({}));
    let refusal = |bytes: &[u8]| {
        place.put("s2_cifar100.gz", bytes);
        place.refusal(&wanted)
    };
    let whole = gzip(&spherical_file(sphere(2, &[3, 0])));
    assert!(refusal(&whole[..whole.len() / 2]).contains("s2_cifar100.gz: the file ends early"));
    let mut damaged = whole.clone();
    damaged[whole.len() - 6] ^= 1;
    assert!(refusal(&damaged).contains("s2_cifar100.gz: "));
    assert!(refusal(&gzip(&vec![0; 70 << 20])).contains("unpacks to more than 67108864 bytes"));
    assert!(refusal(&gzip(b"x")).contains("not a pickle"));
    let message = refusal(&gzip(&pickle(&dict(&[("train", sphere(2, &[0, 1]))]))));
    assert!(message.contains("no field `test`; the file has `train`"), "{message}");
    let message = refusal(&gzip(&spherical_file(dict(&[("labels", ints(&[0]))]))));
    assert!(message.contains("no field `test.images`; the file has `labels`"), "{message}");
    let message = refusal(&gzip(&spherical_file(sphere(2, &[0]))));
    assert!(
        message.contains("field `test.labels`: 1 labels for the 2 samples of `test.images`"),
        "{message}"
    );
    let message = refusal(&gzip(&spherical_file(sphere(2, &[0, -4]))));
    assert!(message.contains("field `test.labels[1]`: the label -4 is negative"), "{message}");
    let flat = dict(&[("images", array("|u1", &[1, 27], &[0; 27])), ("labels", ints(&[0]))]);
    assert!(refusal(&gzip(&spherical_file(flat))).contains("field `test.images`: is an array of"));
    let other = dict(&[("images", array("|u1", &[1, 3, 3, 4], &[0; 36])), ("labels", ints(&[0]))]);
    assert!(refusal(&gzip(&spherical_file(other))).contains("images of shape [3, 3, 4]"));
}

#[test]
fn spherical_images_are_made_of_flat_ones() {
    let project = |seed: u32| json!({"project": {"bandwidth": 3, "images_per_rotation": 4, "seed": seed}});
    let unpacked = Place::new();
    for (name, bytes) in cifar_files() {
        unpacked.put(&format!("cifar-100-python/{name}"), &bytes);
    }
    // Without the key the benchmark's file is meant.
    let message = unpacked.refusal(&dataset(&unpacked, "spherical", json!({})));
    assert!(message.contains("s2_cifar100.gz: there is no such file"), "{message}");
    assert!(message.contains("`dataset.project = {}` makes it from the CIFAR-100 there"), "{message}");

    let wanted = dataset(&unpacked, "spherical", project(1));
    assert_eq!(sources(&wanted).unwrap().len(), 3);
    let card = unpacked.ingest(&wanted, Protocol::Strict).unwrap();
    assert_eq!((card.recipe.as_str(), card.input.shape.as_slice()), ("spherical", &[3, 6, 6][..]));
    let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels, &["apple", "bear", "crab"]);
    assert_eq!(card.notes["projection"]["images_per_rotation"], 4);
    for split in Split::ALL {
        for (image, _) in rows(&unpacked, split) {
            let span = image.iter().fold((255f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
            assert_eq!(span, (0.0, 255.0));
            assert!(image.iter().all(|value| value.fract() == 0.0));
        }
    }

    // An image becomes the same whatever is read before it, from wherever.
    let packed = Place::new();
    packed.put("cifar-100-python.tar.gz", &gzip(&tar(&cifar_files())));
    let other = packed.ingest(&dataset(&packed, "spherical", project(1)), Protocol::Strict).unwrap();
    assert_eq!(other.splits, card.splits);
    let paper = Place::new();
    paper.put("cifar-100-python.tar.gz", &gzip(&tar(&cifar_files())));
    paper.ingest(&dataset(&paper, "spherical", project(1)), Protocol::Paper).unwrap();
    // The last two of permutation(10) are 0 and 5.
    let all = rows(&paper, Split::Train);
    assert_eq!(rows(&unpacked, Split::Validation), [all[0].clone(), all[5].clone()]);
    let reseeded = Place::new();
    reseeded.put("cifar-100-python.tar.gz", &gzip(&tar(&cifar_files())));
    let other = reseeded.ingest(&dataset(&reseeded, "spherical", project(2)), Protocol::Strict).unwrap();
    assert_ne!(other.splits, card.splits);

    for key in ["bandwidth", "images_per_rotation"] {
        let none = json!({"project": {key: 0}});
        let error = packed.ingest(&dataset(&packed, "spherical", none), Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(&format!("`dataset.project.{key}`: must be from 1")), "{error}");
    }
}

#[test]
fn bad_flat_images_make_no_spherical_ones() {
    let place = Place::new();
    let wanted = dataset(&place, "spherical", json!({"project": {}}));
    place.put("notes.txt", b"x");
    let message = place.refusal(&wanted);
    assert!(message.contains("cifar-100-python.tar.gz: there is no such file"), "{message}");
    assert!(message.contains("`dataset.project.archive` can name another"), "{message}");
    let [train, test, meta] = cifar_files();
    let refusal = |name: &str, bytes: &[u8]| {
        for (other, whole) in [&train, &test, &meta] {
            place.put(&format!("cifar/{other}"), if *other == name { bytes } else { whole });
        }
        place.refusal(&wanted)
    };
    assert!(refusal("test", &cifar_file(3, &[0, 1])).contains("2 labels for the 3 samples"));
    assert!(refusal("test", &cifar_file(3, &[0, 3, 1])).contains("the label 3 has no name"));
    assert!(refusal("train", &train.1[..train.1.len() / 2]).contains("cifar/train"));
    assert!(refusal("meta", &pickle(&dict(&[]))).contains("no field `fine_label_names`"));
}

#[test]
fn fractions_that_leave_a_split_empty_name_their_key() {
    let place = Place::new();
    place.put("s2_cifar100.gz", &spherical_file(sphere(2, &[3, 0])));
    for fraction in [0.01, 0.99] {
        let wanted = dataset(&place, "spherical", json!({"validation_fraction": fraction}));
        let error = place.ingest(&wanted, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("`dataset.validation_fraction`"), "{error}");
    }
}
