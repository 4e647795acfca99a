//! Writes events as event files of TensorBoard, in a folder per stage.
//!
//! A file is a sequence of records (TensorFlow, `lib/io/record_writer.h`): length, checksum of the length, bytes, checksum
//! of the bytes. Each record is a message `Event` (`core/util/event.proto`). Its few fields that are needed here are
//! encoded directly: wall time 1, step 2, file version 3, summary 5, which holds values 1 of tag 1 and number 2.

use crate::{
    error::Error,
    log::{Log, LogFailure, Records},
};
use dash_core::{event::Event, stage::Stage};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Writes the scalars of each stage into `<folder>/<run>/<stage>/`.
pub(crate) struct TensorBoard {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Option<StageFile>,
    /// The first failure of the files of finished stages.
    failure: Option<LogFailure>,
}

/// The running stage. Its file is created with its first scalar.
struct StageFile {
    stage: Stage,
    folder: PathBuf,
    log: Option<Log>,
    /// Why the file could not be created.
    failure: Option<LogFailure>,
}

impl TensorBoard {
    /// Checks that `folder` can be written to.
    pub(crate) fn new(folder: &Path) -> Result<TensorBoard, Error> {
        // Reported now rather than after hours of training.
        let probe = folder.join(".dash-nas");
        dash_store::publish_file(&probe, b"")?;
        dash_store::remove(&probe)?;
        Ok(TensorBoard { folder: folder.to_owned(), state: Mutex::default() })
    }

    /// Writes the scalars of an event. Returns the first failure of a stage, so that it can be reported at once.
    pub(crate) fn observe(&self, event: &Event) -> Option<LogFailure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (step, scalars) = match event {
            Event::StageStarted { run, stage, .. } => {
                let folder = self.folder.join(run.to_string()).join(stage.name());
                state.end_stage();
                state.stage = Some(StageFile { stage: *stage, folder, log: None, failure: None });
                return None;
            }
            // Tuning is shown by its trials.
            Event::Epoch { .. } if state.stage.as_ref().is_some_and(|file| file.stage.is_tuning()) => {
                return None;
            }
            Event::Epoch { epoch, train_loss, score, learning_rate, .. } => {
                let scalars =
                    [("loss", Some(*train_loss)), ("score", *score), ("learning rate", Some(*learning_rate))];
                (epoch + 1, scalars.to_vec())
            }
            Event::Trial { trial, score, .. } => (trial + 1, vec![("score", *score)]),
            _ => return None,
        };
        let scalars: Vec<(&str, f64)> = scalars.into_iter().filter_map(|(tag, v)| Some((tag, v?))).collect();
        if scalars.is_empty() {
            return None;
        }
        state.stage.as_mut()?.write(step as u64, &scalars)
    }

    /// Finishes the files.
    ///
    /// # Errors
    /// If scalars are missing in one of them.
    pub(crate) fn finish(self) -> Result<(), LogFailure> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.end_stage();
        state.failure.map_or(Ok(()), Err)
    }
}

impl State {
    fn end_stage(&mut self) {
        let Some(stage) = self.stage.take() else { return };
        let failure = stage.failure.or(stage.log.and_then(|log| log.finish().err()));
        self.failure = self.failure.take().or(failure);
    }
}

impl StageFile {
    fn write(&mut self, step: u64, scalars: &[(&str, f64)]) -> Option<LogFailure> {
        // With a clock before 1970, all scalars have the same time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record_of = |now: f64| record(&summary(now, step, scalars));
        if let Some(log) = &mut self.log {
            return log.append(record_of(now.as_secs_f64()));
        }
        if let Some(failure) = &mut self.failure {
            failure.missing += 1;
            return None;
        }
        let name = format!("events.out.tfevents.{}.{}", now.as_micros(), std::process::id());
        let path = self.folder.join(name);
        let file = match dash_store::append(&path) {
            Ok(file) => file,
            Err(error) => {
                let failure = LogFailure { path, missing: 1, reason: error.to_string() };
                return Some(self.failure.insert(failure).clone());
            }
        };
        let log = self.log.insert(Log::new(&path, file, Records::Bytes));
        let first = log.append(record(&version(now.as_secs_f64())));
        first.or(log.append(record_of(now.as_secs_f64())))
    }
}

/// The first event of a file.
fn version(wall_time: f64) -> Vec<u8> {
    let mut event = fixed(1, &wall_time.to_le_bytes());
    event.extend(delimited(3, b"brain.Event:2"));
    event
}

fn summary(wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut values = vec![];
    for (tag, value) in scalars {
        let mut content = delimited(1, tag.as_bytes());
        content.extend(fixed(2, &(*value as f32).to_le_bytes()));
        values.extend(delimited(1, &content));
    }
    let mut event = fixed(1, &wall_time.to_le_bytes());
    event.push(2 << 3);
    event.extend(varint(step));
    event.extend(delimited(5, &values));
    event
}

/// A field of four or eight bytes.
fn fixed(number: u8, bytes: &[u8]) -> Vec<u8> {
    let wire = if bytes.len() == 8 { 1 } else { 5 };
    let mut out = vec![number << 3 | wire];
    out.extend(bytes);
    out
}

/// A field of text or of a message.
fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend(event);
    out.extend(masked(event).to_le_bytes());
    out
}

/// TensorFlow's checksum: CRC-32C, rotated and offset so that checksums of checksums differ.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::{pipeline::Method, stage::RunId};

    /// The record that `tensorboard.summary.writer.record_writer.RecordWriter` makes of
    /// `Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(tag="loss", simple_value=0.25)]))`:
    ///
    /// ```python
    /// import io; from tensorboard.compat.proto.event_pb2 import Event
    /// from tensorboard.compat.proto.summary_pb2 import Summary
    /// from tensorboard.summary.writer.record_writer import RecordWriter
    /// out = io.BytesIO(); event = Event(wall_time=1.5, step=300, summary=Summary(
    ///     value=[Summary.Value(tag="loss", simple_value=0.25)]))
    /// RecordWriter(out).write(event.SerializeToString()); print(out.getvalue().hex())
    /// ```
    const GOLDEN: &str =
        "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed";

    #[test]
    fn records_are_those_of_tensorboard() {
        let found: String =
            record(&summary(1.5, 300, &[("loss", 0.25)])).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, GOLDEN);
    }

    #[test]
    fn stages_have_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let board = TensorBoard::new(folder.path()).unwrap();
        let run = RunId::new("p", Some(0));
        let started = |stage| Event::StageStarted { run: run.clone(), stage, reason: "new".into() };
        let epoch = Event::Epoch {
            epoch: 0,
            epochs: 1,
            train_loss: 1.0,
            score: None,
            learning_rate: 0.1,
            seconds: 1.0,
        };
        for event in [
            epoch.clone(),
            started(Stage::Search),
            epoch.clone(),
            epoch.clone(),
            started(Stage::Tune(Method::Dash)),
            epoch,
            Event::Trial { trial: 0, trials: 2, score: None },
            Event::Trial { trial: 1, trials: 2, score: Some(0.5) },
        ] {
            assert!(board.observe(&event).is_none());
        }
        let sizes = |stage: &str| -> Vec<u64> {
            let files = std::fs::read_dir(folder.path().join("p/0").join(stage)).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).collect()
        };
        let version = record(&version(0.0)).len();
        let epochs = record(&summary(0.0, 1, &[("loss", 1.0), ("learning rate", 0.1)])).len();
        let trial = record(&summary(0.0, 2, &[("score", 0.5)])).len();
        assert_eq!(sizes("search"), [(version + 2 * epochs) as u64]);
        assert_eq!(sizes("tune"), [(version + trial) as u64]);
    }
}
