use std::sync::Arc;

use super::contract::Store;
use super::local::LocalStore;
use super::memory::MemoryStore;
use super::s3::{S3Options, S3Store};
use crate::error::{Error, Result};

/// Opens the store at a URL: `s3://bucket/prefix`, `file:///folder` or `memory://name`.
pub fn open(url: &str, options: S3Options) -> Result<Arc<dyn Store>> {
    let unknown = || {
        Error::input(format!(
            "store '{}' is not known; use s3://bucket/prefix, file:///folder or memory://name",
            url.rsplit_once('@').map_or(url, |(_, rest)| rest).escape_debug()
        ))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match scheme {
        "file" => Ok(Arc::new(LocalStore::open(rest)?)),
        "s3" => Ok(Arc::new(S3Store::open(rest, options)?)),
        "memory" if plain(rest) => Ok(MemoryStore::named(rest)),
        "memory" => Err(Error::input("the name of a memory store must be letters, digits, - _ .")),
        _ => Err(unknown()),
    }
}
