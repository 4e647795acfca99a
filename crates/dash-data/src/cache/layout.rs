//! Where the columns of an Arrow IPC file are. Nothing but its footer and the heads of its blocks is read; what
//! they say is taken only as far as it lies inside the file.

use super::{file::Positioned, seal};
use crate::Error;
use arrow::{
    datatypes::{DataType, Schema},
    ipc::{convert::try_fb_to_schema, reader::read_footer_length, root_as_footer, root_as_message},
};

/// The longest footer or head that is read: those of any dataset are far below.
const LONGEST: u64 = 1 << 28;

/// The bytes of a column in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// A record batch: for each column of the schema where its innermost elements are.
#[derive(Clone, Debug)]
pub(super) struct BlockLayout {
    pub(super) rows: usize,
    pub(super) columns: Vec<Span>,
}

/// What the footer says.
pub(super) struct Footer {
    pub(super) schema: Schema,
    pub(super) seal: Option<seal::Seal>,
    /// Place, bytes of the head and bytes of the body of each block.
    blocks: Vec<[u64; 3]>,
    /// Where it begins.
    start: u64,
}

/// `None` if the file does not end as an Arrow IPC file does.
pub(super) fn footer(file: &Positioned) -> Result<Option<Footer>, Error> {
    let mut trailer = [0; 10];
    let Some(end) = file.len().checked_sub(trailer.len() as u64) else { return Ok(None) };
    file.read(&mut trailer, end)?;
    let length = read_footer_length(trailer).ok().and_then(|length| u64::try_from(length).ok());
    let Some(length) = length.filter(|&length| length <= end.min(LONGEST)) else { return Ok(None) };
    let mut bytes = vec![0; length as usize];
    file.read(&mut bytes, end - length)?;
    Ok(parse(&bytes, end - length))
}

fn parse(bytes: &[u8], start: u64) -> Option<Footer> {
    let footer = root_as_footer(bytes).ok()?;
    let schema = try_fb_to_schema(footer.schema()?).ok()?;
    let mut pairs = footer.custom_metadata().into_iter().flatten();
    let hash = pairs.find(|pair| pair.key() == Some(seal::KEY)).and_then(|pair| pair.value());
    let hash = hash.filter(|hash| hash.len() == seal::PLACE.len());
    let seal = hash.and_then(|hash| {
        let place = seal::find(bytes, hash)?;
        Some(seal::Seal { hash: hash.to_owned(), place: start + place as u64 })
    });
    let blocks = footer.recordBatches()?.iter().map(|block| {
        let [place, body] = [block.offset(), block.bodyLength()].map(|number| u64::try_from(number).ok());
        Some([place?, u64::try_from(block.metaDataLength()).ok()?, body?])
    });
    Some(Footer { schema, seal, blocks: blocks.collect::<Option<_>>()?, start })
}

impl Footer {
    /// The blocks in order; `None` if one of them does not lie inside the file or is not plain.
    pub(super) fn blocks(&self, file: &Positioned) -> Result<Option<Vec<BlockLayout>>, Error> {
        let mut blocks = vec![];
        for &[place, head, body] in &self.blocks {
            let inside = |end: u64| end <= self.start;
            let start = place.checked_add(head).filter(|_| head <= LONGEST);
            let Some(start) = start.filter(|start| start.checked_add(body).is_some_and(inside)) else {
                return Ok(None);
            };
            let mut bytes = vec![0; head as usize];
            file.read(&mut bytes, place)?;
            match block(&bytes, Span { start, length: body }, &self.schema) {
                Some(block) => blocks.push(block),
                None => return Ok(None),
            }
        }
        Ok(Some(blocks))
    }
}

/// Buffers of a column: how many in all, and which of them has the innermost elements.
fn buffers(data: &DataType) -> (usize, usize) {
    match data {
        // Which elements there are, then what is inside.
        DataType::FixedSizeList(item, _) => {
            let (count, inner) = buffers(item.data_type());
            (count + 1, inner + 1)
        }
        // Offsets besides.
        DataType::List(item) => {
            let (count, inner) = buffers(item.data_type());
            (count + 2, inner + 2)
        }
        _ => (2, 1),
    }
}

fn block(head: &[u8], body: Span, schema: &Schema) -> Option<BlockLayout> {
    // Continuation marker and length, then the message.
    let message = root_as_message(head.get(8..)?).ok()?;
    let batch = message.header_as_record_batch()?;
    let rows = usize::try_from(batch.length()).ok().filter(|&rows| rows > 0)?;
    let whole = batch.nodes()?.iter().all(|node| node.null_count() == 0) && batch.compression().is_none();
    let mut spans = vec![];
    for buffer in batch.buffers()?.iter() {
        let (place, length) = (u64::try_from(buffer.offset()).ok()?, u64::try_from(buffer.length()).ok()?);
        place.checked_add(length).filter(|&end| end <= body.length)?;
        spans.push(Span { start: body.start + place, length });
    }
    let mut first = 0;
    let mut columns = vec![];
    for field in schema.fields() {
        let (count, inner) = buffers(field.data_type());
        columns.push(*spans.get(first + inner)?);
        first += count;
    }
    (whole && first == spans.len()).then_some(BlockLayout { rows, columns })
}
