//! Values to bytes and back. The only module that writes safetensors or names `parquet`.

mod jsonl;
mod media;
mod parquet_read;
mod parquet_rows;
mod parquet_write;
mod tensors;
mod tokens;

pub use jsonl::{Inflater, deflate, inflate, lines};
pub use media::{ARRAY_NAME, Form, suffix};
pub use parquet_read::{Column, read_parquet};
pub use parquet_rows::{Sparse, needs, read_rows};
pub use parquet_write::{Cells, write_parquet};
pub use tensors::{Entry, Header, Layout, Tensor, head_bytes, header, header_of, write_tensors};
pub use tokens::{read_tokens, write_tokens};
