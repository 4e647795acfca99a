//! What the columns of a dataset must be, and which values they may hold.

use crate::{
    Error, pairs,
    table::{EXTENSION_METADATA, TUNING_COLUMN, element_type},
};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    buffer::ScalarBuffer,
    datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Int64Type, Schema, UInt8Type},
};
use dash_core::card::{DatasetCard, ElementType, Target, TensorField};
use std::path::Path;

/// The columns that training needs, and whether there is a tuning column.
pub(super) fn columns(path: &Path, schema: &Schema, card: &DatasetCard) -> Result<(Vec<usize>, bool), Error> {
    let find = |name: &str| {
        schema
            .index_of(name)
            .map_err(|_| Error::dataset(path, format!("has no column `{name}`, which its card announces")))
    };
    let list = |column: &str, expected: &[usize], element: DataType| -> Result<usize, Error> {
        let index = find(column)?;
        let field = schema.field(index);
        let is_list = matches!(field.data_type(), DataType::FixedSizeList(item, size)
            if item.data_type() == &element && usize::try_from(*size) == Ok(expected.iter().product()));
        let shape = field.metadata().get(EXTENSION_METADATA).and_then(|text| {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            serde_json::from_value::<Vec<usize>>(value.get("shape")?.clone()).ok()
        });
        if is_list && shape.is_none_or(|shape| shape == expected) {
            return Ok(index);
        }
        Err(Error::dataset(
            path,
            format!(
                "column `{column}` is not a tensor of shape {expected:?} and type {element}, as its card \
                 says, but {}",
                field.data_type()
            ),
        ))
    };
    let tensor = |tensor: &TensorField| list(&tensor.column, &tensor.shape, element_type(tensor));
    if let (Some(pairs), Target::Field { tensor: field }) = (&card.pairs, &card.target) {
        return with_tuning(path, schema, pairs::columns(path, schema, pairs, &field.column)?);
    }
    let mut wanted = vec![tensor(&card.input)?];
    wanted.push(match &card.target {
        Target::Field { tensor: field } => tensor(field)?,
        Target::Labels { column, labels } => list(column, &[labels.len()], DataType::UInt8)?,
        Target::Mask { tensor, .. } => list(&tensor.column, &tensor.shape, DataType::UInt8)?,
        Target::Class { column, .. } => {
            let index = find(column)?;
            match schema.field(index).data_type() {
                DataType::Int64 => index,
                other => {
                    return Err(Error::dataset(path, format!("column `{column}` is {other}, not Int64")));
                }
            }
        }
    });
    if let Target::Mask { ignore: Some(tensor), .. } = &card.target {
        wanted.push(list(&tensor.column, &tensor.shape, DataType::UInt8)?);
    }
    if let Some(column) = &card.background {
        let index = find(column)?;
        let found = schema.field(index).data_type();
        if found != &DataType::Float32 {
            return Err(Error::dataset(path, format!("column `{column}` is {found}, not Float32")));
        }
        wanted.push(index);
    }
    if let Some(column) = &card.group {
        let index = find(column)?;
        let found = schema.field(index).data_type();
        if found != &DataType::Int64 {
            return Err(Error::dataset(path, format!("column `{column}` is {found}, not Int64")));
        }
        wanted.push(index);
    }
    with_tuning(path, schema, wanted)
}

/// Adds the tuning column to the `wanted` ones if there is one.
fn with_tuning(path: &Path, schema: &Schema, mut wanted: Vec<usize>) -> Result<(Vec<usize>, bool), Error> {
    let tuning = schema.index_of(TUNING_COLUMN).ok();
    if let Some(index) = tuning {
        if schema.field(index).data_type() != &DataType::Boolean {
            return Err(Error::dataset(path, format!("column `{TUNING_COLUMN}` is not Boolean")));
        }
        wanted.push(index);
    }
    Ok((wanted, tuning.is_some()))
}

/// Numbers must be finite, classes must have a label, labels and masks must be 0 or 1, nothing may be
/// null.
pub(super) fn check_values(
    path: &Path,
    batch: &RecordBatch,
    card: &DatasetCard,
    first: usize,
) -> Result<(), Error> {
    let tensor = |column: &TensorField| -> Result<(), Error> {
        let missing = || Error::dataset(path, format!("column `{}` has missing values", column.column));
        let infinite = match column.element {
            ElementType::F16 => {
                let values = list_values::<Float16Type>(batch, &column.column).ok_or_else(missing)?;
                values.iter().position(|value| !value.is_finite())
            }
            _ => {
                let values = list_values::<Float32Type>(batch, &column.column).ok_or_else(missing)?;
                values.iter().position(|value| !value.is_finite())
            }
        };
        match infinite {
            None => Ok(()),
            Some(at) => Err(Error::dataset(
                path,
                format!("column `{}`, row {}: not a finite number", column.column, first + at / column.len()),
            )),
        }
    };
    let zero_or_one = |column: &str, length: usize, what: &str| -> Result<(), Error> {
        let values = list_values::<UInt8Type>(batch, column)
            .ok_or_else(|| Error::dataset(path, format!("column `{column}` has missing values")))?;
        match values.iter().position(|&value| value > 1) {
            None => Ok(()),
            Some(at) => Err(Error::dataset(
                path,
                format!("column `{column}`, row {}: {what} is neither 0 nor 1", first + at / length.max(1)),
            )),
        }
    };
    if let Some(pairs) = &card.pairs {
        return pairs::check_values(path, batch, card, pairs, first);
    }
    match card.input.element {
        // Any byte is a number; only that none is missing is to be checked.
        ElementType::U8 => {
            let column = &card.input.column;
            list_values::<UInt8Type>(batch, column)
                .ok_or_else(|| Error::dataset(path, format!("column `{column}` has missing values")))?;
        }
        _ => tensor(&card.input)?,
    }
    if let Some(column) = &card.background {
        let levels = numbers(batch, column)
            .ok_or_else(|| Error::dataset(path, format!("column `{column}` has missing values")))?;
        if let Some(at) = levels.iter().position(|value| !value.is_finite()) {
            let problem = format!("column `{column}`, row {}: not a finite number", first + at);
            return Err(Error::dataset(path, problem));
        }
    }
    match &card.target {
        Target::Field { tensor: field } => tensor(field),
        Target::Labels { column, labels } => zero_or_one(column, labels.len(), "a label"),
        Target::Mask { tensor, ignore } => [tensor]
            .into_iter()
            .chain(ignore)
            .try_for_each(|mask| zero_or_one(&mask.column, mask.len(), "a position")),
        Target::Class { column, labels } => {
            let classes = class_values(batch, column)
                .ok_or_else(|| Error::dataset(path, format!("column `{column}` has missing values")))?;
            let wrong = |class: i64| usize::try_from(class).map_or(true, |class| class >= labels.len());
            match classes.iter().position(|&class| wrong(class)) {
                None => Ok(()),
                Some(at) => Err(Error::dataset(
                    path,
                    format!("column `{column}`, row {}: a class without label", first + at),
                )),
            }
        }
    }
}

/// The rows of a group must follow each other: its numbers must not fall. `last` is that of the row before.
pub(super) fn check_groups(
    path: &Path,
    batch: &RecordBatch,
    card: &DatasetCard,
    first: usize,
    last: &mut Option<i64>,
) -> Result<(), Error> {
    let Some(column) = &card.group else { return Ok(()) };
    let groups = class_values(batch, column)
        .ok_or_else(|| Error::dataset(path, format!("column `{column}` has missing values")))?;
    for (row, &group) in (first..).zip(groups.iter()) {
        if last.replace(group).is_some_and(|last| group < last) {
            let problem =
                format!("column `{column}`, row {row}: falls, so that a sample could be in two places");
            return Err(Error::dataset(path, problem));
        }
    }
    Ok(())
}

/// The numbers of a Float32 column; `None` if there is no such column or something is null.
fn numbers(batch: &RecordBatch, column: &str) -> Option<ScalarBuffer<f32>> {
    let numbers = batch.column_by_name(column)?.as_primitive_opt::<Float32Type>()?;
    (numbers.null_count() == 0).then(|| numbers.values().clone())
}

/// The elements of a column of lists; `None` if there is no such column or something is null.
fn list_values<T: ArrowPrimitiveType>(batch: &RecordBatch, column: &str) -> Option<ScalarBuffer<T::Native>> {
    let list = batch.column_by_name(column)?.as_fixed_size_list_opt()?;
    let values = list.values().as_primitive_opt::<T>()?;
    (list.null_count() == 0 && values.null_count() == 0).then(|| values.values().clone())
}

fn class_values(batch: &RecordBatch, column: &str) -> Option<ScalarBuffer<i64>> {
    let classes = batch.column_by_name(column)?.as_primitive_opt::<Int64Type>()?;
    (classes.null_count() == 0).then(|| classes.values().clone())
}
