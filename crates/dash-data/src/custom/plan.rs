//! Assigns the samples of all files to splits and classes.

use super::{
    part::{CustomFormat, Part},
    table::{Value, Values, wrong},
};
use crate::{Error, raw::required_file};
use dash_core::{
    card::Split,
    pipeline::{CustomData, SPLIT_PLACEHOLDER},
    random::{Purpose, permutation, stream},
};
use dash_formats::Error as FileError;
use std::path::PathBuf;

/// The raw files that [`ingest`](super::ingest) reads, in the order of the splits.
///
/// # Errors
/// If a file does not exist.
pub fn sources(config: &CustomData) -> Result<Vec<PathBuf>, Error> {
    let names = [&config.file, &config.train_file, &config.validation_file, &config.test_file];
    names.into_iter().flatten().map(|name| required_file(&config.raw, name)).collect()
}

/// Opens all files and assigns every row to a split.
pub(super) fn parts(config: &CustomData, format: CustomFormat) -> Result<Vec<Part>, Error> {
    let open = |name: &Option<PathBuf>, names: [&str; 2], split: Split| -> Result<Option<Part>, Error> {
        let Some(name) = name else { return Ok(None) };
        let mut table = format.open(required_file(&config.raw, name)?)?;
        let [input, target] = names.map(str::to_owned);
        let rows = table.rows(&input)?;
        let others = table.rows(&target)?;
        if rows != others {
            let problem = format!("has {others} rows, `{input}` has {rows}");
            return Err(Error::field(table.path(), target, problem));
        }
        Ok(Some(Part { table, input, target, splits: vec![split; rows] }))
    };
    let names = [config.input.as_str(), config.target.as_str()];
    let mut parts = vec![];
    if config.has_split_names() {
        for (split, word) in [(Split::Train, "train"), (Split::Validation, "val"), (Split::Test, "test")] {
            let names = names.map(|name| name.replace(SPLIT_PLACEHOLDER, word));
            match open(&config.file, [&names[0], &names[1]], split) {
                // Without arrays for validation it is drawn from the training samples.
                Err(Error::File(FileError::MissingField { field, .. }))
                    if split == Split::Validation && field == names[0] => {}
                part => parts.extend(part?),
            }
        }
    } else if config.file.is_some() {
        parts.extend(open(&config.file, names, Split::Train)?);
    } else {
        parts.extend(open(&config.train_file, names, Split::Train)?);
        parts.extend(open(&config.validation_file, names, Split::Validation)?);
        parts.extend(open(&config.test_file, names, Split::Test)?);
    }
    match (parts.as_mut_slice(), &config.split) {
        ([only], Some(column)) => by_column(only, column)?,
        ([only], None) => draw(only, config, &[Split::Test, Split::Validation])?,
        ([train, test], _) if test.splits.first() == Some(&Split::Test) => {
            draw(train, config, &[Split::Validation])?;
        }
        _ => {}
    }
    Ok(parts)
}

/// Assigns rows as a column says.
fn by_column(part: &mut Part, column: &str) -> Result<(), Error> {
    let mut values = Values::default();
    let numbers = part.table.values(column, &mut values)?;
    let path = part.table.path();
    let mut splits = vec![None; values.len()];
    for (value, number) in values.sorted() {
        let split = match value {
            Value::Text(text) => match text.to_lowercase().as_str() {
                "train" | "training" => Some(Split::Train),
                "validation" | "valid" | "val" | "dev" => Some(Split::Validation),
                "test" => Some(Split::Test),
                _ => None,
            },
            Value::Integer(number) => {
                usize::try_from(*number).ok().and_then(|at| Split::ALL.get(at).copied())
            }
        };
        if split.is_none() {
            let row = numbers.iter().position(|&other| other == number).unwrap_or(0);
            let problem =
                format!("is `{}`; train, validation or test (or 0, 1, 2) is expected", value.name());
            return Err(wrong(path, column, row, problem));
        }
        if let Some(slot) = splits.get_mut(number as usize) {
            *slot = split;
        }
    }
    if numbers.len() != part.splits.len() {
        let problem = format!("has {} rows, `{}` has {}", numbers.len(), part.input, part.splits.len());
        return Err(Error::field(path, column, problem));
    }
    for (slot, &number) in part.splits.iter_mut().zip(&numbers) {
        if let Some(&Some(split)) = splits.get(number as usize) {
            *slot = split;
        }
    }
    match Split::ALL.iter().find(|split| !part.splits.contains(split)) {
        None => Ok(()),
        Some(split) => Err(Error::field(path, column, format!("no row is of the {} split", split.name()))),
    }
}

/// Draws rows for the splits by the fractions of the pipeline file; the others are for training.
fn draw(part: &mut Part, config: &CustomData, wanted: &[Split]) -> Result<(), Error> {
    let rows = part.splits.len();
    let order = permutation(&mut stream(config.split_seed, Purpose::Split, [0; 3]), rows);
    let mut order = order.into_iter();
    for &split in wanted {
        let (key, fraction) = match split {
            Split::Test => ("dataset.test_fraction", config.test_fraction),
            _ => ("dataset.validation_fraction", config.validation_fraction),
        };
        let count = (fraction * rows as f64).round() as usize;
        if count == 0 {
            let problem = format!("{fraction} of {rows} samples rounds to none");
            return Err(Error::configuration(key, problem));
        }
        for row in order.by_ref().take(count) {
            if let Some(slot) = part.splits.get_mut(row) {
                *slot = split;
            }
        }
    }
    if order.next().is_none() {
        let problem = format!("none of the {rows} samples is left for training");
        return Err(Error::configuration("dataset.validation_fraction", problem));
    }
    Ok(())
}

/// Classes of all rows.
pub(super) struct Classes {
    /// Names by index.
    pub(super) labels: Vec<String>,
    /// Index by part and row.
    rows: Vec<Vec<u32>>,
}

impl Classes {
    pub(super) fn of(&self, part: usize, row: usize) -> usize {
        self.rows.get(part).and_then(|rows| rows.get(row)).map_or(usize::MAX, |&class| class as usize)
    }
}

/// Reads the target column of every part: values become indices, by name or in ascending order.
pub(super) fn classes(config: &CustomData, parts: &mut [Part]) -> Result<Classes, Error> {
    let mut values = Values::default();
    let mut rows = vec![];
    for part in parts.iter_mut() {
        let known = values.len();
        let numbers = part.table.values(&part.target, &mut values)?;
        // Named classes are compared at once, where the row is known.
        if let Some(labels) = &config.labels {
            for (value, number) in values.sorted().filter(|&(_, number)| number as usize >= known) {
                if class(value, labels).is_none() {
                    let row = numbers.iter().position(|&other| other == number).unwrap_or(0);
                    let problem = match value {
                        Value::Text(text) => format!("is {text:?}, which is not among `dataset.labels`"),
                        Value::Integer(number) => format!(
                            "is class {number}; the {} names of `dataset.labels` are for 0 to {}",
                            labels.len(),
                            labels.len().saturating_sub(1)
                        ),
                    };
                    return Err(wrong(part.table.path(), &part.target, row, problem));
                }
            }
        }
        rows.push(numbers);
    }
    let labels = match &config.labels {
        Some(labels) => labels.clone(),
        None => values.sorted().map(|(value, _)| value.name()).collect(),
    };
    if labels.len() < 2
        && let Some(part) = parts.first()
    {
        let problem = format!("there is but one class, {}", labels.join(""));
        return Err(Error::field(part.table.path(), &part.target, problem));
    }
    // From the order in which values were met to that of the classes.
    let mut index = vec![0u32; values.len()];
    for (place, (value, number)) in values.sorted().enumerate() {
        let class = match &config.labels {
            Some(labels) => class(value, labels).unwrap_or(usize::MAX),
            None => place,
        };
        if let Some(slot) = index.get_mut(number as usize) {
            *slot = u32::try_from(class).unwrap_or(u32::MAX);
        }
    }
    for number in rows.iter_mut().flatten() {
        *number = index.get(*number as usize).copied().unwrap_or(u32::MAX);
    }
    Ok(Classes { labels, rows })
}

/// Index of a value among named classes.
fn class(value: &Value, labels: &[String]) -> Option<usize> {
    match value {
        Value::Text(text) => labels.iter().position(|label| label == text),
        Value::Integer(number) => usize::try_from(*number).ok().filter(|&class| class < labels.len()),
    }
}

/// Names of `count` labels of a multi-label target.
pub(super) fn label_names(config: &CustomData, part: &Part, count: usize) -> Result<Vec<String>, Error> {
    match &config.labels {
        None => Ok((0..count).map(|label| label.to_string()).collect()),
        Some(names) if names.len() == count => Ok(names.clone()),
        Some(names) => {
            let problem = format!("has {count} labels per row, `dataset.labels` names {}", names.len());
            Err(Error::field(part.table.path(), &part.target, problem))
        }
    }
}
