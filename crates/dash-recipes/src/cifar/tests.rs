//! The recipes `cifar10` and `cifar100`: what they make of small files, and every bad input.

use super::*;
use crate::testing::*;

#[test]
fn cifar_is_read_unpacked_and_packed_and_normalised() {
    let wanted = json!({"mean": [0.5, 0.25, 0.0], "deviation": [0.5, 0.5, 2.0]});
    let unpacked = Place::new();
    for (name, bytes) in cifar_files() {
        unpacked.put(&format!("cifar-100-python/{name}"), &bytes);
    }
    let card = unpacked.ingest(&dataset(&unpacked, "cifar100", wanted.clone()), Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [3, 2, 2]);
    let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels, &["apple", "bear", "crab"]);
    assert_eq!(card.notes["padding_value"], json!([-1.0, -0.5, 0.0]));
    // The first two of permutation(10) are 2 and 8.
    let validation = rows(&unpacked, Split::Validation);
    assert_eq!(validation.iter().map(|(_, class)| *class).collect::<Vec<_>>(), [2, 2]);
    let expected: Vec<f32> = (0..12)
        .map(|k| {
            let (mean, deviation) = [(0.5, 0.5), (0.25, 0.5), (0.0, 2.0)][k / 4];
            ((f64::from(2 + 20 * k as u8) / 255.0 - mean) / deviation) as f32
        })
        .collect();
    for (value, expected) in validation[0].0.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6);
    }
    // Bytes stay bytes on disk.
    assert_eq!(card.input.element, dash_core::card::ElementType::U8);

    let packed = Place::new();
    let files = cifar_files().map(|(name, bytes)| (format!("cifar-100-python/{name}"), bytes));
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    packed.put("cifar-100-python.tar.gz", &gzip(&tar(&files)));
    let other = packed.ingest(&dataset(&packed, "cifar100", wanted), Protocol::Strict).unwrap();
    assert_eq!(other.splits, card.splits);
    assert_eq!(other.sources[0].path, "cifar-100-python.tar.gz");

    let paper = Place::new();
    for (name, bytes) in cifar_files() {
        paper.put(name, &bytes);
    }
    paper.ingest(&dataset(&paper, "cifar100", json!({})), Protocol::Paper).unwrap();
    assert_eq!(tuning(&paper).unwrap(), [0, 1, 3, 4, 5, 6, 7, 9]);
    assert_eq!(rows(&paper, Split::Train).len(), 10);
}

#[test]
fn bad_cifar_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "cifar100", json!({}));
    place.put("notes.txt", b"x");
    assert!(place.refusal(&wanted).contains("cifar-100-python.tar.gz: there is no such file"));
    let archive = |bytes: &[u8]| {
        place.put("cifar-100-python.tar.gz", bytes);
        place.refusal(&wanted)
    };
    let whole = gzip(&tar(&cifar_files()));
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        assert!(archive(&whole[..length]).contains("cifar-100-python.tar.gz: "), "{length}");
    }
    let [train, test, meta] = cifar_files();
    let message = archive(&gzip(&tar(&[train.clone(), meta.clone()])));
    assert!(message.contains("there is no member `test`"), "{message}");
    let message = archive(&gzip(&tar(&[("../train", train.1.clone())])));
    assert!(message.contains("member \"../train\" points out of the archive"), "{message}");
    let message = archive(&gzip(&tar(&[("/train", train.1.clone())])));
    assert!(message.contains("points out of the archive"), "{message}");
    let message = archive(&gzip(&tar(&[train.clone(), train.clone()])));
    assert!(message.contains("several members \"train\""), "{message}");
    for bomb in [vec![0; 70 << 20], tar(&[("train", vec![0; 70 << 20])])] {
        let message = archive(&gzip(&bomb));
        assert!(message.contains("unpacks to more than 67108864 bytes"), "{message}");
    }

    let refusal = |name: &str, bytes: &[u8]| {
        for (other, whole) in [&train, &test, &meta] {
            place.put(&format!("cifar/{other}"), if *other == name { bytes } else { whole });
        }
        let message = place.refusal(&wanted);
        assert!(message.contains(&format!("cifar/{name}")), "{message}");
        message
    };
    assert!(refusal("test", &cifar_file(3, &[0, 1])).contains("2 labels for the 3 samples"));
    let message = refusal("test", &cifar_file(3, &[0, 3, 1]));
    assert!(
        message.contains("field `fine_labels[1]`: the label 3 has no name; there are 3 names"),
        "{message}"
    );
    let odd = |length: usize| {
        let data = array("|u1", &[1, length], &vec![0; length]);
        pickle(&dict(&[("data", data), ("fine_labels", small(&[0]))]))
    };
    assert!(refusal("test", &odd(13)).contains("not that of square images"));
    assert!(refusal("test", &odd(27)).contains("images of 9 pixels, those of the training file have 4"));
    assert!(refusal("meta", &pickle(&dict(&[]))).contains("no field `fine_label_names`"));
    assert!(refusal("train", b"\x80\x02cos\nsystem\nU\x02id\x85R.").contains("os.system"));
    dash_store::remove(&place.raw().join("cifar/meta")).unwrap();
    assert!(place.refusal(&wanted).contains("cifar/meta: there is no such file"));
}

#[test]
fn cifar_of_other_numbers_is_stored_as_networks_see_it() {
    let wanted = json!({"mean": [0.5, 0.25, 0.0], "deviation": [0.5, 0.5, 2.0]});
    let (bytes, singles) = (Place::new(), Place::new());
    for (name, file) in cifar_files() {
        bytes.put(name, &file);
        singles.put(name, &file);
    }
    let values: Vec<u8> = (0..36).flat_map(|k| ((k / 12 + 20 * (k % 12)) as f32).to_le_bytes()).collect();
    let data = array("<f4", &[3, 12], &values);
    singles.put("test", &pickle(&dict(&[("data", data), ("fine_labels", small(&[2, 1, 0]))])));
    bytes.ingest(&dataset(&bytes, "cifar100", wanted.clone()), Protocol::Strict).unwrap();
    let card = singles.ingest(&dataset(&singles, "cifar100", wanted), Protocol::Strict).unwrap();
    assert_eq!((card.input.element, card.input_scaling), (dash_core::card::ElementType::F32, None));
    for split in Split::ALL {
        assert_eq!(rows(&bytes, split), rows(&singles, split));
    }
}

/// The files of CIFAR-10: five batches of two images, a test batch of three, and names.
fn cifar10_files() -> Vec<(String, Vec<u8>)> {
    let batch = |first: usize, labels: &[u8]| {
        let samples = labels.len();
        let bytes: Vec<u8> = (0..samples * 12).map(|k| (first + k / 12 + 20 * (k % 12)) as u8).collect();
        pickle(&dict(&[("data", array("|u1", &[samples, 12], &bytes)), ("labels", small(labels))]))
    };
    let mut files: Vec<(String, Vec<u8>)> = (0..5)
        .map(|n| (format!("data_batch_{}", n + 1), batch(2 * n, &[2 * n as u8 % 3, (2 * n + 1) as u8 % 3])))
        .collect();
    files.push(("test_batch".to_owned(), batch(0, &[2, 1, 0])));
    let names = ["plane", "bird", "frog"].map(|name| {
        let mut out = vec![];
        short(&mut out, name);
        out
    });
    files.push(("batches.meta".to_owned(), pickle(&dict(&[("label_names", list(&names))]))));
    files
}

#[test]
fn cifar10_batches_are_one_training_set() {
    let wanted = json!({"mean": [0.0, 0.0, 0.0], "deviation": [1.0, 1.0, 1.0]});
    let unpacked = Place::new();
    for (name, bytes) in cifar10_files() {
        unpacked.put(&format!("cifar-10-batches-py/{name}"), &bytes);
    }
    let card = unpacked.ingest(&dataset(&unpacked, "cifar10", wanted.clone()), Protocol::Strict).unwrap();
    assert_eq!((card.recipe.as_str(), card.sources.len()), ("cifar10", 7));
    let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels, &["plane", "bird", "frog"]);
    // The first two of permutation(10) are 2 and 8: image n begins with n / 255.
    let image = |n: usize| (n as i64, (n % 3) as i64);
    let found = |split| {
        let first = |(input, class): (Vec<f32>, i64)| ((255.0 * input[0]).round() as i64, class);
        rows(&unpacked, split).into_iter().map(first).collect::<Vec<_>>()
    };
    assert_eq!(found(Split::Validation), [2, 8].map(image));
    assert_eq!(found(Split::Train), [0, 1, 3, 4, 5, 6, 7, 9].map(image));

    let packed = Place::new();
    let files: Vec<(String, Vec<u8>)> = cifar10_files()
        .into_iter()
        .map(|(name, bytes)| (format!("cifar-10-batches-py/{name}"), bytes))
        .collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    packed.put("cifar-10-python.tar.gz", &gzip(&tar(&files)));
    let other = packed.ingest(&dataset(&packed, "cifar10", wanted), Protocol::Strict).unwrap();
    assert_eq!(other.splits, card.splits);

    let refusal = |name: &str, bytes: Vec<u8>| {
        for (other, whole) in cifar10_files() {
            unpacked
                .put(&format!("cifar-10-batches-py/{other}"), if other == name { &bytes } else { &whole });
        }
        dash_store::remove(&unpacked.target()).unwrap();
        unpacked.refusal(&dataset(&unpacked, "cifar10", json!({})))
    };
    let one = |length: usize, label: u8| {
        let data = array("|u1", &[1, length], &vec![0; length]);
        pickle(&dict(&[("data", data), ("labels", small(&[label]))]))
    };
    let message = refusal("data_batch_3", one(27, 0));
    assert!(message.contains("data_batch_3") && message.contains("images of 9 pixels"), "{message}");
    let message = refusal("data_batch_5", one(12, 3));
    assert!(message.contains("data_batch_5: field `labels[0]`: the label 3 has no name"), "{message}");
    let message = refusal("test_batch", one(27, 0));
    assert!(message.contains("images of 9 pixels, those of the training file have 4"), "{message}");
    let message = refusal("batches.meta", pickle(&dict(&[])));
    assert!(message.contains("no field `label_names`"), "{message}");
    dash_store::remove(&unpacked.raw().join("cifar-10-batches-py/data_batch_4")).unwrap();
    let message = unpacked.refusal(&dataset(&unpacked, "cifar10", json!({})));
    assert!(message.contains("data_batch_4: there is no such file"), "{message}");
}

#[test]
fn permuted_images_have_rows_and_columns_in_bit_reversed_order() {
    let image = |place: &Place, permuted: bool| {
        let wanted = json!({"permuted": permuted, "mean": [0.0, 0.0, 0.0], "deviation": [1.0, 1.0, 1.0]});
        let card = place.ingest(&dataset(place, "cifar100", wanted), Protocol::Strict).unwrap();
        (rows(place, Split::Test)[0].0.iter().map(|v| v * 255.0).collect::<Vec<f32>>(), card)
    };
    let place = Place::new();
    let file = |samples: usize, side: usize| {
        let length = 3 * side * side;
        let bytes: Vec<u8> = (0..samples * length).map(|k| (k % length) as u8).collect();
        let labels: Vec<u8> = (0..samples).map(|n| n as u8 % 3).collect();
        pickle(&dict(&[("data", array("|u1", &[samples, length], &bytes)), ("fine_labels", small(&labels))]))
    };
    place.put("train", &file(10, 4));
    place.put("test", &file(1, 4));
    place.put("meta", &meta());
    let (plain, card) = image(&place, false);
    assert!(!card.notes.contains_key("row_order"));
    let (permuted, card) = image(&place, true);
    assert_eq!(card.notes["row_order"], json!([0, 2, 1, 3]));
    assert_eq!(card.notes["column_order"], json!([0, 2, 1, 3]));
    let order = [0usize, 2, 1, 3];
    let expected: Vec<f32> =
        (0..48).map(|k| plain[k / 16 * 16 + order[k / 4 % 4] * 4 + order[k % 4]]).collect();
    assert_eq!(permuted, expected);
    place.put("train", &file(10, 3));
    place.put("test", &file(1, 3));
    let error =
        place.ingest(&dataset(&place, "cifar100", json!({"permuted": true})), Protocol::Strict).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), "`dataset.permuted`: 3 rows and columns are not a power of two");
}

#[test]
fn bits_are_read_backwards() {
    assert_eq!(bit_reversal(1).unwrap(), [0]);
    assert_eq!(bit_reversal(2).unwrap(), [0, 1]);
    assert_eq!(bit_reversal(8).unwrap(), [0, 4, 2, 6, 1, 5, 3, 7]);
    assert_eq!(bit_reversal(32).unwrap()[..6], [0, 16, 8, 24, 4, 20]);
    for n in [0, 3, 12, 33] {
        assert_eq!(bit_reversal(n), None);
    }
    let mut plane: Vec<f32> = (0..16).map(|v| v as f32).collect();
    permute(&mut plane, &bit_reversal(4).unwrap());
    assert_eq!(plane, [0., 2., 1., 3., 8., 10., 9., 11., 4., 6., 5., 7., 12., 14., 13., 15.]);
}
