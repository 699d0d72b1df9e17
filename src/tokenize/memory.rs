//! Great tables on huge pages: where each look-up is in another place, finding the page costs as much as the memory.

use std::ops::{Deref, DerefMut};

/// What a huge page has, on all systems in use.
const HUGE: usize = 2 << 20;

/// Zeros that take no memory until one is written, on huge pages where they are as many as one of those holds.
#[derive(Debug)]
pub(super) struct Zeros<T> {
    numbers: Vec<T>,
    first: usize,
    length: usize,
}

impl<T: Copy + Default> Zeros<T> {
    /// `numbers` makes a vector of that many zeros, as `vec![0; n]` does: untouched, where there are many.
    pub(super) fn new(length: usize, numbers: impl FnOnce(usize) -> Vec<T>) -> Self {
        let size = size_of::<T>();
        // Aligned to a huge page, or to a line of the processor's cache.
        let align = if length * size >= HUGE { HUGE } else { 64 };
        let mut numbers = numbers(length + align / size);
        let first = numbers.as_ptr().align_offset(align).min(align / size);
        if align == HUGE {
            ask_for_huge_pages(&mut numbers[first..first + length]);
        }
        Self { numbers, first, length }
    }
}

impl<T> Deref for Zeros<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.numbers[self.first..self.first + self.length]
    }
}

impl<T> DerefMut for Zeros<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.first..self.first + self.length]
    }
}

/// Asks the system to back memory that nothing has been written to with huge pages, as numpy does for its own:
/// to be given 4 KiB at a time costs more than to write them.
#[cfg(target_os = "linux")]
pub(super) fn ask_for_huge_pages<T>(memory: &mut [T]) {
    const PAGE: usize = 4096;
    let bytes = size_of_val(memory);
    if bytes >= HUGE {
        let start = memory.as_mut_ptr().cast::<u8>();
        let skipped = start.align_offset(PAGE);
        // SAFETY: the whole pages inside memory that is borrowed mutably; the advice changes no contents. It may
        // be refused, and is not needed.
        unsafe {
            let advised = start.add(skipped).cast();
            libc::madvise(advised, (bytes - skipped) & !(PAGE - 1), libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_huge_pages<T>(_: &mut [T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_aligned_and_all_there() {
        for length in [1, 100, HUGE / 16, HUGE / 16 * 3 + 1] {
            let mut zeros = Zeros::new(length, |count| vec![0_u128; count]);
            assert_eq!(zeros.len(), length);
            let align = if length * 16 >= HUGE { HUGE } else { 64 };
            assert_eq!(zeros.as_ptr().addr() % align, 0);
            zeros[length - 1] = 7;
            assert_eq!((zeros.iter().sum::<u128>(), zeros[length - 1]), (7, 7));
        }
    }
}
