use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::reference::Crc;

/// Bytes of which the CRC is computed while they are in the processor's cache.
const PIECE: usize = 256 << 10;

/// A part of a buffer that a read fills, front to back, and the CRC of what has come so far.
///
/// What has come stays, so a read that was cut goes on from there.
#[derive(Debug)]
pub struct Window<'buffer> {
    buffer: &'buffer mut [MaybeUninit<u8>],
    filled: usize,
    crc: Crc,
    /// Counts what comes, for whoever watches several windows.
    progress: Option<&'buffer AtomicU64>,
}

impl<'buffer> Window<'buffer> {
    #[must_use]
    pub fn new(buffer: &'buffer mut [MaybeUninit<u8>]) -> Self {
        Self { buffer, filled: 0, crc: Crc::default(), progress: None }
    }

    /// A window whose bytes are also counted in `progress` as they come.
    #[must_use]
    pub fn counted(buffer: &'buffer mut [MaybeUninit<u8>], progress: &'buffer AtomicU64) -> Self {
        Self { progress: Some(progress), ..Self::new(buffer) }
    }

    /// Bytes that have come.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.buffer.len() - self.filled
    }

    /// Takes the next bytes; more than are missing is an error.
    pub fn push(&mut self, data: &[u8]) -> Result<()> {
        let Some(place) = self.buffer.get_mut(self.filled..self.filled + data.len()) else {
            return Err(Error::internal("a store gave more bytes than it was asked for"));
        };
        for (place, data) in place.chunks_mut(PIECE).zip(data.chunks(PIECE)) {
            place.write_copy_of_slice(data);
            self.crc.update(data);
        }
        self.filled += data.len();
        if let Some(progress) = self.progress {
            progress.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes the bytes of a file from `offset` on, without a copy between; stops where the file ends.
    pub(super) fn read_file(&mut self, file: &File, mut offset: u64) -> io::Result<()> {
        while self.missing() > 0 {
            let end = self.buffer.len().min(self.filled + PIECE);
            let place = &mut self.buffer[self.filled..end];
            let at = libc::off_t::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: the kernel writes at most `place.len()` bytes into `place`, which outlives the call.
            let read = unsafe {
                libc::pread(file.as_raw_fd(), place.as_mut_ptr().cast(), place.len(), at)
            };
            let count = match usize::try_from(read) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(_) => match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => continue,
                    e => return Err(e),
                },
            };
            // SAFETY: `pread` has written the first `count` bytes of `place`.
            self.crc.update(unsafe { place[..count].assume_init_ref() });
            self.filled += count;
            offset += count as u64;
        }
        Ok(())
    }

    /// Forgets what has come.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.crc = Crc::default();
    }

    /// CRC-64/NVME of what has come.
    #[must_use]
    pub fn crc(&self) -> u64 {
        self.crc.value()
    }
}
