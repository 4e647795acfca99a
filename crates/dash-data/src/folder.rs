//! A dataset folder: its card, and its splits on demand.

use crate::{Error, batch::SplitData, cache};
use dash_core::card::{Card, ElementType, InputScaling, PairFeatures, Split, SplitInfo, Target, TensorField};
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
}

impl DatasetFolder {
    /// Opens the folder and compares its card with the columns and row counts of its Parquet files.
    pub fn open(path: &Path) -> Result<DatasetFolder, Error> {
        let card = read_card(path)?;
        let folder = DatasetFolder { path: path.to_owned(), card, splits: [const { OnceLock::new() }; 3] };
        for split in Split::ALL {
            cache::check_parquet(&folder.parquet(split), &folder.card, folder.info(split)?)?;
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
        let info = self.info(split)?;
        let parquet = self.parquet(split);
        let key = info.sha256.get(..16).unwrap_or(&info.sha256);
        let arrow = self.path.join("cache").join(format!("{}-{key}.arrow", split.name()));
        let data = match cache::open(&arrow, &self.card, info) {
            Ok(data) => data,
            // Missing, damaged or of another version: it is derived data, so it is made anew.
            Err(_) => {
                cache::make(&arrow, &parquet, &self.card, info)?;
                cache::open(&arrow, &self.card, info)?
            }
        };
        Ok(cell.get_or_init(|| data))
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
    for (split, info) in &card.splits {
        if info.sha256.len() != 64 || !info.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
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
