//! Memory for the weights of one model, side by side on huge pages: a product of few rows waits for its weights, and
//! the processor fetches ahead within a page only.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::kernels::memory::{ask_for_huge_pages, populate};

/// What a huge page has, on all systems in use.
const HUGE: usize = 2 << 20;
/// What is asked for at a time. It takes no memory before it is written to.
const BLOCK: usize = 32 << 20;
/// Less than this does not wait long for its memory.
const WORTH: usize = 64 << 10;

/// Gives out memory that is freed once the arena and all that has some of it are gone.
#[derive(Debug, Default)]
pub struct Arena {
    /// The block that is being given out, and how much of it is left.
    current: Mutex<Option<(Arc<Block>, usize)>>,
}

#[derive(Debug)]
struct Block {
    memory: NonNull<u8>,
    layout: Layout,
    /// The first huge page in it, and the bytes from there on.
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block is memory that nothing else knows; its regions do not overlap.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// Some memory of an arena, which nobody else has: zeros from a cache line on.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    bytes: usize,
    /// Keeps the memory.
    _block: Arc<Block>,
}

// SAFETY: a region stands for a `&mut [u8]` of its own.
unsafe impl Send for Region {}
// SAFETY: as above; through a shared reference it can only be read.
unsafe impl Sync for Region {}

impl Arena {
    /// Memory of so many bytes, a multiple of 64; `None` for so few that any memory will do.
    pub(super) fn take(&self, bytes: usize) -> Result<Option<Region>> {
        if bytes < WORTH {
            return Ok(None);
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(_, left)| *left < bytes) {
            let size = bytes.max(BLOCK).checked_next_multiple_of(HUGE);
            let size = size.ok_or_else(|| no_memory(bytes))?;
            *current = Some((Arc::new(Block::new(size)?), size));
        }
        let (block, left) = current.as_mut().ok_or_else(|| no_memory(bytes))?;
        let at = block.bytes - *left;
        *left -= bytes;
        // SAFETY: `at + bytes` is within the block: that many were left.
        let start = unsafe { block.start.add(at) };
        let mut region = Region { start, bytes, _block: Arc::clone(block) };
        populate(region.bytes_mut());
        Ok(Some(region))
    }
}

impl Block {
    fn new(bytes: usize) -> Result<Self> {
        // Aligned to a huge page, it would be written with zeros; so it is aligned here.
        let layout = bytes.checked_add(HUGE).and_then(|all| Layout::from_size_align(all, 16).ok());
        let layout = layout.ok_or_else(|| no_memory(bytes))?;
        // SAFETY: the layout is of more than no bytes.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) });
        let memory = memory.ok_or_else(|| no_memory(bytes))?;
        let skipped = memory.addr().get().wrapping_neg() % HUGE;
        // SAFETY: there is a huge page more than is given out.
        let start = unsafe { memory.add(skipped) };
        // SAFETY: of these bytes nobody has any yet.
        ask_for_huge_pages(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) });
        Ok(Self { memory, layout, start, bytes })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and all regions are gone, which hold the block.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

impl Region {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the region is this one's alone, and initialized: its memory was zeros.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

fn no_memory(bytes: usize) -> Error {
    Error::input(format!("no memory for {bytes} bytes of weights"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_zeros_apart_from_each_other() {
        let arena = Arena::default();
        assert!(arena.take(64).unwrap().is_none());
        let sizes = [WORTH, BLOCK - WORTH, 3 * WORTH + 64, BLOCK + 64, WORTH];
        let mut regions: Vec<Region> =
            sizes.iter().map(|&bytes| arena.take(bytes).unwrap().unwrap()).collect();
        for (number, region) in (1..).zip(&mut regions) {
            assert!(region.bytes().iter().all(|&byte| byte == 0));
            region.bytes_mut().fill(number);
        }
        drop(arena);
        for ((number, region), bytes) in (1..).zip(&regions).zip(sizes) {
            assert_eq!((region.bytes().len(), region.start.addr().get() % 64), (bytes, 0));
            assert!(region.bytes().iter().all(|&byte| byte == number));
        }
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        assert!(Arena::default().take(usize::MAX / 64 * 64).is_err());
        assert!(Arena::default().take(isize::MAX as usize / 64 * 64 - HUGE).is_err());
    }
}
