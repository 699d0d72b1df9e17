//! Some rows of a Parquet file, of which only the needed bytes are there.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Buf as _, Bytes, buf::Reader};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::parquet_read::{Column, ROWS, bad, columns, guarded, open};
use crate::error::{Error, Result};

/// What a file ends with: the length of its metadata, and `PAR1`.
const FOOTER: u64 = 8;

/// A file of which some pieces are there.
#[derive(Debug, Clone)]
pub struct Sparse {
    bytes: u64,
    /// Pieces by where they start. They do not overlap.
    pieces: BTreeMap<u64, Bytes>,
}

impl Sparse {
    /// A file of `bytes` of which nothing is there yet.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes, pieces: BTreeMap::new() }
    }

    /// Adds what lies at `start`.
    pub fn insert(&mut self, start: u64, piece: Bytes) {
        self.pieces.insert(start, piece);
    }

    /// Whether a range is there, and in one piece.
    #[must_use]
    pub fn has(&self, range: &Range<u64>) -> bool {
        self.piece(range).is_some()
    }

    fn piece(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, piece) = self.pieces.range(..=range.start).next_back()?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        (from <= to && to <= piece.len()).then(|| piece.slice(from..to))
    }

    fn at(&self, start: u64, length: u64) -> Result<Bytes, ParquetError> {
        let end = start.saturating_add(length);
        let absent = || ParquetError::General(format!("bytes {start} to {end} are not there"));
        self.piece(&(start..end)).ok_or_else(absent)
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Sparse {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let found = self.pieces.range(..=start).next_back();
        let end = found.map_or(start, |(at, piece)| at + piece.len() as u64);
        self.at(start, end.saturating_sub(start)).map(Bytes::reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.at(start, length as u64)
    }
}

/// The bytes of a file that must be there before its rows can be read: ask until there are none.
///
/// First the footer, then the metadata that it names, then the row groups that hold the rows.
pub fn needs(file: &Sparse, rows: &Range<u64>) -> Result<Vec<Range<u64>>> {
    let Some(footer) = file.bytes.checked_sub(FOOTER) else {
        return Err(bad(&"it is too short"));
    };
    let Some(end) = file.piece(&(footer..file.bytes)) else {
        return Ok(vec![footer..file.bytes]);
    };
    let length = end.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let Some(metadata) = footer.checked_sub(u64::from(length)) else {
        return Err(bad(&"its metadata is longer than it is"));
    };
    if !file.has(&(metadata..file.bytes)) {
        return Ok(vec![metadata..file.bytes]);
    }
    let read = || ParquetMetaDataReader::new().parse_and_finish(file).map_err(|e| bad(&e));
    let metadata = guarded(read)?;
    let groups = groups(&metadata, rows);
    let chunks = groups.indices.iter().flat_map(|&group| metadata.row_group(group).columns());
    guarded(|| {
        let ranges = chunks.map(|chunk| {
            let (start, length) = chunk.byte_range();
            let end = start.checked_add(length).filter(|&end| end <= file.bytes);
            end.map(|end| start..end).ok_or_else(|| bad(&"a column lies outside of it"))
        });
        let ranges: Vec<Range<u64>> = ranges.collect::<Result<_>>()?;
        Ok(ranges.into_iter().filter(|range| !file.has(range)).collect())
    })
}

/// Columns of some rows; those that the file does not have are left out.
pub fn read_rows(file: Sparse, rows: &Range<u64>) -> Result<Vec<(String, Column)>> {
    guarded(|| {
        let reader: ParquetRecordBatchReaderBuilder<Sparse> = open(file)?;
        let Groups { indices, before, total } = groups(reader.metadata(), rows);
        let count = rows.end.min(total).saturating_sub(rows.start);
        // Run lengths let a few bytes claim any number of rows.
        if count > ROWS.unsigned_abs() {
            let reason = format!("a slice of {count} rows is asked for, the limit is {ROWS}");
            return Err(Error::input(reason));
        }
        let size = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let reader = reader
            .with_row_groups(indices)
            .with_offset(size(rows.start.saturating_sub(before)))
            .with_limit(size(count));
        columns(reader, None)
    })
}

/// The row groups that hold some of the rows that are asked for.
struct Groups {
    indices: Vec<usize>,
    /// Rows before the first of them.
    before: u64,
    /// Rows of the whole file.
    total: u64,
}

fn groups(metadata: &ParquetMetaData, rows: &Range<u64>) -> Groups {
    let mut found = Groups { indices: Vec::new(), before: 0, total: 0 };
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let start = found.total;
        found.total = start.saturating_add(u64::try_from(group.num_rows()).unwrap_or(0));
        if rows.start.max(start) < rows.end.min(found.total) {
            if found.indices.is_empty() {
                found.before = start;
            }
            found.indices.push(index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::parquet_read::read_parquet;
    use super::super::parquet_write::{Cells, write_parquet};
    use super::*;
    use proptest::prelude::*;

    fn file(rows: i64) -> Bytes {
        let cells = Cells::Integers((0..rows).map(|n| n * n).collect());
        write_parquet(vec![("n".to_owned(), cells)], vec![]).unwrap().into()
    }

    /// Reads rows as a store's client does, and says how many bytes it was asked for.
    fn slice(data: &Bytes, rows: Range<u64>) -> Result<(Vec<(String, Column)>, u64)> {
        let (mut sparse, mut asked) = (Sparse::new(data.len() as u64), 0);
        loop {
            let ranges = needs(&sparse, &rows)?;
            if ranges.is_empty() {
                return Ok((read_rows(sparse, &rows)?, asked));
            }
            for range in ranges {
                asked += range.end - range.start;
                let at = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                sparse.insert(range.start, data.slice(at));
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_whole(count in 0i64..300, start in 0u64..320, length in 0u64..320) {
            let data = file(count);
            let (found, _) = slice(&data, start..start + length).unwrap();
            let whole = read_parquet(data, None).unwrap();
            let (Column::Integers(whole), Column::Integers(found)) = (&whole[0].1, &found[0].1) else {
                panic!("another type");
            };
            let end = usize::try_from(start + length).unwrap().min(whole.len());
            let start = usize::try_from(start).unwrap().min(end);
            prop_assert_eq!(&whole[start..end], found.as_slice());
        }

        #[test]
        fn damage_is_no_panic(at in 0usize..4000, bit in 0u8..8) {
            let mut data = file(50).to_vec();
            let at = at % data.len();
            data[at] ^= 1 << bit;
            let _ = slice(&data.clone().into(), 3..9);
            data.truncate(at);
            prop_assert!(slice(&data.into(), 3..9).is_err());
        }
    }

    #[test]
    fn no_rows_need_no_columns() {
        let data = file(100_000);
        let (_, all) = slice(&data, 0..100_000).unwrap();
        let (_, none) = slice(&data, 100_000..100_001).unwrap();
        assert!(none < all / 10, "{none} of {all}");
        assert!(slice(&data, 0..u64::MAX).is_ok());
    }
}
