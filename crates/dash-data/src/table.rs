//! Writes rows of a dataset to a Parquet file, in row groups of bounded size and with the same bytes for the same
//! rows.

use crate::Error;
use arrow::{
    array::{
        ArrayRef, BooleanArray, FixedSizeListArray, Float16Array, Float32Array, Int64Array, RecordBatch,
        UInt8Array,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use dash_core::card::{ElementType, Target, TensorField};
use dash_store::StagedFile;
use half::f16;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the column that marks the rows that tuning may train on under the paper protocol.
pub(crate) const TUNING_COLUMN: &str = "tuning";

/// Metadata key of Arrow's extension types, and the parameters of the type.
pub(crate) const EXTENSION_NAME: &str = "ARROW:extension:name";
pub(crate) const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
pub(crate) const FIXED_SHAPE_TENSOR: &str = "arrow.fixed_shape_tensor";

/// Row groups and cache blocks hold about this many bytes, uncompressed.
pub(crate) const GROUP_BYTES: usize = 16 << 20;

/// The columns of a split.
#[derive(Clone, Debug)]
pub struct RowLayout {
    /// The input tensor.
    pub input: TensorField,
    /// The target.
    pub target: Target,
    /// Name of the column with the background level of each sample.
    pub background: Option<&'static str>,
    /// Names of integer columns that identify a row.
    pub ids: Vec<&'static str>,
    /// Whether there is a tuning column.
    pub(crate) tuning: bool,
}

/// One row of a split.
#[derive(Clone, Copy, Debug)]
pub struct DatasetRow<'a> {
    /// The elements of the input; integers from 0 to 255 if inputs are stored as bytes.
    pub input: &'a [f32],
    /// The target.
    pub target: RowTarget<'a>,
    /// The background level; ignored unless the layout has a background column.
    pub background: f32,
    /// The values of the id columns.
    pub ids: &'a [i64],
    /// Whether tuning may train on the row; ignored unless the split has a tuning column.
    pub tuning: bool,
}

/// The target of a row.
#[derive(Clone, Copy, Debug)]
pub enum RowTarget<'a> {
    /// The index of the class.
    Class(usize),
    /// 0 or 1 for each label (multi-hot).
    Labels(&'a [u8]),
    /// The elements of the field.
    Field(&'a [f32]),
    /// A mask.
    Mask {
        /// 0 or 1 for each position.
        values: &'a [u8],
        /// 1 for each position that loss and metric ignore; empty if the layout has no such column.
        ignore: &'a [u8],
    },
}

impl RowLayout {
    /// Rows of an input, a target and the id columns `ids`.
    pub fn new(input: TensorField, target: Target, ids: Vec<&'static str>) -> RowLayout {
        RowLayout { input, target, background: None, ids, tuning: false }
    }

    /// Rows whose tensors fill about one row group.
    pub(crate) fn rows_per_group(&self) -> usize {
        let input = match self.input.element {
            ElementType::U8 => self.input.len().div_ceil(4),
            _ => self.input.len(),
        };
        let target = match &self.target {
            Target::Class { .. } => 2,
            Target::Labels { labels, .. } => labels.len().div_ceil(4),
            Target::Field { tensor } => tensor.len(),
            Target::Mask { tensor, ignore } => {
                (tensor.len() * (1 + usize::from(ignore.is_some()))).div_ceil(4)
            }
        };
        (GROUP_BYTES / (4 * (input + target)).max(1)).clamp(1, 1 << 16)
    }

    fn schema(&self) -> Result<Schema, Error> {
        let mut fields = vec![tensor_column(&self.input)?];
        let mut features = serde_json::Map::new();
        features.insert(self.input.column.clone(), tensor_feature(&self.input));
        match &self.target {
            Target::Class { column, labels } => {
                fields.push(Field::new(column, DataType::Int64, false));
                features.insert(column.clone(), json!({"names": labels, "_type": "ClassLabel"}));
            }
            Target::Labels { column, labels } => {
                fields.push(list_column(column, &[labels.len()], DataType::UInt8)?);
                features.insert(column.clone(), list_feature("uint8", labels.len()));
            }
            Target::Field { tensor } => {
                fields.push(tensor_column(tensor)?);
                features.insert(tensor.column.clone(), tensor_feature(tensor));
            }
            Target::Mask { tensor, ignore } => {
                for mask in [tensor].into_iter().chain(ignore) {
                    fields.push(list_column(&mask.column, &mask.shape, DataType::UInt8)?);
                    features.insert(mask.column.clone(), list_feature("uint8", mask.len()));
                }
            }
        }
        if let Some(column) = self.background {
            fields.push(Field::new(column, DataType::Float32, false));
            features.insert(column.to_owned(), json!({"dtype": "float32", "_type": "Value"}));
        }
        for &id in &self.ids {
            fields.push(Field::new(id, DataType::Int64, false));
            features.insert(id.to_owned(), json!({"dtype": "int64", "_type": "Value"}));
        }
        if self.tuning {
            fields.push(Field::new(TUNING_COLUMN, DataType::Boolean, false));
            features.insert(TUNING_COLUMN.to_owned(), json!({"dtype": "bool", "_type": "Value"}));
        }
        let metadata = json!({"info": {"features": features}}).to_string();
        Ok(Schema::new_with_metadata(fields, [("huggingface", metadata)]))
    }
}

/// The number of elements of a sample as Arrow counts them.
fn list_size(elements: usize) -> Result<i32, Error> {
    i32::try_from(elements)
        .map_err(|_| Error::configuration("dataset", format!("a sample of {elements} elements is too large")))
}

/// The element field that Arrow and pyarrow use by default.
fn element_field(element: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", element, true))
}

fn tensor_column(tensor: &TensorField) -> Result<Field, Error> {
    list_column(&tensor.column, &tensor.shape, element_type(tensor))
}

/// What a column of tensors holds.
pub(crate) fn element_type(tensor: &TensorField) -> DataType {
    match tensor.element {
        ElementType::U8 => DataType::UInt8,
        ElementType::I64 => DataType::Int64,
        ElementType::F16 => DataType::Float16,
        ElementType::F32 => DataType::Float32,
    }
}

fn list_column(column: &str, shape: &[usize], element: DataType) -> Result<Field, Error> {
    let list = DataType::FixedSizeList(element_field(element), list_size(shape.iter().product())?);
    Ok(Field::new(column, list, false).with_metadata([
        (EXTENSION_NAME, FIXED_SHAPE_TENSOR.to_owned()),
        (EXTENSION_METADATA, json!({"shape": shape}).to_string()),
    ]))
}

/// Hugging Face's description of a tensor column: what is stored, a flat list. (Its `Array2D` and
/// `Array3D` stand for nested lists, into which `datasets` cannot cast a flat one.)
fn tensor_feature(tensor: &TensorField) -> serde_json::Value {
    list_feature(tensor.element.name(), tensor.len())
}

fn list_feature(element: &str, length: usize) -> serde_json::Value {
    json!({"feature": {"dtype": element, "_type": "Value"}, "length": length, "_type": "List"})
}

/// How files are written, whatever their columns.
pub(crate) fn properties(path: &Path) -> Result<WriterProperties, Error> {
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(Error::parquet(path))?))
        .set_created_by("dash-nas".to_owned())
        // Tensors do not repeat, and no reader looks up rows by an element of a tensor.
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build())
}

/// Writes the rows of one split.
pub(crate) struct SplitWriter {
    writer: ArrowWriter<StagedFile>,
    path: PathBuf,
    layout: RowLayout,
    schema: SchemaRef,
    group: usize,
    buffered: usize,
    rows: usize,
    class_counts: Vec<usize>,
    input: Vec<f32>,
    /// Inputs of a layout of bytes.
    bytes: Vec<u8>,
    class: Vec<i64>,
    labels: Vec<u8>,
    field: Vec<f32>,
    mask: Vec<u8>,
    ignore: Vec<u8>,
    background: Vec<f32>,
    ids: Vec<Vec<i64>>,
    tuning: Vec<bool>,
}

impl SplitWriter {
    /// Starts the Parquet file `path` (for messages), whose bytes go to `file`.
    pub(crate) fn new(file: StagedFile, path: PathBuf, layout: RowLayout) -> Result<Self, Error> {
        let schema = Arc::new(layout.schema()?);
        let group = layout.rows_per_group();
        let properties = properties(&path)?.into_builder().set_max_row_group_row_count(Some(group)).build();
        let writer =
            ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(Error::parquet(&path))?;
        let classes = match &layout.target {
            Target::Class { labels, .. } | Target::Labels { labels, .. } => labels.len(),
            Target::Field { .. } | Target::Mask { .. } => 0,
        };
        Ok(SplitWriter {
            writer,
            path,
            schema,
            group,
            buffered: 0,
            rows: 0,
            class_counts: vec![0; classes],
            input: vec![],
            bytes: vec![],
            class: vec![],
            labels: vec![],
            field: vec![],
            mask: vec![],
            ignore: vec![],
            background: vec![],
            ids: vec![vec![]; layout.ids.len()],
            tuning: vec![],
            layout,
        })
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: DatasetRow<'_>) -> Result<(), Error> {
        match self.layout.input.element {
            ElementType::U8 => {
                for &value in row.input {
                    let byte = value as u8;
                    if f32::from(byte) != value {
                        let problem = format!("{value} in row {} is not a byte", self.rows);
                        return Err(Error::field(&self.path, &self.layout.input.column, problem));
                    }
                    self.bytes.push(byte);
                }
            }
            _ => self.input.extend_from_slice(row.input),
        }
        match row.target {
            RowTarget::Class(class) => {
                let count = self.class_counts.get_mut(class).ok_or_else(|| {
                    Error::field(&self.path, "target", format!("class {class} has no label"))
                })?;
                *count += 1;
                self.class.push(class as i64);
            }
            RowTarget::Labels(labels) => {
                for (count, &label) in self.class_counts.iter_mut().zip(labels) {
                    *count += usize::from(label);
                }
                self.labels.extend_from_slice(labels);
            }
            RowTarget::Field(values) => self.field.extend_from_slice(values),
            RowTarget::Mask { values, ignore } => {
                self.mask.extend_from_slice(values);
                self.ignore.extend_from_slice(ignore);
            }
        }
        if self.layout.background.is_some() {
            self.background.push(row.background);
        }
        for (column, id) in self.ids.iter_mut().zip(row.ids) {
            column.push(*id);
        }
        if self.layout.tuning {
            self.tuning.push(row.tuning);
        }
        self.rows += 1;
        self.buffered += 1;
        if self.buffered == self.group { self.flush() } else { Ok(()) }
    }

    /// Writes the remaining rows and makes the file durable. Returns the number of rows, and of rows per class or
    /// label.
    pub(crate) fn finish(mut self) -> Result<(usize, Vec<usize>), Error> {
        self.flush()?;
        let file = self.writer.into_inner().map_err(Error::parquet(&self.path))?;
        file.finish()?;
        Ok((self.rows, self.class_counts))
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.buffered == 0 {
            return Ok(());
        }
        let input = &self.layout.input;
        let mut columns = vec![match input.element {
            ElementType::U8 => {
                let values = UInt8Array::from(std::mem::take(&mut self.bytes));
                self.list(DataType::UInt8, input.len(), Arc::new(values))?
            }
            _ => self.tensor(input, self.input.clone())?,
        }];
        match &self.layout.target {
            Target::Class { .. } => columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.class)))),
            Target::Labels { labels, .. } => {
                let values = UInt8Array::from(std::mem::take(&mut self.labels));
                columns.push(self.list(DataType::UInt8, labels.len(), Arc::new(values))?);
            }
            Target::Field { tensor } => columns.push(self.tensor(tensor, self.field.clone())?),
            Target::Mask { tensor, ignore } => {
                let values = UInt8Array::from(std::mem::take(&mut self.mask));
                columns.push(self.list(DataType::UInt8, tensor.len(), Arc::new(values))?);
                if let Some(tensor) = ignore {
                    let values = UInt8Array::from(std::mem::take(&mut self.ignore));
                    columns.push(self.list(DataType::UInt8, tensor.len(), Arc::new(values))?);
                }
            }
        }
        if self.layout.background.is_some() {
            columns.push(Arc::new(Float32Array::from(std::mem::take(&mut self.background))));
        }
        self.input.clear();
        self.field.clear();
        for ids in &mut self.ids {
            columns.push(Arc::new(Int64Array::from(std::mem::take(ids))));
        }
        if self.layout.tuning {
            columns.push(Arc::new(BooleanArray::from(std::mem::take(&mut self.tuning))));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(Error::arrow(&self.path))?;
        self.writer.write(&batch).map_err(Error::parquet(&self.path))?;
        self.writer.flush().map_err(Error::parquet(&self.path))?;
        self.buffered = 0;
        Ok(())
    }

    fn tensor(&self, tensor: &TensorField, values: Vec<f32>) -> Result<ArrayRef, Error> {
        let elements: ArrayRef = match tensor.element {
            ElementType::F16 => {
                Arc::new(Float16Array::from_iter_values(values.iter().map(|&value| f16::from_f32(value))))
            }
            _ => Arc::new(Float32Array::from(values)),
        };
        self.list(element_type(tensor), tensor.len(), elements)
    }

    fn list(&self, element: DataType, length: usize, values: ArrayRef) -> Result<ArrayRef, Error> {
        let list = FixedSizeListArray::try_new(element_field(element), list_size(length)?, values, None);
        Ok(Arc::new(list.map_err(Error::arrow(&self.path))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_carry_shapes_for_arrow_and_hugging_face() {
        let layout = RowLayout {
            input: TensorField { column: "input".into(), shape: vec![3, 2, 2], element: ElementType::F32 },
            target: Target::Class { column: "target".into(), labels: vec!["N".into(), "~".into()] },
            background: None,
            ids: vec!["record"],
            tuning: true,
        };
        let schema = layout.schema().unwrap();
        let input = schema.field(0);
        assert_eq!(input.metadata()["ARROW:extension:name"], "arrow.fixed_shape_tensor");
        assert_eq!(input.metadata()["ARROW:extension:metadata"], r#"{"shape":[3,2,2]}"#);
        assert_eq!(
            schema.metadata["huggingface"],
            concat!(
                r#"{"info":{"features":{"#,
                r#""input":{"feature":{"dtype":"float32","_type":"Value"},"length":12,"_type":"List"},"#,
                r#""target":{"names":["N","~"],"_type":"ClassLabel"},"#,
                r#""record":{"dtype":"int64","_type":"Value"},"#,
                r#""tuning":{"dtype":"bool","_type":"Value"}}}}"#
            )
        );
    }

    #[test]
    fn a_set_of_labels_is_a_list_of_bytes() {
        let layout = RowLayout {
            input: TensorField { column: "input".into(), shape: vec![4, 8], element: ElementType::F32 },
            target: Target::Labels { column: "target".into(), labels: vec!["a".into(), "b".into()] },
            background: None,
            ids: vec![],
            tuning: false,
        };
        let schema = layout.schema().unwrap();
        let target = schema.field(1);
        let item = Arc::new(Field::new("item", DataType::UInt8, true));
        assert_eq!(target.data_type(), &DataType::FixedSizeList(item, 2));
        assert_eq!(target.metadata()["ARROW:extension:metadata"], r#"{"shape":[2]}"#);
        let feature = r#""target":{"feature":{"dtype":"uint8","_type":"Value"},"length":2,"_type":"List"}"#;
        assert!(schema.metadata["huggingface"].contains(feature), "{}", schema.metadata["huggingface"]);
    }

    #[test]
    fn inputs_of_bytes_are_a_column_of_bytes() {
        let layout = RowLayout {
            input: TensorField { column: "input".into(), shape: vec![1, 64, 64], element: ElementType::U8 },
            target: Target::Class { column: "target".into(), labels: vec!["a".into(), "b".into()] },
            background: None,
            ids: vec![],
            tuning: false,
        };
        let schema = layout.schema().unwrap();
        let item = Arc::new(Field::new("item", DataType::UInt8, true));
        assert_eq!(schema.field(0).data_type(), &DataType::FixedSizeList(item, 4096));
        let feature = r#""input":{"feature":{"dtype":"uint8","_type":"Value"},"length":4096,"_type":"List"}"#;
        assert!(schema.metadata["huggingface"].contains(feature), "{}", schema.metadata["huggingface"]);
        assert_eq!(layout.rows_per_group(), (16 << 20) / (4096 + 8));
    }

    #[test]
    fn groups_hold_about_16_mebibytes() {
        let field =
            |side| TensorField { column: "x".into(), shape: vec![1, side, side], element: ElementType::F32 };
        let rows = |side| {
            RowLayout::new(field(side), Target::Field { tensor: field(side) }, vec![]).rows_per_group()
        };
        assert_eq!(rows(64), 512);
        // One row is the least, 65536 are the most.
        assert_eq!(rows(4096), 1);
        assert_eq!(rows(1), 65536);
    }
}
