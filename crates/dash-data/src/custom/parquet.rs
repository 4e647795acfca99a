//! Columns of Parquet files: lists of any nesting, Arrow's fixed-shape tensors, plain values.

use super::table::{MOST_ELEMENTS, Table, Value, Values, Visit, check_shape, rows_per_block, wrong};
use crate::{
    Error, Subject,
    table::{EXTENSION_METADATA, EXTENSION_NAME, FIXED_SHAPE_TENSOR},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, OffsetSizeTrait},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Float32Type, Int64Type},
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// Values are converted or refused, never replaced by null.
const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// No value of a tensor takes less than an eighth of a byte for long: a limit for row counts that a
/// file only announces.
const MOST_ROWS_PER_BYTE: u64 = 64;

/// A Parquet file whose footer was read.
pub(super) struct ParquetTable {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    rows: usize,
}

impl ParquetTable {
    /// Reads the footer.
    pub(super) fn open(path: PathBuf) -> Result<ParquetTable, Error> {
        let file = File::open(&path).map_err(Error::io(&path))?;
        let length = file.metadata().map_err(Error::io(&path))?.len();
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| damaged(&path, &error))?;
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(u64::MAX);
        if rows > length.saturating_mul(MOST_ROWS_PER_BYTE) {
            let problem = format!("its footer announces {rows} rows in {length} bytes");
            return Err(Error::invalid(Subject::Table, path, problem));
        }
        if rows == 0 {
            return Err(Error::invalid(Subject::Table, path, "it has no rows"));
        }
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        Ok(ParquetTable { path, metadata, rows })
    }

    fn column(&self, name: &str) -> Result<(usize, &Field), Error> {
        let schema = self.metadata.schema();
        schema.index_of(name).map(|index| (index, schema.field(index))).map_err(|_| {
            let names: Vec<String> =
                schema.fields().iter().take(20).map(|field| format!("`{}`", field.name())).collect();
            dash_formats::Error::MissingField {
                path: self.path.clone(),
                field: name.to_owned(),
                found: if names.is_empty() { "no columns".to_owned() } else { names.join(", ") },
            }
            .into()
        })
    }

    /// Refuses columns whose footer announces rows that are too large for memory.
    fn check_size(&self, name: &str) -> Result<(), Error> {
        let schema = self.metadata.parquet_schema();
        let leaves = (0..schema.num_columns())
            .filter(|&leaf| schema.column(leaf).path().parts().first().is_some_and(|root| root == name));
        for leaf in leaves {
            for group in self.metadata.metadata().row_groups() {
                let rows = usize::try_from(group.num_rows()).unwrap_or(0);
                let values = usize::try_from(group.column(leaf).num_values()).unwrap_or(usize::MAX);
                if values / rows.max(1) > MOST_ELEMENTS {
                    let problem = format!("a row has more than {MOST_ELEMENTS} numbers");
                    return Err(Error::field(&self.path, name, problem));
                }
            }
        }
        Ok(())
    }

    /// How the first row of a column is nested. Of lists of varying length it says how long they are.
    fn stored(&self, name: &str) -> Result<Vec<usize>, Error> {
        let (index, _) = self.column(name)?;
        self.check_size(name)?;
        let batch = self.reader(&[index], 1)?.next().transpose().map_err(|e| unreadable(&self.path, &e))?;
        let array = batch.as_ref().and_then(|batch| batch.columns().first());
        let Some(array) = array.filter(|array| array.len() == 1) else {
            return Err(Error::field(&self.path, name, "has no rows"));
        };
        let stored = row_shape(array).map_err(|problem| wrong(&self.path, name, 0, problem))?;
        check_shape(&self.path, name, &stored)?;
        Ok(stored)
    }

    /// A reader of some columns; its batches have them in the order of the file.
    fn reader(&self, columns: &[usize], rows: usize) -> Result<ParquetRecordBatchReader, Error> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(mask)
            .with_batch_size(rows)
            .build()
            .map_err(|error| damaged(&self.path, &error))
    }
}

fn damaged(path: &Path, error: &ParquetError) -> Error {
    Error::invalid(Subject::Table, path, error.to_string())
}

impl Table for ParquetTable {
    fn path(&self) -> &Path {
        &self.path
    }

    fn rows(&mut self, _: &str) -> Result<usize, Error> {
        Ok(self.rows)
    }

    fn shape(&mut self, name: &str) -> Result<Vec<usize>, Error> {
        let stored = self.stored(name)?;
        let (_, field) = self.column(name)?;
        let shape = match tensor_shape(field, &self.path)? {
            Some(shape) => {
                let elements = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
                if elements != Some(stored.iter().product()) {
                    let problem = format!("is a tensor of shape {shape:?} stored as lists of {stored:?}");
                    return Err(Error::field(&self.path, name, problem));
                }
                shape
            }
            None => stored,
        };
        check_shape(&self.path, name, &shape)?;
        Ok(shape)
    }

    fn values(&mut self, name: &str, values: &mut Values) -> Result<Vec<u32>, Error> {
        let (index, field) = self.column(name)?;
        let stored = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref(),
            other => other,
        };
        let text = match stored {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => true,
            other if other.is_integer() => false,
            other => {
                let problem = format!("is {other}; whole numbers, text or Booleans are expected");
                return Err(Error::field(&self.path, name, problem));
            }
        };
        let wanted = if text { DataType::Utf8 } else { DataType::Int64 };
        let mut numbers = Vec::with_capacity(self.rows);
        for batch in self.reader(&[index], 1 << 13)? {
            let batch = batch.map_err(|e| unreadable(&self.path, &e))?;
            let Some(array) = batch.columns().first() else { continue };
            let first = numbers.len();
            let array = cast_with_options(array, &wanted, &STRICT)
                .map_err(|e| Error::field(&self.path, name, e.to_string()))?;
            if let Some(at) = (0..array.len()).find(|&at| array.is_null(at)) {
                return Err(wrong(&self.path, name, first + at, "is missing (null)"));
            }
            for row in 0..array.len() {
                let value = if text {
                    Value::Text(array.as_string::<i32>().value(row).to_owned())
                } else {
                    Value::Integer(array.as_primitive::<Int64Type>().value(row))
                };
                numbers.push(values.number(&self.path, name, value)?);
            }
        }
        Ok(numbers)
    }

    fn blocks(&mut self, names: &[&str], visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut columns = vec![];
        for &name in names {
            columns.push((name, self.column(name)?.0, self.stored(name)?));
        }
        let elements = columns.iter().map(|(_, _, stored)| stored.iter().product::<usize>()).sum();
        let indices: Vec<usize> = columns.iter().map(|&(_, index, _)| index).collect();
        let mut first = 0;
        for batch in self.reader(&indices, rows_per_block(elements))? {
            let batch = batch.map_err(|e| unreadable(&self.path, &e))?;
            let mut block = vec![];
            for (name, _, stored) in &columns {
                let array = batch.column_by_name(name);
                let array = array.ok_or_else(|| Error::field(&self.path, *name, "cannot be read"))?;
                let fail = |row: usize, problem: String| wrong(&self.path, name, first + row, problem);
                block.push(flatten(array, 1, stored).map_err(|(row, problem)| fail(row, problem))?);
            }
            visit(first, &block)?;
            first += batch.num_rows();
        }
        if first != self.rows {
            let problem = format!("its footer announces {} rows, there are {first}", self.rows);
            return Err(Error::invalid(Subject::Table, &self.path, problem));
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &arrow::error::ArrowError) -> Error {
    Error::invalid(Subject::Table, path, error.to_string())
}

/// The shape that a fixed-shape tensor announces; `None` for other columns.
fn tensor_shape(field: &Field, path: &Path) -> Result<Option<Vec<usize>>, Error> {
    if field.metadata().get(EXTENSION_NAME).map(String::as_str) != Some(FIXED_SHAPE_TENSOR) {
        return Ok(None);
    }
    let text = field.metadata().get(EXTENSION_METADATA).map_or("", String::as_str);
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let list = |key: &str| -> Option<Vec<usize>> { serde_json::from_value(value.get(key)?.clone()).ok() };
    let Some(shape) = list("shape") else {
        let problem = format!("is a tensor that does not say its shape: {text:?}");
        return Err(Error::field(path, field.name(), problem));
    };
    // The permutation says how the stored axes are to be called; as stored they are 0, 1, 2, ...
    if list("permutation").is_some_and(|order| !order.iter().copied().eq(0..order.len())) {
        let problem = "is a tensor with permuted axes; save it in the order of its axes";
        return Err(Error::field(path, field.name(), problem));
    }
    Ok(Some(shape))
}

/// Whether elements of this type are numbers that can be converted to `f32`.
fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || kind == &DataType::Boolean
}

/// The values of a list array, whatever its kind, and the length of each list.
struct Lists {
    values: ArrayRef,
    lengths: Vec<usize>,
}

impl Lists {
    fn of(array: &ArrayRef) -> Option<Lists> {
        match array.data_type() {
            DataType::FixedSizeList(_, size) => {
                let list = array.as_fixed_size_list();
                let size = usize::try_from(*size).ok()?;
                Some(Lists { values: list.values().clone(), lengths: vec![size; list.len()] })
            }
            DataType::List(_) => Some(Lists::offsets::<i32>(array)),
            DataType::LargeList(_) => Some(Lists::offsets::<i64>(array)),
            _ => None,
        }
    }

    fn offsets<O: OffsetSizeTrait>(array: &ArrayRef) -> Lists {
        let list = array.as_list::<O>();
        let offsets = list.value_offsets();
        let lengths = offsets.windows(2).map(|pair| match pair {
            [start, end] => end.as_usize() - start.as_usize(),
            _ => 0,
        });
        let start = offsets.first().map_or(0, |first| first.as_usize());
        let end = offsets.last().map_or(0, |last| last.as_usize());
        Lists { lengths: lengths.collect(), values: list.values().slice(start, end - start) }
    }
}

/// The shape of the only row of `array`.
fn row_shape(array: &ArrayRef) -> Result<Vec<usize>, String> {
    let mut shape = vec![];
    let mut array = array.clone();
    while let Some(lists) = Lists::of(&array) {
        if array.null_count() > 0 {
            return Err("is missing (null)".to_owned());
        }
        let length = lists.lengths.first().copied().unwrap_or(0);
        shape.push(length);
        if length == 0 {
            return Err("is an empty list".to_owned());
        }
        array = lists.values;
    }
    if is_number(array.data_type()) {
        Ok(shape)
    } else {
        Err(format!("holds {}; numbers are expected", array.data_type()))
    }
}

/// All numbers of an array whose every `span` entries belong to one row and are nested as `shape` says;
/// or the row that is wrong, and why.
fn flatten(array: &ArrayRef, span: usize, shape: &[usize]) -> Result<Vec<f32>, (usize, String)> {
    let row = |at: usize| at / span.max(1);
    if array.null_count() > 0
        && let Some(at) = (0..array.len()).find(|&at| array.is_null(at))
    {
        return Err((row(at), "is missing, or has a missing value (null)".to_owned()));
    }
    match (Lists::of(array), shape) {
        (Some(lists), &[wanted, ref inner @ ..]) => {
            match lists.lengths.iter().enumerate().find(|&(_, &found)| found != wanted) {
                Some((at, found)) => {
                    let problem =
                        format!("has a list of {found} elements, the first row of the file {wanted}");
                    Err((row(at), problem))
                }
                None => flatten(&lists.values, span * wanted, inner),
            }
        }
        (None, []) if is_number(array.data_type()) => {
            let numbers = cast_with_options(array, &DataType::Float32, &STRICT);
            let numbers = numbers.map_err(|e| (0, e.to_string()))?;
            Ok(numbers.as_primitive::<Float32Type>().values().to_vec())
        }
        _ => Err((0, format!("holds {}; numbers are expected", array.data_type()))),
    }
}
