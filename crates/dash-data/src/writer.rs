//! Writes the splits of a dataset and its card into a folder that the caller publishes.

use crate::{
    Error, noise,
    pairs::{PairRow, PairWriter},
    table::{DatasetRow, RowLayout, RowTarget, SplitWriter},
};
use dash_core::{
    card::{
        DatasetCard, ElementType, InputScaling, NoiseInfo, PairFeatures, Scaling, Source, Split, SplitInfo,
        Target,
    },
    event::Listener,
    pipeline::Protocol,
};
use dash_store::Staging;
use std::collections::BTreeMap;

/// The dataset that a recipe is asked to write: where to, under which protocol, and who follows the progress.
pub struct Ingest<'a> {
    /// The name of the recipe, for the card.
    pub recipe: &'static str,
    /// The folder that the caller publishes.
    pub staging: &'a mut Staging,
    /// Decides what the splits hold: under the paper protocol the training split holds train and validation data,
    /// its Boolean column `tuning` marks the rows that tuning may train on, and the validation split is for tuning
    /// only.
    pub protocol: Protocol,
    /// Receives progress and warnings.
    pub listener: &'a dyn Listener,
}

impl Ingest<'_> {
    /// Starts a dataset whose rows have the given columns.
    pub fn writer(&mut self, layout: RowLayout) -> DatasetWriter<'_> {
        DatasetWriter {
            recipe: self.recipe,
            staging: self.staging,
            protocol: self.protocol,
            listener: self.listener,
            layout,
            splits: BTreeMap::new(),
            input_scaling: None,
            pairs: None,
            group: None,
            noise: None,
        }
    }
}

/// Writes the splits of a dataset, and its card last.
pub struct DatasetWriter<'a> {
    recipe: &'static str,
    staging: &'a mut Staging,
    protocol: Protocol,
    listener: &'a dyn Listener,
    layout: RowLayout,
    splits: BTreeMap<Split, SplitInfo>,
    input_scaling: Option<InputScaling>,
    pairs: Option<PairFeatures>,
    group: Option<&'static str>,
    noise: Option<NoiseInfo>,
}

/// What the card holds besides columns and splits.
pub struct CardDetails<'a> {
    /// The raw files.
    pub sources: Vec<Source>,
    /// How targets are encoded.
    pub target_scaling: Option<Scaling>,
    /// Further facts, by name.
    pub notes: BTreeMap<String, serde_json::Value>,
    /// The licence of the data.
    pub licence: &'a str,
}

impl<'a> DatasetWriter<'a> {
    /// The protocol, which decides what the splits hold.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The receiver of progress and warnings.
    pub fn listener(&self) -> &'a dyn Listener {
        self.listener
    }

    /// The columns of a row.
    pub fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// The splits that were written so far.
    pub fn splits(&self) -> &BTreeMap<Split, SplitInfo> {
        &self.splits
    }

    /// Rows with equal numbers in the id column `column` become the parts of one sample.
    pub fn group_by(&mut self, column: &'static str) {
        self.group = Some(column);
    }

    /// Rows are written with [`DatasetWriter::split_pairs`], and inputs are made of these features.
    pub fn store_pairs(&mut self, features: PairFeatures) {
        self.pairs = Some(features);
    }

    /// Sets the shapes of the largest input and target, where they are known only after the rows were written.
    pub fn set_largest(&mut self, input: Vec<usize>, target: Vec<usize>) {
        self.layout.input.shape = input;
        if let Target::Field { tensor } | Target::Mask { tensor, .. } = &mut self.layout.target {
            tensor.shape = target;
        }
    }

    /// Stores inputs as bytes, which take a quarter of the space: rows must hold integers from 0 to 255. Networks
    /// see them scaled by `scaling`, if it is given.
    pub fn store_bytes(&mut self, scaling: Option<InputScaling>) {
        self.layout.input.element = ElementType::U8;
        self.input_scaling = scaling;
    }

    /// Writes one split; `rows` hands each row to its argument.
    ///
    /// # Errors
    /// If a row does not fit the layout or cannot be written, and the errors of `rows`.
    pub fn split<E: From<Error>>(
        &mut self,
        split: Split,
        rows: impl FnOnce(&mut dyn FnMut(DatasetRow<'_>) -> Result<(), Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let tuning = self.protocol == Protocol::Paper && split == Split::Train;
        let layout = RowLayout { tuning, ..self.layout.clone() };
        let path = self.staging.path().join(split.file_name());
        let mut writer = SplitWriter::new(
            self.staging.create(split.file_name()).map_err(Error::from)?,
            path.clone(),
            layout,
        )?;
        rows(&mut |row| writer.push(row))?;
        let (rows, class_counts) = writer.finish()?;
        let sha256 = dash_store::sha256_file(&path).map_err(Error::from)?;
        self.splits.insert(split, SplitInfo { rows, sha256, class_counts });
        Ok(())
    }

    /// Writes one split of features of pairs; `rows` hands each row to its argument.
    ///
    /// # Errors
    /// If the features were not described by [`DatasetWriter::store_pairs`], a row cannot be written, and the
    /// errors of `rows`.
    pub fn split_pairs<E: From<Error>>(
        &mut self,
        split: Split,
        rows: impl FnOnce(&mut dyn FnMut(PairRow<'_>) -> Result<(), Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.staging.path().join(split.file_name());
        let (Some(features), Target::Field { tensor }) = (&self.pairs, &self.layout.target) else {
            return Err(Error::dataset(&path, "is not made of features of pairs").into());
        };
        let tuning = self.protocol == Protocol::Paper && split == Split::Train;
        let file = self.staging.create(split.file_name()).map_err(Error::from)?;
        let columns = (features, tensor.column.as_str());
        let mut writer = PairWriter::new(file, path.clone(), columns, &self.layout.ids, tuning)?;
        rows(&mut |row| writer.push(row))?;
        let rows = writer.finish()?;
        let sha256 = dash_store::sha256_file(&path).map_err(Error::from)?;
        self.splits.insert(split, SplitInfo { rows, sha256, class_counts: vec![] });
        Ok(())
    }

    /// Writes the table of noise recordings: `rows` hands each frame to its argument, after the position of its
    /// recording in `recordings`.
    ///
    /// # Errors
    /// If a frame cannot be written, and the errors of `rows`.
    pub fn noise<E: From<Error>>(
        &mut self,
        recordings: Vec<String>,
        rows: impl FnOnce(&mut dyn FnMut(usize, &[f32]) -> Result<(), Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let layout = noise::layout(&self.layout.input, recordings.clone());
        let path = self.staging.path().join(NoiseInfo::FILE);
        let mut writer = SplitWriter::new(
            self.staging.create(NoiseInfo::FILE).map_err(Error::from)?,
            path.clone(),
            layout,
        )?;
        rows(&mut |recording, frame| {
            let target = RowTarget::Class(recording);
            writer.push(DatasetRow { input: frame, target, background: 0.0, ids: &[], tuning: false })
        })?;
        let (rows, _) = writer.finish()?;
        self.noise = Some(NoiseInfo {
            recordings,
            rows,
            sha256: dash_store::sha256_file(&path).map_err(Error::from)?,
        });
        Ok(())
    }

    /// Writes the card and returns it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self, details: CardDetails<'_>) -> Result<DatasetCard, Error> {
        let mut notes = details.notes;
        notes.insert("protocol".to_owned(), self.protocol.to_string().into());
        let card = DatasetCard {
            format: DatasetCard::FORMAT,
            recipe: self.recipe.to_owned(),
            sources: details.sources,
            input: self.layout.input,
            input_scaling: self.input_scaling,
            target: self.layout.target,
            pairs: self.pairs,
            background: self.layout.background.map(str::to_owned),
            group: self.group.map(str::to_owned),
            noise: self.noise,
            splits: self.splits,
            target_scaling: details.target_scaling,
            notes,
            licence: details.licence.to_owned(),
        };
        let mut text = serde_json::to_vec_pretty(&card).map_err(|e| {
            Error::dataset(&self.staging.path().join("dataset.json"), format!("cannot be written: {e}"))
        })?;
        text.push(b'\n');
        self.staging.write("dataset.json", &text)?;
        Ok(card)
    }
}
