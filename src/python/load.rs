//! What the bytes of an object are, by its media type.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::errors::input;
use super::memory::{Buffer, Filled};
use super::tokens::Tokens;
use super::transfer::{self, Source};
use super::values::unsaid;
use super::{enter, json};
use crate::format::{self, ARRAY_NAME, Entry, Form};
use crate::reference::Ref;
use crate::store::{self, Store};

/// Most bytes of JSON lines that are decompressed: as Python's objects they take ten times that.
const MOST_INFLATED: usize = 2 << 30;

/// Reads an object, verified, as its media type says.
pub(super) fn load<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
    arrow: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let form = Form::of(&reference.media_type);
    if arrow {
        return table(py, store, reference, form);
    }
    match form {
        Form::Bytes => bytes(py, store, reference).map(Bound::into_any),
        Form::Text => {
            let data = bytes(py, store, reference)?;
            let text = std::str::from_utf8(data.as_bytes()).map_err(|_| mistyped(py, reference))?;
            Ok(PyString::new(py, text).into_any())
        }
        Form::Json | Form::Value => {
            let data = read(py, store, reference)?;
            let text = std::str::from_utf8(&data).map_err(|_| mistyped(py, reference))?;
            json::Decoder::new(py)?.decode(text)?.ok_or_else(|| mistyped(py, reference))
        }
        Form::Jsonl | Form::JsonlZstd => records(py, store, reference, form).map(Bound::into_any),
        Form::Array => {
            let tensors = tensors(py, store, reference)?;
            tensors.get_item(ARRAY_NAME)?.ok_or_else(|| mistyped(py, reference))
        }
        Form::Tensors => tensors(py, store, reference).map(Bound::into_any),
        Form::Tokens => {
            let data = read(py, store, reference)?;
            let inner = enter::quick(py, || format::read_tokens(&data))?;
            Ok(Bound::new(py, Tokens { inner })?.into_any())
        }
        Form::Parquet => {
            let data = read(py, store, reference)?;
            let columns = enter::quick(py, || format::read_parquet(data, None))?;
            super::format::columns_to_python(py, columns).map(Bound::into_any)
        }
    }
}

fn read(py: Python<'_>, store: &Arc<dyn Store>, reference: &Ref) -> PyResult<Bytes> {
    enter::io_of(py, reference.bytes, store::read(store.as_ref(), reference))
}

fn bytes<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
) -> PyResult<Bound<'py, PyBytes>> {
    transfer::get(py, store, Source::Ref(reference.clone()))
}

/// The object in numpy's memory, where its arrays stay: there is no second copy.
pub(super) fn filled<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
) -> PyResult<Filled<'py>> {
    let length = enter::brief(py, || store::bounded(&reference.uri, reference.bytes))?;
    let mut buffer = Buffer::new(py, length)?;
    let read = store::read_into(store.as_ref(), reference, buffer.place());
    enter::io_of(py, reference.bytes, read)?;
    // SAFETY: a read succeeds only when it has filled the whole buffer.
    unsafe { buffer.filled() }
}

fn tensors<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
) -> PyResult<Bound<'py, PyDict>> {
    let data = filled(py, store, reference)?;
    let (entries, _) = enter::brief(py, || format::header(data.bytes()))?;
    let arrays = PyDict::new(py);
    for Entry { name, dtype, shape, range } in entries {
        arrays.set_item(name, data.view(dtype, &shape, range.start)?)?;
    }
    Ok(arrays)
}

fn records<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
    form: Form,
) -> PyResult<Bound<'py, PyList>> {
    let mut data = read(py, store, reference)?;
    if form == Form::JsonlZstd {
        data = enter::quick(py, || format::inflate(&data, MOST_INFLATED))?.into();
    }
    let (records, decoder) = (PyList::empty(py), json::Decoder::new(py)?);
    for line in format::lines(&data) {
        let line = line.map_err(|_| mistyped(py, reference))?;
        let record = decoder.decode(line)?;
        records.append(record.ok_or_else(|| mistyped(py, reference))?)?;
    }
    Ok(records)
}

/// An object as a table of pyarrow, which is an extra.
fn table<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    reference: &Ref,
    form: Form,
) -> PyResult<Bound<'py, PyAny>> {
    if !matches!(form, Form::Parquet | Form::Jsonl | Form::JsonlZstd) {
        let reason = format!(
            "object {} is {}; arrow=True is for Parquet and JSON lines",
            reference.uri.escape_debug(),
            reference.media_type.escape_debug()
        );
        return Err(input(py, reason));
    }
    let missing = |_| input(py, "pyarrow is not installed; pip install legato[arrow]");
    let arrow = py.import("pyarrow").map_err(missing)?;
    let unread = |e: PyErr| {
        let what = format!("object {} is no table", reference.uri.escape_debug());
        unsaid(py, &e, &what)
    };
    if form != Form::Parquet {
        let records = records(py, store, reference, form)?;
        return arrow.getattr("Table")?.call_method1("from_pylist", (records,)).map_err(unread);
    }
    let data = filled(py, store, reference)?;
    let buffer = arrow.call_method1("py_buffer", (data.object(),))?;
    let source = arrow.getattr("BufferReader")?.call1((buffer,))?;
    py.import("pyarrow.parquet")?.call_method1("read_table", (source,)).map_err(unread)
}

/// Not with the parser's message, which may quote the data.
fn mistyped(py: Python<'_>, reference: &Ref) -> PyErr {
    let reason = format!(
        "object {} is no {}; store it with the media type that it has",
        reference.uri.escape_debug(),
        reference.media_type.escape_debug()
    );
    input(py, reason)
}
