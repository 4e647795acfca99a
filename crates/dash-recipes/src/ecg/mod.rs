//! Cuts the recordings of the PhysioNet/CinC Challenge 2017 into overlapping windows, labelled and split by recording.

mod records;

use crate::{DatasetRecipe, Error, shared::numpy_random::shuffle_split};
use dash_core::{
    card::{DatasetCard, ElementType, Split, Target, TensorField},
    event::Event,
    pipeline::{Ecg, Protocol},
};
use dash_data::{
    CardDetails, DatasetRow, Ingest, RowLayout, RowTarget,
    raw::{describe_source, required_file},
};
use records::{LABELS, Recording, Source};
use std::path::PathBuf;

const LICENCE: &str =
    "Open Data Commons Attribution License 1.0 (PhysioNet; cite Clifford et al. 2017, CinC Challenge)";

impl DatasetRecipe for Ecg {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        open(self).map(|source| source.files())
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let (protocol, listener) = (cx.protocol, cx.listener);
        let steps = steps(self)?;
        let source = open(self)?;
        let recordings = source.recordings()?;
        let splits = record_splits(recordings.len(), protocol, self.split_seed)
            .ok_or_else(|| Error::field(source.path(), "data", format!("{} recordings", recordings.len())))?;

        let layout = RowLayout::new(
            TensorField {
                column: "input".to_owned(),
                shape: vec![1, self.window],
                element: ElementType::F32,
            },
            Target::Class { column: "target".to_owned(), labels: LABELS.map(str::to_owned).to_vec() },
            vec!["record", "start"],
        );
        let mut writer = cx.writer(layout);
        let total = splits.all().iter().map(|(_, records)| records.len()).sum();
        let mut done = 0;
        let tuning = splits.tuning_records(recordings.len());
        for (split, records) in splits.all() {
            writer.split::<Error>(split, |push| {
                for &record in records {
                    let Some(&(recording, class)) = recordings.get(record) else { continue };
                    let signal = standardised(recording)?;
                    let step = steps.get(class).copied().unwrap_or(1);
                    for start in window_starts(signal.len(), self.window, step) {
                        push(DatasetRow {
                            input: signal.get(start..start + self.window).unwrap_or_default(),
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
            if writer.splits().get(&split).is_some_and(|info| info.rows == 0) {
                return Err(Error::field(
                    source.path(),
                    "data",
                    format!(
                        "none of the {} recordings of the {} split is longer than a window of {} samples",
                        records.len(),
                        split.name(),
                        self.window
                    ),
                ));
            }
        }
        let notes = [
            ("recordings".to_owned(), recordings.len().into()),
            ("split_seed".to_owned(), self.split_seed.into()),
            ("window".to_owned(), self.window.into()),
            ("steps".to_owned(), serde_json::json!(self.steps)),
            (
                "recordings_per_split".to_owned(),
                splits.all().iter().map(|(s, r)| (s.name().to_owned(), serde_json::json!(r.len()))).collect(),
            ),
        ];
        Ok(writer.finish(CardDetails {
            sources: source
                .files()
                .iter()
                .map(|path| describe_source(&self.raw, path))
                .collect::<Result<_, _>>()?,
            target_scaling: None,
            notes: notes.into(),
            licence: LICENCE,
        })?)
    }
}

fn open(config: &Ecg) -> Result<Source, Error> {
    let folder = config.raw.join(&config.file);
    Source::open(&if folder.is_dir() { folder } else { required_file(&config.raw, &config.file)? })
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
            config.steps.get(label).copied().ok_or_else(|| {
                let problem = "the distance between the windows of this label is missing";
                Error::configuration(format!("dataset.steps.\"{label}\""), problem)
            })
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
        let mut tuning = vec![false; recordings];
        for &record in &self.tuning {
            if let Some(slot) = tuning.get_mut(record) {
                *slot = true;
            }
        }
        tuning
    }
}

/// The strict protocol holds out a fifth and splits it equally into validation and test. The paper protocol
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
mod tests;
