//! Numbers that start at a cache line.

use std::fmt;

use super::arena::{Arena, Region};
use crate::error::{Error, Result};
use crate::kernels::prepare;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line<T: Copy, const N: usize>([T; N]);

/// Numbers of which every pattern of bits is one.
///
/// # Safety
/// It has no padding, and no pattern that is not a value.
pub(super) unsafe trait Number: Copy + Default {}

// SAFETY: every pattern of 32 bits is an f32.
unsafe impl Number for f32 {}
// SAFETY: every byte is an i8.
unsafe impl Number for i8 {}
// SAFETY: every byte is a u8.
unsafe impl Number for u8 {}

/// Numbers of type `T`, `N` of which fill a cache line.
pub(super) struct Aligned<T: Number, const N: usize> {
    memory: Memory<T, N>,
}

enum Memory<T: Number, const N: usize> {
    Own(Vec<Line<T, N>>),
    Lent(Region),
}

impl<T: Number, const N: usize> Default for Aligned<T, N> {
    fn default() -> Self {
        Self { memory: Memory::Own(Vec::new()) }
    }
}

/// How many there are: a model's numbers are nothing to print.
impl<T: Number, const N: usize> fmt::Debug for Aligned<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} numbers]", self.len())
    }
}

impl<T: Number, const N: usize> Aligned<T, N> {
    /// At least `len` numbers, all zero.
    #[cfg(test)]
    pub(super) fn zeros(len: usize) -> Result<Self> {
        let mut this = Self::default();
        this.grow(len)?;
        Ok(this)
    }

    /// The same in an arena, unless they are few.
    pub(super) fn zeros_in(arena: &Arena, len: usize) -> Result<Self> {
        let bytes = len.div_ceil(N).checked_mul(64).ok_or_else(|| no_memory(len))?;
        let mut this = Self::default();
        match arena.take(bytes)? {
            Some(region) => this.memory = Memory::Lent(region),
            None => this.grow(len)?,
        }
        Ok(this)
    }

    /// Makes room for `len` numbers. Those that it adds are zero; memory is never given back.
    pub(super) fn grow(&mut self, len: usize) -> Result<()> {
        const { assert!(size_of::<[T; N]>() == 64) };
        let Memory::Own(lines) = &mut self.memory else {
            return Err(Error::internal("weights do not grow"));
        };
        let count = len.div_ceil(N);
        if count > lines.len() {
            let more = count - lines.len();
            lines.try_reserve_exact(more).map_err(|_| no_memory(len))?;
            prepare(lines.spare_capacity_mut());
            lines.resize(count, Line([T::default(); N]));
        }
        Ok(())
    }
}

fn no_memory(len: usize) -> Error {
    Error::input(format!("no memory for {len} numbers more"))
}

impl<T: Number, const N: usize> std::ops::Deref for Aligned<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let (start, lines) = match &self.memory {
            Memory::Own(lines) => (lines.as_ptr().cast(), lines.len()),
            Memory::Lent(region) => (region.bytes().as_ptr().cast(), region.bytes().len() / 64),
        };
        // SAFETY: a line is N numbers without padding, and `grow` has made sure of its size; a region starts at a
        // line, and its bytes are numbers.
        unsafe { std::slice::from_raw_parts(start, lines * N) }
    }
}

impl<T: Number, const N: usize> std::ops::DerefMut for Aligned<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        let (start, lines) = match &mut self.memory {
            Memory::Own(lines) => (lines.as_mut_ptr().cast(), lines.len()),
            Memory::Lent(region) => {
                let bytes = region.bytes_mut();
                (bytes.as_mut_ptr().cast(), bytes.len() / 64)
            }
        };
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(start, lines * N) }
    }
}
