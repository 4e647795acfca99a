//! Parquet -> an Arrow IPC file beside it, from which rows are copied by number.
//!
//! A cache carries the hash of all its bytes ([`seal`]), which is compared whenever it is opened: once per stage
//! and table, by all threads, at the speed of the disk or of memory. Time stamps are not trusted there, since they do
//! not reveal a failing disk; they only save a second reading at the end of a stage. A damaged cache, or one without a
//! hash, is made again from the Parquet file, whose own hash the card has.

mod cached;
mod columns;
mod file;
mod layout;
mod seal;

pub(crate) use cached::Cached;
pub(crate) use file::Stamp;
pub(crate) use layout::Span;

use crate::{
    Error,
    pairs::{self, PairRows},
    split::{Block, SplitData, TargetShape},
    table::{RowLayout, TUNING_COLUMN},
};
use arrow::{datatypes::Schema, ipc::writer::FileWriter};
use columns::{check_groups, check_values, columns};
use dash_core::card::{DatasetCard, ElementType, SplitInfo, Target};
use file::Positioned;
use layout::BlockLayout;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use seal::Sealing;
use std::{fs::File, io, path::Path, sync::Arc};

/// Schema metadata of a cache: the hash of the Parquet file that it was made from.
const SOURCE_KEY: &str = "dash-nas:parquet-sha256";

/// Compares a Parquet file's columns and row count with the card, from its footer.
pub(crate) fn check_parquet(path: &Path, card: &DatasetCard, info: &SplitInfo) -> Result<(), Error> {
    reader(path, card, info).map(|_| ())
}

/// A Parquet reader, and the indices of the columns that training needs.
fn reader(
    path: &Path,
    card: &DatasetCard,
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
pub(crate) fn make(cache: &Path, parquet: &Path, card: &DatasetCard, info: &SplitInfo) -> Result<(), Error> {
    let before = Stamp::at(parquet)?;
    let found = dash_store::sha256_file(parquet)?;
    if found != info.sha256 {
        return Err(Error::dataset(parquet, "is not the file that its card describes (sha256 differs)"));
    }
    let (builder, wanted) = reader(parquet, card, info)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let layout = RowLayout::new(card.input.clone(), card.target.clone(), vec![]);
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
            let mut out = Sealing::new(out);
            let mut writer = FileWriter::try_new(&mut out, &schema).map_err(Error::arrow(cache))?;
            writer.write_metadata(seal::KEY, seal::PLACE);
            let (mut row, mut group) = (0, None);
            for batch in batches {
                let batch = batch.map_err(Error::arrow(parquet))?;
                check_values(parquet, &batch, card, row)?;
                check_groups(parquet, &batch, card, row, &mut group)?;
                row += batch.num_rows();
                let batch = batch.with_schema(schema.clone()).map_err(Error::arrow(cache))?;
                writer.write(&batch).map_err(Error::arrow(cache))?;
            }
            writer.get_mut().hold();
            writer.finish().map_err(Error::arrow(cache))?;
            drop(writer);
            out.finish().map_err(Error::io(cache))?;
            match before.is_same(&Stamp::at(parquet)?) {
                true => Ok(()),
                false => Err(Error::altered(parquet, "was written to while it was read")),
            }
        };
        write().map_err(|error| {
            let text = error.to_string();
            failure = Some(error);
            std::io::Error::other(text)
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(written?),
    }
}

fn batches_schema(
    batches: &parquet::arrow::arrow_reader::ParquetRecordBatchReader,
    info: &SplitInfo,
) -> Arc<Schema> {
    let fields = arrow::array::RecordBatchReader::schema(batches).fields().clone();
    Arc::new(Schema::new_with_metadata(fields, [(SOURCE_KEY, info.sha256.clone())]))
}

/// The reason why a cache cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// There is none.
    Missing,
    /// It was made by a version that wrote no hash.
    Unsealed,
    /// Its content is not that of its hash.
    Damaged(String),
}

/// Compares the hash that a cache carries with its bytes.
pub(crate) fn check(path: &Path, info: &SplitInfo) -> Result<(), Unusable> {
    sealed(path, info).map(|_| ())
}

fn sealed(path: &Path, info: &SplitInfo) -> Result<(Cached, layout::Footer), Unusable> {
    let damaged = |error: &dyn std::fmt::Display| Unusable::Damaged(error.to_string());
    let file = Positioned::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        _ => damaged(&error),
    })?;
    let footer = layout::footer(&file).map_err(|error| damaged(&error))?;
    let footer = footer.ok_or_else(|| damaged(&"is not a complete Arrow file"))?;
    let seal = footer.seal.clone().ok_or(Unusable::Unsealed)?;
    if footer.schema.metadata.get(SOURCE_KEY) != Some(&info.sha256) {
        return Err(damaged(&"it is the cache of another Parquet file"));
    }
    match seal.holds(&file).map_err(|error| damaged(&error))? {
        true => Ok((Cached { file, seal }, footer)),
        false => Err(damaged(&"its content is not that of its hash")),
    }
}

/// Opens a cache after comparing its hash, and that it belongs to the Parquet file of the card.
pub(crate) fn open(path: &Path, card: &DatasetCard, info: &SplitInfo) -> Result<SplitData, Unusable> {
    let (cached, footer) = sealed(path, info)?;
    let damaged = |error: Error| Unusable::Damaged(error.to_string());
    let data = rows(cached, &footer, card).map_err(damaged)?;
    match data {
        Some(data) if data.rows == info.rows => Ok(data),
        _ => Err(Unusable::Damaged("it does not have the columns and rows of its Parquet file".to_owned())),
    }
}

/// The rows of a cache; `None` if it does not have what the card says.
fn rows(cached: Cached, footer: &layout::Footer, card: &DatasetCard) -> Result<Option<SplitData>, Error> {
    let (_, has_tuning) = columns(cached.path(), &footer.schema, card)?;
    let Some(blocks) = footer.blocks(&cached.file)? else { return Ok(None) };
    let mut data = SplitData {
        rows: 0,
        input_scaling: card.input_scaling.clone(),
        shape: card.input.shape.clone(),
        element: card.input.element,
        target: TargetShape::of(&card.target),
        blocks: vec![],
        tuning: has_tuning.then(Vec::new),
        pairs: card.pairs.clone().map(PairRows::new),
        starts: card.group.is_some().then(Vec::new),
        cached,
    };
    let mut last = None;
    for block in &blocks {
        if add(&mut data, block, &footer.schema, card, &mut last)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(data))
}

/// Adds the rows of a block; `None` if it is not what the card says. `last` is the group of the row before.
fn add(
    data: &mut SplitData,
    block: &BlockLayout,
    schema: &Schema,
    card: &DatasetCard,
    last: &mut Option<i64>,
) -> Result<Option<()>, Error> {
    let rows = block.rows;
    // A column of rows of so many bytes.
    let column = |name: &str, width: usize| -> Option<Span> {
        let span = *block.columns.get(schema.index_of(name).ok()?)?;
        let needed = rows.checked_mul(width).and_then(|bytes| u64::try_from(bytes).ok())?;
        (span.length >= needed).then_some(span)
    };
    let mut bytes = vec![];
    if let Some(tuning) = &mut data.tuning {
        let span = block.columns.get(schema.index_of(TUNING_COLUMN).unwrap_or(usize::MAX));
        let Some(span) = span.filter(|span| span.length >= rows.div_ceil(8) as u64) else { return Ok(None) };
        data.cached.read(*span, 0, rows.div_ceil(8), 1, &mut bytes)?;
        let marked = |row: &usize| bytes.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1);
        tuning.extend((0..rows).filter(marked).map(|row| data.rows + row));
    }
    let mut integers = |name: &str| -> Result<Option<Vec<i64>>, Error> {
        let Some(span) = column(name, 8) else { return Ok(None) };
        data.cached.read(span, 0, rows, 8, &mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<8>();
        Ok(Some(numbers.iter().map(|number| i64::from_le_bytes(*number)).collect()))
    };
    if let Some(pairs) = &mut data.pairs {
        let Some(lengths) = integers(pairs.length_column())? else { return Ok(None) };
        let spans = pairs.list_columns(card).map(|name| {
            let span = schema.index_of(name).ok().and_then(|index| block.columns.get(index));
            span.copied()
        });
        data.rows += rows;
        return Ok(pairs.extend(&lengths, spans, card));
    }
    let width = match card.input.element {
        ElementType::U8 => 1,
        ElementType::F16 => 2,
        _ => 4,
    };
    let mut ignore = Some(None);
    let target = match &card.target {
        Target::Field { tensor } => column(&tensor.column, 4 * tensor.len()),
        Target::Labels { column: name, labels } => column(name, labels.len()),
        Target::Mask { tensor, ignore: ignored } => {
            if let Some(mask) = ignored {
                ignore = column(&mask.column, mask.len()).map(Some);
            }
            column(&tensor.column, tensor.len())
        }
        Target::Class { column: name, labels } => {
            let classes = integers(name)?.unwrap_or_default();
            // Code that counts classes relies on valid indices.
            let known = |&class: &i64| usize::try_from(class).is_ok_and(|class| class < labels.len());
            column(name, 8).filter(|_| classes.iter().all(known))
        }
    };
    let background = match &card.background {
        Some(name) => column(name, 4).map(Some),
        None => Some(None),
    };
    if let (Some(name), Some(starts)) = (&card.group, &mut data.starts) {
        let Some(groups) = integers(name)? else { return Ok(None) };
        for (row, group) in (data.rows..).zip(groups) {
            match last.replace(group) {
                Some(last) if last == group => {}
                Some(last) if last > group => return Ok(None),
                _ => starts.push(row),
            }
        }
    }
    let input = column(&card.input.column, width * card.input.len());
    let (Some(input), Some(target), Some(ignore), Some(background)) = (input, target, ignore, background)
    else {
        return Ok(None);
    };
    data.blocks.push(Block { start: data.rows, rows, input, target, ignore, background });
    data.rows += rows;
    Ok(Some(()))
}
