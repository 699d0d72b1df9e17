use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arguments::Text;
use super::enter;
use super::errors::{input, to_python};
use super::reference::Ref;
use super::transfer::{self, Source};
use crate::error::{Error, Result};
use crate::reference::Description;
use crate::store::{self, Addressing, Body, Key, S3Options};

/// A place for objects: a bucket ("s3://bucket/prefix"), a folder ("file:///path") or this process's memory
/// ("memory://name").
///
/// Writes are atomic, and every read by reference is verified. Keys are relative to the store's URL.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Store {
    inner: Arc<dyn store::Store>,
    options: S3Options,
}

#[pymethods]
impl Store {
    /// Open a store. Of S3 nothing is asked, and nothing of the AWS SDK is loaded, before the first call.
    ///
    /// Region, credentials and endpoint of S3 come from the environment, as in every AWS SDK: AWS_REGION,
    /// AWS_PROFILE, AWS_ENDPOINT_URL, AWS_MAX_ATTEMPTS and so on, web identity, container and IMDS.
    ///
    /// Args:
    ///     url: "s3://bucket/prefix", "file:///folder" (made when the first object is written) or "memory://name".
    ///     bucket_owner: account that must own the bucket, 12 digits: a bucket of that name in another account is
    ///         refused.
    ///     kms_key: key that S3 encrypts new objects with (SSE-KMS), its id or ARN.
    ///     request_payer: whether the requester pays.
    ///     addressing: how the bucket stands in URLs, "path" or "virtual"; "auto" takes the path where the endpoint is
    ///         not AWS's.
    ///     timeout_s: seconds that a call may take, and one more for each MiB that it moves.
    ///
    /// Raises:
    ///     InputError: the URL is not of such a form, or names a file.
    #[staticmethod]
    #[pyo3(signature = (url, *, bucket_owner = None, kms_key = None, request_payer = false, addressing = "auto", timeout_s = 60.0))]
    fn open(
        py: Python<'_>,
        url: Text,
        bucket_owner: Option<String>,
        kms_key: Option<String>,
        request_payer: bool,
        addressing: &str,
        timeout_s: f64,
    ) -> PyResult<Self> {
        let addressing = Addressing::named(addressing)
            .ok_or_else(|| input(py, "addressing must be 'auto', 'path' or 'virtual'"))?;
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|_| input(py, "timeout_s must be a positive number of seconds"))?;
        let options = S3Options { bucket_owner, kms_key, request_payer, addressing, timeout };
        Self::with_options(py, &url.0, options)
    }

    /// Open the store at another URL with the options of this one.
    ///
    /// Args:
    ///     url: as that of `open`.
    fn beside(&self, py: Python<'_>, url: Text) -> PyResult<Self> {
        Self::with_options(py, &url.0, self.options.clone())
    }

    /// URL of the store, without a slash at its end.
    #[getter]
    fn url(&self) -> &str {
        self.inner.url()
    }

    /// Store bytes under a key, replacing what was there.
    ///
    /// Args:
    ///     key: parts separated by slashes; no empty part, "." or "..".
    ///     data: the bytes.
    ///     media_type: media type of the bytes.
    ///     records: number of records, where the bytes have them.
    ///     dtype: element type, for an array.
    ///     shape: shape, for an array.
    ///
    /// Returns:
    ///     A reference to the object.
    ///
    /// Raises:
    ///     InputError, AccessDeniedError, StoreFullError, StoreUnavailableError.
    #[pyo3(signature = (key, data, *, media_type = BINARY, records = None, dtype = None, shape = None))]
    #[allow(clippy::too_many_arguments)] // keyword arguments of a Python method
    fn put(
        &self,
        py: Python<'_>,
        key: Text,
        data: &[u8],
        media_type: &str,
        records: Option<u64>,
        dtype: Option<String>,
        shape: Option<Vec<u64>>,
    ) -> PyResult<Ref> {
        let about = Description { media_type: media_type.to_owned(), records, dtype, shape };
        let body = Bytes::copy_from_slice(data).into();
        let inner = enter::io(py, async {
            store::put(self.inner.as_ref(), &Key::parse(&key.0)?, body, about).await
        })?;
        Ok(Ref { inner })
    }

    /// Store a file under a key, replacing what was there; the file is not read into memory.
    #[pyo3(signature = (key, path, *, media_type = BINARY, records = None))]
    fn put_file(
        &self,
        py: Python<'_>,
        key: Text,
        path: PathBuf,
        media_type: &str,
        records: Option<u64>,
    ) -> PyResult<Ref> {
        let about =
            Description { media_type: media_type.to_owned(), records, ..Description::default() };
        let inner = enter::io(py, async {
            store::put(self.inner.as_ref(), &Key::parse(&key.0)?, Body::File(path), about).await
        })?;
        Ok(Ref { inner })
    }

    /// Store an output exactly once: the object first, its ".ref" last, both only if they are absent.
    ///
    /// A retry, or the loser of a race, gets the reference that is there; its own bytes are dropped.
    #[pyo3(signature = (key, data, *, media_type = BINARY, records = None, dtype = None, shape = None))]
    #[allow(clippy::too_many_arguments)] // keyword arguments of a Python method
    fn commit(
        &self,
        py: Python<'_>,
        key: Text,
        data: &[u8],
        media_type: &str,
        records: Option<u64>,
        dtype: Option<String>,
        shape: Option<Vec<u64>>,
    ) -> PyResult<Ref> {
        let about = Description { media_type: media_type.to_owned(), records, dtype, shape };
        let data = Bytes::copy_from_slice(data).into();
        let inner = enter::io(py, async {
            store::commit(self.inner.as_ref(), &Key::parse(&key.0)?, data, about).await
        })?;
        Ok(Ref { inner })
    }

    /// Return the reference of a finished, intact output, or None.
    ///
    /// An output that is damaged is removed, so that it can be made again.
    fn find(&self, py: Python<'_>, key: Text) -> PyResult<Option<Ref>> {
        let found =
            enter::io(py, async { store::find(self.inner.as_ref(), &Key::parse(&key.0)?).await })?;
        Ok(found.map(|inner| Ref { inner }))
    }

    /// Return the key of a reference's object in this store.
    ///
    /// Raises:
    ///     InputError: the reference points outside of this store.
    fn key_of(&self, py: Python<'_>, reference: &Ref) -> PyResult<String> {
        let key = Key::in_store(&reference.inner.uri, self.inner.url());
        key.map(|key| key.as_str().to_owned()).map_err(|e| to_python(py, e))
    }

    /// Return all bytes of an object.
    ///
    /// Args:
    ///     source: a reference, then the bytes are verified; or a key, then they are as they are.
    ///
    /// Raises:
    ///     CorruptObjectError: the bytes are not those of the reference.
    ///     ObjectNotFoundError, AccessDeniedError, StoreUnavailableError, InputError.
    fn get<'py>(
        &self,
        py: Python<'py>,
        source: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        transfer::get(py, &self.inner, Source::of(source)?)
    }

    /// Return all bytes of many objects, read at the same time, in the order of the sources.
    ///
    /// Args:
    ///     sources: references, whose bytes are verified, or keys.
    ///
    /// Raises:
    ///     What `get` raises, of the first that fails.
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        sources: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let sources = sources.iter().map(Source::of).collect::<PyResult<_>>()?;
        transfer::get_many(py, &self.inner, sources)
    }

    /// Return a URL by which anyone can read an object for a while, for a person or a browser.
    ///
    /// Args:
    ///     source: a reference or a key. Of a reference in a bucket with versions, the URL is of that version.
    ///     expires_s: seconds until it expires, at most 604,800 (7 days) and no longer than the credentials last.
    ///
    /// Raises:
    ///     InputError: this store is not on S3.
    #[pyo3(signature = (source, *, expires_s = 3600))]
    fn presign(
        &self,
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        expires_s: u64,
    ) -> PyResult<String> {
        let source = Source::of(source)?;
        enter::io(py, async {
            let (key, version) = match source {
                Source::Ref(reference) => {
                    (Key::in_store(&reference.uri, self.inner.url())?, reference.version)
                }
                Source::Key(key) => (Key::parse(&key)?, None),
            };
            let expires = Duration::from_secs(expires_s);
            self.inner.presign(&key, version.as_deref(), expires).await
        })
    }

    /// Iterate over the bytes of an object in verified chunks of at most 8 MiB.
    fn chunks(&self, py: Python<'_>, reference: &Ref) -> PyResult<Chunks> {
        let reference = reference.inner.clone();
        let crcs = enter::io(py, store::chunks(self.inner.as_ref(), &reference))?;
        Ok(Chunks { store: self.inner.clone(), reference, crcs, next: AtomicU64::new(0) })
    }

    /// Say whether there is an object under a key.
    fn exists(&self, py: Python<'_>, key: Text) -> PyResult<bool> {
        enter::io(py, async {
            match self.inner.head(&Key::parse(&key.0)?).await {
                Err(Error::NotFound { .. }) => Ok(false),
                head => head.map(|_| true),
            }
        })
    }

    /// Return the keys that start with a prefix, sorted.
    #[pyo3(signature = (prefix = ""))]
    fn list(&self, py: Python<'_>, prefix: &str) -> PyResult<Vec<String>> {
        let found = enter::io(py, self.inner.list(prefix))?;
        Ok(found.into_iter().map(|object| object.key).collect())
    }

    /// Return the objects whose keys start with a prefix, sorted by key.
    ///
    /// Returns:
    ///     (key, size in bytes, time of writing in seconds since 1970 by the store's clock) of each.
    #[pyo3(signature = (prefix = ""))]
    fn entries(&self, py: Python<'_>, prefix: &str) -> PyResult<Vec<(String, u64, f64)>> {
        let found = enter::io(py, self.inner.list(prefix))?;
        let seconds =
            |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64());
        Ok(found.into_iter().map(|o| (o.key, o.bytes, seconds(o.modified))).collect())
    }

    /// Remove what writers that died have left of objects that they never completed.
    ///
    /// Args:
    ///     before: time in seconds since 1970; what was started later stays.
    ///     dry_run: whether to remove nothing.
    ///
    /// Returns:
    ///     What was, or would be, removed: the keys of multipart uploads, or the names of staged files.
    #[pyo3(signature = (before, *, dry_run = true))]
    fn abandon(&self, py: Python<'_>, before: f64, dry_run: bool) -> PyResult<Vec<String>> {
        let age = Duration::try_from_secs_f64(before)
            .map_err(|_| input(py, "before must be a time in seconds since 1970"))?;
        enter::io(py, self.inner.abandon("", UNIX_EPOCH + age, dry_run))
    }

    /// Remove an object; it is no error if there is none.
    fn delete(&self, py: Python<'_>, key: Text) -> PyResult<()> {
        enter::io(py, async { self.inner.delete(&Key::parse(&key.0)?, None).await })
    }

    /// What pickle calls: `open` with the options, which are keywords.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let S3Options { bucket_owner, kms_key, request_payer, addressing, timeout } = &self.options;
        let keywords = PyDict::new(py);
        keywords.set_item("bucket_owner", bucket_owner)?;
        keywords.set_item("kms_key", kms_key)?;
        keywords.set_item("request_payer", request_payer)?;
        keywords.set_item("addressing", addressing.name())?;
        keywords.set_item("timeout_s", timeout.as_secs_f64())?;
        let open = py.get_type::<Self>().getattr("open")?;
        let again = py.import("functools")?.getattr("partial")?.call((open,), Some(&keywords))?;
        Ok((again, (self.inner.url().to_owned(),)))
    }

    fn __repr__(&self) -> String {
        format!("Store({:?})", self.inner.url())
    }
}

impl Store {
    fn with_options(py: Python<'_>, url: &str, options: S3Options) -> PyResult<Self> {
        let inner = enter::quick(py, || store::open(url, options.clone()))?;
        Ok(Self { inner, options })
    }
}

const BINARY: &str = "application/octet-stream";

/// Verified chunks of an object, in order.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Chunks {
    store: Arc<dyn store::Store>,
    reference: crate::reference::Ref,
    crcs: Vec<String>,
    next: AtomicU64,
}

#[pymethods]
impl Chunks {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if usize::try_from(index).map_or(true, |index| index >= self.crcs.len()) {
            return Ok(None);
        }
        let read = store::read_chunk(self.store.as_ref(), &self.reference, &self.crcs, index);
        let data: Result<Bytes, PyErr> = enter::io(py, read);
        // After a failure there is no next chunk: one that is left out must not go unseen.
        let data = data.inspect_err(|_| self.next.store(u64::MAX / 2, Ordering::Relaxed))?;
        Ok(Some(PyBytes::new(py, &data)))
    }
}
