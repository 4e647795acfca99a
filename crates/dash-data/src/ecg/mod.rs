//! PhysioNet/CinC Challenge 2017: recordings -> overlapping windows, labelled and split by recording.

mod records;

use crate::{
    Error,
    numpy_random::shuffle_split,
    recipe::{About, Ingest, describe, raw_file},
    table::{Layout, Row, RowTarget},
};
use dash_core::{
    card::{DatasetCard, ElementType, Split, Target, TensorField},
    event::{Event, Listener},
    pipeline::{Ecg, Protocol},
};
use dash_store::Staging;
use records::{Recording, Source};
use std::path::PathBuf;

/// Labels in the order of their class index: normal, atrial fibrillation, other rhythm, noise.
const LABELS: [&str; 4] = ["N", "A", "O", "~"];

const LICENCE: &str =
    "Open Data Commons Attribution License 1.0 (PhysioNet; cite Clifford et al. 2017, CinC Challenge)";

/// The benchmark's pickle, or the files of the challenge's folder.
pub(crate) fn sources(config: &Ecg) -> Result<Vec<PathBuf>, Error> {
    open(config).map(|source| source.files())
}

fn open(config: &Ecg) -> Result<Source, Error> {
    let folder = config.raw.join(&config.file);
    Source::open(&if folder.is_dir() { folder } else { raw_file(&config.raw, &config.file)? })
}

pub(crate) fn ingest(
    config: &Ecg,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    let steps = steps(config)?;
    if config.window == 0 {
        return Err(Error::configuration("dataset.window", "a window needs at least one sample"));
    }
    let source = open(config)?;
    let recordings = source.recordings()?;
    let splits = record_splits(recordings.len(), protocol, config.split_seed)
        .ok_or_else(|| Error::field(source.path(), "data", format!("{} recordings", recordings.len())))?;

    let layout = Layout {
        input: TensorField {
            column: "input".to_owned(),
            shape: vec![1, config.window],
            element: ElementType::F32,
        },
        target: Target::Class { column: "target".to_owned(), labels: LABELS.map(str::to_owned).to_vec() },
        background: None,
        ids: vec!["record", "start"],
        tuning: false,
    };
    let mut ingest = Ingest::new(staging, protocol, layout);
    let total = splits.all().iter().map(|(_, records)| records.len()).sum();
    let mut done = 0;
    let tuning = splits.tuning_records(recordings.len());
    for (split, records) in splits.all() {
        ingest.split(split, |push| {
            for &record in records {
                let Some(&(recording, class)) = recordings.get(record) else { continue };
                let signal = standardised(recording)?;
                let step = steps.get(class).copied().unwrap_or(1);
                for start in window_starts(signal.len(), config.window, step) {
                    push(Row {
                        input: signal.get(start..start + config.window).unwrap_or_default(),
                        target: RowTarget::Class(class),
                        background: 0.0,
                        ids: &[record as i64, start as i64],
                        tuning: tuning.get(record).copied().unwrap_or(false),
                    })?;
                }
                done += 1;
                listener.on(&Event::Progress { what: "recordings".to_owned(), done, total });
            }
            Ok(())
        })?;
        if ingest.splits.get(&split).is_some_and(|info| info.rows == 0) {
            return Err(Error::field(
                source.path(),
                "data",
                format!(
                    "none of the {} recordings of the {} split is longer than a window of {} samples",
                    records.len(),
                    split.name(),
                    config.window
                ),
            ));
        }
    }
    let notes = [
        ("recordings".to_owned(), recordings.len().into()),
        ("split_seed".to_owned(), config.split_seed.into()),
        ("window".to_owned(), config.window.into()),
        ("steps".to_owned(), serde_json::json!(config.steps)),
        (
            "recordings_per_split".to_owned(),
            splits.all().iter().map(|(s, r)| (s.name().to_owned(), serde_json::json!(r.len()))).collect(),
        ),
    ];
    ingest.finish(About {
        recipe: "ecg",
        sources: source.files().iter().map(|path| describe(&config.raw, path)).collect::<Result<_, _>>()?,
        target_scaling: None,
        notes: notes.into(),
        licence: LICENCE,
    })
}

/// Distance between windows by class index.
fn steps(config: &Ecg) -> Result<Vec<usize>, Error> {
    if let Some(unknown) = config.steps.keys().find(|label| !LABELS.contains(&label.as_str())) {
        return Err(Error::configuration(
            format!("dataset.steps.\"{unknown}\""),
            format!("there is no such label; the labels are {}", LABELS.join(", ")),
        ));
    }
    LABELS
        .iter()
        .map(|&label| {
            let problem = match config.steps.get(label) {
                Some(0) => "the distance between windows must be at least 1",
                Some(&step) => return Ok(step),
                None => "the distance between the windows of this label is missing",
            };
            Err(Error::configuration(format!("dataset.steps.\"{label}\""), problem))
        })
        .collect()
}

/// A recording minus its mean, divided by its population standard deviation.
fn standardised(recording: Recording<'_>) -> Result<Vec<f32>, Error> {
    let wrong = |problem: String| recording.wrong(problem);
    let signal = recording.samples()?;
    if let Some(at) = signal.iter().position(|value| !value.is_finite()) {
        return Err(wrong(format!("sample {at} is not a finite number")));
    }
    let count = signal.len() as f64;
    let mean = signal.iter().sum::<f64>() / count;
    let variance = signal.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    // Empty recordings have no deviation either: 0 / 0.
    if !(deviation > 0.0 && deviation.is_finite()) {
        return Err(wrong(format!(
            "the {} samples have no standard deviation to divide by: the recording is empty or constant",
            signal.len()
        )));
    }
    Ok(signal.iter().map(|value| ((value - mean) / deviation) as f32).collect())
}

/// Starts of the windows of a recording: 0, step, 2 step, ... below length - window. A last window that
/// would just fit is left out, as in the published data.
fn window_starts(length: usize, window: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..length.saturating_sub(window)).step_by(step)
}

/// Recordings per split.
#[derive(Debug)]
struct RecordSplits {
    train: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
    /// The training recordings of the strict split.
    tuning: Vec<usize>,
}

impl RecordSplits {
    fn all(&self) -> [(Split, &Vec<usize>); 3] {
        [(Split::Train, &self.train), (Split::Validation, &self.validation), (Split::Test, &self.test)]
    }

    /// Per recording whether tuning may train on it.
    fn tuning_records(&self, recordings: usize) -> Vec<bool> {
        let mut marks = vec![false; recordings];
        for &record in &self.tuning {
            if let Some(mark) = marks.get_mut(record) {
                *mark = true;
            }
        }
        marks
    }
}

/// The strict protocol holds out a fifth and halves it into validation and test. The paper protocol
/// holds out a tenth for the test; tuning uses train and validation of the strict split.
/// `None` for more recordings than the generator can count.
fn record_splits(recordings: usize, protocol: Protocol, seed: u32) -> Option<RecordSplits> {
    let n = u32::try_from(recordings).ok()?;
    let strict = shuffle_split(n, 0.2, seed);
    let halves = shuffle_split(u32::try_from(strict.test.len()).ok()?, 0.5, seed);
    let pick = |positions: Vec<usize>| -> Vec<usize> {
        positions.into_iter().filter_map(|position| strict.test.get(position).copied()).collect()
    };
    let (validation, test) = (pick(halves.train), pick(halves.test));
    Some(match protocol {
        Protocol::Strict => {
            RecordSplits { train: strict.train.clone(), validation, test, tuning: strict.train }
        }
        Protocol::Paper => {
            let published = shuffle_split(n, 0.1, seed);
            RecordSplits { train: published.train, validation, test: published.test, tuning: strict.train }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_of_the_full_data() {
        let strict = record_splits(8528, Protocol::Strict, 0).unwrap();
        assert_eq!([strict.train.len(), strict.validation.len(), strict.test.len()], [6822, 853, 853]);
        let paper = record_splits(8528, Protocol::Paper, 0).unwrap();
        assert_eq!([paper.train.len(), paper.validation.len(), paper.test.len()], [7675, 853, 853]);
        assert_eq!(paper.test[..3], [2044, 2916, 274]);
        assert_eq!(paper.train[..3], [4865, 6526, 6813]);
        // The strict split parts all recordings; 1706 held-out ones sum to 7 225 066.
        let held_out: usize = strict.validation.iter().chain(&strict.test).sum();
        assert_eq!(held_out, 7_225_066);
        let mut all: Vec<usize> = [&strict.train[..], &strict.validation, &strict.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..8528).collect::<Vec<_>>());
        // The test half is the first half of the second permutation: positions 1541, 6, 251.
        let order = crate::numpy_random::RandomState::new(0).permutation(8528);
        assert_eq!(strict.test[..3], [order[1541], order[6], order[251]]);
    }

    #[test]
    fn tuning_of_the_paper_protocol_trains_on_published_training_data_only() {
        let paper = record_splits(8528, Protocol::Paper, 0).unwrap();
        let strict = record_splits(8528, Protocol::Strict, 0).unwrap();
        assert_eq!(paper.tuning, strict.train);
        let train: std::collections::HashSet<_> = paper.train.iter().collect();
        assert!(paper.tuning.iter().all(|record| train.contains(record)));
        assert!(paper.tuning.iter().all(|record| !paper.validation.contains(record)));
    }

    #[test]
    fn windows_end_before_the_last_fitting_start() {
        let starts = |length, step| window_starts(length, 1000, step).collect::<Vec<_>>();
        assert_eq!(starts(999, 500), [0usize; 0]);
        assert_eq!(starts(1000, 500), [0usize; 0]);
        assert_eq!(starts(1001, 500), [0]);
        assert_eq!(starts(1500, 500), [0]);
        assert_eq!(starts(1501, 500), [0, 500]);
        // 30 seconds at 300 Hz: 16 windows for N, 97 for A, 32 for O, 320 for noise.
        assert_eq!([500, 83, 250, 25].map(|step| starts(9000, step).len()), [16, 97, 32, 320]);
    }
}
