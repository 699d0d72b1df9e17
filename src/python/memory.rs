//! numpy's memory as bytes: arrays that are stored without a copy, and new ones that a read fills.

use std::mem::MaybeUninit;
use std::slice;

use bytes::Bytes;
use numpy::{
    PyArray1, PyArrayDescrMethods as _, PyArrayMethods as _, PyUntypedArray,
    PyUntypedArrayMethods as _,
};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::errors::input;
use crate::process::expect_writes;

/// An array as safetensors has them: row-major, little-endian.
pub(super) struct Array<'py> {
    inner: Bound<'py, PyUntypedArray>,
    /// numpy's name of the element type.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
}

impl<'py> Array<'py> {
    /// Of anything that numpy makes an array of; copied only where its elements lie otherwise.
    pub(super) fn new(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let numpy = value.py().import("numpy")?;
        let array = numpy.call_method1("asarray", (value,))?;
        let dtype = array.getattr("dtype")?;
        if dtype.getattr("hasobject")?.is_truthy()? {
            let reason = "arrays of dtype object cannot be stored; convert them first";
            return Err(input(value.py(), reason));
        }
        let dtype = dtype.call_method1("newbyteorder", ("<",))?;
        let name = dtype.getattr("name")?.cast_into::<PyString>()?.to_cow()?.into_owned();
        let array = array.call_method1("astype", (dtype, "C", "unsafe", true, false))?;
        let array = array.cast_into::<PyUntypedArray>()?;
        let shape = array.shape().to_vec();
        Ok(Self { inner: array, dtype: name, shape })
    }

    /// The elements, in numpy's own memory.
    pub(super) fn bytes(&self) -> PyResult<Bytes> {
        let py = self.inner.py();
        let length = self.inner.len() * self.inner.dtype().itemsize();
        if length == 0 {
            return Ok(Bytes::new());
        }
        if !self.inner.is_c_contiguous() {
            return Err(input(py, "an array has strides that numpy did not take away; copy it"));
        }
        // SAFETY: the array is alive, and its header is not changed while the GIL is held.
        let data = unsafe { (*self.inner.as_array_ptr()).fields.data }.cast_const().cast::<u8>();
        Ok(Bytes::from_owner(Borrowed { _array: self.inner.clone().unbind(), data, length }))
    }
}

/// The memory of an array, which lives as long as this does.
struct Borrowed {
    _array: Py<PyUntypedArray>,
    data: *const u8,
    length: usize,
}

// SAFETY: the pointer is to memory that the array owns or borrows, and which is only read. A caller that writes into
// an array while it is stored stores a mixture, as with any buffer of Python; a store that computes a CRC of what it
// sends finds that out.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: an array that is C-contiguous has `length` bytes at `data`, and numpy neither moves nor frees them
        // while there is a reference to it.
        unsafe { slice::from_raw_parts(self.data, self.length) }
    }
}

/// New memory of numpy's, which nobody else has seen yet.
pub(super) struct Buffer<'py> {
    array: Bound<'py, PyArray1<u8>>,
    length: usize,
}

impl<'py> Buffer<'py> {
    /// Raises MemoryError where there is none.
    pub(super) fn new(py: Python<'py>, length: usize) -> PyResult<Self> {
        let array = py.import("numpy")?.call_method1("empty", (length, "u1"))?;
        let mut buffer = Self { array: array.cast_into::<PyArray1<u8>>()?, length };
        expect_writes(buffer.place());
        Ok(buffer)
    }

    pub(super) fn place(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: numpy has allocated `length` bytes for an array that nobody else knows of; they need no value.
        unsafe { slice::from_raw_parts_mut(self.array.data().cast(), self.length) }
    }

    /// The bytes, read-only from here on.
    ///
    /// # Safety
    /// All of them have been written.
    pub(super) unsafe fn filled(self) -> PyResult<Filled<'py>> {
        self.array.call_method1("setflags", (false,))?;
        Ok(Filled(self.array))
    }
}

/// Read-only bytes in numpy's memory.
#[derive(Clone)]
pub(super) struct Filled<'py>(Bound<'py, PyArray1<u8>>);

impl<'py> Filled<'py> {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: one-dimensional, contiguous, written (see `Buffer::filled`), and read-only since then.
        unsafe { slice::from_raw_parts(self.0.data(), self.0.len()) }
    }

    /// The elements at `start` as an array that shares this memory.
    pub(super) fn view(
        &self,
        dtype: &str,
        shape: &[usize],
        start: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let numpy = self.0.py().import("numpy")?;
        let dtype = numpy.call_method1("dtype", (dtype,))?.call_method1("newbyteorder", ("<",))?;
        let count: usize = shape.iter().product();
        if count == 0 {
            let empty = numpy.call_method1("zeros", (shape, dtype))?;
            empty.call_method1("setflags", (false,))?;
            return Ok(empty);
        }
        numpy
            .call_method1("frombuffer", (&self.0, dtype, count, start))?
            .call_method1("reshape", (shape,))
    }

    pub(super) fn object(&self) -> &Bound<'py, PyAny> {
        self.0.as_any()
    }
}
