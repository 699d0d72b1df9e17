//! How stores are opened, and what they are opened with, as pickle keeps it.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::enter;
use super::errors::input;
use super::reference::Ref;
use super::store::Store;
use crate::reference;
use crate::store::{Areas, S3Options, Scoped, open};

impl Store {
    /// A reference that this store made.
    pub(super) fn made(&self, inner: reference::Ref) -> Ref {
        Ref { inner, home: Some(self.inner.clone()) }
    }

    /// Where values without a key go.
    pub(super) fn values(&self) -> String {
        let area = self.scope.as_ref().and_then(|(areas, _)| areas.writes.first());
        area.map_or_else(|| "values".to_owned(), |area| format!("{area}/values"))
    }

    /// This store, seen through what a state has declared.
    pub(super) fn seen_by(&self, py: Python<'_>, areas: Areas) -> PyResult<Self> {
        if self.scope.is_some() {
            return Err(input(py, "the store is already seen through what a state has declared"));
        }
        let inner = Arc::new(Scoped::new(self.inner.clone(), areas.clone()));
        let options = self.options.clone();
        Ok(Self { inner, options, scope: Some((areas, self.inner.clone())) })
    }

    /// A callable of nothing that opens this store again: `open` with its options, or `scoped` of that.
    pub(super) fn again<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let partial = py.import("functools")?.getattr("partial")?;
        let kind = py.get_type::<Self>();
        if let Some((areas, whole)) = &self.scope {
            let options = self.options.clone();
            let whole = Bound::new(py, Self { inner: whole.clone(), options, scope: None })?;
            let keywords = of_areas(py, areas)?;
            partial.call((kind.getattr("scoped")?, whole, &areas.stage), Some(&keywords))
        } else {
            let keywords = keywords(py, &self.options)?;
            partial.call((kind.getattr("open")?, self.inner.url()), Some(&keywords))
        }
    }

    pub(super) fn with_options(py: Python<'_>, url: &str, options: S3Options) -> PyResult<Self> {
        let inner = enter::quick(py, || open(url, options.clone()))?;
        Ok(Self { inner, options, scope: None })
    }
}

/// The keywords of `open` that give these options.
fn keywords<'py>(py: Python<'py>, options: &S3Options) -> PyResult<Bound<'py, PyDict>> {
    let S3Options { bucket_owner, kms_key, request_payer, addressing, timeout } = options;
    let named = PyDict::new(py);
    named.set_item("bucket_owner", bucket_owner)?;
    named.set_item("kms_key", kms_key)?;
    named.set_item("request_payer", request_payer)?;
    named.set_item("addressing", addressing.name())?;
    named.set_item("timeout_s", timeout.as_secs_f64())?;
    Ok(named)
}

/// The keywords of `scoped` that give these areas.
fn of_areas<'py>(py: Python<'py>, areas: &Areas) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    named.set_item("reads", &areas.reads)?;
    named.set_item("writes", &areas.writes)?;
    named.set_item("area", &areas.whole)?;
    Ok(named)
}
