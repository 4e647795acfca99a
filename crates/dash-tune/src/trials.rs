//! The table of trials: `trials.parquet`.

use crate::{Error, Outcome};
use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use dash_core::architecture::Hyperparameters;
use dash_store::Staging;
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use std::sync::Arc;

/// Writes one row per trial, in the order in which they were run.
pub(crate) fn write(out: &mut Staging, outcomes: &[Outcome]) -> Result<(), Error> {
    let table = |reason: &dyn std::fmt::Display| Error::Table { reason: reason.to_string() };
    let number = |f: fn(&Hyperparameters) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(outcomes.iter().map(|o| f(&o.hyperparameters))))
    };
    let double = |name: &str, nullable| Field::new(name, DataType::Float64, nullable);
    let columns: Vec<(Field, ArrayRef)> = vec![
        (
            Field::new("trial", DataType::Int64, false),
            Arc::new(Int64Array::from_iter_values((0i64..).take(outcomes.len()))),
        ),
        (double("learning_rate", false), number(|h| h.learning_rate)),
        (double("dropout", false), number(|h| h.dropout)),
        (double("weight_decay", false), number(|h| h.weight_decay)),
        (double("momentum", false), number(|h| h.momentum)),
        (double("score", true), Arc::new(Float64Array::from_iter(outcomes.iter().map(|o| o.score)))),
        (
            Field::new("diverged", DataType::Boolean, false),
            Arc::new(BooleanArray::from_iter(outcomes.iter().map(|o| Some(o.score.is_none())))),
        ),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| table(&e))?;
    let properties = WriterProperties::builder().set_created_by("dash-nas".to_owned()).build();
    let mut file = out.create("trials.parquet")?;
    let mut writer = ArrowWriter::try_new(&mut file, schema, Some(properties)).map_err(|e| table(&e))?;
    writer.write(&batch).map_err(|e| table(&e))?;
    writer.close().map_err(|e| table(&e))?;
    Ok(file.finish()?)
}
