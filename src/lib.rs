//! The native core of legato: Hugging Face models as AWS Step Functions states.
//!
//! Data flows one way:
//!
//! ```text
//! text -> Tokens -> Batch -> hidden states -> Outputs -> Ref
//! ```
//!
//! [`tokenize`] turns text into flat [`Tokens`]; [`batch`] orders and packs them without padding;
//! [`model`] computes hidden states on a [`backend`] and [`head`] pools them into [`Outputs`], both composed by
//! [`Engine`], or answer a task as logits by a [`TaskEngine`]; [`format`] turns values into bytes, [`store`] keeps them, and a [`Ref`] is what travels
//! to the next state. [`hub`] hands out a model's files, verified. Each heavy dependency has one home,
//! and nothing imports `python`, the only module that knows pyo3.

pub mod aws;
pub mod backend;
pub mod batch;
pub mod device;
pub mod digest;
pub mod engine;
pub mod error;
pub mod format;
pub mod head;
pub mod hub;
pub mod kernels;
pub mod model;
pub mod predict;
mod process;
#[cfg(feature = "python")]
mod python;
pub mod quantize;
pub mod reference;
pub mod runtime;
pub mod store;
pub mod tokenize;

pub use batch::Batch;
pub use engine::{Engine, EngineOptions, Outputs};
pub use error::{Error, Result};
pub use hub::ModelFiles;
pub use predict::{Logits, TaskEngine};
pub use reference::Ref;
pub use store::Store;
pub use tokenize::{Tokenizer, Tokens};
