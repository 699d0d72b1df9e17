//! Some rows of an object: only the chunks that hold them are read, each verified.

use std::ops::Range;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::enter;
use super::errors::input;
use super::memory::{Buffer, Filled};
use crate::error::{Error, Result};
use crate::format::{self, ARRAY_NAME, Entry, Form, Sparse};
use crate::reference::Ref;
use crate::store::{self, Store};

/// Rows `start` to `stop` of an array, of arrays of as many rows, or of columns; as much of them as there is.
pub(super) fn slice<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
    rows: Range<u64>,
) -> PyResult<Bound<'py, PyAny>> {
    match Form::of(&reference.media_type) {
        Form::Array => {
            let arrays = tensor_rows(py, store, reference, &rows)?;
            let array = arrays.get_item(ARRAY_NAME)?;
            array.ok_or_else(|| input(py, format!("object {} has no array", reference.uri)))
        }
        Form::Tensors => tensor_rows(py, store, reference, &rows).map(Bound::into_any),
        Form::Parquet => {
            let file = enter::io_of(py, reference.bytes, sparse(store.as_ref(), reference, &rows))?;
            let columns = enter::quick(py, || format::read_rows(file, &rows))?;
            super::format::columns_to_python(py, columns).map(Bound::into_any)
        }
        _ => Err(input(
            py,
            format!(
                "object {} is {}, of which no rows can be read alone; use load",
                reference.uri.escape_debug(),
                reference.media_type.escape_debug()
            ),
        )),
    }
}

/// Chunks that follow each other, in numpy's memory.
struct Piece<'py> {
    start: usize,
    data: Filled<'py>,
}

fn tensor_rows<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
    rows: &Range<u64>,
) -> PyResult<Bound<'py, PyDict>> {
    let total = enter::brief(py, || size(reference.bytes))?;
    // A single chunk is the object: whoever reads a row of it reads all of it.
    let crcs = if reference.chunk_count() == 1 {
        vec![reference.crc64nvme.clone()]
    } else {
        enter::io(py, store::chunks(store.as_ref(), reference))?
    };
    let read = |chunks: Range<u64>| read_piece(py, store, reference, &crcs, chunks, None);
    let mut head = read(0..1)?;
    let length = enter::brief(py, || format::head_bytes(head.data.bytes(), total))?;
    if length > head.data.bytes().len() {
        head = read(0..chunk_of(reference, length - 1) + 1)?;
    }
    let (entries, _) = enter::brief(py, || format::header_of(head.data.bytes(), total))?;
    let wanted = enter::brief(py, || byte_ranges(&entries, rows))?;
    let mut pieces: Vec<Piece<'py>> = Vec::new();
    for chunks in chunk_ranges(reference, &wanted) {
        let end = reference.chunk_range(chunks.end - 1).end;
        // Rows that lie beside the header are there already.
        if end > head.data.bytes().len() as u64 {
            pieces.push(read_piece(py, store, reference, &crcs, chunks, Some(&head))?);
        }
    }
    let arrays = PyDict::new(py);
    for (entry, (range, shape)) in entries.iter().zip(&wanted) {
        let piece = pieces.iter().rev().find(|piece| piece.start <= range.start);
        let piece = piece.unwrap_or(&head);
        let at = range.start.saturating_sub(piece.start);
        arrays.set_item(&entry.name, piece.data.view(entry.dtype, shape, at)?)?;
    }
    Ok(arrays)
}

/// Where rows of each array lie in the file, and the shape that they have.
fn byte_ranges(entries: &[Entry], rows: &Range<u64>) -> Result<Vec<(Range<usize>, Vec<usize>)>> {
    let first = entries.first().map(|entry| entry.shape.first().copied());
    if entries.iter().any(|entry| Some(entry.shape.first().copied()) != first) {
        return Err(Error::input(
            "the arrays differ in their first dimension, so they have no rows in common; use load",
        ));
    }
    let Some(count) = first.flatten() else {
        return Err(Error::input("an array without dimensions has no rows; use load"));
    };
    let stop = usize::try_from(rows.end).unwrap_or(usize::MAX).min(count);
    let start = usize::try_from(rows.start).unwrap_or(usize::MAX).min(stop);
    let range = |entry: &Entry| {
        let row = entry.range.len().checked_div(count).unwrap_or(0);
        let at = entry.range.start;
        let mut shape = entry.shape.clone();
        shape[0] = stop - start;
        (at + start * row..at + stop * row, shape)
    };
    Ok(entries.iter().map(range).collect())
}

/// The chunks that hold some bytes, those that follow each other as one range.
fn chunk_ranges(reference: &Ref, wanted: &[(Range<usize>, Vec<usize>)]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let bytes = wanted.iter().map(|(range, _)| range).filter(|range| !range.is_empty());
    // Arrays lie in the file in the order of the header.
    for range in bytes {
        let chunks = chunk_of(reference, range.start)..chunk_of(reference, range.end - 1) + 1;
        match ranges.last_mut() {
            Some(last) if chunks.start <= last.end => last.end = last.end.max(chunks.end),
            _ => ranges.push(chunks),
        }
    }
    ranges
}

fn chunk_of(reference: &Ref, at: usize) -> u64 {
    at as u64 / reference.chunk_bytes
}

/// Reads chunks; those that `known` has are copied from there.
fn read_piece<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
    crcs: &[String],
    chunks: Range<u64>,
    known: Option<&Piece<'py>>,
) -> PyResult<Piece<'py>> {
    let start = reference.chunk_range(chunks.start).start;
    let end = reference.chunk_range(chunks.end - 1).end;
    let (start, length) = enter::brief(py, || {
        Ok((size(start)?, store::bounded(&reference.uri, end.saturating_sub(start))?))
    })?;
    let known = known.filter(|piece| piece.start == start).map_or(&[][..], |p| p.data.bytes());
    let mut buffer = Buffer::new(py, length)?;
    let (there, rest) = buffer.place().split_at_mut(known.len());
    there.write_copy_of_slice(known);
    let first = chunks.start + known.len() as u64 / reference.chunk_bytes;
    let read = store::read_chunks_into(store.as_ref(), reference, crcs, first..chunks.end, rest);
    enter::io_of(py, length as u64, read)?;
    // SAFETY: a read succeeds only when it has filled what it was given, and what precedes it was copied.
    Ok(Piece { start, data: unsafe { buffer.filled() }? })
}

fn size(bytes: u64) -> Result<usize> {
    usize::try_from(bytes)
        .map_err(|_| Error::input("the object is larger than this machine's memory"))
}

/// The parts of a Parquet file that its rows need.
async fn sparse(store: &dyn Store, reference: &Ref, rows: &Range<u64>) -> Result<Sparse> {
    let crcs = store::chunks(store, reference).await?;
    let mut file = Sparse::new(reference.bytes);
    loop {
        let needs = format::needs(&file, rows)?;
        let mut ranges: Vec<Range<u64>> = needs
            .iter()
            .map(|range| {
                let last = range.end.saturating_sub(1).max(range.start);
                range.start / reference.chunk_bytes..last / reference.chunk_bytes + 1
            })
            .collect();
        if ranges.is_empty() {
            return Ok(file);
        }
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let joined = next.start <= last.end;
            if joined {
                last.end = last.end.max(next.end);
            }
            joined
        });
        for range in ranges {
            let start = reference.chunk_range(range.start).start;
            let piece = store::read_chunks(store, reference, &crcs, range).await?;
            file.insert(start, piece);
        }
    }
}
