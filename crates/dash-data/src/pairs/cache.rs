//! Checks that columns of lists agree with the card.

use crate::{Error, table::GROUP_BYTES};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    buffer::ScalarBuffer,
    datatypes::{DataType, Float32Type, Int64Type, Schema},
};
use dash_core::card::{DatasetCard, PairFeatures};
use std::path::Path;

/// The columns that training needs.
pub(crate) fn columns(
    path: &Path,
    schema: &Schema,
    pairs: &PairFeatures,
    target: &str,
) -> Result<Vec<usize>, Error> {
    let find = |name: &str, fits: &dyn Fn(&DataType) -> bool, expected: &str| -> Result<usize, Error> {
        let index = schema
            .index_of(name)
            .map_err(|_| Error::dataset(path, format!("has no column `{name}`, which its card announces")))?;
        let found = schema.field(index).data_type();
        match fits(found) {
            true => Ok(index),
            false => {
                let problem = format!("column `{name}` is {found}, not {expected}, as its card says");
                Err(Error::dataset(path, problem))
            }
        }
    };
    let list =
        |found: &DataType| matches!(found, DataType::List(item) if item.data_type() == &DataType::Float32);
    let mut wanted = vec![find(&pairs.length, &|found| found == &DataType::Int64, "Int64")?];
    for name in [&pairs.positions, &pairs.maps, target] {
        wanted.push(find(name, &list, "a list of Float32")?);
    }
    Ok(wanted)
}

/// How many rows of a Parquet file are taken together so that even the longest make no larger blocks than
/// tensors of one shape do.
pub(crate) fn rows_per_block(card: &DatasetCard, pairs: &PairFeatures) -> usize {
    let side = card.input.shape.last().copied().unwrap_or(1);
    let numbers = side * (pairs.position_features + side * (pairs.map_features + 1));
    (GROUP_BYTES / (4 * numbers).max(1)).clamp(1, 1 << 16)
}

/// The lists of some rows, and the lengths of their samples.
struct Columns {
    lengths: Vec<usize>,
    lists: [ScalarBuffer<f32>; 3],
}

impl Columns {
    /// `Err` says what is wrong with which row, counted from that of the batch.
    fn of(batch: &RecordBatch, card: &DatasetCard, pairs: &PairFeatures) -> Result<Columns, (usize, String)> {
        let missing = |name: &str| (0, format!("column `{name}` has missing values"));
        let target = target(card);
        let column = batch.column_by_name(&pairs.length).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let column = column.filter(|c| c.null_count() == 0).ok_or_else(|| missing(&pairs.length))?;
        let longest = card.input.shape.last().copied().unwrap_or(0);
        let mut lengths = vec![];
        for (row, &length) in column.values().iter().enumerate() {
            match usize::try_from(length) {
                Ok(length) if (1..=longest).contains(&length) => lengths.push(length),
                _ => {
                    let problem = format!("column `{}`: {length} is not from 1 to {longest}", pairs.length);
                    return Err((row, problem));
                }
            }
        }
        let list =
            |name: &str, expected: &dyn Fn(usize) -> usize| -> Result<ScalarBuffer<f32>, (usize, String)> {
                let list = batch.column_by_name(name).and_then(|c| c.as_list_opt::<i32>());
                let list = list.filter(|list| list.null_count() == 0).ok_or_else(|| missing(name))?;
                let values = list.values().as_primitive_opt::<Float32Type>();
                let values = values.filter(|values| values.null_count() == 0).ok_or_else(|| missing(name))?;
                // Back to back from the first number on, as `PairRows` looks for them.
                let (mut start, offsets) = (0, list.value_offsets());
                for (row, (&length, ends)) in lengths.iter().zip(offsets.windows(2)).enumerate() {
                    let end = start + expected(length);
                    let wanted = (i32::try_from(start).ok(), i32::try_from(end).ok());
                    if (ends.first().copied(), ends.get(1).copied()) != wanted || end > values.len() {
                        let problem = format!(
                            "column `{name}` has not {} numbers for {length} positions",
                            expected(length)
                        );
                        return Err((row, problem));
                    }
                    start = end;
                }
                Ok(values.values().clone())
            };
        let lists = [
            list(&pairs.positions, &|length| pairs.position_features * length)?,
            list(&pairs.maps, &|length| pairs.map_features * length * length)?,
            list(target, &|length| length * length)?,
        ];
        Ok(Columns { lengths, lists })
    }
}

/// Name of the column of targets.
pub(super) fn target(card: &DatasetCard) -> &str {
    match &card.target {
        dash_core::card::Target::Field { tensor } => &tensor.column,
        _ => "",
    }
}

/// Lists must have the lengths that the card implies and finite numbers; `first` is the row of the file
/// at which the batch begins.
pub(crate) fn check_values(
    path: &Path,
    batch: &RecordBatch,
    card: &DatasetCard,
    pairs: &PairFeatures,
    first: usize,
) -> Result<(), Error> {
    let wrong =
        |(row, problem): (usize, String)| Error::dataset(path, format!("row {}: {problem}", first + row));
    let columns = Columns::of(batch, card, pairs).map_err(wrong)?;
    let pair = |length: &usize| length * length;
    let sizes = |features: usize, each: &dyn Fn(&usize) -> usize| -> Vec<usize> {
        columns.lengths.iter().map(|length| features * each(length)).collect()
    };
    let lists = [
        (&pairs.positions[..], sizes(pairs.position_features, &|length| *length)),
        (&pairs.maps, sizes(pairs.map_features, &pair)),
        (target(card), sizes(1, &pair)),
    ];
    for ((name, sizes), values) in lists.iter().zip(&columns.lists) {
        let mut start = 0;
        for (row, size) in sizes.iter().enumerate() {
            let list = values.get(start..start + size).unwrap_or_default();
            if list.iter().any(|value| !value.is_finite()) {
                return Err(wrong((row, format!("column `{name}`: not a finite number"))));
            }
            start += size;
        }
    }
    Ok(())
}
