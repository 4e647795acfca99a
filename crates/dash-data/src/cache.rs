//! Parquet -> a memory-mapped Arrow IPC file beside it, from which rows are copied by number.

use crate::{
    Error,
    batch::{Block, BlockInput, BlockTarget, SplitData, TargetShape},
    map,
    pairs::{self, PairRows},
    table::{EXTENSION_METADATA, Layout, TUNING_COLUMN, element_type},
};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    buffer::{Buffer, ScalarBuffer},
    datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Int64Type, Schema, UInt8Type},
    ipc::{
        self, convert::try_fb_to_schema, reader::FileDecoder, reader::read_footer_length, root_as_footer,
        root_as_message, writer::FileWriter,
    },
};
use dash_core::card::{Card, ElementType, SplitInfo, Target, TensorField};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use std::{fs::File, path::Path, sync::Arc};

/// Schema metadata of a cache: the hash of the Parquet file that it was made from.
const SOURCE_KEY: &str = "dash-nas:parquet-sha256";

/// The columns that training needs, and whether there is a tuning column.
fn columns(path: &Path, schema: &Schema, card: &Card) -> Result<(Vec<usize>, bool), Error> {
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

/// Compares a Parquet file's columns and row count with the card, from its footer.
pub(crate) fn check_parquet(path: &Path, card: &Card, info: &SplitInfo) -> Result<(), Error> {
    reader(path, card, info).map(|_| ())
}

/// A Parquet reader, and the indices of the columns that training needs.
fn reader(
    path: &Path,
    card: &Card,
    info: &SplitInfo,
) -> Result<(ParquetRecordBatchReaderBuilder<File>, Vec<usize>), Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path))?;
    let (wanted, _) = columns(path, builder.schema(), card)?;
    let rows = builder.metadata().file_metadata().num_rows();
    if usize::try_from(rows) != Ok(info.rows) {
        return Err(Error::dataset(path, format!("has {rows} rows, its card says {}", info.rows)));
    }
    Ok((builder, wanted))
}

/// Decodes the Parquet file once, checks every value, and publishes the cache.
pub(crate) fn make(cache: &Path, parquet: &Path, card: &Card, info: &SplitInfo) -> Result<(), Error> {
    let found = dash_store::sha256_file(parquet)?;
    if found != info.sha256 {
        return Err(Error::dataset(parquet, "is not the file that its card describes (sha256 differs)"));
    }
    let (builder, wanted) = reader(parquet, card, info)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let layout = Layout {
        input: card.input.clone(),
        target: card.target.clone(),
        background: None,
        ids: vec![],
        tuning: false,
    };
    let batches = builder
        .with_projection(mask)
        .with_batch_size(match &card.pairs {
            Some(pairs) => pairs::rows_per_block(card, pairs),
            None => layout.rows_per_group(),
        })
        .build()
        .map_err(Error::parquet(parquet))?;
    let mut failure = None;
    let written = dash_store::publish_with(cache, |out| {
        let write = || -> Result<(), Error> {
            let schema = batches_schema(&batches, info);
            let mut writer = FileWriter::try_new(out, &schema).map_err(Error::arrow(cache))?;
            let (mut row, mut group) = (0, None);
            for batch in batches {
                let batch = batch.map_err(Error::arrow(parquet))?;
                check_values(parquet, &batch, card, row)?;
                check_groups(parquet, &batch, card, row, &mut group)?;
                row += batch.num_rows();
                let batch = batch.with_schema(schema.clone()).map_err(Error::arrow(cache))?;
                writer.write(&batch).map_err(Error::arrow(cache))?;
            }
            writer.finish().map_err(Error::arrow(cache))
        };
        write().map_err(|error| {
            let text = error.to_string();
            failure = Some(error);
            std::io::Error::other(text)
        })
    });
    match (written, failure) {
        (_, Some(Error::Arrow { path, source })) => Err(match source {
            // A full disk is not damaged data.
            arrow::error::ArrowError::IoError(_, source) => Error::Io { path, source },
            source => Error::Arrow { path, source },
        }),
        (_, Some(failure)) => Err(failure),
        (written, None) => Ok(written?),
    }
}

fn batches_schema(
    batches: &parquet::arrow::arrow_reader::ParquetRecordBatchReader,
    info: &SplitInfo,
) -> Arc<Schema> {
    let fields = arrow::array::RecordBatchReader::schema(batches).fields().clone();
    Arc::new(Schema::new_with_metadata(fields, [(SOURCE_KEY, info.sha256.clone())]))
}

/// Numbers must be finite, classes must have a label, labels and masks must be 0 or 1, nothing may be
/// null.
fn check_values(path: &Path, batch: &RecordBatch, card: &Card, first: usize) -> Result<(), Error> {
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
fn check_groups(
    path: &Path,
    batch: &RecordBatch,
    card: &Card,
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

/// Maps a cache after checking that it is complete and belongs to the Parquet file of the card.
pub(crate) fn open(path: &Path, card: &Card, info: &SplitInfo) -> Result<SplitData, Error> {
    let damaged = || Error::dataset(path, "is not a complete cache of its Parquet file");
    let file = map::map(path)?;
    let (schema, batches) = read(&file, info).ok_or_else(damaged)?;
    let (_, has_tuning) = columns(path, &schema, card)?;
    let mut data = SplitData {
        rows: 0,
        input_scaling: card.input_scaling.clone(),
        shape: card.input.shape.clone(),
        target: TargetShape::of(&card.target),
        blocks: vec![],
        tuning: has_tuning.then(Vec::new),
        pairs: card.pairs.clone().map(PairRows::new),
        starts: card.group.is_some().then(Vec::new),
    };
    let mut last = None;
    for batch in batches {
        let rows = batch.num_rows();
        if let Some(tuning) = &mut data.tuning {
            let marks = batch.column_by_name(TUNING_COLUMN).and_then(|c| c.as_boolean_opt());
            let marks = marks.filter(|marks| marks.null_count() == 0).ok_or_else(damaged)?;
            tuning.extend((0..rows).filter(|&row| marks.value(row)).map(|row| data.rows + row));
        }
        if let Some(pairs) = &mut data.pairs {
            pairs.extend(&batch, card).ok_or_else(damaged)?;
            data.rows += rows;
            continue;
        }
        let column = &card.input.column;
        let input = match card.input.element {
            ElementType::U8 => list_values::<UInt8Type>(&batch, column).map(BlockInput::Bytes),
            ElementType::F16 => list_values::<Float16Type>(&batch, column).map(BlockInput::Halves),
            _ => list_values::<Float32Type>(&batch, column).map(BlockInput::Singles),
        };
        let input = input.ok_or_else(damaged)?;
        let target = match &card.target {
            Target::Field { tensor } => {
                BlockTarget::Field(list_values::<Float32Type>(&batch, &tensor.column).ok_or_else(damaged)?)
            }
            Target::Labels { column, .. } => {
                let values = list_values::<UInt8Type>(&batch, column).ok_or_else(damaged)?;
                if values.iter().any(|&value| value > 1) {
                    return Err(damaged());
                }
                BlockTarget::Labels(values)
            }
            // Any byte but 0 counts as 1: checking all of them would read the whole file.
            Target::Mask { tensor, ignore } => {
                let values = |mask: &TensorField| list_values::<UInt8Type>(&batch, &mask.column);
                let ignore = ignore.as_ref().map(|mask| values(mask).ok_or_else(damaged)).transpose()?;
                BlockTarget::Mask(values(tensor).ok_or_else(damaged)?, ignore)
            }
            Target::Class { column, labels } => {
                let classes = class_values(&batch, column).ok_or_else(damaged)?;
                if !classes.iter().all(|&c| usize::try_from(c).is_ok_and(|c| c < labels.len())) {
                    return Err(damaged());
                }
                BlockTarget::Class(classes)
            }
        };
        let background = card.background.as_ref().map(|column| numbers(&batch, column).ok_or_else(damaged));
        let background = background.transpose()?;
        if let (Some(column), Some(starts)) = (&card.group, &mut data.starts) {
            for (row, &group) in (data.rows..).zip(class_values(&batch, column).ok_or_else(damaged)?.iter()) {
                match last.replace(group) {
                    Some(last) if last == group => {}
                    Some(last) if last > group => return Err(damaged()),
                    _ => starts.push(row),
                }
            }
        }
        data.blocks.push(Block { start: data.rows, rows, input, target, background });
        data.rows += rows;
    }
    if data.rows == info.rows { Ok(data) } else { Err(damaged()) }
}

/// Schema and batches of an Arrow IPC file, zero-copy; `None` if anything does not fit. Lengths are
/// compared here, because the decoder takes them on trust.
fn read(file: &Buffer, info: &SplitInfo) -> Option<(Schema, Vec<RecordBatch>)> {
    let (before, trailer) = file.as_slice().split_last_chunk::<10>()?;
    let footer_start = before.len().checked_sub(read_footer_length(*trailer).ok()?)?;
    let footer = root_as_footer(before.get(footer_start..)?).ok()?;
    let schema = try_fb_to_schema(footer.schema()?).ok()?;
    if schema.metadata.get(SOURCE_KEY) != Some(&info.sha256) {
        return None;
    }
    let decoder = FileDecoder::new(Arc::new(schema.clone()), footer.version()).with_require_alignment(true);
    let mut batches = vec![];
    for block in footer.recordBatches()? {
        let start = usize::try_from(block.offset()).ok()?;
        let head = usize::try_from(block.metaDataLength()).ok()?;
        let body = usize::try_from(block.bodyLength()).ok()?;
        let length = head.checked_add(body)?;
        if start.checked_add(length)? > footer_start {
            return None;
        }
        let data = file.slice_with_length(start, length);
        check_block(data.as_slice().get(..head)?, body, &schema, start.checked_add(head)?)?;
        batches.push(decoder.read_record_batch(block, &data).ok()??);
    }
    Some((schema, batches))
}

/// Bytes of an element in each buffer of a column, in the order of a message: which elements there are,
/// then offsets or elements, then what is inside.
fn element_widths(data: &DataType, widths: &mut Vec<usize>) {
    widths.push(1);
    match data {
        DataType::FixedSizeList(item, _) => element_widths(item.data_type(), widths),
        DataType::List(item) => {
            widths.push(size_of::<i32>());
            element_widths(item.data_type(), widths);
        }
        other => widths.push(other.primitive_width().unwrap_or(1)),
    }
}

/// Whether the message of a block is sound, all its buffers lie inside the body, which begins at `start`,
/// and elements are where the decoder may look for them: it does not compare the places of offsets.
fn check_block(head: &[u8], body: usize, schema: &Schema, start: usize) -> Option<()> {
    // Continuation marker and length, then the message.
    let message = root_as_message(head.get(8..)?).ok()?;
    let batch: ipc::RecordBatch<'_> = message.header_as_record_batch()?;
    let rows = usize::try_from(batch.length()).ok()?;
    // No element takes less than a bit.
    let fits = |length: i64| usize::try_from(length).is_ok_and(|length| length / 8 <= body);
    let nodes_fit = batch.nodes()?.iter().all(|node| fits(node.length()) && node.null_count() == 0);
    let mut widths = vec![];
    schema.fields().iter().for_each(|field| element_widths(field.data_type(), &mut widths));
    let mut widths = widths.into_iter();
    let buffers_fit = batch.buffers()?.iter().all(|buffer| {
        let place = usize::try_from(buffer.offset()).ok();
        let (Some(place), Ok(length)) = (place, usize::try_from(buffer.length())) else { return false };
        let inside = place.checked_add(length).is_some_and(|end| end <= body);
        let width = widths.next().unwrap_or(1);
        inside && (start + place).is_multiple_of(width) && length.is_multiple_of(width)
    });
    (rows > 0 && nodes_fit && buffers_fit && batch.compression().is_none()).then_some(())
}
