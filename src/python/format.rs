//! safetensors and Parquet between Python values and bytes.

use std::collections::HashMap;

use bytes::Bytes;
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::arguments::Text;
use super::errors::input;
use super::memory::Array;
use super::{arrays, enter};
use crate::format::{self, Cells, Column, Entry, Layout};

/// Write named arrays as safetensors.
///
/// Args:
///     tensors: name to numpy array of numbers or bool.
///     metadata: strings to store beside them.
///
/// Returns:
///     The file's bytes; the same arrays give the same bytes.
///
/// Raises:
///     InputError: an array's dtype cannot be stored.
#[pyfunction]
#[pyo3(signature = (tensors, *, metadata = None))]
pub(super) fn write_safetensors<'py>(
    py: Python<'py>,
    tensors: &Bound<'py, PyDict>,
    metadata: Option<HashMap<Text, Text>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut named: Vec<(String, Array<'py>)> = Vec::with_capacity(tensors.len());
    for (name, array) in tensors {
        named.push((name.extract::<Text>()?.0, Array::new(&array)?));
    }
    let arrays: Vec<(&str, &str, &[usize])> = named
        .iter()
        .map(|(name, array)| (name.as_str(), array.dtype.as_str(), array.shape.as_slice()))
        .collect();
    let metadata = metadata.map(|pairs| pairs.into_iter().map(|(k, v)| (k.0, v.0)).collect());
    let Layout { head, order } = enter::quick(py, || Layout::new(&arrays, metadata))?;
    let mut pieces = vec![Bytes::from(head)];
    for index in order {
        pieces.push(named[index].1.bytes()?);
    }
    PyBytes::new_with(py, pieces.iter().map(Bytes::len).sum(), |mut place| {
        for piece in &pieces {
            let (now, later) = place.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            place = later;
        }
        Ok(())
    })
}

/// Read a safetensors file.
///
/// Args:
///     data: the file's bytes.
///
/// Returns:
///     Name to numpy array (read-only views of `data`), and the file's metadata.
///
/// Raises:
///     InputError: the bytes are no whole safetensors file.
#[pyfunction]
pub(super) fn read_safetensors<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
) -> PyResult<(Bound<'py, PyDict>, HashMap<String, String>)> {
    let bytes = data.as_bytes();
    let (tensors, metadata) = enter::quick(py, || format::header(bytes))?;
    let numpy = py.import("numpy")?;
    let arrays = PyDict::new(py);
    for Entry { name, dtype, shape, range } in tensors {
        let count: usize = shape.iter().product();
        let dtype = numpy.call_method1("dtype", (dtype,))?;
        let array = if count == 0 {
            numpy.call_method1("zeros", (shape, dtype))?
        } else {
            numpy
                .call_method1("frombuffer", (data, dtype, count, range.start))?
                .call_method1("reshape", (shape,))?
        };
        arrays.set_item(name, array)?;
    }
    Ok((arrays, metadata))
}

/// Write columns as one Parquet file.
///
/// Args:
///     columns: name to cells: a list of str, or an array: int64 (n,), float32 (n,), or float32 (n, H),
///         which becomes a fixed-size list.
///     metadata: strings to store in the file's footer.
///
/// Returns:
///     The file's bytes; the same columns give the same bytes.
///
/// Raises:
///     InputError: columns differ in length, or cells have another type.
#[pyfunction]
#[pyo3(signature = (columns, *, metadata = None))]
pub(super) fn write_parquet<'py>(
    py: Python<'py>,
    columns: &Bound<'py, PyDict>,
    metadata: Option<HashMap<Text, Text>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut named = Vec::with_capacity(columns.len());
    for (name, values) in columns {
        let name = name.extract::<Text>()?.0;
        let cells = cells(&values).ok_or_else(|| {
            let reason = format!(
                "column '{name}' must be a list of str, or an int64 or float32 array of one dimension, \
                 or a float32 array of two"
            );
            input(py, reason)
        })?;
        named.push((name, cells));
    }
    let metadata = metadata.unwrap_or_default().into_iter();
    let mut metadata: Vec<(String, String)> = metadata.map(|(k, v)| (k.0, v.0)).collect();
    metadata.sort_unstable();
    let data = enter::quick(py, || format::write_parquet(named, metadata))?;
    Ok(PyBytes::new(py, &data))
}

/// Read columns of a Parquet file.
///
/// Args:
///     data: the file's bytes.
///     columns: names of the columns to read; None reads all.
///
/// Returns:
///     Name to cells: a list of str, int or float (None where a cell is null), or float32 (n, H) for lists.
///
/// Raises:
///     InputError: the bytes are no Parquet file, or a column is missing or of another type.
#[pyfunction]
#[pyo3(signature = (data, *, columns = None))]
pub(super) fn read_parquet<'py>(
    py: Python<'py>,
    data: &[u8],
    columns: Option<Vec<String>>,
) -> PyResult<Bound<'py, PyDict>> {
    let data = Bytes::copy_from_slice(data);
    let columns = enter::quick(py, || format::read_parquet(data, columns.as_deref()))?;
    columns_to_python(py, columns)
}

/// Columns as read_parquet() gives them.
pub(super) fn columns_to_python(
    py: Python<'_>,
    columns: Vec<(String, Column)>,
) -> PyResult<Bound<'_, PyDict>> {
    let named = PyDict::new(py);
    for (name, column) in columns {
        let cells = match column {
            Column::Strings(cells) => PyList::new(py, cells)?.into_any(),
            Column::Integers(cells) => PyList::new(py, cells)?.into_any(),
            Column::Floats(cells) => PyList::new(py, cells)?.into_any(),
            Column::Vectors { data, width } => {
                let rows = data.len().checked_div(width).unwrap_or(0);
                arrays::matrix(py, data, rows, width)?.into_any()
            }
        };
        named.set_item(name, cells)?;
    }
    Ok(named)
}

fn cells(values: &Bound<'_, PyAny>) -> Option<Cells> {
    if let Ok(array) = values.extract::<PyReadonlyArray2<'_, f32>>() {
        let width = array.as_array().ncols();
        return Some(Cells::Vectors { data: array.as_array().iter().copied().collect(), width });
    }
    if let Ok(array) = values.extract::<PyReadonlyArray1<'_, f32>>() {
        return Some(Cells::Floats(array.as_array().to_vec()));
    }
    if let Ok(array) = values.extract::<PyReadonlyArray1<'_, i64>>() {
        return Some(Cells::Integers(array.as_array().to_vec()));
    }
    values.extract().ok().map(Cells::Strings)
}
