//! numpy arrays: out of vectors, without another copy; small ones of numpy's own memory.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use numpy::ndarray::{Array2, Array3, ShapeError};
use numpy::npyffi::{self, NpyTypes, PY_ARRAY_API};
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayDyn, PyArrayMethods as _};
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
/// than an object that owns a vector's. Raises MemoryError where there is none.
pub(super) fn written<T: Cell + Element, const N: usize>(
    py: Python<'_>,
    shape: [usize; N],
    write: impl FnOnce(&mut [MaybeUninit<T>]),
) -> PyResult<Bound<'_, PyArrayDyn<T>>> {
    let size = shape.iter().product();
    let count = c_int::try_from(N).map_err(|_| PyRuntimeError::new_err("too many dimensions"))?;
    // No cell count is above isize::MAX where the rows that it counts are in memory.
    let mut dims = shape.map(usize::cast_signed);
    // SAFETY: the type object and the descriptor are numpy's, and it takes the reference to the latter; there are
    // N dimensions; strides, data and owner may be null. What it gives is a new array, or null with an error set.
    let array = unsafe {
        let kind = npyffi::get_type_object(py, NpyTypes::PyArray_Type);
        let dtype = T::get_dtype(py).into_ptr().cast();
        let null = ptr::null_mut();
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            kind,
            dtype,
            count,
            dims.as_mut_ptr(),
            null,
            null.cast(),
            0,
            null.cast(),
        );
        Bound::from_owned_ptr_or_err(py, array)?.cast_into_unchecked::<PyArrayDyn<T>>()
    };
    if size > 0 {
        // SAFETY: numpy has just allocated `size` cells in one piece for an array that nobody else knows of. They
        // are aligned for `T`, and need no value yet.
        write(unsafe { std::slice::from_raw_parts_mut(array.data().cast(), size) });
    }
    Ok(array)
}

fn misshapen(error: &ShapeError) -> PyErr {
    PyRuntimeError::new_err(format!("an array is not of its shape ({error})"))
}
