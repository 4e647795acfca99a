use super::*;
use crate::{
    augment::Augmentation,
    stage::{DrawKey, TrainingStage},
};
use dash_core::targets::Targets;
use dash_core::{
    event::Silent,
    pipeline::{Augment, Dataset, Protocol},
    random::{Purpose, stream},
};
use dash_data::{Batch, DatasetFolder};
use dash_store::{Staging, publish_file};
use std::path::Path;

fn rng(row: u64) -> ChaCha8Rng {
    stream(0, Purpose::Augmentation, [1, 0, row])
}

const KEY: DrawKey = DrawKey { seed: 0, stage: TrainingStage::Search, epoch: 0 };
const MASK: Mask = Mask { probability: 0.5, rounds: 2, rows: 0.15, columns: 0.2 };
/// One channel of 20 rows and 41 columns, the last of zeros.
const PLANE: Plane = Plane { rows: 20, columns: 41, filled: 40 };

/// Distinct values from 1 on, and the column of zeros.
fn spectrogram() -> Vec<f32> {
    (0..20 * 41).map(|at| if at % 41 == 40 { 0.0 } else { 1.0 + at as f32 }).collect()
}

/// Rows and columns of the plane that hold nothing but 1, the minimum.
fn filled(input: &[f32]) -> (Vec<usize>, Vec<usize>) {
    let at = |row: usize, column: usize| input[row * 41 + column];
    let rows = (0..20).filter(|&row| (0..40).all(|column| at(row, column) == 1.0)).collect();
    let columns = (0..40).filter(|&column| (0..20).all(|row| at(row, column) == 1.0)).collect();
    (rows, columns)
}

#[test]
fn bands_are_filled_with_the_minimum_within_their_bounds() {
    let (mut changed, mut most) = (0, (0, 0));
    for row in 0..2000 {
        let mut input = spectrogram();
        PLANE.mask(&mut input, &MASK, &mut rng(row));
        let (rows, columns) = filled(&input);
        for (at, (new, old)) in input.iter().zip(spectrogram()).enumerate() {
            let inside = rows.contains(&(at / 41)) || columns.contains(&(at % 41));
            let inside = inside && at % 41 < 40;
            assert_eq!(*new, if inside { 1.0 } else { old });
        }
        // Twice up to int(0.15 * 20) - 1 rows and int(0.2 * 40) - 1 columns: shares stay below the bounds.
        assert!(rows.len() <= 4 && columns.len() <= 14, "{rows:?} {columns:?}");
        changed += usize::from(input != spectrogram());
        most = (most.0.max(rows.len()), most.1.max(columns.len()));
    }
    // In half of the cases, but for bands without a row and a column.
    assert!((900..1050).contains(&changed), "{changed}");
    assert_eq!(most.0, 4);
    assert!(most.1 >= 12);
}

#[test]
fn bands_of_probability_0_and_1() {
    let mut input = spectrogram();
    PLANE.mask(&mut input, &Mask { probability: 0.0, ..MASK }, &mut rng(0));
    assert_eq!(input, spectrogram());
    for row in 0..100 {
        let bands = Bands::draw(&Mask { probability: 1.0, rounds: 3, ..MASK }, 20, 40, &mut rng(row));
        assert!((1..=3).contains(&bands.rows.len()));
        assert_eq!(bands.rows.len(), bands.columns.len());
        assert!(
            bands.rows.iter().all(|band| band.end <= 20) && bands.columns.iter().all(|band| band.end <= 40)
        );
        // Everything may be asked for.
        let all =
            Bands::draw(&Mask { probability: 1.0, rows: 1.0, columns: 1.0, ..MASK }, 1, 1, &mut rng(row));
        assert!(all.rows.iter().all(|band| band.is_empty()));
    }
}

fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = 2 * samples.len() as u32;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(1000u32.to_le_bytes());
    out.extend(2000u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    out.extend(samples.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// A dataset of single clips with two recordings of noise, one three times as long as a chunk.
fn dataset(place: &Path) -> DatasetFolder {
    let put = |name: &str, bytes: &[u8]| publish_file(&place.join("raw").join(name), bytes).unwrap();
    let recording = |number: usize, length: usize| {
        let sample = |at: usize| ((at * (number + 3) * 37) % 211) as i16 * 100 - 10_000;
        wav(&(0..length).map(sample).collect::<Vec<_>>())
    };
    for (number, table) in ["tr", "val", "eval"].iter().enumerate() {
        put(&format!("{table}.csv"), format!("files,labels,ext\n{number}.wav,a,{number}\n").as_bytes());
        put(&format!("{table}/{number}.wav"), &recording(number, 100));
    }
    put("lbl_map.json", br#"{"a": 0}"#);
    put("noise_22050/a.wav", &recording(5, 100));
    put("noise_22050/b.wav", &recording(6, 300));
    let config: Dataset = serde_json::from_value(serde_json::json!({
        "recipe": "fsd50k", "raw": place.join("raw"), "sample_rate": 1000, "chunk": 100, "fft": 32,
        "window": 20, "hop": 10, "bands": 4,
    }))
    .unwrap();
    let mut staging = Staging::begin(&place.join("dataset")).unwrap();
    dash_recipes::ingest(&config, Protocol::Strict, &mut staging, &Silent).unwrap();
    staging.publish().unwrap();
    DatasetFolder::open(&place.join("dataset")).unwrap()
}

#[test]
fn noise_is_a_random_cut_of_a_random_recording_below_the_share() {
    let place = tempfile::tempdir().unwrap();
    let data = dataset(place.path());
    let noise = data.noise().unwrap().unwrap();
    let kinds = |mask| [Augment::Noise { probability: 0.75, share: 0.5, mask }];
    let augment = Augmentation::new(&kinds(None), data.card()).unwrap();
    let rows: Vec<usize> = (0..400).collect();
    let zeros = || Batch {
        rows: 400,
        shape: vec![1, 4, 12],
        // Rows of eleven frames, and the column of zeros.
        input: vec![0.0; 400 * 4 * 12],
        target: Targets::Labels(vec![0; 400]),
        background: vec![],
    };
    let error = augment.apply(&mut zeros(), &rows, KEY).unwrap_err();
    assert_eq!(error.to_string(), "`task.augment`: the dataset has no recordings of noise");

    let augment = augment.with_noise(Some(noise)).unwrap();
    let mut batch = zeros();
    augment.apply(&mut batch, &rows, KEY).unwrap();
    let (mut mixed, mut seen) = (0, std::collections::BTreeSet::new());
    for input in batch.input.chunks(4 * 12) {
        assert!(input.chunks(12).all(|row| row[11] == 0.0), "the zeros at the end stay");
        if input.iter().all(|&value| value == 0.0) {
            continue;
        }
        mixed += 1;
        // The input was 0, so that now it is the weight times a segment.
        let cuts = (0..2).flat_map(|n| (0..=noise.frames(n) - 11).map(move |start| (n, start)));
        let found = cuts.filter_map(|(recording, start)| {
            let cut = noise.cut(recording, start, 11).unwrap();
            let weight = input[0] / cut[0];
            let fits = (0..4).all(|row| {
                (0..11).all(|column| (input[row * 12 + column] - weight * cut[column * 4 + row]).abs() < 1e-4)
            });
            (fits && (0.0..0.5).contains(&weight)).then_some((recording, start))
        });
        seen.extend(found.take(1));
    }
    assert!((270..330).contains(&mixed), "{mixed} of 400");
    // One cut of the first, 21 of the second.
    assert!(seen.len() > 15 && seen.iter().any(|&(recording, _)| recording == 0), "{seen:?}");

    // Masked often enough, only the minimum is left of the noise, but for the last row and frame of a
    // recording: bands begin below the difference of lengths, as in the reference.
    let all = Mask { probability: 1.0, rounds: 50, rows: 1.0, columns: 1.0 };
    let augment = Augmentation::new(&kinds(Some(all)), data.card()).unwrap().with_noise(Some(noise)).unwrap();
    let mut batch = zeros();
    augment.apply(&mut batch, &rows, KEY).unwrap();
    let constant = |input: &&[f32]| {
        input[0] < 0.0 && input.chunks(12).all(|row| row[..11].iter().all(|&value| value == input[0]))
    };
    let constant = batch.input.chunks(4 * 12).filter(constant).count();
    assert!(constant > 100, "{constant}");
    // A recording must be as long as an input.
    let mut card = data.card().clone();
    card.input.shape = vec![1, 4, 13];
    let short = Augmentation::new(&kinds(None), &card).unwrap().with_noise(Some(noise)).unwrap_err();
    assert!(short.to_string().contains("a recording has 11 frames, inputs have 12"), "{short}");
    card.notes.insert("zero_columns".to_owned(), 13.into());
    assert!(Augmentation::new(&[], &card).is_err());
}
