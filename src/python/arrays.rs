//! numpy arrays: out of vectors, without another copy; small ones of numpy's own memory.

use std::mem::MaybeUninit;

use numpy::ndarray::{Array2, Array3, Dimension, IntoDimension, ShapeError};
use numpy::{Element, IntoPyArray, PyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods as _};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::tokenize::Cell;

/// Ids as numpy users expect them: int32. None is above 2^31.
pub(super) fn int32<'py>(py: Python<'py>, values: &[u32]) -> Bound<'py, PyArray1<i32>> {
    let values: Vec<i32> = values.iter().map(|&value| value.cast_signed()).collect();
    vector(py, values)
}

/// Numbers as an array.
pub(super) fn vector<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyArray1<T>> {
    values.into_pyarray(py)
}

/// Rows of `width` numbers as a matrix.
pub(super) fn matrix<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    width: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let matrix = Array2::from_shape_vec((rows, width), values).map_err(|e| misshapen(&e))?;
    Ok(matrix.into_pyarray(py))
}

/// Rows of `width` pairs of numbers.
pub(super) fn cube<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    width: usize,
) -> PyResult<Bound<'_, PyArray3<T>>> {
    let cube = Array3::from_shape_vec((rows, width, 2), values).map_err(|e| misshapen(&e))?;
    Ok(cube.into_pyarray(py))
}

/// A small array, every cell of which `write` writes: of numpy's own memory, which for some KB is sooner had
/// than an object that owns a vector's.
pub(super) fn written<T: Cell + Element, S: IntoDimension>(
    py: Python<'_>,
    shape: S,
    write: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Bound<'_, PyArray<T, S::Dim>> {
    let shape = shape.into_dimension();
    let size = shape.size();
    // SAFETY: nobody reads the array before `write` has written every cell: it is not handed out if that panics.
    let array = unsafe { PyArray::<T, S::Dim>::new(py, shape, false) };
    if size > 0 {
        // SAFETY: numpy has just allocated `size` cells in one piece for an array that nobody else knows of. They
        // are aligned for `T`, and need no value yet.
        write(unsafe { std::slice::from_raw_parts_mut(array.data().cast(), size) });
    }
    array
}

fn misshapen(error: &ShapeError) -> PyErr {
    PyRuntimeError::new_err(format!("an array is not of its shape ({error})"))
}
