//! FSD50K: recordings of sound, cut into chunks -> mel spectrograms, a sample per recording with a row per
//! chunk.

mod clips;
mod files;
mod wav;

use crate::{
    Error,
    mel::{Mel, Settings},
    recipe::{About, Ingest, describe},
    table::{Layout, Row, RowTarget},
};
use clips::Clip;
use dash_core::{
    card::{DatasetCard, ElementType, Source, Split, Target, TensorField},
    event::{Event, Listener},
    pipeline::{Fsd50k, Protocol},
};
use dash_store::Staging;
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

/// The archive; or the tables, if the data is unpacked.
pub(crate) fn sources(config: &Fsd50k) -> Result<Vec<PathBuf>, Error> {
    match Root::find(config)? {
        Root::Archive(path) => Ok(vec![path]),
        Root::Folder(folder) => {
            let tables = TABLES.iter().map(|(_, table)| *table).chain([clips::LABELS]);
            Ok(tables.map(|table| folder.join(table)).collect())
        }
    }
}

/// The unpacked recordings, those of noise too, sorted by their paths below the folder of the tables; none if the
/// data is packed. Some hundred thousands are listed in less than a second: no recording is looked at.
pub(crate) fn recordings(config: &Fsd50k) -> Result<Vec<(String, PathBuf)>, Error> {
    match Root::find(config)? {
        Root::Archive(_) => Ok(vec![]),
        root @ Root::Folder(_) => Ok(Files::open(config, root)?.recordings()),
    }
}

/// The published experiments keep the validation clips out of training even where they train on those of
/// other tasks: the paper protocol has the same splits and only reports another epoch.
pub(crate) fn ingest(
    config: &Fsd50k,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    check(config)?;
    let files = Files::open(config, Root::find(config)?)?;
    let labels = clips::labels(&files)?;
    let mut taken = clips::Taken::new();
    let mut parts = vec![];
    for (split, table) in TABLES {
        parts.push((split, clips::in_order(clips::read(&files, table, &labels, &mut taken)?)));
    }
    drop(taken);
    if !config.noise.is_empty() && files.noise().is_empty() {
        return Err(Error::Raw {
            path: files.root().to_owned(),
            problem: format!(
                "there are no recordings of noise in a folder `{}`; `dataset.noise` names another, or none",
                config.noise
            ),
        });
    }
    let mut reader = Reader::new(config, &files, labels.len(), listener);
    reader.total = parts.iter().flat_map(|(_, clips)| clips).map(|clip| clip.chunks.len()).sum();
    reader.total += files.noise().len();

    let layout = Layout {
        input: TensorField {
            column: "input".to_owned(),
            shape: vec![1, config.bands, reader.mel.frames(config.chunk) + config.zero_columns],
            // Decibels are at most 80 from their mean as published: rounding changes them by 1/32 at the
            // most, and the benchmark takes 16 GB instead of 31.
            element: ElementType::F16,
        },
        target: Target::Labels { column: "target".to_owned(), labels },
        background: None,
        ids: vec!["clip", "chunk"],
        tuning: false,
    };
    let mut ingest = Ingest::new(staging, protocol, layout);
    ingest.group = Some("clip");
    for (split, clips) in &parts {
        ingest.split(*split, |push| reader.clips(clips, push))?;
    }
    if !config.noise.is_empty() {
        let names = files.noise().iter().map(|&id| files.name(id).to_owned()).collect();
        ingest.noise(names, |push| reader.noise(push))?;
    }
    let counts: serde_json::Map<String, serde_json::Value> =
        parts.iter().map(|(split, clips)| (split.name().to_owned(), clips.len().into())).collect();
    let notes = [
        ("clips_per_split".to_owned(), counts.into()),
        ("sample_rate".to_owned(), config.sample_rate.into()),
        ("chunk".to_owned(), config.chunk.into()),
        ("fft".to_owned(), config.fft.into()),
        ("window".to_owned(), config.window.into()),
        ("hop".to_owned(), config.hop.into()),
        ("top_db".to_owned(), config.top_db.into()),
        // Changes of training inputs read this one.
        ("zero_columns".to_owned(), config.zero_columns.into()),
        ("recordings_sha256".to_owned(), reader.hash.as_str().into()),
    ];
    ingest.finish(About {
        recipe: "fsd50k",
        sources: described(config, &files)?,
        target_scaling: None,
        notes: notes.into(),
        licence: LICENCE,
    })
}

/// What the loader of pipeline files checks too: nothing here may divide by zero.
fn check(config: &Fsd50k) -> Result<(), Error> {
    let wrong = |key: &str, problem: String| Err(Error::configuration(format!("dataset.{key}"), problem));
    let counts = [("hop", config.hop), ("bands", config.bands), ("window", config.window)];
    if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return wrong(key, "must be at least 1".to_owned());
    }
    if config.fft == 0 || !config.fft.is_multiple_of(2) {
        return wrong("fft", format!("must be even, found {}", config.fft));
    }
    if config.window > config.fft {
        return wrong("window", format!("must be at most fft = {}, found {}", config.fft, config.window));
    }
    if config.chunk <= config.fft / 2 {
        return wrong(
            "chunk",
            format!("must be more than fft / 2 = {}, found {}", config.fft / 2, config.chunk),
        );
    }
    Ok(())
}

fn described(config: &Fsd50k, files: &Files) -> Result<Vec<Source>, Error> {
    if files.packed() {
        return Ok(vec![describe(&config.raw, files.root())?]);
    }
    sources(config)?.iter().map(|path| describe(&config.raw, path)).collect()
}

/// Takes a frame of noise and the number of its recording.
type PushFrame<'a> = dyn FnMut(usize, &[f32]) -> Result<(), Error> + 'a;

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
        let mel = Mel::new(Settings { sample_rate, fft, window, hop, bands, top_db });
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
        push: &mut dyn FnMut(Row<'_>) -> Result<(), Error>,
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
                push(Row {
                    input: &input,
                    target: RowTarget::Labels(&clip.marks(self.labels)),
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
