//! Where byte-level pre-tokenizers divide a text: the regular expressions in use, as one scanner.

mod classes;
mod pattern;
mod runs;
mod scan;

pub(super) use classes::decode;
pub(super) use pattern::Pattern;
pub(super) use runs::Runs;
pub(super) use scan::letters_end;
