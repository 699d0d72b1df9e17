//! Bytes between stores and Python objects: what is read is written where the object keeps it, once.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arguments::Text;
use super::enter;
use super::errors::{input, to_python};
use super::reference::Ref;
use super::values::{self, Said, Stored};
use crate::error::Result;
use crate::process::expect_writes;
use crate::reference::Description;
use crate::store::{self, Body, Key, Listed, Store};

/// Requests of one call on the way at the same time: small objects wait for the server, not for us.
pub(super) const AT_ONCE: usize = 32;
/// What bytes are of which nobody has said more.
pub(super) const BINARY: &str = "application/octet-stream";

/// What a call is asked to read.
#[allow(clippy::large_enum_variant)] // a few words more in a list that is as long as the objects are many
pub(super) enum Source {
    Ref(crate::reference::Ref),
    Key(String),
}

impl Source {
    /// Bytes that it is known to have.
    fn bytes(&self) -> u64 {
        match self {
            Self::Ref(reference) => reference.bytes,
            Self::Key(_) => 0,
        }
    }

    pub(super) fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(reference) = value.cast::<Ref>() {
            return Ok(Self::Ref(reference.get().inner.clone()));
        }
        match value.extract::<Text>() {
            Ok(key) => Ok(Self::Key(key.0)),
            Err(_) => Err(input(value.py(), "give a Ref or a key")),
        }
    }
}

/// The reference to an object that somebody else has stored.
pub(super) fn adopt(
    py: Python<'_>,
    store: &Arc<dyn Store>,
    key: &str,
    version: Option<&str>,
) -> PyResult<crate::reference::Ref> {
    let about = Description { media_type: BINARY.to_owned(), ..Description::default() };
    // Its size is not known yet, and it may be large.
    enter::io_of(py, u64::MAX, async {
        store::adopt(store.as_ref(), &Key::parse(key)?, version, about).await
    })
}

/// A bytes object that nobody else knows yet, and that has no content yet.
struct Blank {
    object: Py<PyBytes>,
    place: *mut MaybeUninit<u8>,
    size: usize,
}

// SAFETY: `place` is the content of `object`, which lives as long; `&mut self` is the only way to it.
unsafe impl Send for Blank {}

impl Blank {
    fn new(py: Python<'_>, reference: &crate::reference::Ref) -> PyResult<Self> {
        let size = store::bounded(&reference.uri, reference.bytes);
        let size = size.map_err(|e| to_python(py, e))?;
        let length = ffi::Py_ssize_t::try_from(size).unwrap_or(ffi::Py_ssize_t::MAX);
        // SAFETY: without a source, a new object of that length is returned, or null and MemoryError is set.
        let object: Py<PyBytes> = unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), length);
            Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked().unbind()
        };
        // SAFETY: it is a bytes object; nobody else has it, so its content may be written.
        let place = unsafe { ffi::PyBytes_AsString(object.as_ptr()) };
        let mut blank = Self { object, place: place.cast(), size };
        expect_writes(blank.buffer());
        Ok(blank)
    }

    fn buffer(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the object has `size` bytes there, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.place, self.size) }
    }
}

/// All bytes of an object, verified, or as they are under a key.
pub(super) fn get<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    source: Source,
) -> PyResult<Bound<'py, PyBytes>> {
    match source {
        Source::Ref(reference) => {
            let mut blank = Blank::new(py, &reference)?;
            let bytes = reference.bytes;
            enter::io_of(py, bytes, store::read_into(store.as_ref(), &reference, blank.buffer()))?;
            Ok(blank.object.into_bound(py))
        }
        Source::Key(key) => {
            let read = async { store.get(&Key::parse(&key)?, None).await };
            Ok(PyBytes::new(py, &enter::io(py, read)?))
        }
    }
}

/// As [`get`], of many objects at once; the first failure ends it.
pub(super) fn get_many<'py>(
    py: Python<'py>,
    store: &Arc<dyn Store>,
    sources: Vec<Source>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let bytes = sources.iter().map(Source::bytes).sum();
    let mut reads = Vec::with_capacity(sources.len());
    for source in sources {
        reads.push(match source {
            Source::Ref(reference) => {
                let blank = Blank::new(py, &reference)?;
                Read::Blank(reference, blank)
            }
            Source::Key(key) => Read::Key(key, Bytes::new()),
        });
    }
    let read = async {
        let calls =
            reads.iter_mut().map(|read| Box::pin(read.run(store.as_ref())) as BoxFuture<'_, _>);
        at_once(calls).await.map(drop)
    };
    enter::io_of(py, bytes, read)?;
    let objects = reads.into_iter().map(|read| match read {
        Read::Blank(_, blank) => blank.object.into_bound(py),
        Read::Key(_, data) => PyBytes::new(py, &data),
    });
    Ok(objects.collect())
}

enum Read {
    Blank(crate::reference::Ref, Blank),
    Key(String, Bytes),
}

impl Read {
    async fn run(&mut self, store: &dyn Store) -> Result<()> {
        match self {
            Self::Blank(reference, blank) => {
                store::read_into(store, reference, blank.buffer()).await
            }
            Self::Key(key, data) => {
                *data = store.get(&Key::parse(key)?, None).await?;
                Ok(())
            }
        }
    }
}

/// A URL of an object that expires; of a reference, that of its version.
pub(super) fn presign(
    py: Python<'_>,
    store: &Arc<dyn Store>,
    source: Source,
    expires: Duration,
) -> PyResult<String> {
    enter::io(py, async {
        let (key, version) = match source {
            Source::Ref(found) => (Key::in_store(&found.uri, store.url())?, found.version),
            Source::Key(key) => (Key::parse(&key)?, None),
        };
        store.presign(&key, version.as_deref(), expires).await
    })
}

/// Key, size in bytes, and seconds since 1970.
pub(super) fn entry(object: Listed) -> (String, u64, f64) {
    let age = object.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    (object.key, object.bytes, age.as_secs_f64())
}

/// Stores values under their keys, some at the same time.
pub(super) fn put_many(
    py: Python<'_>,
    store: &Arc<dyn Store>,
    values: &Bound<'_, PyDict>,
) -> PyResult<Vec<crate::reference::Ref>> {
    let mut waiting = Vec::with_capacity(values.len());
    for (key, value) in values {
        let key = key.extract::<Text>().map_err(|_| input(py, "a key must be a text"))?;
        let key = Key::parse(&key.0).map_err(|e| to_python(py, e))?;
        let Stored { pieces, about } = values::form(&value, Said::default())?;
        waiting.push((key, pieces, about));
    }
    let bytes = waiting.iter().flat_map(|(_, pieces, _)| pieces).map(Bytes::len).sum::<usize>();
    let calls = waiting.into_iter().map(|(key, pieces, about)| {
        let store = store.as_ref();
        let put = async move { store::put(store, &key, Body::Memory(pieces), about).await };
        Box::pin(put) as BoxFuture<'_, _>
    });
    enter::io_of(py, bytes as u64, at_once(calls))
}

/// Runs calls, some at the same time; what they give comes in their order.
pub(super) async fn at_once<'a, T>(
    calls: impl Iterator<Item = BoxFuture<'a, Result<T>>>,
) -> Result<Vec<T>> {
    let (mut calls, mut done) = (calls, Vec::new());
    let mut running = FuturesOrdered::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(call) = calls.next()
        {
            running.push_back(call);
        }
        match running.next().await {
            Some(result) => done.push(result?),
            None => return Ok(done),
        }
    }
}
