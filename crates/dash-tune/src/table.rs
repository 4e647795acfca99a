//! Writes the table of trials, `trials.parquet`.

use crate::{error::Error, grid::TrialOutcome};
use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, Int64Array},
    datatypes::{DataType, Field},
};
use dash_core::architecture::Hyperparameters;
use dash_store::Staging;
use dash_train::write_table;
use std::sync::Arc;

/// Writes one row per trial, in the order in which they were run.
pub(crate) fn write(out: &mut Staging, outcomes: &[TrialOutcome]) -> Result<(), Error> {
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
        (double("score", true), Arc::new(Float64Array::from_iter(outcomes.iter().map(|o| o.value)))),
        (
            Field::new("diverged", DataType::Boolean, false),
            Arc::new(BooleanArray::from_iter(outcomes.iter().map(|o| Some(o.value.is_none())))),
        ),
    ];
    Ok(write_table(out, "trials.parquet", columns)?)
}
