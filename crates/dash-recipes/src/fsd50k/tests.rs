//! FSD50K: what its recipe makes of small recordings, and every bad input.

use crate::{
    shared::mel::{Mel, MelSettings},
    testing::*,
};
use dash_core::card::{ElementType, Target};
use dash_formats::testing::{wav, wav_16};

const RATE: u32 = 1000;
const CHUNK: usize = 100;
const BANDS: usize = 4;
const FRAMES: usize = 11;

fn dataset(place: &Place, more: Value) -> Dataset {
    let mut value = json!({
        "recipe": "fsd50k", "raw": place.raw(), "sample_rate": RATE, "chunk": CHUNK, "fft": 32, "window": 20,
        "hop": 10, "bands": BANDS,
    });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// Samples of recording `number`.
fn samples(number: usize, length: usize) -> Vec<i16> {
    (0..length).map(|at| ((at * (number + 3) * 37) % 211) as i16 * 100 - 10_000).collect()
}

fn recording(number: usize, length: usize) -> Vec<u8> {
    wav_16(RATE, &samples(number, length))
}

/// Clip 12 has two chunks, clip 9 one that is short.
const TRAIN: &str = "files,labels,ext\n\
                     /home/maker/tr/12_0000.wav,\"Dog,Bark\",12\n\
                     /home/maker/tr/12_0001.wav,\"Bark,Dog\",12\n\
                     /home/maker/tr/9_0000.wav,Rain,9\n";

/// The raw files, in the folders of the benchmark's archive.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("chunks/tr.csv", TRAIN.into()),
        ("chunks/val.csv", "files,labels,ext\ntr\\20_0000.wav,Dog,20\n".into()),
        ("chunks/eval.csv", "ext,files,labels\n30,30_0000.wav,Rain\n30,30_0001.wav,Rain\n".into()),
        ("chunks/lbl_map.json", br#"{"Rain": 2, "Bark": 0, "Dog": 1}"#.to_vec()),
        ("chunks/tr/12_0000.wav", recording(0, CHUNK)),
        ("chunks/tr/12_0001.wav", recording(1, CHUNK)),
        ("chunks/tr/9_0000.wav", recording(2, 30)),
        ("chunks/va/20_0000.wav", recording(3, CHUNK)),
        ("chunks/ev/30_0000.wav", recording(4, CHUNK)),
        ("chunks/ev/30_0001.wav", recording(5, CHUNK)),
        ("noise_22050/b.wav", recording(6, 250)),
        ("noise_22050/a.wav", recording(7, 40)),
    ]
}

fn put(place: &Place, above: &str, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        place.put(&format!("{above}{name}"), bytes);
    }
}

/// Those files with one of them exchanged, or added.
fn with(name: &'static str, bytes: impl Into<Vec<u8>>) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = files();
    all.retain(|(other, _)| *other != name);
    all.push((name, bytes.into()));
    all
}

fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<String> = files.iter().map(|(name, _)| format!("audio/{name}")).collect();
    let members = names.iter().zip(files).enumerate();
    let members =
        members.map(|(at, (name, (_, bytes)))| Member { name, bytes, deflated: at.is_multiple_of(2) });
    zip(&members.collect::<Vec<_>>())
}

/// What a chunk of these samples becomes: half precision, a column of zeros at the end of each row.
fn spectrogram(samples: &[i16]) -> Vec<f32> {
    let settings =
        MelSettings { sample_rate: RATE, fft: 32, window: 20, hop: 10, bands: BANDS, top_db: 80.0 };
    let mel = Mel::new(settings);
    let signal: Vec<f64> = samples.iter().map(|&v| f64::from(v) / 32_768.0).collect();
    mel.spectrogram(&signal, &mut mel.work()).iter().map(|&v| half::f16::from_f32(v).to_f32()).collect()
}

fn padded(samples: &[i16]) -> Vec<f32> {
    spectrogram(samples).chunks(FRAMES).flat_map(|row| [row, &[0.0]].concat()).collect()
}

#[test]
fn clips_are_samples_and_chunks_their_parts() {
    for protocol in [Protocol::Strict, Protocol::Paper] {
        let place = Place::new();
        put(&place, "data/", &files());
        let card = place.ingest(&dataset(&place, json!({})), protocol).unwrap();
        assert_eq!((card.input.shape.as_slice(), card.input.element), (&[1, 4, 12][..], ElementType::F16));
        assert_eq!(card.group.as_deref(), Some("clip"));
        let Target::Labels { labels, .. } = &card.target else { panic!("labels are expected") };
        assert_eq!(labels, &["Bark", "Dog", "Rain"]);
        assert_eq!(card.notes["clips_per_split"], json!({"train": 2, "validation": 1, "test": 1}));
        assert_eq!(card.splits[&Split::Train].class_counts, [2, 2, 1]);
        assert_eq!(card.sources.len(), 4);
        assert_eq!(card.sources[0].path, "data/chunks/tr.csv");

        let folder = DatasetFolder::open(&place.target()).unwrap();
        let train = folder.split(Split::Train).unwrap();
        assert_eq!((train.len(), train.samples(), train.is_grouped()), (3, 2, true));
        // In the order of the numbers: 9, then 12.
        assert_eq!([train.parts(0), train.parts(1), train.parts(2)], [0..1, 1..3, 3..3]);
        let paper = protocol == Protocol::Paper;
        assert_eq!(train.tuning_samples(), paper.then(|| vec![0, 1]));
        let batch = train.gather(&[0, 1, 2]).unwrap();
        let thrice: Vec<i16> = samples(2, 30).into_iter().cycle().take(CHUNK).collect();
        let expected = [padded(&thrice), padded(&samples(0, CHUNK)), padded(&samples(1, CHUNK))];
        assert_eq!(batch.input, expected.concat());
        assert_eq!(batch.target, Targets::Labels(vec![0, 0, 1, 1, 1, 0, 1, 1, 0]));
        assert_eq!(folder.split(Split::Test).unwrap().parts(0), 0..2);
        assert_eq!(folder.split(Split::Validation).unwrap().samples(), 1);
    }
}

#[test]
fn noise_is_kept_frame_by_frame() {
    let place = Place::new();
    put(&place, "", &files());
    let card = place.ingest(&dataset(&place, json!({})), Protocol::Strict).unwrap();
    assert_eq!(card.noise.as_ref().unwrap().recordings, ["a.wav", "b.wav"]);
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let noise = folder.noise().unwrap().unwrap();
    // The short one is repeated to the length of a chunk.
    assert_eq!((noise.recordings(), noise.frames(0), noise.frames(1), noise.frames(2)), (2, 11, 26, 0));
    let whole = spectrogram(&samples(6, 250));
    let frames: Vec<f32> = (3..7).flat_map(|at| whole.iter().skip(at).step_by(26).copied()).collect();
    assert_eq!(noise.cut(1, 3, 4).unwrap(), frames);
    assert_eq!(noise.least(1), whole.iter().copied().fold(0.0, f32::min));
    assert!(noise.cut(1, 23, 4).is_err() && noise.cut(0, 11, 1).is_err() && noise.cut(2, 0, 1).is_err());
    let checked = dash_data::verify(&place.target()).unwrap();
    assert!(checked.iter().any(|file| file.path.ends_with("noise.parquet") && file.problem.is_none()));
    // Without noise there is no table of it.
    let place = Place::new();
    put(&place, "", &files());
    let card = place.ingest(&dataset(&place, json!({"noise": ""})), Protocol::Strict).unwrap();
    assert_eq!(card.noise, None);
    assert!(DatasetFolder::open(&place.target()).unwrap().noise().unwrap().is_none());
}

#[test]
fn the_archive_is_read_in_place() {
    let (unpacked, packed) = (Place::new(), Place::new());
    put(&unpacked, "", &files());
    packed.put("audio.zip", &archive(&files()));
    let from_folder = unpacked.ingest(&dataset(&unpacked, json!({})), Protocol::Strict).unwrap();
    let from_archive = packed.ingest(&dataset(&packed, json!({})), Protocol::Strict).unwrap();
    assert_eq!(sources(&dataset(&packed, json!({}))).unwrap(), [packed.raw().join("audio.zip")]);
    assert_eq!(from_archive.sources[0].path, "audio.zip");
    assert_eq!(DatasetCard { sources: from_folder.sources.clone(), ..from_archive }, from_folder);
    // Tables that are unpacked come first; every recording is a source.
    put(&packed, "", &files());
    assert_eq!(sources(&dataset(&packed, json!({}))).unwrap().len(), 12);
}

#[test]
fn a_change_of_any_unpacked_recording_changes_one_input() {
    let place = Place::new();
    put(&place, "data/", &files());
    let config = dataset(&place, json!({}));
    let hashes =
        || crate::source_hashes::<Error>(&config, |path| Ok(dash_store::sha256_file(path)?)).unwrap();
    let before = hashes();
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    assert_eq!(names, ["eval.csv", "lbl_map.json", "recordings", "tr.csv", "val.csv"]);
    for (name, bytes) in files().iter().filter(|(name, _)| name.ends_with(".wav")) {
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        place.put(&format!("data/{name}"), &changed);
        let after = hashes();
        assert_ne!(after["recordings"], before["recordings"], "{name}");
        assert_eq!(after["tr.csv"], before["tr.csv"]);
        place.put(&format!("data/{name}"), bytes);
    }
    assert_eq!(hashes(), before);
    // Moved as a whole it is the same.
    let moved = Place::new();
    put(&moved, "elsewhere/", &files());
    let config = dataset(&moved, json!({}));
    let again = crate::source_hashes::<Error>(&config, |path| Ok(dash_store::sha256_file(path)?));
    assert_eq!(again.unwrap(), before);
}

#[test]
fn clips_with_names_are_numbered() {
    let place = Place::new();
    let table = TRAIN.replace(",9\n", ",rain\n");
    put(&place, "", &with("chunks/tr.csv", table));
    place.ingest(&dataset(&place, json!({})), Protocol::Strict).unwrap();
    let folder = DatasetFolder::open(&place.target()).unwrap();
    assert_eq!(folder.split(Split::Train).unwrap().parts(0), 0..2, "\"12\" comes before \"rain\"");
}

#[test]
fn bad_tables_and_recordings_are_refused() {
    let table = |from: &str, to: &str| with("chunks/tr.csv", TRAIN.replace(from, to));
    let chunk = |bytes: Vec<u8>| with("chunks/tr/12_0001.wav", bytes);
    let long = recording(0, CHUNK + 1);
    let cases = [
        (table("9_0000", "8_0000"), "tr.csv: field `files[2]`: there is no file \"8_0000.wav\""),
        (
            table("9_0000", "12_0000"),
            "tr.csv: field `files[2]`: \"/home/maker/tr/12_0000.wav\" is listed twice",
        ),
        (table("9_0000", "20_0000"), "val.csv: field `files[0]`: \"tr\\\\20_0000.wav\" is listed twice"),
        (table("Rain", "Snow"), "tr.csv: field `labels[2]`: \"Snow\" is not one of the 3 of `lbl_map.json`"),
        (table("Rain", ""), "tr.csv: field `labels[2]`: \"\" is not one of"),
        (table("\"Bark,Dog\"", "Dog"), "field `labels[1]`: are not those of other chunks of the clip \"12\""),
        (table(",9\n", ",\n"), "tr.csv: field `ext[2]`: the chunk is of no clip"),
        (table("ext", "clip"), "tr.csv: no field `ext`; the file has the columns files, labels, clip"),
        (table(",9\n", ",9,9\n"), "tr.csv: is not a table: CSV error: record 3"),
        (with("chunks/tr.csv", "files,labels,ext\n"), "tr.csv: field `files`: there are none"),
        (with("chunks/lbl_map.json", "[1]"), "lbl_map.json: field `labels`: is not a JSON object of numbers"),
        (with("chunks/lbl_map.json", "{}"), "lbl_map.json: field `labels`: there are none"),
        (
            with("chunks/lbl_map.json", r#"{"Rain": 2, "Bark": 1, "Dog": 1}"#),
            "lbl_map.json: field `Dog`: has the number 1, as \"Bark\" has",
        ),
        (
            with("chunks/lbl_map.json", r#"{"Rain": 3, "Bark": 0, "Dog": 1}"#),
            "lbl_map.json: field `Rain`: has the number 3; 0 to 2 are expected",
        ),
        (with("chunks/va/12_0001.wav", recording(0, 5)), "there are several files \"12_0001.wav\""),
        (chunk(wav_16(44_100, &[0; 9])), "sample rate`: 44100 per second, `dataset.sample_rate` is 1000"),
        (chunk(wav(2, RATE, 16, &[0; 8])), "12_0001.wav: field `channels`: 2; recordings of one are read"),
        (chunk(wav(1, RATE, 8, &[0; 8])), "12_0001.wav: field `sample format`: 8 bits, integers"),
        (chunk(wav(1, RATE, 24, &[0; 9])), "12_0001.wav: field `sample format`: 24 bits"),
        (chunk(recording(0, 0)), "12_0001.wav: field `samples`: none"),
        (chunk(long.clone()), "12_0001.wav: field `samples`: 101, `dataset.chunk` is 100"),
        (chunk(recording(0, CHUNK)[..150].to_vec()), "12_0001.wav: the recording ends early"),
        (chunk(recording(0, 60)[..120].to_vec()), "12_0001.wav: the recording ends early"),
        (chunk(long[..30].to_vec()), "12_0001.wav: "),
        (chunk(b"RIFFxxxxJUNK".to_vec()), "12_0001.wav: is not a WAV file that can be read"),
        (chunk(vec![]), "12_0001.wav: "),
        (with("noise_22050/a.wav", wav_16(44_100, &[0; 900])), "a.wav: field `sample rate`: 44100"),
    ];
    for (files, message) in cases {
        let place = Place::new();
        put(&place, "", &files);
        let error = place.refusal(&dataset(&place, json!({})));
        assert!(error.contains(message), "{error}\nshould hold {message}");
        // What the archive holds is refused in the same words, but for folders.
        let place = Place::new();
        place.put("audio.zip", &archive(&files));
        let error = place.refusal(&dataset(&place, json!({})));
        assert!(error.contains(message), "{error}\nshould hold {message}");
    }
}

#[test]
fn missing_files_and_impossible_settings_are_refused() {
    let place = Place::new();
    let refusal = |place: &Place| place.refusal(&dataset(place, json!({})));
    assert!(refusal(&place).contains("there is no such folder"));
    place.put("notes.txt", b"");
    assert!(
        refusal(&place).contains("neither a table `tr.csv` nor an archive `audio.zip`; the folder holds")
    );
    put(&place, "one/", &files());
    put(&place, "two/", &files());
    assert!(refusal(&place).contains("several folders have a table `tr.csv`: one/chunks, two/chunks"));

    let place = Place::new();
    let without = |name: &str| {
        let mut some = files();
        some.retain(|(other, _)| !other.contains(name));
        some
    };
    put(&place, "", &without("val.csv"));
    assert!(refusal(&place).contains("chunks/val.csv: there is no such file beside `tr.csv`"));
    let place = Place::new();
    put(&place, "", &without("noise"));
    assert!(refusal(&place).contains("no recordings of noise in a folder `noise_22050`"));

    let place = Place::new();
    put(&place, "", &files());
    for (key, value) in [
        ("fft", json!(31)),
        ("fft", json!(0)),
        ("window", json!(33)),
        ("hop", json!(0)),
        ("bands", json!(0)),
        ("chunk", json!(16)),
    ] {
        let error = place.ingest(&dataset(&place, json!({key: value})), Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(&format!("`dataset.{key}`")), "{error}");
    }
}

#[test]
fn damaged_and_hostile_archives_are_refused() {
    let refusal = |bytes: &[u8]| {
        let place = Place::new();
        place.put("audio.zip", bytes);
        place.refusal(&dataset(&place, json!({})))
    };
    let whole = archive(&files());
    assert!(refusal(&whole[..whole.len() / 2]).contains("this is not a complete zip archive"));
    assert!(refusal(b"PK").contains("this is not a complete zip archive"));
    let member = |name, bytes| Member { name, bytes, deflated: false };
    assert!(refusal(&zip(&[member("../tr.csv", b"")])).contains("points out of the archive"));
    assert!(refusal(&zip(&[member("/tr.csv", b"")])).contains("points out of the archive"));
    assert!(refusal(&zip(&[member("a/x.csv", b"")])).contains("there is no member `tr.csv`"));
    let two = zip(&[member("a/tr.csv", b""), member("b/tr.csv", b"")]);
    assert!(refusal(&two).contains("there are tables `tr.csv` in `a/` and in `b/`"));
    // A byte of a stored recording is another one.
    let at = whole.windows(5).rposition(|bytes| bytes == b"RIFF\xec").unwrap();
    let mut bad = whole.clone();
    bad[at + 60] ^= 1;
    assert!(refusal(&bad).contains("its checksum is not that of its bytes"));
}

#[test]
fn rows_of_a_sample_must_follow_each_other() {
    let place = Place::new();
    put(&place, "", &files());
    place.ingest(&dataset(&place, json!({})), Protocol::Strict).unwrap();
    // The chunk numbers of train fall from one clip to the next.
    let path = place.target().join("dataset.json");
    let text = std::fs::read_to_string(&path).unwrap().replace(r#""group": "clip""#, r#""group": "chunk""#);
    dash_store::publish_file(&path, text.as_bytes()).unwrap();
    let folder = DatasetFolder::open(&place.target()).unwrap();
    assert!(folder.split(Split::Train).is_ok(), "0, 0, 1 is in order");
    let text = text.replace(r#""group": "chunk""#, r#""group": "none""#);
    dash_store::publish_file(&path, text.as_bytes()).unwrap();
    let error = DatasetFolder::open(&place.target()).unwrap_err();
    assert!(error.to_string().contains("has no column `none`, which its card announces"), "{error}");
    // Clip 12 first, so that its chunks 0 and 1 come before chunk 0 of the other.
    let place = Place::new();
    put(&place, "", &with("chunks/tr.csv", TRAIN.replace(",9\n", ",13\n")));
    place.ingest(&dataset(&place, json!({})), Protocol::Strict).unwrap();
    let path = place.target().join("dataset.json");
    let text = std::fs::read_to_string(&path).unwrap().replace(r#""group": "clip""#, r#""group": "chunk""#);
    dash_store::publish_file(&path, text.as_bytes()).unwrap();
    let error = DatasetFolder::open(&place.target()).unwrap().split(Split::Train).unwrap_err();
    assert!(error.to_string().contains("column `chunk`, row 2: falls"), "{error}");
}
