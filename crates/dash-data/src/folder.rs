//! A dataset folder: its card, and its splits on demand.

use crate::{
    Error,
    batch::SplitData,
    cache,
    noise::{self, Noise},
};
use dash_core::card::{
    Card, ElementType, InputScaling, NoiseInfo, PairFeatures, Split, SplitInfo, Target, TensorField,
};
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// An opened dataset folder.
#[derive(Debug)]
pub struct DatasetFolder {
    path: PathBuf,
    card: Card,
    splits: [OnceLock<SplitData>; 3],
    noise: OnceLock<Noise>,
}

impl DatasetFolder {
    /// Opens the folder and compares its card with the columns and row counts of its Parquet files.
    pub fn open(path: &Path) -> Result<DatasetFolder, Error> {
        let card = read_card(path)?;
        let splits = [const { OnceLock::new() }; 3];
        let folder = DatasetFolder { path: path.to_owned(), card, splits, noise: OnceLock::new() };
        for split in Split::ALL {
            cache::check_parquet(&folder.parquet(split), &folder.card, folder.info(split)?)?;
        }
        if let Some(found) = &folder.card.noise {
            let (card, info) = noise::table(&folder.card, found);
            cache::check_parquet(&path.join(NoiseInfo::FILE), &card, &info)?;
        }
        Ok(folder)
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The rows of a split. The first call makes the memory-mapped cache if there is none yet.
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
    fn rows(&self, card: &Card, info: &SplitInfo, name: &str, parquet: &Path) -> Result<SplitData, Error> {
        let key = info.sha256.get(..16).unwrap_or(&info.sha256);
        let arrow = self.path.join("cache").join(format!("{name}-{key}.arrow"));
        if let Ok(data) = cache::open(&arrow, card, info) {
            return Ok(data);
        }
        // Missing, damaged or of another version: it is derived data, so it is made anew.
        cache::make(&arrow, parquet, card, info)?;
        cache::open(&arrow, card, info)
    }

    fn parquet(&self, split: Split) -> PathBuf {
        self.path.join(split.file_name())
    }

    fn info(&self, split: Split) -> Result<&SplitInfo, Error> {
        self.card.splits.get(&split).ok_or_else(|| {
            let problem = format!("has no split `{}`", split.name());
            Error::dataset(&self.path.join("dataset.json"), problem)
        })
    }
}

/// Reads and checks the card of a dataset folder.
pub(crate) fn read_card(path: &Path) -> Result<Card, Error> {
    let card_path = path.join("dataset.json");
    let text = std::fs::read(&card_path).map_err(Error::io(&card_path))?;
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| Error::dataset(&card_path, format!("is not JSON: {e}")))?;
    // The version first: the card of another version may not even parse.
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(Card::FORMAT.into()) {
        let found = format.map_or("no format number".to_owned(), |f| format!("format {f}"));
        let problem = format!("has {found}, this program reads format {}", Card::FORMAT);
        return Err(Error::dataset(&card_path, problem));
    }
    let card: Card =
        serde_json::from_value(value).map_err(|e| Error::dataset(&card_path, format!("is no card: {e}")))?;
    check(&card).map_err(|problem| Error::dataset(&card_path, problem))?;
    Ok(card)
}

/// What a card must fulfil for its rows to be readable.
fn check(card: &Card) -> Result<(), String> {
    let tensor = |field: &TensorField| tensor(field, ElementType::F32);
    match card.input.element {
        // Bytes stand for themselves, or for what the scaling makes of them.
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
        // What networks see must be finite in single precision, whatever the byte.
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
                return Err("scales a target that is no field".to_owned());
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
fn pairs(card: &Card, features: &PairFeatures) -> Result<(), String> {
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
