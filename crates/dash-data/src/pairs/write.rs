//! Samples of features of pairs -> a Parquet file with columns of lists.

use crate::{
    Error,
    table::{GROUP_BYTES, TUNING_COLUMN, properties},
};
use arrow::{
    array::{ArrayRef, BooleanArray, Float32Array, Int64Array, ListArray, RecordBatch},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use dash_core::card::PairFeatures;
use dash_store::StagedFile;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A sample whose input is made of features of positions and of pairs of positions.
#[derive(Clone, Copy, Debug)]
pub struct PairRow<'a> {
    /// The number of positions.
    pub length: usize,
    /// Features of positions, (features, length).
    pub positions: &'a [f32],
    /// Features of pairs, (features, length, length).
    pub maps: &'a [f32],
    /// The target, (length, length).
    pub target: &'a [f32],
    /// The values of the id columns.
    pub ids: &'a [i64],
    /// Whether tuning may train on the sample; ignored unless the split has a tuning column.
    pub tuning: bool,
}

/// A column of lists in the making.
#[derive(Default)]
struct Lists {
    lengths: Vec<usize>,
    values: Vec<f32>,
}

impl Lists {
    fn push(&mut self, values: &[f32]) {
        self.lengths.push(values.len());
        self.values.extend_from_slice(values);
    }

    fn take(&mut self, path: &Path) -> Result<ArrayRef, Error> {
        let Lists { lengths, values } = std::mem::take(self);
        let too_many = ArrowError::OffsetOverflowError(values.len());
        let offsets = OffsetBuffer::try_from_lengths(lengths).map_err(|_| too_many);
        let list = offsets.and_then(|offsets| {
            ListArray::try_new(item(), offsets, Arc::new(Float32Array::from(values)), None)
        });
        Ok(Arc::new(list.map_err(Error::arrow(path))?))
    }
}

/// The element field that Arrow and pyarrow use by default.
fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, true))
}

/// Writes the samples of one split.
pub(crate) struct PairWriter {
    writer: ArrowWriter<StagedFile>,
    path: PathBuf,
    schema: SchemaRef,
    tuning: bool,
    rows: usize,
    length: Vec<i64>,
    positions: Lists,
    maps: Lists,
    target: Lists,
    ids: Vec<Vec<i64>>,
    tuning_marks: Vec<bool>,
}

impl PairWriter {
    /// Starts the Parquet file `path` (for messages), whose bytes go to `file`; `ids` are the names of
    /// the columns that identify a sample, `tuning` says whether there is a column for tuning.
    pub(crate) fn new(
        file: StagedFile,
        path: PathBuf,
        (features, target): (&PairFeatures, &str),
        ids: &[&str],
        tuning: bool,
    ) -> Result<PairWriter, Error> {
        let schema = Arc::new(schema(features, target, ids, tuning));
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(&path)?))
            .map_err(Error::parquet(&path))?;
        Ok(PairWriter {
            writer,
            path,
            schema,
            tuning,
            rows: 0,
            length: vec![],
            positions: Lists::default(),
            maps: Lists::default(),
            target: Lists::default(),
            ids: vec![vec![]; ids.len()],
            tuning_marks: vec![],
        })
    }

    /// Adds a sample.
    pub(crate) fn push(&mut self, row: PairRow<'_>) -> Result<(), Error> {
        self.length.push(row.length as i64);
        self.positions.push(row.positions);
        self.maps.push(row.maps);
        self.target.push(row.target);
        for (column, id) in self.ids.iter_mut().zip(row.ids) {
            column.push(*id);
        }
        if self.tuning {
            self.tuning_marks.push(row.tuning);
        }
        self.rows += 1;
        let buffered = self.positions.values.len() + self.maps.values.len() + self.target.values.len();
        if 4 * buffered >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and makes the file durable. Returns the number of samples.
    pub(crate) fn finish(mut self) -> Result<usize, Error> {
        self.flush()?;
        let file = self.writer.into_inner().map_err(Error::parquet(&self.path))?;
        file.finish()?;
        Ok(self.rows)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.length.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(std::mem::take(&mut self.length))),
            self.positions.take(&self.path)?,
            self.maps.take(&self.path)?,
            self.target.take(&self.path)?,
        ];
        for ids in &mut self.ids {
            columns.push(Arc::new(Int64Array::from(std::mem::take(ids))));
        }
        if self.tuning {
            columns.push(Arc::new(BooleanArray::from(std::mem::take(&mut self.tuning_marks))));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(Error::arrow(&self.path))?;
        self.writer.write(&batch).map_err(Error::parquet(&self.path))?;
        self.writer.flush().map_err(Error::parquet(&self.path))
    }
}

fn schema(features: &PairFeatures, target: &str, ids: &[&str], tuning: bool) -> Schema {
    let list = |name: &str| Field::new(name, DataType::List(item()), false);
    let mut fields = vec![
        Field::new(&features.length, DataType::Int64, false),
        list(&features.positions),
        list(&features.maps),
        list(target),
    ];
    fields.extend(ids.iter().map(|&id| Field::new(id, DataType::Int64, false)));
    if tuning {
        fields.push(Field::new(TUNING_COLUMN, DataType::Boolean, false));
    }
    // Hugging Face's description of the columns.
    let described = fields.iter().map(|field| {
        let feature = match field.data_type() {
            DataType::List(_) => json!({"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}),
            DataType::Boolean => json!({"dtype": "bool", "_type": "Value"}),
            _ => json!({"dtype": "int64", "_type": "Value"}),
        };
        (field.name().clone(), feature)
    });
    let described: serde_json::Map<String, serde_json::Value> = described.collect();
    let metadata = json!({"info": {"features": described}}).to_string();
    Schema::new_with_metadata(fields, [("huggingface", metadata)])
}
