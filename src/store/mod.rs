//! Where objects lie. A store knows keys and bytes; what makes an output whole is in `object`.

mod adopt;
mod contract;
mod deadline;
mod key;
mod local;
mod memory;
mod object;
mod open;
mod parts;
mod read;
mod s3;
mod scoped;
mod window;

pub use adopt::adopt;
pub use contract::{Body, Condition, Head, Listed, Parts, Put, Store, Stored, Upload};
pub use key::{Key, REF_SUFFIX};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use object::{commit, commit_content, find, put, ref_at};
pub use open::open;
pub use read::{bounded, chunks, read, read_chunk, read_chunks, read_chunks_into, read_into};
pub use s3::{Addressing, S3Options};
pub use scoped::{Areas, Scoped};
pub use window::Window;
