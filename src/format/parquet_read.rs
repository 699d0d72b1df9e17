use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;

use crate::error::{Error, Result};

/// Most rows of a file: run lengths let a few bytes claim any number of them.
pub(super) const ROWS: i64 = 1 << 26;

/// A column as it was read; null cells are `None`.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    Strings(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
    Floats(Vec<Option<f64>>),
    /// Lists of float32 of one width, none of them null.
    Vectors {
        data: Vec<f32>,
        width: usize,
    },
}

/// Reads columns of a Parquet file: those called `names`, in that order, or all of them.
///
/// Columns of text, whole and floating numbers, and float32 lists of one width are read.
pub fn read_parquet(data: Bytes, names: Option<&[String]>) -> Result<Vec<(String, Column)>> {
    guarded(|| read(open(data)?, names))
}

/// The crate panics on some damaged files; nothing outlives the call that it could leave half-done.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::input("a Parquet object cannot be read (it is damaged); write it again"))
    })
}

pub(super) fn bad(e: &dyn std::fmt::Display) -> Error {
    Error::input(format!("a Parquet object cannot be read ({e}); write it again"))
}

/// Reads the footer.
pub(super) fn open<R: ChunkReader + 'static>(
    data: R,
) -> Result<ParquetRecordBatchReaderBuilder<R>> {
    // Without the writer's Arrow hints a column has one type, however the writer held it in memory.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(data, options).map_err(|e| bad(&e))
}

fn read(
    reader: ParquetRecordBatchReaderBuilder<Bytes>,
    names: Option<&[String]>,
) -> Result<Vec<(String, Column)>> {
    let rows = |sum: i64, group: &RowGroupMetaData| sum.saturating_add(group.num_rows().max(0));
    let rows = reader.metadata().row_groups().iter().fold(0, rows);
    if rows > ROWS {
        return Err(Error::input(format!(
            "the Parquet file has {rows} rows, the limit is {ROWS}; split it, or read slices of it"
        )));
    }
    columns(reader, names)
}

/// Columns of the rows that `reader` was told to read.
pub(super) fn columns<R: ChunkReader + 'static>(
    reader: ParquetRecordBatchReaderBuilder<R>,
    names: Option<&[String]>,
) -> Result<Vec<(String, Column)>> {
    let schema = reader.schema().clone();
    let present: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let wanted = names.map_or_else(|| present.clone(), <[String]>::to_vec);
    if let Some(missing) = wanted.iter().find(|name| !present.contains(name)) {
        return Err(Error::input(format!(
            "the Parquet file has no column '{missing}'; it has {}",
            present.join(", ")
        )));
    }
    let roots = (0..present.len()).filter(|&i| wanted.contains(&present[i]));
    let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
    let batches = reader
        .with_projection(mask)
        .build()
        .map_err(|e| bad(&e))?
        .collect::<Result<Vec<RecordBatch>, _>>()
        .map_err(|e| bad(&e))?;
    wanted
        .into_iter()
        .map(|name| {
            let parts: Vec<&ArrayRef> =
                batches.iter().filter_map(|batch| batch.column_by_name(&name)).collect();
            let kind = schema.field_with_name(&name).map_err(|e| bad(&e))?.data_type();
            let column = column(&name, kind, &parts)?;
            Ok((name, column))
        })
        .collect()
}

fn column(name: &str, kind: &DataType, parts: &[&ArrayRef]) -> Result<Column> {
    /// The cells of a primitive column, converted.
    macro_rules! cells {
        ($variant:ident, $kind:ty, $to:ty) => {
            Column::$variant(
                parts
                    .iter()
                    .flat_map(|part| part.as_primitive::<$kind>().iter())
                    .map(|cell| cell.map(<$to>::from))
                    .collect(),
            )
        };
    }
    Ok(match kind {
        DataType::Utf8 => Column::Strings(
            parts
                .iter()
                .flat_map(|part| part.as_string::<i32>().iter())
                .map(|cell| cell.map(str::to_owned))
                .collect(),
        ),
        DataType::Int8 => cells!(Integers, Int8Type, i64),
        DataType::Int16 => cells!(Integers, Int16Type, i64),
        DataType::Int32 => cells!(Integers, Int32Type, i64),
        DataType::Int64 => cells!(Integers, Int64Type, i64),
        DataType::UInt8 => cells!(Integers, UInt8Type, i64),
        DataType::UInt16 => cells!(Integers, UInt16Type, i64),
        DataType::UInt32 => cells!(Integers, UInt32Type, i64),
        DataType::Float32 => cells!(Floats, Float32Type, f64),
        DataType::Float64 => cells!(Floats, Float64Type, f64),
        DataType::List(item) if *item.data_type() == DataType::Float32 => vectors(name, parts)?,
        other => {
            return Err(Error::input(format!(
                "column '{name}' has type {other}; text, whole or floating numbers are read"
            )));
        }
    })
}

fn vectors(name: &str, parts: &[&ArrayRef]) -> Result<Column> {
    let uneven =
        || Error::input(format!("column '{name}' has vectors that are null or of several widths"));
    let (mut data, mut width) = (Vec::new(), None);
    for list in parts.iter().map(|part| part.as_list::<i32>()) {
        for row in list {
            let row = row.ok_or_else(uneven)?;
            let row = row.as_primitive::<Float32Type>();
            if row.null_count() > 0 || *width.get_or_insert(row.len()) != row.len() {
                return Err(uneven());
            }
            data.extend_from_slice(row.values());
        }
    }
    Ok(Column::Vectors { data, width: width.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::super::parquet_write::{Cells, write_parquet};
    use super::*;

    fn file() -> Vec<u8> {
        let columns = vec![
            ("id".to_owned(), Cells::Strings(vec!["a".into(), "ü".into()])),
            ("n".to_owned(), Cells::Integers(vec![1, -2])),
            ("score".to_owned(), Cells::Floats(vec![0.5, 1.5])),
            ("vector".to_owned(), Cells::Vectors { data: vec![1.0, 2.0, 3.0, 4.0], width: 2 }),
        ];
        write_parquet(columns, vec![("k".into(), "v".into())]).unwrap()
    }

    #[test]
    fn round_trip() {
        let names = ["vector".to_owned(), "id".to_owned()];
        let columns = read_parquet(file().into(), Some(&names)).unwrap();
        assert_eq!(columns[0].1, Column::Vectors { data: vec![1.0, 2.0, 3.0, 4.0], width: 2 });
        assert_eq!(columns[1].1, Column::Strings(vec![Some("a".into()), Some("ü".into())]));
        let all = read_parquet(file().into(), None).unwrap();
        assert_eq!(all[1].1, Column::Integers(vec![Some(1), Some(-2)]));
        assert_eq!(all[2].1, Column::Floats(vec![Some(0.5), Some(1.5)]));
        assert_eq!(file(), file());
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let missing = read_parquet(file().into(), Some(&["text".to_owned()])).unwrap_err();
        assert!(missing.to_string().contains("no column 'text'; it has id, n, score, vector"));
        assert!(read_parquet(Bytes::from_static(b"PAR1 nothing PAR1"), None).is_err());
        assert!(read_parquet(Bytes::new(), None).is_err());
        let mut cut = file();
        cut.truncate(cut.len() / 2);
        assert!(read_parquet(cut.into(), None).is_err());
    }

    #[test]
    fn no_rows_and_no_width() {
        let empty = |width| {
            let cells = Cells::Vectors { data: vec![], width };
            write_parquet(vec![("vector".to_owned(), cells)], vec![])
        };
        assert_eq!(
            read_parquet(empty(3).unwrap().into(), None).unwrap()[0].1,
            Column::Vectors { data: vec![], width: 0 }
        );
        assert!(empty(0).is_err());
    }
}
