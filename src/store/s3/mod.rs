//! Objects in an S3 bucket: `s3://bucket/prefix`.

mod direct;
mod failure;
mod get;
mod list;
mod multipart;
mod options;
mod pieces;
mod put;
mod store;

pub use options::{Addressing, S3Options};
pub(super) use store::S3Store;
