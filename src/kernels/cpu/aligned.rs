//! Numbers that start at a cache line.

use std::fmt;

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line<T: Copy, const N: usize>([T; N]);

/// Numbers of type `T`, `N` of which fill a cache line.
#[derive(Clone, Default)]
pub(super) struct Aligned<T: Copy, const N: usize> {
    lines: Vec<Line<T, N>>,
}

/// How many there are: a model's numbers are nothing to print.
impl<T: Copy, const N: usize> fmt::Debug for Aligned<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} numbers]", self.lines.len() * N)
    }
}

impl<T: Copy + Default, const N: usize> Aligned<T, N> {
    /// At least `len` numbers, all zero.
    pub(super) fn zeros(len: usize) -> Result<Self> {
        let mut this = Self { lines: Vec::new() };
        this.grow(len)?;
        Ok(this)
    }

    /// Makes room for `len` numbers. Those that it adds are zero; memory is never given back.
    pub(super) fn grow(&mut self, len: usize) -> Result<()> {
        const { assert!(size_of::<[T; N]>() == 64) };
        let lines = len.div_ceil(N);
        if lines > self.lines.len() {
            let more = lines - self.lines.len();
            self.lines
                .try_reserve_exact(more)
                .map_err(|_| Error::input(format!("no memory for {len} numbers more")))?;
            self.lines.resize(lines, Line([T::default(); N]));
        }
        Ok(())
    }
}

impl<T: Copy, const N: usize> std::ops::Deref for Aligned<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: a line is N numbers without padding, and `zeros` has made sure of its size.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * N) }
    }
}

impl<T: Copy, const N: usize> std::ops::DerefMut for Aligned<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        let len = self.lines.len() * N;
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }
}
