//! Every failure of the core, one variant for each different reaction of a caller.
//!
//! `src/python/errors.rs` maps the variants to Python's exception classes, whose names Step Functions
//! matches. A message never holds user text, token values or credentials: it names the record, the file
//! or the object, and what to do next.

use thiserror::Error as ThisError;

/// The result of every fallible function of the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// An argument, a file or a record is wrong.
    #[error("{reason}")]
    Input { reason: String },

    /// A model folder, its tokenizer or its weights cannot be used.
    #[error("model {origin}: {reason}")]
    Model { origin: String, reason: String },

    /// The device or dtype is not available here.
    #[error("device '{device}': {reason}")]
    Device { device: String, reason: String },

    /// Nothing is stored under that key.
    #[error("nothing is stored at {uri}; check the key, or run the state that produces it")]
    NotFound { uri: String },

    /// The store refuses the operation.
    #[error("{action} {uri} was refused ({reason}); grant the permission and run again")]
    Denied { action: &'static str, uri: String, reason: String },

    /// A state has not declared what it does.
    #[error("{reason}")]
    Undeclared { reason: String },

    /// Stored bytes differ from what their reference says.
    #[error(
        "object {uri} has {what} {found}, the reference says {expected}; run the workflow again: \
         the state that produced it verifies it and makes it anew"
    )]
    Corrupt { uri: String, what: &'static str, expected: String, found: String },

    /// No space is left, or a quota is reached.
    #[error(
        "no space is left for {uri} ({reason}); free some and run again, finished work is kept"
    )]
    Full { uri: String, reason: String },

    /// The store did not answer; the same call may succeed later.
    #[error("{uri} is not available now ({reason}); try again")]
    Unavailable { uri: String, reason: String },

    /// The caller asked to stop.
    #[error("stopped by the caller")]
    Stopped,

    /// A defect of the core.
    #[error("internal error: {reason}; this is a defect in legato, please report it")]
    Internal { reason: String },
}

impl Error {
    /// Whether the same call may succeed if it is made again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// An [`Error::Input`] with this reason.
    pub fn input(reason: impl Into<String>) -> Self {
        Self::Input { reason: reason.into() }
    }

    /// An [`Error::Model`] about the files of `origin`.
    pub fn model(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Model { origin: origin.into(), reason: reason.into() }
    }

    /// An [`Error::Internal`] with this reason.
    pub fn internal(reason: impl Into<String>) -> Self {
        Self::Internal { reason: reason.into() }
    }
}
