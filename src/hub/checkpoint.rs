use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;

use bytes::Bytes;
use safetensors::tensor::{Metadata, TensorInfo};

use super::disk::read_at;
use super::header;

/// A safetensors file: in memory, or open and read piece by piece. Its header has been checked, and it has as
/// many bytes as the header says.
///
/// Files are read, and not mapped: one that somebody cuts short under a map ends the process, and one that is
/// changed gives other bytes than those that were checked.
#[derive(Debug)]
pub struct Checkpoint {
    content: Content,
    header: Metadata,
    /// Where the first tensor begins.
    start: u64,
}

enum Content {
    Memory(Bytes),
    Disk(File),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(data) => write!(f, "Memory({} bytes)", data.len()),
            Self::Disk(_) => f.write_str("Disk"),
        }
    }
}

impl Checkpoint {
    /// Takes a file's bytes; an error says what is wrong with them and what to do.
    pub fn from_bytes(data: Bytes) -> Result<Self, String> {
        let (start, header) = header::parse(data.len() as u64, |range| {
            let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
            let part = data.get(start.unwrap_or(usize::MAX)..end.unwrap_or(usize::MAX));
            part.map(<[u8]>::to_vec).ok_or_else(header::truncated)
        })?;
        Ok(Self { content: Content::Memory(data), header, start })
    }

    /// Takes an open file of so many bytes.
    pub(super) fn from_file(file: File, bytes: u64) -> Result<Self, String> {
        let (start, header) = header::parse(bytes, |range| {
            let len = usize::try_from(range.end - range.start).map_err(|_| header::truncated())?;
            let mut part = vec![0; len];
            read_at(&file, &mut part, range.start)?;
            Ok(part)
        })?;
        Ok(Self { content: Content::Disk(file), header, start })
    }

    /// What the header says of a tensor: its shape and size were checked against each other and the file.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// The names of all tensors, in the file's order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// What else the header says.
    #[must_use]
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.header.metadata().as_ref()
    }

    /// Bytes `range` of a tensor: as they lie in memory, or read into `scratch`.
    pub fn read<'a>(
        &'a self,
        tensor: &TensorInfo,
        range: Range<usize>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], String> {
        let (first, end) = tensor.data_offsets;
        if range.start > range.end || range.end > end - first {
            return Err("was read beyond a tensor; please report it".to_owned());
        }
        let from = self.start + (first + range.start) as u64;
        match &self.content {
            Content::Memory(data) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                data.get(from..).and_then(|d| d.get(..range.len())).ok_or_else(header::truncated)
            }
            Content::Disk(file) => {
                if scratch.len() < range.len() {
                    let more = range.len() - scratch.len();
                    scratch.try_reserve_exact(more).map_err(|_| "does not fit in memory")?;
                    scratch.resize(range.len(), 0);
                }
                let part = &mut scratch[..range.len()];
                read_at(file, part, from)?;
                Ok(part)
            }
        }
    }
}
