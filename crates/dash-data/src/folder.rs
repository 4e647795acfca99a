//! A dataset folder: its card, and its splits on demand.

use crate::{
    Error,
    cache::{self, Stamp, Unusable},
    content::content_of,
    noise::{self, Noise},
    split::SplitData,
};
use dash_core::{
    card::{
        DatasetCard, ElementType, InputScaling, NoiseInfo, PairFeatures, Split, SplitInfo, Target,
        TensorField,
    },
    event::{Event, Listener},
};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

/// An opened dataset folder.
#[derive(Debug)]
pub struct DatasetFolder {
    path: PathBuf,
    card: DatasetCard,
    /// Of the card.
    content: String,
    /// The Parquet files, their recorded hashes, and their stamps when the folder was opened.
    files: Vec<(PathBuf, String, Stamp)>,
    splits: [OnceLock<SplitData>; 3],
    noise: OnceLock<Noise>,
    notices: Mutex<Vec<String>>,
}

impl DatasetFolder {
    /// Opens the folder and compares its card with the columns and row counts of its Parquet files.
    ///
    /// # Errors
    /// If a file is missing, or does not agree with the card.
    pub fn open(path: &Path) -> Result<DatasetFolder, Error> {
        let card = read_card(path)?;
        let mut files = vec![];
        for split in Split::ALL {
            let (parquet, info) = (path.join(split.file_name()), info(path, &card, split)?);
            let stamp = Stamp::at(&parquet)?;
            cache::check_parquet(&parquet, &card, info)?;
            files.push((parquet, info.sha256.clone(), stamp));
        }
        if let Some(found) = &card.noise {
            let (card, info) = noise::table(&card, found);
            let parquet = path.join(NoiseInfo::FILE);
            let stamp = Stamp::at(&parquet)?;
            cache::check_parquet(&parquet, &card, &info)?;
            files.push((parquet, info.sha256, stamp));
        }
        Ok(DatasetFolder {
            path: path.to_owned(),
            content: content_of(&card),
            card,
            files,
            splits: [const { OnceLock::new() }; 3],
            noise: OnceLock::new(),
            notices: Mutex::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The hash of everything that results depend on: see [`dataset_content`](crate::dataset_content).
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Opens all tables, so that damaged caches are found before hours of training. Reports them to `listener` as
    /// warnings.
    ///
    /// # Errors
    /// If a table cannot be read, or its cache cannot be made.
    pub fn prepare(&self, listener: &dyn Listener) -> Result<(), Error> {
        let opened = Split::ALL.into_iter().try_for_each(|split| self.split(split).map(|_| ()));
        let opened = opened.and_then(|()| self.noise().map(|_| ()));
        for message in self.take_notices() {
            listener.on(&Event::Warning { message });
        }
        opened
    }

    /// Warnings about caches since the last call, such as one that was damaged and made again.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks that the dataset still is the one that was opened: its card, its Parquet files and the caches that are
    /// in use. Files whose stamps did not change are not read again. A stage calls this when it ends: results of a
    /// stage that saw two datasets are invalid.
    ///
    /// # Errors
    /// [`Subject::Altered`](crate::Subject::Altered) if it is not; and if it cannot be read.
    pub fn unchanged(&self) -> Result<(), Error> {
        let card = self.path.join("dataset.json");
        let found = dataset_content(&self.path).map_err(|error| match error {
            Error::File(dash_formats::Error::Io { .. }) if !card.exists() => {
                Error::altered(&card, "was removed while it was in use")
            }
            other => other,
        })?;
        if found != self.content {
            let problem = "describes another dataset than when this stage began: it was replaced under it";
            return Err(Error::altered(&card, problem));
        }
        for (path, recorded, before) in &self.files {
            if !before.holds(&Stamp::at(path)?) && dash_store::sha256_file(path)? != *recorded {
                let problem = "is no longer the file that its card describes (sha256 differs)";
                return Err(Error::altered(path, problem));
            }
        }
        self.opened().try_for_each(|data| data.cached.unchanged())
    }

    /// Checks that all numbers that training may have seen are those that were stored, and finite. Called when a loss
    /// is not a finite number: if this returns an error, the data is the cause. Reads all opened tables.
    ///
    /// # Errors
    /// [`Subject::Altered`](crate::Subject::Altered) with the file, and the row where a number is not finite.
    pub fn recheck(&self) -> Result<(), Error> {
        self.opened().try_for_each(|data| data.check_finite().and_then(|()| data.cached.verify()))
    }

    fn opened(&self) -> impl Iterator<Item = &SplitData> {
        self.splits.iter().filter_map(OnceLock::get).chain(self.noise.get().map(Noise::data))
    }

    /// The card.
    pub fn card(&self) -> &DatasetCard {
        &self.card
    }

    /// The rows of a split. The first call compares the cache with its hash, and makes the cache if it is missing or
    /// damaged.
    ///
    /// # Errors
    /// If the split cannot be read, or its cache cannot be made.
    pub fn split(&self, split: Split) -> Result<&SplitData, Error> {
        let [train, validation, test] = &self.splits;
        let cell = match split {
            Split::Train => train,
            Split::Validation => validation,
            Split::Test => test,
        };
        if let Some(data) = cell.get() {
            return Ok(data);
        }
        let data = self.rows(&self.card, self.info(split)?, split.name(), &self.parquet(split))?;
        Ok(cell.get_or_init(|| data))
    }

    /// The recordings of noise, if the dataset has any. The first call makes their cache.
    ///
    /// # Errors
    /// If they cannot be read, or their cache cannot be made.
    pub fn noise(&self) -> Result<Option<&Noise>, Error> {
        let Some(found) = &self.card.noise else { return Ok(None) };
        if let Some(noise) = self.noise.get() {
            return Ok(Some(noise));
        }
        let (card, info) = noise::table(&self.card, found);
        let data = self.rows(&card, &info, "noise", &self.path.join(NoiseInfo::FILE))?;
        let noise = Noise::new(data)?;
        Ok(Some(self.noise.get_or_init(|| noise)))
    }

    /// The rows of a Parquet file, through its cache.
    fn rows(
        &self,
        card: &DatasetCard,
        info: &SplitInfo,
        name: &str,
        parquet: &Path,
    ) -> Result<SplitData, Error> {
        let arrow = cache_file(&self.path, name, info);
        match cache::open(&arrow, card, info) {
            Ok(data) => return Ok(data),
            // What earlier versions left is not damaged.
            Err(Unusable::Missing | Unusable::Unsealed) => {}
            Err(Unusable::Damaged(problem)) => {
                let message = format!("{} is damaged and made again: {problem}", arrow.display());
                self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        }
        cache::make(&arrow, parquet, card, info)?;
        cache::open(&arrow, card, info).map_err(|error| {
            let problem = match error {
                Unusable::Damaged(problem) => problem,
                Unusable::Missing | Unusable::Unsealed => "is gone".to_owned(),
            };
            Error::altered(&arrow, format!("is not what was just written: {problem}"))
        })
    }

    fn parquet(&self, split: Split) -> PathBuf {
        self.path.join(split.file_name())
    }

    fn info(&self, split: Split) -> Result<&SplitInfo, Error> {
        info(&self.path, &self.card, split)
    }
}

/// The hash of what results depend on in the dataset folder `path`: columns and shapes, labels, constants of
/// normalisation, rows and SHA-256 of every Parquet file, and the notes that training reads. It does not depend
/// on the recipe, the raw files, their locations and sizes, the licence and other notes.
///
/// Only the card is read: whether the Parquet files have its hashes is compared by
/// [`DatasetFolder`] and [`verify`](crate::verify).
///
/// # Errors
/// If there is no card, or it is not sound.
pub fn dataset_content(path: &Path) -> Result<String, Error> {
    Ok(content_of(&read_card(path)?))
}

/// The cache of a table of a dataset folder.
pub(crate) fn cache_file(dataset: &Path, name: &str, info: &SplitInfo) -> PathBuf {
    let key = info.sha256.get(..16).unwrap_or(&info.sha256);
    dataset.join("cache").join(format!("{name}-{key}.arrow"))
}

fn info<'a>(dataset: &Path, card: &'a DatasetCard, split: Split) -> Result<&'a SplitInfo, Error> {
    card.splits.get(&split).ok_or_else(|| {
        let problem = format!("has no split `{}`", split.name());
        Error::dataset(&dataset.join("dataset.json"), problem)
    })
}

/// Reads and checks the card of a dataset folder.
///
/// # Errors
/// If there is none, or it is not one that this version reads.
pub fn read_card(path: &Path) -> Result<DatasetCard, Error> {
    let card_path = path.join("dataset.json");
    let text = std::fs::read(&card_path).map_err(Error::io(&card_path))?;
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| Error::dataset(&card_path, format!("is not JSON: {e}")))?;
    // The version first: the card of another version may not even parse.
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(DatasetCard::FORMAT.into()) {
        let found = format.map_or("no format number".to_owned(), |f| format!("format {f}"));
        let problem = format!("has {found}, this program reads format {}", DatasetCard::FORMAT);
        return Err(Error::dataset(&card_path, problem));
    }
    let card: DatasetCard = serde_json::from_value(value)
        .map_err(|e| Error::dataset(&card_path, format!("is not a card: {e}")))?;
    check(&card).map_err(|problem| Error::dataset(&card_path, problem))?;
    Ok(card)
}

/// What a card must fulfil for its rows to be readable.
fn check(card: &DatasetCard) -> Result<(), String> {
    let tensor = |field: &TensorField| tensor(field, ElementType::F32);
    match card.input.element {
        // Bytes are used as they are, or scaled.
        ElementType::U8 => self::tensor(&card.input, ElementType::U8)?,
        ElementType::F16 => self::tensor(&card.input, ElementType::F16)?,
        _ => tensor(&card.input)?,
    }
    if let Some(InputScaling { scale, offset }) = &card.input_scaling {
        let channels = card.input.shape.first().copied().unwrap_or(1);
        if card.input.element != ElementType::U8 {
            return Err("scales an input that is not stored as bytes".to_owned());
        }
        if scale.len() != channels || offset.len() != channels {
            return Err(format!("input scaling has not one constant for each of {channels} channels"));
        }
        // The scaled value of every byte must be a finite `f32`.
        let seen = scale.iter().zip(offset).flat_map(|(scale, offset)| [*offset, 255.0 * scale + offset]);
        if !seen.into_iter().all(|value| (value as f32).is_finite()) {
            return Err("input scaling has a constant that is too large".to_owned());
        }
    }
    if let Some(features) = &card.pairs {
        pairs(card, features)?;
    }
    match &card.target {
        Target::Class { labels, .. } if labels.is_empty() => return Err("has no class labels".to_owned()),
        Target::Class { .. } => {}
        Target::Labels { labels, .. } if labels.is_empty() || i32::try_from(labels.len()).is_err() => {
            return Err(format!("has {} labels", labels.len()));
        }
        Target::Labels { .. } => {}
        Target::Field { tensor: field } => tensor(field)?,
        Target::Mask { tensor: field, ignore } => {
            self::tensor(field, ElementType::U8)?;
            if let Some(ignore) = ignore {
                self::tensor(ignore, ElementType::U8)?;
                if ignore.shape != field.shape {
                    return Err(format!(
                        "column `{}` has shape {:?}, column `{}` has {:?}",
                        ignore.column, ignore.shape, field.column, field.shape
                    ));
                }
            }
        }
    }
    if let Some(scaling) = &card.target_scaling {
        let elements = match &card.target {
            Target::Field { tensor } => tensor.len(),
            Target::Class { .. } | Target::Labels { .. } | Target::Mask { .. } => {
                return Err("scales a target that is not a field".to_owned());
            }
        };
        if scaling.mean.len() != elements || scaling.scale.len() != elements {
            return Err(format!("target scaling has not one constant for each of {elements} elements"));
        }
        let constants = || scaling.mean.iter().chain(&scaling.scale);
        if !constants().all(|v| v.is_finite()) || scaling.scale.contains(&0.0) {
            return Err("target scaling has a constant that cannot be divided by".to_owned());
        }
    }
    // The key of a cache file: nothing else may become part of a path.
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(noise) = &card.noise {
        if !is_hash(&noise.sha256) {
            return Err("the sha256 of the noise is not one".to_owned());
        }
        if noise.rows == 0 || noise.recordings.is_empty() {
            return Err("the noise has no recordings".to_owned());
        }
    }
    for (split, info) in &card.splits {
        if !is_hash(&info.sha256) {
            return Err(format!("the sha256 of the {} split is not one", split.name()));
        }
        if info.rows == 0 {
            return Err(format!("the {} split has no rows", split.name()));
        }
    }
    Ok(())
}

/// What a card must fulfil for features of pairs to become its input.
fn pairs(card: &DatasetCard, features: &PairFeatures) -> Result<(), String> {
    let channels = features.position_features.checked_mul(2);
    let channels = channels.and_then(|channels| channels.checked_add(features.map_features));
    let square = match *card.input.shape.as_slice() {
        [found, rows, columns] => Some(found) == channels && rows == columns,
        _ => false,
    };
    if !square {
        return Err(format!("makes no input of shape {:?} of its features of pairs", card.input.shape));
    }
    match &card.target {
        Target::Field { tensor }
            if tensor.shape.first() == Some(&1) && tensor.shape[1..] == card.input.shape[1..] => {}
        _ => return Err("has features of pairs, but no target with a number per pair".to_owned()),
    }
    if card.background.is_some() || card.target_scaling.is_some() {
        return Err("has features of pairs with a background or a scaling".to_owned());
    }
    Ok(())
}

fn tensor(field: &TensorField, element: ElementType) -> Result<(), String> {
    let elements = field.shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    if elements.is_none_or(|n| n == 0 || i32::try_from(n).is_err()) {
        return Err(format!("column `{}` has the impossible shape {:?}", field.column, field.shape));
    }
    if field.element != element {
        return Err(format!(
            "column `{}` has elements of type {:?}; this version reads {element:?}",
            field.column, field.element
        ));
    }
    Ok(())
}
