//! Converts FSD50K, recordings of sound that were cut into chunks, to mel spectrograms: a sample per recording with a
//! row per chunk.

mod clips;
mod files;

use crate::{
    DatasetRecipe, Error, SourceCollection,
    shared::mel::{Mel, MelSettings},
};
use clips::Clip;
use dash_core::{
    card::{DatasetCard, ElementType, Source, Split, Target, TensorField},
    event::{Event, Listener},
    pipeline::Fsd50k,
};
use dash_data::{CardDetails, DatasetRow, Ingest, RowLayout, RowTarget, raw::describe_source};
use files::{FileId, Files, Root};
use rayon::prelude::*;
use std::path::PathBuf;

/// Recordings that are in memory at a time: chunks take some hundred kilobytes each.
const CHUNKS: usize = 256;
/// Recordings of noise may be minutes long.
const NOISES: usize = 4;

const LICENCE: &str = "CC BY 4.0, clips under their own Creative Commons licences (FSD50K, Fonseca et al. 2022, \
                       as distributed with NAS-Bench-360)";

/// Tables of the splits.
const TABLES: [(Split, &str); 3] =
    [(Split::Train, "tr.csv"), (Split::Validation, "val.csv"), (Split::Test, "eval.csv")];

impl DatasetRecipe for Fsd50k {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        match Root::find(self)? {
            Root::Archive(path) => Ok(vec![path]),
            Root::Folder(folder) => {
                let tables = TABLES.iter().map(|(_, table)| *table).chain([clips::LABELS]);
                Ok(tables.map(|table| folder.join(table)).collect())
            }
        }
    }

    /// The unpacked recordings, those of noise included, sorted by their paths below the folder of the tables. Some
    /// hundred thousand are listed in less than a second: no recording is opened.
    fn collection(&self) -> Result<Option<SourceCollection>, Error> {
        match Root::find(self)? {
            Root::Archive(_) => Ok(None),
            root @ Root::Folder(_) => {
                let files = Files::open(self, root)?.recordings();
                Ok((!files.is_empty()).then_some(SourceCollection { name: "recordings", files }))
            }
        }
    }

    /// The published experiments keep the validation clips out of training even where they train on those of
    /// other tasks: the paper protocol has the same splits and only reports another epoch.
    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let listener = cx.listener;
        let files = Files::open(self, Root::find(self)?)?;
        let labels = clips::labels(&files)?;
        let mut taken = clips::Taken::new();
        let mut parts = vec![];
        for (split, table) in TABLES {
            parts.push((split, clips::in_order(clips::read(&files, table, &labels, &mut taken)?)));
        }
        drop(taken);
        if !self.noise.is_empty() && files.noise().is_empty() {
            return Err(Error::raw(
                files.root(),
                format!(
                    "there are no recordings of noise in a folder `{}`; `dataset.noise` names another, or none",
                    self.noise
                ),
            ));
        }
        let mut reader = Reader::new(self, &files, labels.len(), listener);
        reader.total = parts.iter().flat_map(|(_, clips)| clips).map(|clip| clip.chunks.len()).sum();
        reader.total += files.noise().len();

        let layout = RowLayout::new(
            TensorField {
                column: "input".to_owned(),
                shape: vec![1, self.bands, reader.mel.frames(self.chunk) + self.zero_columns],
                // Decibels are at most 80 from their mean as published: rounding changes them by 1/32 at the
                // most, and the benchmark takes 16 GB instead of 31.
                element: ElementType::F16,
            },
            Target::Labels { column: "target".to_owned(), labels },
            vec!["clip", "chunk"],
        );
        let mut writer = cx.writer(layout);
        writer.group_by("clip");
        for (split, clips) in &parts {
            writer.split::<Error>(*split, |push| reader.clips(clips, push))?;
        }
        if !self.noise.is_empty() {
            let names = files.noise().iter().map(|&id| files.name(id).to_owned()).collect();
            writer.noise::<Error>(names, |push| reader.noise(push))?;
        }
        let counts: serde_json::Map<String, serde_json::Value> =
            parts.iter().map(|(split, clips)| (split.name().to_owned(), clips.len().into())).collect();
        let notes = [
            ("clips_per_split".to_owned(), counts.into()),
            ("sample_rate".to_owned(), self.sample_rate.into()),
            ("chunk".to_owned(), self.chunk.into()),
            ("fft".to_owned(), self.fft.into()),
            ("window".to_owned(), self.window.into()),
            ("hop".to_owned(), self.hop.into()),
            ("top_db".to_owned(), self.top_db.into()),
            // Changes of training inputs read this one.
            ("zero_columns".to_owned(), self.zero_columns.into()),
            ("recordings_sha256".to_owned(), reader.hash.as_str().into()),
        ];
        Ok(writer.finish(CardDetails {
            sources: described(self, &files)?,
            target_scaling: None,
            notes: notes.into(),
            licence: LICENCE,
        })?)
    }
}

fn described(config: &Fsd50k, files: &Files) -> Result<Vec<Source>, Error> {
    if files.packed() {
        return Ok(vec![describe_source(&config.raw, files.root())?]);
    }
    config.sources()?.iter().map(|path| Ok(describe_source(&config.raw, path)?)).collect()
}

/// Takes a frame of noise and the number of its recording.
type PushFrame<'a> = dyn FnMut(usize, &[f32]) -> Result<(), dash_data::Error> + 'a;

/// Recordings -> spectrograms, some at a time on all threads, handed on in order.
struct Reader<'a> {
    config: &'a Fsd50k,
    files: &'a Files,
    listener: &'a dyn Listener,
    mel: Mel,
    labels: usize,
    done: usize,
    total: usize,
    /// The hash of the recordings so far: that of the text of the hash before, the hash of a recording's
    /// bytes and its name.
    hash: String,
}

impl<'a> Reader<'a> {
    fn new(config: &'a Fsd50k, files: &'a Files, labels: usize, listener: &'a dyn Listener) -> Reader<'a> {
        let Fsd50k { sample_rate, fft, window, hop, bands, top_db, .. } = *config;
        let mel = Mel::new(MelSettings { sample_rate, fft, window, hop, bands, top_db });
        Reader { config, files, listener, mel, labels, done: 0, total: 0, hash: String::new() }
    }

    /// The spectrograms of recordings of at most `most` samples.
    fn spectrograms(&mut self, ids: &[FileId], most: Option<usize>) -> Result<Vec<Vec<f32>>, Error> {
        let (config, files, mel) = (self.config, self.files, &self.mel);
        let made: Vec<Result<(Vec<f32>, String), Error>> = ids
            .par_iter()
            .map_init(
                || mel.work(),
                |work, &id| {
                    let bytes = files.bytes(id)?;
                    let signal = files.signal(id, &bytes, config.sample_rate, config.chunk, most)?;
                    Ok((mel.spectrogram(&signal, work), dash_store::sha256(&bytes)))
                },
            )
            .collect();
        let mut spectrograms = vec![];
        for (made, &id) in made.into_iter().zip(ids) {
            let (spectrogram, hash) = made?;
            self.hash = dash_store::sha256(format!("{}{hash}{}", self.hash, files.name(id)).as_bytes());
            spectrograms.push(spectrogram);
        }
        self.done += ids.len();
        let (done, total) = (self.done, self.total);
        self.listener.on(&Event::Progress { what: "recordings".to_owned(), done, total });
        Ok(spectrograms)
    }

    /// Hands on the chunks of all clips, one after the other.
    fn clips(
        &mut self,
        clips: &[Clip],
        push: &mut dyn FnMut(DatasetRow<'_>) -> Result<(), dash_data::Error>,
    ) -> Result<(), Error> {
        let mut chunks = clips
            .iter()
            .flat_map(|clip| clip.chunks.iter().enumerate().map(move |(number, &id)| (clip, number, id)));
        let frames = self.mel.frames(self.config.chunk);
        let columns = frames + self.config.zero_columns;
        let mut input = vec![0.0; self.config.bands * columns];
        loop {
            let some: Vec<(&Clip, usize, FileId)> = chunks.by_ref().take(CHUNKS).collect();
            if some.is_empty() {
                return Ok(());
            }
            let ids: Vec<FileId> = some.iter().map(|&(_, _, id)| id).collect();
            let spectrograms = self.spectrograms(&ids, Some(self.config.chunk))?;
            for ((clip, number, _), spectrogram) in some.into_iter().zip(spectrograms) {
                for (row, band) in input.chunks_exact_mut(columns).zip(spectrogram.chunks_exact(frames)) {
                    for (value, &decibels) in row.iter_mut().zip(band) {
                        *value = decibels;
                    }
                }
                push(DatasetRow {
                    input: &input,
                    target: RowTarget::Labels(&clip.multi_hot(self.labels)),
                    background: 0.0,
                    ids: &[clip.id, number as i64],
                    tuning: true,
                })?;
            }
        }
    }

    /// Hands on the frames of all recordings of noise. Those shorter than a chunk are repeated, as chunks
    /// are: the padding of the reference has nothing to do then.
    fn noise(&mut self, push: &mut PushFrame<'_>) -> Result<(), Error> {
        let bands = self.config.bands;
        let mut frame = vec![0.0; bands];
        let mut recording = 0;
        let files = self.files;
        for ids in files.noise().chunks(NOISES) {
            for spectrogram in self.spectrograms(ids, None)? {
                let frames = spectrogram.len() / bands.max(1);
                for at in 0..frames {
                    for (value, &decibels) in
                        frame.iter_mut().zip(spectrogram.iter().skip(at).step_by(frames))
                    {
                        *value = decibels;
                    }
                    push(recording, &frame)?;
                }
                recording += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
