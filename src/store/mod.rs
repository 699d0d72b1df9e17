//! Where objects lie. A store knows keys and bytes; what makes an output whole is in `object`.

mod contract;
mod key;
mod local;
mod memory;
mod object;
mod open;

pub use contract::{Body, Condition, Put, Store};
pub use key::{Key, REF_SUFFIX};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use object::{chunks, commit, find, put, read, read_chunk, ref_at};
pub use open::open;
