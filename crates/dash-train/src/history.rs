//! Writes and reads training histories as Parquet: one row per epoch.

use crate::error::Error;
use arrow::{
    array::{Array, ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema},
};
use dash_core::results::Epoch;
use dash_store::Staging;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::properties::WriterProperties,
};
use std::{path::Path, sync::Arc};

fn wrong(path: &Path) -> impl Fn(String) -> Error + '_ {
    move |reason| Error::Format { path: path.to_owned(), reason }
}

/// A list column: one list of values per epoch.
pub type HistorySeries = (String, Vec<Vec<f32>>);

/// Writes `history.parquet` with the columns epoch, learning_rate, train_loss and score, and one
/// list column per series (for example the architecture parameters of a layer).
///
/// # Errors
/// If a series does not have one entry per epoch, or the file cannot be written.
pub fn write_history(out: &mut Staging, epochs: &[Epoch], series: &[HistorySeries]) -> Result<(), Error> {
    let name = "history.parquet";
    let path = out.path().join(name);
    let fail = |e: &dyn std::fmt::Display| wrong(&path)(e.to_string());
    let mut columns: Vec<(Field, ArrayRef)> = vec![
        (
            Field::new("epoch", DataType::Int64, false),
            Arc::new(Int64Array::from_iter_values(epochs.iter().map(|e| e.epoch as i64))),
        ),
        (
            Field::new("learning_rate", DataType::Float64, false),
            Arc::new(Float64Array::from_iter_values(epochs.iter().map(|e| e.learning_rate))),
        ),
        (
            Field::new("train_loss", DataType::Float64, false),
            Arc::new(Float64Array::from_iter_values(epochs.iter().map(|e| e.train_loss))),
        ),
        (
            Field::new("score", DataType::Float64, true),
            Arc::new(Float64Array::from_iter(epochs.iter().map(|e| e.score))),
        ),
    ];
    for (name, lists) in series {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let offsets = OffsetBuffer::<i32>::from_lengths(lists.iter().map(Vec::len));
        let values = Float32Array::new(ScalarBuffer::from(lists.concat()), None);
        let list = ListArray::try_new(item.clone(), offsets, Arc::new(values), None).map_err(|e| fail(&e))?;
        columns.push((Field::new(name, DataType::List(item), false), Arc::new(list)));
    }
    write_table(out, name, columns)
}

/// Writes columns of equal length as one Parquet file, with the same bytes each time.
///
/// # Errors
/// If lengths differ or the file cannot be written.
pub fn write_table(out: &mut Staging, name: &str, columns: Vec<(Field, ArrayRef)>) -> Result<(), Error> {
    let path = out.path().join(name);
    let fail = |e: &dyn std::fmt::Display| wrong(&path)(e.to_string());
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| fail(&e))?;
    // A fixed writer name: the bytes must not change with the version of a library.
    let properties = WriterProperties::builder().set_created_by("dash-nas".to_owned()).build();
    let mut file = out.create(name)?;
    let mut writer = ArrowWriter::try_new(&mut file, schema, Some(properties)).map_err(|e| fail(&e))?;
    writer.write(&batch).map_err(|e| fail(&e))?;
    writer.close().map_err(|e| fail(&e))?;
    file.finish()?;
    Ok(())
}

/// Reads the epochs of a `history.parquet`.
///
/// # Errors
/// If the file cannot be read or lacks a column.
pub fn read_history(path: &Path) -> Result<Vec<Epoch>, Error> {
    let fail = |e: &dyn std::fmt::Display| wrong(path)(e.to_string());
    let file = dash_store::open_plain(path).map_err(|e| fail(&e.reason()))?;
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.build()).map_err(|e| fail(&e))?;
    let mut epochs = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| fail(&e))?;
        fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, String> {
            let column = batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<A>());
            column.ok_or_else(|| format!("has no column `{name}` of the expected type"))
        }
        let number = column::<Int64Array>(&batch, "epoch").map_err(wrong(path))?;
        let rate = column::<Float64Array>(&batch, "learning_rate").map_err(wrong(path))?;
        let loss = column::<Float64Array>(&batch, "train_loss").map_err(wrong(path))?;
        let score = column::<Float64Array>(&batch, "score").map_err(wrong(path))?;
        for row in 0..batch.num_rows() {
            epochs.push(Epoch {
                epoch: usize::try_from(number.value(row)).map_err(|e| fail(&e))?,
                learning_rate: rate.value(row),
                train_loss: loss.value(row),
                score: score.is_valid(row).then(|| score.value(row)),
            });
        }
    }
    Ok(epochs)
}

/// Reads the list columns of a `history.parquet`.
///
/// # Errors
/// If the file cannot be read, or a list holds other values than f32.
pub(crate) fn read_series(path: &Path) -> Result<Vec<HistorySeries>, Error> {
    let fail = |e: &dyn std::fmt::Display| wrong(path)(e.to_string());
    let file = dash_store::open_plain(path).map_err(|e| fail(&e.reason()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| fail(&e))?;
    let names = builder.schema().fields().iter().filter(|f| matches!(f.data_type(), DataType::List(_)));
    let mut series: Vec<HistorySeries> = names.map(|f| (f.name().clone(), Vec::new())).collect();
    for batch in builder.build().map_err(|e| fail(&e))? {
        let batch = batch.map_err(|e| fail(&e))?;
        for (name, lists) in &mut series {
            let column = batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<ListArray>());
            for list in column.into_iter().flat_map(|column| column.iter()) {
                let values = list.as_ref().and_then(|list| list.as_any().downcast_ref::<Float32Array>());
                let values = values.ok_or_else(|| fail(&format!("column `{name}` is not a list of f32")))?;
                lists.push(values.values().to_vec());
            }
        }
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_come_back_and_their_bytes_are_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let epochs: Vec<Epoch> = (0..5)
            .map(|epoch| Epoch {
                epoch,
                learning_rate: 0.1 / (epoch + 1) as f64,
                train_loss: 1.5 - epoch as f64,
                score: (epoch % 2 == 0).then_some(0.25),
            })
            .collect();
        let series = vec![("alpha.stem".to_owned(), vec![vec![1.0, 2.0]; 5])];
        let bytes = |name: &str| {
            let mut out = Staging::begin(&dir.path().join(name)).unwrap();
            write_history(&mut out, &epochs, &series).unwrap();
            let path = out.path().join("history.parquet");
            assert_eq!(read_history(&path).unwrap(), epochs);
            assert_eq!(read_series(&path).unwrap(), series);
            std::fs::read(path).unwrap()
        };
        assert_eq!(bytes("a"), bytes("b"));
    }

    #[test]
    fn other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Staging::begin(&dir.path().join("a")).unwrap();
        out.write("history.parquet", b"PAR1 not really").unwrap();
        let error = read_history(&out.path().join("history.parquet")).unwrap_err();
        assert!(error.to_string().contains("history.parquet"), "{error}");
        assert!(read_history(Path::new("nowhere/history.parquet")).is_err());
    }
}
