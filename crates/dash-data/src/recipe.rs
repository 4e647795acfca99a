//! What all recipes share: choosing the recipe, source files, splits, the card.

use crate::{
    Error, cifar, cosmic, darcy, deepsea, ecg, fsd50k, mnist, music, ninapro, noise, own,
    pairs::{PairRow, PairWriter},
    pickle::Value,
    psicov, satellite, spherical,
    table::{Layout, Row, RowTarget, SplitWriter},
};
use dash_core::{
    card::{
        DatasetCard, ElementType, InputScaling, NoiseInfo, PairFeatures, Scaling, Source, Split, SplitInfo,
        Target,
    },
    event::Listener,
    pipeline::{Dataset, Protocol},
};
use dash_store::Staging;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Writes `train.parquet`, `val.parquet`, `test.parquet` and the card `dataset.json` of a dataset into
/// `staging`, which the caller publishes. Progress goes to `listener`.
///
/// Under the paper protocol the training split holds train and validation data, its Boolean column
/// `tuning` marks the rows that tuning may train on, and the validation split is for tuning only.
pub fn ingest(
    dataset: &Dataset,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    match dataset {
        Dataset::Cosmic(config) => cosmic::ingest(config, protocol, staging, listener),
        Dataset::DarcyFlow(config) => darcy::ingest(config, protocol, staging, listener),
        Dataset::Deepsea(config) => deepsea::ingest(config, protocol, staging, listener),
        Dataset::Ecg(config) => ecg::ingest(config, protocol, staging, listener),
        Dataset::Satellite(config) => satellite::ingest(config, protocol, staging, listener),
        Dataset::Ninapro(config) => ninapro::ingest(config, protocol, staging, listener),
        Dataset::Fsd50k(config) => fsd50k::ingest(config, protocol, staging, listener),
        Dataset::Cifar100(config) => cifar::ingest(&config.into(), protocol, staging, listener),
        Dataset::Spherical(config) => spherical::ingest(config, protocol, staging, listener),
        Dataset::Cifar10(config) => cifar::ingest(&config.into(), protocol, staging, listener),
        Dataset::Mnist(config) => mnist::ingest(config, protocol, staging, listener),
        Dataset::Music(config) => music::ingest(config, protocol, staging, listener),
        Dataset::Psicov(config) => psicov::ingest(config, protocol, staging, listener),
        Dataset::Npz(config) => own::ingest(config, own::Kind::Npz, protocol, staging, listener),
        Dataset::Parquet(config) => own::ingest(config, own::Kind::Parquet, protocol, staging, listener),
    }
}

/// Collects the splits of a dataset and then writes its card.
pub(crate) struct Ingest<'a> {
    pub(crate) staging: &'a mut Staging,
    pub(crate) protocol: Protocol,
    pub(crate) layout: Layout,
    pub(crate) splits: BTreeMap<Split, SplitInfo>,
    input_scaling: Option<InputScaling>,
    /// What the rows are made of, if they are written with [`Ingest::split_pairs`].
    pub(crate) pairs: Option<PairFeatures>,
    /// Name of the id column whose equal numbers make rows the parts of one sample.
    pub(crate) group: Option<&'static str>,
    noise: Option<NoiseInfo>,
}

/// What a recipe says in the card besides columns and splits.
pub(crate) struct About<'a> {
    pub(crate) recipe: &'a str,
    pub(crate) sources: Vec<Source>,
    pub(crate) target_scaling: Option<Scaling>,
    pub(crate) notes: BTreeMap<String, serde_json::Value>,
    pub(crate) licence: &'a str,
}

impl<'a> Ingest<'a> {
    pub(crate) fn new(staging: &'a mut Staging, protocol: Protocol, layout: Layout) -> Self {
        Ingest {
            staging,
            protocol,
            layout,
            splits: BTreeMap::new(),
            input_scaling: None,
            pairs: None,
            group: None,
            noise: None,
        }
    }

    /// Inputs are stored as bytes, a quarter of the room: rows must hold whole numbers from 0 to 255, and
    /// networks see what `scaling` makes of them; without it the numbers themselves.
    pub(crate) fn store_bytes(&mut self, scaling: Option<InputScaling>) {
        self.layout.input.element = ElementType::U8;
        self.input_scaling = scaling;
    }

    /// Writes one split; `rows` hands each row to its argument.
    pub(crate) fn split(
        &mut self,
        split: Split,
        rows: impl FnOnce(&mut dyn FnMut(Row<'_>) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let tuning = self.protocol == Protocol::Paper && split == Split::Train;
        let layout = Layout { tuning, ..self.layout.clone() };
        let path = self.staging.path().join(split.file_name());
        let mut writer = SplitWriter::new(self.staging.create(split.file_name())?, path.clone(), layout)?;
        rows(&mut |row| writer.push(row))?;
        let (rows, class_counts) = writer.finish()?;
        let sha256 = dash_store::sha256_file(&path)?;
        self.splits.insert(split, SplitInfo { rows, sha256, class_counts });
        Ok(())
    }

    /// Writes one split of features of pairs; `rows` hands each row to its argument.
    pub(crate) fn split_pairs(
        &mut self,
        split: Split,
        rows: impl FnOnce(&mut dyn FnMut(PairRow<'_>) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.staging.path().join(split.file_name());
        let (Some(features), Target::Field { tensor }) = (&self.pairs, &self.layout.target) else {
            return Err(Error::dataset(&path, "is not made of features of pairs"));
        };
        let tuning = self.protocol == Protocol::Paper && split == Split::Train;
        let file = self.staging.create(split.file_name())?;
        let columns = (features, tensor.column.as_str());
        let mut writer = PairWriter::new(file, path.clone(), columns, &self.layout.ids, tuning)?;
        rows(&mut |row| writer.push(row))?;
        let rows = writer.finish()?;
        let sha256 = dash_store::sha256_file(&path)?;
        self.splits.insert(split, SplitInfo { rows, sha256, class_counts: vec![] });
        Ok(())
    }

    /// Writes the table of noise: `rows` hands each frame to its argument, with the position of its
    /// recording in `recordings`.
    pub(crate) fn noise(
        &mut self,
        recordings: Vec<String>,
        rows: impl FnOnce(&mut dyn FnMut(usize, &[f32]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let layout = noise::layout(&self.layout.input, recordings.clone());
        let path = self.staging.path().join(NoiseInfo::FILE);
        let mut writer = SplitWriter::new(self.staging.create(NoiseInfo::FILE)?, path.clone(), layout)?;
        rows(&mut |recording, frame| {
            let target = RowTarget::Class(recording);
            writer.push(Row { input: frame, target, background: 0.0, ids: &[], tuning: false })
        })?;
        let (rows, _) = writer.finish()?;
        self.noise = Some(NoiseInfo { recordings, rows, sha256: dash_store::sha256_file(&path)? });
        Ok(())
    }

    /// Writes the card.
    pub(crate) fn finish(self, about: About<'_>) -> Result<DatasetCard, Error> {
        let mut notes = about.notes;
        notes.insert("protocol".to_owned(), self.protocol.to_string().into());
        let card = DatasetCard {
            format: DatasetCard::FORMAT,
            recipe: about.recipe.to_owned(),
            sources: about.sources,
            input: self.layout.input,
            input_scaling: self.input_scaling,
            target: self.layout.target,
            pairs: self.pairs,
            background: self.layout.background.map(str::to_owned),
            group: self.group.map(str::to_owned),
            noise: self.noise,
            splits: self.splits,
            target_scaling: about.target_scaling,
            notes,
            licence: about.licence.to_owned(),
        };
        let mut text = serde_json::to_vec_pretty(&card).map_err(|e| {
            Error::dataset(&self.staging.path().join("dataset.json"), format!("cannot be written: {e}"))
        })?;
        text.push(b'\n');
        self.staging.write("dataset.json", &text)?;
        Ok(card)
    }
}

/// Size and hash of a raw file, named relative to the raw folder.
pub(crate) fn describe(raw: &Path, path: &Path) -> Result<Source, Error> {
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let name = path.strip_prefix(raw).unwrap_or(path);
    Ok(Source { path: name.display().to_string(), bytes, sha256: dash_store::sha256_file(path)? })
}

/// A file of a raw folder that must exist.
pub(crate) fn raw_file(raw: &Path, name: &Path) -> Result<PathBuf, Error> {
    let found = listing(raw)?;
    let path = raw.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Raw { path, problem: format!("there is no such file; {}", in_words(raw, &found)) })
}

/// The files at the root of a raw folder and one level below, sorted by path.
pub(crate) fn listing(raw: &Path) -> Result<Vec<PathBuf>, Error> {
    if !raw.is_dir() {
        let problem = if raw.exists() { "this is not a folder" } else { "there is no such folder" };
        return Err(Error::Raw { path: raw.to_owned(), problem: problem.to_owned() });
    }
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
        entries.map(|entry| entry.map(|e| e.path()).map_err(Error::io(folder))).collect()
    };
    let mut files = vec![];
    for path in entries(raw)? {
        if path.is_dir() {
            files.extend(entries(&path)?.into_iter().filter(|p| p.is_file()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// "the folder holds a, b, c" with at most ten names.
pub(crate) fn in_words(raw: &Path, files: &[PathBuf]) -> String {
    const SHOWN: usize = 10;
    if files.is_empty() {
        return "the folder is empty".to_owned();
    }
    let names = files.iter().take(SHOWN).map(|f| f.strip_prefix(raw).unwrap_or(f).display().to_string());
    let names = names.collect::<Vec<_>>().join(", ");
    match files.len().checked_sub(SHOWN) {
        None | Some(0) => format!("the folder holds {names}"),
        Some(more) => format!("the folder holds {names} and {more} more"),
    }
}

/// A field of a dict.
pub(crate) fn field<'a>(path: &Path, dict: Value<'a>, name: &str) -> Result<Value<'a>, Error> {
    let keys = dict.keys().ok_or_else(|| {
        Error::field(path, name, format!("the file holds {}; a dict is expected", dict.kind()))
    })?;
    dict.get(name).ok_or_else(|| Error::MissingField {
        path: path.to_owned(),
        field: name.to_owned(),
        found: if keys.is_empty() {
            "no fields".to_owned()
        } else {
            keys.iter().take(10).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        },
    })
}
