use std::sync::Arc;

use super::contract::Store;
use super::local::LocalStore;
use super::memory::MemoryStore;
use crate::error::{Error, Result};

/// Opens the store at a URL: `file:///folder` or `memory://name`.
pub fn open(url: &str) -> Result<Arc<dyn Store>> {
    let unknown = || {
        Error::input(format!(
            "store '{}' is not known; use file:///folder or memory://name",
            url.escape_debug()
        ))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match scheme {
        "file" => Ok(Arc::new(LocalStore::open(rest)?)),
        "memory" if plain(rest) => Ok(MemoryStore::named(rest)),
        "memory" => Err(Error::input("the name of a memory store must be letters, digits, - _ .")),
        _ => Err(unknown()),
    }
}
