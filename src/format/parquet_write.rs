use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};

/// The cells of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    Strings(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    /// Rows of `width` numbers, one after the other.
    Vectors {
        data: Vec<f32>,
        width: usize,
    },
}

/// Writes columns of equal length as one Parquet file with one row group; no cell is null.
///
/// Vectors become a fixed-size list of float32 and are stored plain (they do not compress); other columns are
/// compressed with zstd. The same input gives the same bytes.
pub fn write_parquet(
    columns: Vec<(String, Cells)>,
    metadata: Vec<(String, String)>,
) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::input(format!("columns cannot be written as Parquet ({e})"))
    };
    let mut properties = WriterProperties::builder()
        .set_created_by("legato".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(
            metadata.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        ));
    let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
    for (name, cells) in columns {
        if let Cells::Vectors { .. } = cells {
            let leaf = ColumnPath::new(vec![name.clone(), "list".to_owned(), "item".to_owned()]);
            properties = properties
                .set_column_dictionary_enabled(leaf.clone(), false)
                .set_column_compression(leaf, Compression::UNCOMPRESSED);
        }
        let array = array(&name, cells)?;
        fields.push(Field::new(name, array.data_type().clone(), false));
        arrays.push(array);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| failed(&e))?;
    let mut data = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut data, schema, Some(properties.build()))
        .map_err(|e| failed(&e))?;
    writer.write(&batch).map_err(|e| failed(&e))?;
    writer.close().map_err(|e| failed(&e))?;
    Ok(data)
}

fn array(name: &str, cells: Cells) -> Result<ArrayRef> {
    Ok(match cells {
        Cells::Strings(values) => Arc::new(StringArray::from(values)),
        Cells::Integers(values) => Arc::new(Int64Array::from(values)),
        Cells::Floats(values) => Arc::new(Float32Array::from(values)),
        Cells::Vectors { data, width } => {
            let bad =
                || Error::input(format!("column {name} has vectors of no or too great width"));
            let size = i32::try_from(width).ok().filter(|&w| w > 0).ok_or_else(bad)?;
            let item = Arc::new(Field::new("item", DataType::Float32, false));
            let values = Arc::new(Float32Array::from(data));
            let list = FixedSizeListArray::try_new(item, size, values, None).map_err(|_| bad())?;
            Arc::new(list)
        }
    })
}
