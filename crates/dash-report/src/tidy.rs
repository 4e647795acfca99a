//! Writes the tidy results as JSON, CSV and Parquet: one record per result row, in the given order.

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

/// A row without nesting. `search_seconds`, `tune_seconds` and `retrain_seconds` are the times of the stages; the columns
/// after `reason` are the provenance of the final stage.
#[derive(Default, Serialize)]
struct Flat<'a> {
    pipeline: &'a str,
    task: &'a str,
    method: String,
    seed: u64,
    protocol: String,
    metric: &'a str,
    value: Option<f64>,
    lower_is_better: bool,
    split: &'a str,
    params: Option<u64>,
    search_seconds: Option<f64>,
    tune_seconds: Option<f64>,
    retrain_seconds: Option<f64>,
    run: &'a str,
    primary: bool,
    status: &'a str,
    reason: Option<&'a str>,
    profile: Option<&'a str>,
    overrides: Option<String>,
    dataset: Option<&'a str>,
    fingerprint: Option<&'a str>,
    version: Option<&'a str>,
    commit: Option<&'a str>,
    dirty: Option<bool>,
    instruction_set: Option<&'a str>,
    device: Option<&'a str>,
    device_name: Option<&'a str>,
    threads: Option<u64>,
    os: Option<&'a str>,
    plan_policy: Option<&'a str>,
    first_started: Option<&'a str>,
    attempts: Option<u64>,
    peak_memory: Option<u64>,
    predicted_memory: Option<u64>,
}

impl<'a> From<&'a ResultRow> for Flat<'a> {
    fn from(row: &'a ResultRow) -> Self {
        let StageSeconds { search, tune, retrain } = row.stage_seconds;
        let flat = Flat {
            pipeline: &row.pipeline,
            task: &row.task,
            method: row.method.to_string(),
            seed: row.seed,
            protocol: row.protocol.to_string(),
            metric: &row.metric,
            value: row.value,
            lower_is_better: row.lower_is_better,
            split: &row.split,
            primary: row.primary,
            status: row.status.name(),
            reason: row.reason.as_deref(),
            params: row.params.map(|n| n as u64),
            search_seconds: search,
            tune_seconds: tune,
            retrain_seconds: retrain,
            run: &row.run,
            dataset: row.dataset.as_deref(),
            fingerprint: row.fingerprint.as_deref(),
            ..Flat::default()
        };
        let Some(from) = &row.provenance else { return flat };
        Flat {
            profile: from.profile.as_deref(),
            overrides: (!from.overrides.is_empty()).then(|| from.overrides.join("; ")),
            version: Some(&from.program.version),
            commit: Some(&from.program.commit),
            dirty: Some(from.program.dirty),
            instruction_set: Some(&from.instruction_set),
            device: Some(&from.device),
            device_name: Some(&from.device_name),
            threads: Some(from.threads as u64),
            os: Some(&from.os),
            plan_policy: Some(&from.plan_policy),
            first_started: Some(&from.first_started),
            attempts: Some(from.attempts.into()),
            peak_memory: from.peak_memory,
            predicted_memory: from.predicted_memory,
            ..flat
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
    fn text<'a>(rows: &'a [Flat<'a>], of: impl Fn(&'a Flat<'a>) -> Option<&'a str>) -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    }
    let whole = |of: fn(&Flat<'_>) -> Option<u64>| -> ArrayRef {
        Arc::new(flat.iter().map(of).collect::<UInt64Array>())
    };
    let real = |of: fn(&Flat<'_>) -> Option<f64>| -> ArrayRef {
        Arc::new(flat.iter().map(of).collect::<Float64Array>())
    };
    let yes = |of: fn(&Flat<'_>) -> Option<bool>| -> ArrayRef {
        Arc::new(flat.iter().map(of).collect::<BooleanArray>())
    };
    use DataType::{Boolean, Float64, UInt64, Utf8};
    // Name, type, whether it may be null, values.
    let columns: Vec<(&str, DataType, bool, ArrayRef)> = vec![
        ("pipeline", Utf8, false, text(&flat, |r| Some(r.pipeline))),
        ("task", Utf8, false, text(&flat, |r| Some(r.task))),
        ("method", Utf8, false, text(&flat, |r| Some(&r.method))),
        ("seed", UInt64, false, whole(|r| Some(r.seed))),
        ("protocol", Utf8, false, text(&flat, |r| Some(&r.protocol))),
        ("metric", Utf8, false, text(&flat, |r| Some(r.metric))),
        ("value", Float64, true, real(|r| r.value)),
        ("lower_is_better", Boolean, false, yes(|r| Some(r.lower_is_better))),
        ("split", Utf8, false, text(&flat, |r| Some(r.split))),
        ("params", UInt64, true, whole(|r| r.params)),
        ("search_seconds", Float64, true, real(|r| r.search_seconds)),
        ("tune_seconds", Float64, true, real(|r| r.tune_seconds)),
        ("retrain_seconds", Float64, true, real(|r| r.retrain_seconds)),
        ("run", Utf8, false, text(&flat, |r| Some(r.run))),
        ("primary", Boolean, false, yes(|r| Some(r.primary))),
        ("status", Utf8, false, text(&flat, |r| Some(r.status))),
        ("reason", Utf8, true, text(&flat, |r| r.reason)),
        ("profile", Utf8, true, text(&flat, |r| r.profile)),
        ("overrides", Utf8, true, text(&flat, |r| r.overrides.as_deref())),
        ("dataset", Utf8, true, text(&flat, |r| r.dataset)),
        ("fingerprint", Utf8, true, text(&flat, |r| r.fingerprint)),
        ("version", Utf8, true, text(&flat, |r| r.version)),
        ("commit", Utf8, true, text(&flat, |r| r.commit)),
        ("dirty", Boolean, true, yes(|r| r.dirty)),
        ("instruction_set", Utf8, true, text(&flat, |r| r.instruction_set)),
        ("device", Utf8, true, text(&flat, |r| r.device)),
        ("device_name", Utf8, true, text(&flat, |r| r.device_name)),
        ("threads", UInt64, true, whole(|r| r.threads)),
        ("os", Utf8, true, text(&flat, |r| r.os)),
        ("plan_policy", Utf8, true, text(&flat, |r| r.plan_policy)),
        ("first_started", Utf8, true, text(&flat, |r| r.first_started)),
        ("attempts", UInt64, true, whole(|r| r.attempts)),
        ("peak_memory", UInt64, true, whole(|r| r.peak_memory)),
        ("predicted_memory", UInt64, true, whole(|r| r.predicted_memory)),
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
