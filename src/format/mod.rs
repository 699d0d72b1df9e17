//! Values to bytes and back. The only module that writes safetensors or names `parquet`.

mod parquet_read;
mod parquet_write;
mod tensors;
mod tokens;

pub use parquet_read::{Column, read_parquet};
pub use parquet_write::{Cells, write_parquet};
pub use tensors::{Entry, Header, Tensor, header, write_tensors};
pub use tokens::{read_tokens, write_tokens};
