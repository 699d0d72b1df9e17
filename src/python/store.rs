use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::arguments::{Count, Text};
use super::chunks::Chunks;
use super::errors::{input, to_python};
use super::reference::Ref;
use super::transfer::{self, BINARY, Source};
use super::values::{self, Said, Stored};
use super::{enter, load, slice};
use crate::error::Error;
use crate::format;
use crate::reference::Description;
use crate::store::{self, Addressing, Areas, Body, Key, S3Options};

/// A place for objects: a bucket ("s3://bucket/prefix"), a folder ("file:///path") or this process's memory
/// ("memory://name").
///
/// Writes are atomic, and every read by reference is verified. Keys are relative to the store's URL.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Store {
    pub(super) inner: Arc<dyn store::Store>,
    /// What it was opened with.
    pub(super) options: S3Options,
    /// What a state declared, and the store that it declared it of.
    pub(super) scope: Option<(Areas, Arc<dyn store::Store>)>,
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
        if self.scope.is_some() {
            return Err(input(py, "what a state has declared is of its own store; use Store.open"));
        }
        Self::with_options(py, &url.0, self.options.clone())
    }

    /// URL of the store, without a slash at its end.
    #[getter]
    fn url(&self) -> &str {
        self.inner.url()
    }

    /// Store a value, in the form that its type has.
    ///
    /// bytes stay as they are, a str is UTF-8, arrays and dicts of them are safetensors, a list of dicts is JSON
    /// lines, a pyarrow.Table Parquet, and the rest JSON. The memory of arrays and bytes is not copied: an array must
    /// stay as it is until the call returns.
    ///
    /// Args:
    ///     value: what to store.
    ///     key: parts separated by slashes. What was there is replaced. None takes "values/<sha256>" and a suffix,
    ///         and stores the same bytes once.
    ///     media_type: of bytes and text, what they are; of a list, "application/jsonl+zstd" compresses it.
    ///     records: number of records, where the value does not say.
    ///     dtype, shape: of bytes that are an array.
    ///
    /// Returns:
    ///     A reference, whose load() gives the value.
    ///
    /// Raises:
    ///     InputError: the value has no such form.
    ///     AccessDeniedError, StoreFullError, StoreUnavailableError.
    ///
    /// Example:
    ///     >>> store = legato.Store.open("memory://docs")
    ///     >>> store.put(numpy.zeros((2, 3), "float32")).shape
    ///     (2, 3)
    #[pyo3(signature = (value, key = None, *, media_type = None, records = None, dtype = None, shape = None))]
    #[allow(clippy::too_many_arguments)] // keyword arguments of a Python method
    fn put(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        key: Option<Text>,
        media_type: Option<String>,
        records: Option<u64>,
        dtype: Option<String>,
        shape: Option<Vec<u64>>,
    ) -> PyResult<Ref> {
        let key = key.map(|key| Key::parse(&key.0)).transpose().map_err(|e| to_python(py, e))?;
        let Stored { pieces, about } =
            values::form(value, Said { media_type, records, dtype, shape })?;
        let (body, folder, end) = (Body::Memory(pieces), self.values(), format::suffix(&about));
        let inner = enter::io_of(py, enter::size(&body), async {
            let store = self.inner.as_ref();
            match key {
                Some(key) => store::put(store, &key, body, about).await,
                None => store::commit_content(store, &folder, &end, body, about).await,
            }
        })?;
        Ok(self.made(inner))
    }

    /// Store a file under a key, replacing what was there; the file is not read into memory.
    #[pyo3(signature = (path, key, *, media_type = BINARY, records = None))]
    fn put_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        key: Text,
        media_type: &str,
        records: Option<u64>,
    ) -> PyResult<Ref> {
        let about =
            Description { media_type: media_type.to_owned(), records, ..Description::default() };
        let body = Body::File(path);
        let inner = enter::io_of(py, enter::size(&body), async {
            store::put(self.inner.as_ref(), &Key::parse(&key.0)?, body, about).await
        })?;
        Ok(self.made(inner))
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
        data: &Bound<'_, PyAny>,
        media_type: &str,
        records: Option<u64>,
        dtype: Option<String>,
        shape: Option<Vec<u64>>,
    ) -> PyResult<Ref> {
        let about = Description { media_type: media_type.to_owned(), records, dtype, shape };
        let data = values::raw(data)?.ok_or_else(|| input(py, "commit() takes bytes"))?;
        let body = Body::from(data);
        let inner = enter::io_of(py, enter::size(&body), async {
            store::commit(self.inner.as_ref(), &Key::parse(&key.0)?, body, about).await
        })?;
        Ok(self.made(inner))
    }

    /// Return the reference to an object of somebody else where it lies: read once, pinned to its version, not copied.
    ///
    /// Args:
    ///     key: of an object of at most 16 GiB; above 128 MiB it is read later in chunks of a 16th of it.
    ///     version: version id or etag that it must have; None takes what is there.
    ///
    /// Raises:
    ///     InputError: it has another version, or changed while it was read.
    ///     ObjectNotFoundError, AccessDeniedError, StoreUnavailableError.
    #[pyo3(signature = (key, *, version = None))]
    fn adopt(&self, py: Python<'_>, key: Text, version: Option<Text>) -> PyResult<Ref> {
        transfer::adopt(py, &self.inner, &key.0, version.as_ref().map(|v| v.0.as_str()))
            .map(|inner| self.made(inner))
    }

    /// Store many values at the same time, replacing what was there.
    ///
    /// Args:
    ///     values: key to value; each is what `put` takes.
    ///
    /// Returns:
    ///     The references, in the order of the mapping.
    ///
    /// Raises:
    ///     What `put` raises, of the first that fails; others may have been stored.
    fn put_many(&self, py: Python<'_>, values: &Bound<'_, PyDict>) -> PyResult<Vec<Ref>> {
        let made = transfer::put_many(py, &self.inner, values)?;
        Ok(made.into_iter().map(|inner| self.made(inner)).collect())
    }

    /// Return the reference of a finished, intact output, or None.
    ///
    /// An output that is damaged is removed, so that it can be made again.
    fn find(&self, py: Python<'_>, key: Text) -> PyResult<Option<Ref>> {
        let found =
            enter::io(py, async { store::find(self.inner.as_ref(), &Key::parse(&key.0)?).await })?;
        Ok(found.map(|inner| self.made(inner)))
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
        let expires = Duration::from_secs(expires_s);
        transfer::presign(py, &self.inner, Source::of(source)?, expires)
    }

    /// Iterate over the bytes of an object in verified chunks of at most 8 MiB.
    fn chunks(&self, py: Python<'_>, reference: &Ref) -> PyResult<Chunks> {
        let reference = reference.inner.clone();
        let crcs = enter::io(py, store::chunks(self.inner.as_ref(), &reference))?;
        Ok(Chunks::new(self.inner.clone(), reference, crcs))
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
        Ok(found.into_iter().map(transfer::entry).collect())
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
        let age = Duration::try_from_secs_f64(before);
        let age = age.map_err(|_| input(py, "before must be a time in seconds since 1970"))?;
        enter::io(py, self.inner.abandon("", UNIX_EPOCH + age, dry_run))
    }

    /// Remove an object; it is no error if there is none.
    fn delete(&self, py: Python<'_>, key: Text) -> PyResult<()> {
        enter::io(py, async { self.inner.delete(&Key::parse(&key.0)?, None).await })
    }

    /// Read what a reference points to; see Ref.load().
    #[pyo3(signature = (reference, *, arrow = false))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        reference: &Ref,
        arrow: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        load::load(py, &self.inner, &reference.inner, arrow)
    }

    /// Read rows of what a reference points to; see Ref.slice().
    fn slice<'py>(
        &self,
        py: Python<'py>,
        reference: &Ref,
        start: Count,
        stop: Count,
    ) -> PyResult<Bound<'py, PyAny>> {
        slice::slice(py, &self.inner, &reference.inner, start.0 as u64..stop.0 as u64)
    }

    /// Return the same reference, which load() and slice() read from this store.
    fn bind(&self, reference: &Ref) -> Ref {
        self.made(reference.inner.clone())
    }

    /// Return this store, seen through what a state has declared: anything else is refused.
    ///
    /// Args:
    ///     stage: the state's name, for messages.
    ///     reads: first parts of keys that it reads.
    ///     writes: those that it writes, and reads; values without a key go to the first.
    ///     area: what all keys count as, in a store that is not the state's own, where nothing is written.
    ///
    /// Raises:
    ///     InputError: this store is such a one already.
    #[pyo3(signature = (stage, *, reads = Vec::new(), writes = Vec::new(), area = None))]
    fn scoped(
        &self,
        py: Python<'_>,
        stage: String,
        reads: Vec<String>,
        writes: Vec<String>,
        area: Option<String>,
    ) -> PyResult<Self> {
        self.seen_by(py, Areas { stage, reads, writes, whole: area })
    }

    /// What pickle calls: `open` with the options, which are keywords, and `scoped` of that.
    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        self.again(py).map(|again| (again, PyTuple::empty(py)))
    }

    fn __repr__(&self) -> String {
        format!("Store({:?})", self.inner.url())
    }
}
