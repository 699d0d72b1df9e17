//! The Python module `legato._native`. The only folder that names pyo3 or numpy.

mod arrays;
mod engine;
mod enter;
mod errors;
mod files;
mod format;
mod module;
mod reference;
mod store;
mod texts;
mod threads;
mod tokenizer;
mod tokens;
