//! The parts of an object, read at the same time and compared with what its reference says.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::contract::{Parts, Store};
use super::key::Key;
use super::window::Window;
use crate::error::{Error, Result};
use crate::reference::{Ref, combine_lengths, crc_text};

/// Requests that a large read begins with.
const FEW: usize = 2;
/// When it looks how fast they are.
const LOOK: Duration = Duration::from_millis(4);
/// Bytes a millisecond of a connection that is as fast as this machine.
const FAST: u128 = 250_000;

/// A part that was read: its CRC and its length.
pub(super) type Sum = (u64, u64);

pub(super) struct Object<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) reference: &'a Ref,
    pub(super) key: Key,
}

impl Object<'_> {
    pub(super) fn known_chunks(&self) -> Option<Vec<String>> {
        match self.reference.chunk_count() {
            1 => Some(vec![self.reference.crc64nvme.clone()]),
            _ if self.reference.chunks.is_empty() => None,
            _ => Some(self.reference.chunks.clone()),
        }
    }

    /// Reads chunks in parts, several at once; returns the sum of each chunk.
    pub(super) async fn read(
        &self,
        range: Range<u64>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<Vec<Sum>> {
        let Parts { least_bytes, at_once } = self.store.parts();
        let progress = AtomicU64::new(0);
        let (mut rest, mut parts) = (buffer, Vec::new());
        let total = rest.len() as u64;
        // A part lies within a chunk, so that the CRCs of parts make those of chunks.
        let most = total.div_ceil(at_once as u64).max(least_bytes).max(1);
        for index in range {
            let Range { mut start, end } = self.reference.chunk_range(index);
            let pieces = (end - start).div_ceil(most).max(1);
            let size = (end - start).div_ceil(pieces);
            loop {
                let length = size.min(end - start);
                let place = rest.split_off_mut(..usize::try_from(length).unwrap_or(usize::MAX));
                let place = place.ok_or_else(|| Error::internal("a buffer is too small"))?;
                parts.push((index, start, Window::counted(place, &progress)));
                start += length;
                if start >= end {
                    break;
                }
            }
        }
        self.fetch(&mut parts, at_once, &progress).await?;
        Ok(parts
            .chunk_by(|a, b| a.0 == b.0)
            .map(|chunk| {
                let sums: Vec<Sum> =
                    chunk.iter().map(|(_, _, w)| (w.crc(), w.filled() as u64)).collect();
                combine_lengths(&sums)
            })
            .collect())
    }

    /// Fills the windows, few at once where each connection is as fast as this machine: more would only cost. Where
    /// they are not, as on S3, all that may be.
    async fn fetch(
        &self,
        parts: &mut [(u64, u64, Window<'_>)],
        at_once: usize,
        progress: &AtomicU64,
    ) -> Result<()> {
        let version = self.reference.version.as_deref();
        let (started, mut limit) = (Instant::now(), at_once.min(FEW));
        let mut waiting = parts.iter_mut().peekable();
        let mut running: FuturesUnordered<BoxFuture<'_, Result<()>>> = FuturesUnordered::new();
        loop {
            while running.len() < limit
                && let Some((_, start, window)) = waiting.next()
            {
                running.push(Box::pin(self.part(version, *start, window, false)));
            }
            let undecided = limit < at_once && waiting.peek().is_some();
            tokio::select! {
                biased;
                read = running.next() => match read {
                    Some(read) => read?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(LOOK), if undecided => {}
            }
            if undecided && started.elapsed() >= LOOK {
                let enough = FAST * limit as u128 * started.elapsed().as_millis();
                if u128::from(progress.load(Ordering::Relaxed)) < enough {
                    limit = at_once;
                }
            }
        }
    }

    async fn part(
        &self,
        version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        fresh: bool,
    ) -> Result<()> {
        // Where an object is empty there is nothing to ask for, but it must be there.
        if window.missing() == 0 {
            return self.compare(self.store.head(&self.key).await?.bytes);
        }
        let found = self.store.read(&self.key, version, start, window, fresh).await?;
        let came = start + window.filled() as u64;
        self.compare(if window.missing() > 0 { found.min(came) } else { found })
    }

    fn compare(&self, found: u64) -> Result<()> {
        if found == self.reference.bytes {
            return Ok(());
        }
        Err(Error::Corrupt {
            uri: self.reference.uri.clone(),
            what: "bytes",
            expected: self.reference.bytes.to_string(),
            found: found.to_string(),
        })
    }

    /// Compares what was read with what it must be, and reads once more what differs.
    pub(super) async fn repair(
        &self,
        range: Range<u64>,
        buffer: &mut [MaybeUninit<u8>],
        read: &[Sum],
        expected: &[String],
    ) -> Result<()> {
        let mut rest = buffer;
        for (index, &(crc, length)) in range.zip(read) {
            let place = rest.split_off_mut(..usize::try_from(length).unwrap_or(usize::MAX));
            let place = place.ok_or_else(|| Error::internal("a buffer is too small"))?;
            let expected = usize::try_from(index).ok().and_then(|i| expected.get(i));
            let expected = expected.ok_or_else(|| Error::internal("a chunk has no CRC"))?;
            if crc_text(crc) == *expected {
                continue;
            }
            let start = self.reference.chunk_range(index).start;
            let mut window = Window::new(place);
            let version = self.reference.version.as_deref();
            self.part(version, start, &mut window, true).await?;
            let found = crc_text(window.crc());
            if found != *expected {
                return Err(Error::Corrupt {
                    uri: self.reference.uri.clone(),
                    what: "crc64nvme",
                    expected: expected.clone(),
                    found,
                });
            }
        }
        Ok(())
    }
}
