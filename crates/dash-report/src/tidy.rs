//! The tidy results as JSON, CSV and Parquet: one record per row, in the order given.

use crate::{Error, escape};
use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema},
};
use dash_core::results::{ResultRow, StageSeconds};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Serialize;
use std::sync::Arc;

/// A row without nesting, its stages as `search_seconds`, `tune_seconds`, `retrain_seconds`.
#[derive(Serialize)]
struct Flat<'a> {
    pipeline: &'a str,
    task: &'a str,
    method: String,
    seed: u64,
    protocol: String,
    metric: &'a str,
    value: f64,
    lower_is_better: bool,
    split: &'a str,
    params: u64,
    search_seconds: Option<f64>,
    tune_seconds: Option<f64>,
    retrain_seconds: Option<f64>,
    run: &'a str,
}

impl<'a> From<&'a ResultRow> for Flat<'a> {
    fn from(row: &'a ResultRow) -> Self {
        let StageSeconds { search, tune, retrain } = row.stage_seconds;
        Flat {
            pipeline: &row.pipeline,
            task: &row.task,
            method: row.method.to_string(),
            seed: row.seed,
            protocol: row.protocol.to_string(),
            metric: &row.metric,
            value: row.value,
            lower_is_better: row.lower_is_better,
            split: &row.split,
            params: row.params as u64,
            search_seconds: search,
            tune_seconds: tune,
            retrain_seconds: retrain,
            run: &row.run,
        }
    }
}

/// The rows as serde writes them.
pub(crate) fn json(rows: &[ResultRow]) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(rows)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A header and one line per row (RFC 4180, but lines end in LF), without formulas.
pub(crate) fn csv(rows: &[ResultRow]) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(Flat::from(row))?;
    }
    let file = writer.into_inner().map_err(|e| Error::Csv(e.into_error().into()))?;
    Ok(escape::csv(&file)?)
}

/// One Parquet row group.
pub(crate) fn parquet(rows: &[ResultRow]) -> Result<Vec<u8>, Error> {
    let flat: Vec<Flat<'_>> = rows.iter().map(Flat::from).collect();
    fn text<'a>(rows: &'a [Flat<'a>], of: impl Fn(&'a Flat<'a>) -> &'a str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    }
    let whole = |of: fn(&Flat<'_>) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(flat.iter().map(of)))
    };
    let real = |of: fn(&Flat<'_>) -> Option<f64>| -> ArrayRef {
        Arc::new(flat.iter().map(of).collect::<Float64Array>())
    };
    let lower: BooleanArray = flat.iter().map(|r| Some(r.lower_is_better)).collect();
    let columns: [(&str, DataType, bool, ArrayRef); 14] = [
        ("pipeline", DataType::Utf8, false, text(&flat, |r| r.pipeline)),
        ("task", DataType::Utf8, false, text(&flat, |r| r.task)),
        ("method", DataType::Utf8, false, text(&flat, |r| &r.method)),
        ("seed", DataType::UInt64, false, whole(|r| r.seed)),
        ("protocol", DataType::Utf8, false, text(&flat, |r| &r.protocol)),
        ("metric", DataType::Utf8, false, text(&flat, |r| r.metric)),
        ("value", DataType::Float64, false, real(|r| Some(r.value))),
        ("lower_is_better", DataType::Boolean, false, Arc::new(lower)),
        ("split", DataType::Utf8, false, text(&flat, |r| r.split)),
        ("params", DataType::UInt64, false, whole(|r| r.params)),
        ("search_seconds", DataType::Float64, true, real(|r| r.search_seconds)),
        ("tune_seconds", DataType::Float64, true, real(|r| r.tune_seconds)),
        ("retrain_seconds", DataType::Float64, true, real(|r| r.retrain_seconds)),
        ("run", DataType::Utf8, false, text(&flat, |r| r.run)),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) =
        columns.into_iter().map(|(name, kind, null, array)| (Field::new(name, kind, null), array)).unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}
