//! The Python module `legato._native`. The only folder that names pyo3 or numpy.

// These docstrings are read in Python, where backticks are not the custom.
#![allow(clippy::doc_markdown, clippy::doc_link_with_quotes)]
// pyo3 hands over what it converts by value.
#![allow(clippy::needless_pass_by_value)]

mod arguments;
mod arrays;
mod batch;
mod call;
mod chunks;
mod encoding;
mod engine;
mod enter;
mod errors;
mod files;
mod format;
mod ids;
mod inflate;
mod json;
mod load;
mod memory;
mod module;
mod options;
mod predict;
mod reference;
mod result;
mod slice;
mod store;
mod texts;
mod threads;
mod tokenizer;
mod tokens;

mod transfer;
mod values;
