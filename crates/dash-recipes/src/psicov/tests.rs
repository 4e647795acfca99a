//! Proteins: what the recipe makes of them, the windows that batches show, and every bad input.

use crate::testing::*;
use dash_data::{Batch, PairWindow};
use dash_formats::{npy::NpzArchive, zip::ZipFile};

// Both made by tests/fixtures/psicov.py.
const PROTEINS: &[u8] = include_bytes!("../../../../tests/fixtures/protein.zip");
const EXPECTED: &[u8] = include_bytes!("../../../../tests/fixtures/psicov-expected.npz");

/// Residues of the fixture's training and test proteins.
const TRAIN: [usize; 7] = [26, 29, 32, 35, 27, 30, 33];
const TEST: [usize; 3] = [26, 29, 32];

const WHOLE: PairWindow =
    PairWindow { side: 42, padding: 5, target_padding: 100.0, target_limit: f32::INFINITY };

fn psicov(place: &Place) -> Dataset {
    dataset(place, "psicov", json!({"validation_fraction": 0.3}))
}

fn packed() -> Place {
    let place = Place::new();
    place.put("protein.zip", PROTEINS);
    place
}

fn open(place: &Place) -> DatasetFolder {
    DatasetFolder::open(&place.target()).unwrap()
}

fn field(batch: &Batch) -> &[f32] {
    match &batch.target {
        Targets::Field(values) => values,
        _ => panic!("a field is expected"),
    }
}

fn numbers_of(folder: &DatasetFolder, split: Split, rows: usize) -> Vec<usize> {
    (0..rows).map(|row| folder.split(split).unwrap().side(row).unwrap()).collect()
}

#[test]
fn proteins_are_split_by_their_lists() {
    let place = packed();
    let card = place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    assert_eq!(sources(&psicov(&place)).unwrap(), [place.raw().join("protein.zip")]);
    assert_eq!((card.recipe.as_str(), card.sources.len()), ("psicov", 1));
    // Two channels for each of 3 + 4 + 2 features of residues, one for each map; the longest has 35.
    assert_eq!(card.input.shape, [2 * 9 + 3, 35, 35]);
    let pairs = card.pairs.as_ref().unwrap();
    assert_eq!((pairs.position_features, pairs.map_features, pairs.channels()), (9, 3, 21));
    let folder = open(&place);
    assert_eq!(folder.card(), &card);
    // 0.3 of 7 are 2, fewer than 100: the first of the list.
    assert_eq!(numbers_of(&folder, Split::Validation, 2), TRAIN[..2]);
    assert_eq!(numbers_of(&folder, Split::Train, 5), TRAIN[2..]);
    assert_eq!(numbers_of(&folder, Split::Test, 3), TEST);
    assert_eq!(folder.split(Split::Train).unwrap().tuning_rows(), None);
    // One feature; a row and a column of distances, and the diagonal beside them.
    assert_eq!(card.notes["unknown_numbers"], json!(1 + (2 * 29 - 1) + 2));

    let one = dataset(&place, "psicov", json!({"validation": 1}));
    dash_store::remove(&place.target()).unwrap();
    let card = place.ingest(&one, Protocol::Strict).unwrap();
    assert_eq!(card.splits[&Split::Validation].rows, 1);
    assert_eq!(card.splits[&Split::Train].rows, 6);
}

#[test]
fn the_paper_protocol_trains_on_all_and_validates_on_test_proteins() {
    let place = packed();
    let card = place.ingest(&psicov(&place), Protocol::Paper).unwrap();
    let folder = open(&place);
    assert_eq!(numbers_of(&folder, Split::Train, 7), TRAIN);
    assert_eq!(numbers_of(&folder, Split::Test, 3), TEST);
    // The second half: the last of three.
    assert_eq!(numbers_of(&folder, Split::Validation, 1), TEST[2..]);
    assert_eq!(folder.split(Split::Train).unwrap().tuning_rows().unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert!(card.notes["leak"].as_str().unwrap().contains("validation proteins are test proteins"));
}

#[test]
fn an_unpacked_folder_gives_the_same_dataset() {
    let place = packed();
    let card = place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    for root in ["", "protein/", "elsewhere/"] {
        let unpacked = Place::new();
        let zip_file = ZipFile::open(&place.raw().join("protein.zip")).unwrap();
        for member in zip_file.members() {
            let bytes = zip_file.read(member).unwrap();
            unpacked.put(&member.name.replacen("protein/", root, 1), &bytes);
        }
        let tree = if root == "elsewhere/" { json!({"tree": "elsewhere"}) } else { json!({}) };
        let mut more = json!({"validation_fraction": 0.3});
        more.as_object_mut().unwrap().extend(tree.as_object().unwrap().clone());
        let config = dataset(&unpacked, "psicov", more);
        let found = unpacked.ingest(&config, Protocol::Strict).unwrap();
        assert_eq!(found.splits, card.splits, "{root}");
        // Two lists, and two files for each protein.
        assert_eq!(found.sources.len(), 2 + 2 * 10);
        assert_eq!(sources(&config).unwrap().len(), 22);
        assert!(found.sources.iter().any(|source| source.path.ends_with("psicov/distance/3psA-cb.npy")));
    }
}

/// A protein as numpy expands it, whole and cut.
#[test]
fn windows_are_those_of_numpy() {
    let place = packed();
    place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    let path = place.0.path().join("expected.npz");
    dash_store::publish_file(&path, EXPECTED).unwrap();
    let archive = NpzArchive::open(&path).unwrap();
    let expected = |name: &str| {
        let mut array = archive.array(name).unwrap();
        let count = array.len();
        (array.shape().to_vec(), array.rows(0, count).unwrap())
    };
    let folder = open(&place);
    let data = folder.split(Split::Validation).unwrap();
    let whole = data.gather_windows(&[1], &WHOLE, |_, _| panic!("nothing is cut")).unwrap();
    assert_eq!((whole.shape.clone(), whole.input.clone()), expected("x_whole"));
    assert_eq!(field(&whole), expected("y_whole").1);
    let cut = PairWindow { side: 16, target_limit: 16.0, ..WHOLE };
    let cut = data.gather_windows(&[1], &cut, |row, most| {
        assert_eq!((row, most), (1, 29 + 10 - 16));
        [3, 9]
    });
    let cut = cut.unwrap();
    assert_eq!((cut.shape.clone(), cut.input.clone()), expected("x_cut"));
    assert_eq!(field(&cut), expected("y_cut").1);
}

#[test]
fn any_window_is_a_part_of_the_padded_sample() {
    let place = packed();
    place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    let folder = open(&place);
    let data = folder.split(Split::Train).unwrap();
    for padding in [0, 1, 5] {
        let length = data.side(3).unwrap();
        let total = length + 2 * padding;
        let window = |side| PairWindow { side, padding, ..WHOLE };
        let padded = data.gather_windows(&[3], &window(total), |_, _| [0, 0]).unwrap();
        let bare = data.gather(&[3]).unwrap();
        assert_eq!(bare.shape, [21, length, length]);
        for side in [1, 2, 7, total - 1, total, total + 3] {
            for offset in [[0, 0], [2, 0], [0, 6], [9, 4], [total, total]] {
                let found = data.gather_windows(&[3], &window(side), |_, _| offset).unwrap();
                let most = total.saturating_sub(side);
                let [down, right] = offset.map(|at| at.min(most));
                for (channel, plane) in found.input.chunks_exact(side * side).enumerate() {
                    for (at, &value) in plane.iter().enumerate() {
                        let (row, column) = (at / side + down, at % side + right);
                        let inside = row < total && column < total;
                        let from = (channel * total + row) * total + column;
                        assert_eq!(value, if inside { padded.input[from] } else { 0.0 });
                    }
                }
                for (at, &value) in field(&found).iter().enumerate() {
                    let (row, column) = (at / side + down, at % side + right);
                    let inside = row < total && column < total;
                    assert_eq!(value, if inside { field(&padded)[row * total + column] } else { 100.0 });
                }
            }
        }
        // Without its padding a padded sample is the sample.
        let inner = |values: &[f32], plane: usize, at: usize| {
            let (row, column) = (at / length + padding, at % length + padding);
            values[(plane * total + row) * total + column]
        };
        for (at, &value) in bare.input.iter().enumerate() {
            assert_eq!(value, inner(&padded.input, at / (length * length), at % (length * length)));
        }
        assert!(field(&bare).iter().enumerate().all(|(at, &v)| v == inner(field(&padded), 0, at)));
    }
    // Several rows are one after the other, each in its own corner.
    let both = data.gather_windows(&[4, 0], &WHOLE, |_, _| [0, 0]).unwrap();
    let one = |row| data.gather_windows(&[row], &WHOLE, |_, _| [0, 0]).unwrap();
    assert_eq!(both.input, [one(4).input, one(0).input].concat());
    assert_eq!(data.gather(&[0, 4]).unwrap().shape, [21, 33, 33]);
    assert_eq!(data.gather(&[]).unwrap().rows, 0);
    assert!(matches!(data.gather(&[5]), Err(dash_data::Error::Row { row: 5, rows: 5 })));
    assert!(matches!(
        data.gather_windows(&[0, 9], &WHOLE, |_, _| [0, 0]),
        Err(dash_data::Error::Row { row: 9, .. })
    ));
}

#[test]
fn samples_of_one_size_have_no_windows() {
    let place = Place::new();
    place.ingest(&simulated(), Protocol::Strict).unwrap();
    let folder = open(&place);
    let data = folder.split(Split::Train).unwrap();
    assert_eq!(data.side(0), None);
    assert!(data.gather_windows(&[0], &WHOLE, |_, _| [0, 0]).is_err());
}

#[test]
fn what_surrounds_short_samples_is_no_part_of_their_numbers() {
    let place = packed();
    place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    let folder = open(&place);
    let summary = folder.summary(Split::Test, 4).unwrap();
    let [input, target] = &summary.tensors[..] else { panic!("input and target are expected") };
    assert_eq!((input.channels.len(), target.channels.len()), (21, 1));
    let pairs: u64 = TEST.iter().map(|&length| (length * length) as u64).sum();
    assert_eq!(input.histogram.counts.iter().sum::<u64>(), 21 * pairs);
    assert_eq!(target.histogram.counts.iter().sum::<u64>(), pairs);
    // A feature of residues has the same numbers along both axes.
    assert_eq!(input.channels[0].min, input.channels[1].min);
    assert!(target.all.min >= 1.0 && target.all.max > 20.0, "{:?}", target.all);
}

// One protein of four residues with two classes of structure and a profile of three columns.

type Entries = Vec<(&'static str, Vec<u8>)>;

fn singles(shape: &[usize], value: f32) -> Vec<u8> {
    array("<f4", shape, &value.to_le_bytes().repeat(shape.iter().product()))
}

fn word(text: &str) -> Vec<u8> {
    let mut out = vec![b'X'];
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out
}

fn features() -> Entries {
    vec![
        ("seq", word("ACDE")),
        ("ss", singles(&[2, 4], 1.0)),
        ("pssm", singles(&[4, 3], 2.0)),
        ("sa", singles(&[4], 3.0)),
        ("entropy", singles(&[4], 4.0)),
        ("ccmpred", singles(&[4, 4], 5.0)),
        ("freecon", singles(&[4, 4], 6.0)),
        ("potential", singles(&[4, 4], 7.0)),
    ]
}

fn with(name: &'static str, value: Option<Vec<u8>>) -> Vec<u8> {
    let mut entries = features();
    entries.retain(|(known, _)| *known != name);
    entries.extend(value.map(|value| (name, value)));
    pickle(&dict(&entries))
}

fn distances(items: &[Vec<u8>]) -> Vec<u8> {
    let object = [&start_of_array("|O8", &[items.len()])[..], b"](", &items.concat(), b"etb"].concat();
    npy("|O", false, &[items.len()], &pickle(&object))
}

fn plain() -> [Vec<u8>; 3] {
    [b"K\x04".to_vec(), word("ACDE"), singles(&[4, 4], 5.0)]
}

fn four() -> Place {
    let place = Place::new();
    for (list, ids) in [("deepcov", "a1 4\n\nb2\tx\n"), ("psicov", "c3")] {
        place.put(&format!("{list}.lst"), ids.as_bytes());
        for id in ids.split_whitespace().filter(|id| id.len() == 2) {
            place.put(&format!("{list}/features/{id}.pkl"), &pickle(&dict(&features())));
            place.put(&format!("{list}/distance/{id}-cb.npy"), &distances(&plain()));
        }
    }
    place
}

#[test]
fn faults_name_the_file_and_the_field() {
    let place = four();
    place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    dash_store::remove(&place.target()).unwrap();
    let refusal = |file: &str, bytes: &[u8]| {
        place.put(file, bytes);
        let message = place.refusal(&psicov(&place));
        assert!(message.contains(file), "{message}");
        message
    };
    // The last protein that is read.
    let file = "psicov/features/c3.pkl";
    let good = pickle(&dict(&features()));
    for length in (0..good.len()).step_by(11) {
        refusal(file, &good[..length]);
    }
    let cases: Vec<(&'static str, Option<Vec<u8>>, &str)> = vec![
        ("seq", None, "no field `seq`; the file has `ss`, `pssm`"),
        ("seq", Some(b"K\x04".to_vec()), "field `seq`: is an int; a str is expected"),
        ("seq", Some(word("A")), "field `seq`: has 1 residues; distances need at least 2"),
        ("seq", Some(word("ACD")), "field `ss`: has shape [2, 4]; (classes, residues) with 3 residues"),
        ("ss", Some(singles(&[4, 2], 1.0)), "field `ss`: has shape [4, 2]; (classes, residues) with 4"),
        ("ss", Some(singles(&[3, 4], 1.0)), "field `ss`: has 3 features of a residue, 2 in the proteins"),
        ("ss", Some(b"](K\x01e".to_vec()), "field `ss`: is a list of 1; an array of numbers is expected"),
        ("pssm", Some(singles(&[3, 4], 1.0)), "field `pssm`: has shape [3, 4]; (residues, columns) with"),
        ("pssm", Some(singles(&[4, 2], 1.0)), "field `pssm`: has 2 features of a residue, 3 in the"),
        ("sa", None, "no field `sa`"),
        ("sa", Some(singles(&[4, 1], 1.0)), "field `sa`: has shape [4, 1]; (residues) with 4 residues"),
        ("entropy", Some(array("|S1", &[4], b"abcd")), "field `entropy`: is an array of <S1 of shape [4]"),
        ("ccmpred", Some(singles(&[4, 4], 100.0)), "field `ccmpred`: element 0 is 100, not between"),
        ("freecon", Some(singles(&[4, 4], -100.5)), "field `freecon`: element 0 is -100.5, not between"),
        ("potential", Some(singles(&[4, 4], f32::INFINITY)), "field `potential`: element 0 is inf"),
        (
            "potential",
            Some(singles(&[4, 3], 1.0)),
            "field `potential`: has shape [4, 3]; (residues, residues)",
        ),
    ];
    for (name, value, expected) in cases {
        let message = refusal(file, &with(name, value));
        assert!(message.contains(expected), "{message}");
    }
    assert!(refusal(file, b"\x80\x03cposix\nsystem\nX\x02\0\0\0id\x85R.").contains("posix.system"));
    assert!(refusal(file, b"\x80\x02K\x01.").contains("the file holds an int; a dict is expected"));
    place.put(file, &good);

    let file = "deepcov/distance/a1-cb.npy";
    let good = distances(&plain());
    for length in (0..good.len()).step_by(11) {
        refusal(file, &good[..length]);
    }
    let item = |number: usize, value: Vec<u8>| {
        let mut items = plain();
        items[number] = value;
        distances(&items)
    };
    let map = |value: f32| singles(&[4, 4], value);
    for (bytes, expected) in [
        (distances(&plain()[..2]), "field `array`: is an array of object of shape [2]; length, sequence and"),
        (npy_i64(&[3], &[4; 3]), "objects are expected"),
        (item(0, b"K\x05".to_vec()), "field `length`: is 5, the features have 4 residues"),
        (item(0, word("4")), "field `length`: is a str, the features"),
        (item(1, word("AC")), "field `sequence`: is 2, the features have 4 residues"),
        (item(2, singles(&[3, 4], 1.0)), "field `map`: has shape [3, 4]; 4 x 4 is expected"),
        (item(2, word("x")), "field `map`: is a str; an array of numbers is expected"),
        (item(2, map(501.0)), "field `map`: (0, 0) is 501, more than 500 angstrom"),
        (item(2, map(f32::INFINITY)), "field `map`: (0, 0) is inf, more than 500 angstrom"),
    ] {
        let message = refusal(file, &bytes);
        assert!(message.contains(expected), "{message}");
    }
    place.put(file, &good);

    let list = "deepcov.lst";
    for (bytes, expected) in [
        (&b"\n \n"[..], "field `line 1`: there is no protein in this list"),
        (b"a1\na1 4\n", "field `line 2`: the protein a1 is listed twice"),
        (b"a1\n../b2\n", "field `line 2`: \"../b2\" identifies no protein"),
        (b"a1\n.b2\n", "identifies no protein"),
        (b"a1\n\xff\n", "field `line 2`: is not text"),
        (b"a1\n", "2 samples are requested (`dataset.validation` or"),
    ] {
        let message = refusal(list, bytes);
        assert!(message.contains(expected), "{message}");
    }
    place.put(list, b"a1\nb9\n");
    let message = place.refusal(&psicov(&place));
    assert!(message.contains("deepcov/features/b9.pkl: there is no such file"), "{message}");
}

#[test]
fn folders_and_archives_without_proteins_are_refused() {
    let place = Place::new();
    assert!(place.refusal(&psicov(&place)).contains("there is no such folder"));
    place.put("notes.txt", b"");
    let message = place.refusal(&psicov(&place));
    assert!(
        message.contains("neither a file `deepcov.lst` nor a file `protein.zip`; the folder holds notes.txt")
    );
    let named = dataset(&place, "psicov", json!({"tree": "x"}));
    assert!(place.refusal(&named).contains("there is no such folder or archive"));
    let archive = |members: &[Member<'_>]| {
        place.put("protein.zip", &zip(members));
        place.refusal(&psicov(&place))
    };
    let list = |name| Member { name, bytes: b"a1\nb2\n", deflated: false };
    assert!(archive(&[list("other.lst")]).contains("has no member `protein/deepcov.lst`"));
    assert!(archive(&[list("a/deepcov.lst"), list("deepcov.lst")]).contains("several members `deepcov.lst`"));
    assert!(archive(&[list("deepcov.lst")]).contains("has no member `psicov.lst`"));
    let message = archive(&[list("a/deepcov.lst"), list("a/psicov.lst")]);
    assert!(message.contains("protein.zip: has no member `a/deepcov/features/b2.pkl`"), "{message}");
    assert!(archive(&[list("../deepcov.lst")]).contains("points out of the archive"));
    // Damage anywhere in the archive is never a panic.
    for at in (0..PROTEINS.len()).step_by(997) {
        let mut bytes = PROTEINS.to_vec();
        bytes[at] ^= 0x40;
        place.put("protein.zip", &bytes);
        let mut staging = Staging::begin(&place.target()).unwrap();
        if let Err(error) = ingest(&psicov(&place), Protocol::Strict, &mut staging, &Silent) {
            assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        }
    }
}

#[test]
fn proteins_without_contacts_and_proteins_in_both_lists_are_told_of() {
    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);
    impl Listener for Warnings {
        fn on(&self, event: &Event) {
            if let Event::Warning { message } = event {
                self.0.lock().unwrap().push(message.clone());
            }
        }
    }
    let place = four();
    place.put("psicov.lst", b"c3\na1\n");
    place.put("psicov/features/a1.pkl", &pickle(&dict(&features())));
    place.put("psicov/distance/a1-cb.npy", &distances(&plain()));
    let warnings = Warnings::default();
    let mut staging = Staging::begin(&place.target()).unwrap();
    ingest(&psicov(&place), Protocol::Strict, &mut staging, &warnings).unwrap();
    let told = warnings.0.into_inner().unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], "1 test proteins are in the training list too: a1");
    assert!(told[3].starts_with("no protein of the test split has two residues that are 24 or more"));
    // Proteins with contacts, of which nothing is said.
    let (place, warnings) = (packed(), Warnings::default());
    let mut staging = Staging::begin(&place.target()).unwrap();
    ingest(&psicov(&place), Protocol::Strict, &mut staging, &warnings).unwrap();
    assert_eq!(warnings.0.into_inner().unwrap(), Vec::<String>::new());
}

#[test]
fn damaged_caches_are_renewed_and_cards_compared_with_the_columns() {
    let place = packed();
    let card = place.ingest(&psicov(&place), Protocol::Strict).unwrap();
    let read = || open(&place).split(Split::Test).unwrap().gather(&[2, 0]).unwrap();
    let first = read();
    let cache = cache_file(&place);
    let whole = std::fs::read(&cache).unwrap();
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        overwrite(&cache, |bytes| bytes.truncate(length));
        assert_eq!(read(), first);
        assert_eq!(std::fs::read(&cache).unwrap(), whole);
    }
    // Damage in the headers, in the lengths and in the offsets of lists, never a panic.
    for at in (0..2200).chain(whole.len() - 1500..whole.len()).step_by(11) {
        overwrite(&cache, |bytes| bytes[at] ^= 0x41);
        open(&place).split(Split::Test).unwrap().gather(&[1]).unwrap();
        overwrite(&cache, |bytes| *bytes = whole.clone());
    }
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(&card).unwrap();
        change(&mut value);
        overwrite(&place.target().join("dataset.json"), |bytes| *bytes = serde_json::to_vec(&value).unwrap());
        let error = match DatasetFolder::open(&place.target()) {
            Ok(folder) => folder.split(Split::Train).err().unwrap(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Data);
        error.to_string()
    };
    let shapes = |side: usize| {
        refusal(&|card| {
            card["input"]["shape"] = json!([21, side, side]);
            card["target"]["shape"] = json!([1, side, side]);
        })
    };
    assert!(shapes(30).contains("row 0: column `length`: 32 is not from 1 to 30"));
    let message = refusal(&|card| card["pairs"]["map_features"] = json!(2));
    assert!(message.contains("makes no input of shape [21, 35, 35]"), "{message}");
    let message = refusal(&|card| {
        card["pairs"]["map_features"] = json!(5);
        card["pairs"]["position_features"] = json!(8);
    });
    assert!(message.contains("column `positions` has not 256 numbers for 32 positions"), "{message}");
    let message = refusal(&|card| card["target"]["shape"] = json!([1, 35, 34]));
    assert!(message.contains("no target with a number per pair"), "{message}");
    let message = refusal(&|card| card["pairs"]["maps"] = json!("length"));
    assert!(message.contains("column `length` is Int64, not a list of Float32"), "{message}");
    let message = refusal(&|card| card["pairs"]["length"] = json!("x"));
    assert!(message.contains("no column `x`"), "{message}");
    assert!(refusal(&|card| card["background"] = json!("length")).contains("with a background or a scaling"));
}
