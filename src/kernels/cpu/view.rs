//! Matrices in memory of the caller.

use std::marker::PhantomData;
use std::ops::Range;

use crate::error::{Error, Result};

/// `rows` rows of `width` numbers, each `stride` numbers after the one before.
///
/// A stride that is a multiple of 1,024 numbers puts the rows of a tile into the same places of the cache; a
/// buffer of one's own is better with 16 numbers more (see [`padded`]).
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T = f32> {
    data: &'a [T],
    count: usize,
    width: usize,
    stride: usize,
}

/// A stride for rows of `width` numbers that spreads them over the cache.
pub fn padded(width: usize) -> usize {
    let stride = width.next_multiple_of(16);
    if stride.is_multiple_of(512) { stride + 16 } else { stride }
}

/// The numbers that `rows` rows take up.
fn span(rows: usize, width: usize, stride: usize, len: usize) -> Result<()> {
    let needed = rows
        .saturating_sub(1)
        .checked_mul(stride)
        .and_then(|before| before.checked_add(if rows == 0 { 0 } else { width }));
    if (stride >= width || rows <= 1) && needed.is_some_and(|needed| needed <= len) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "{rows} rows of {width} numbers, {stride} apart, do not fit in {len} numbers"
    )))
}

impl<'a, T> Rows<'a, T> {
    pub fn new(data: &'a [T], rows: usize, width: usize, stride: usize) -> Result<Self> {
        span(rows, width, stride, data.len())?;
        Ok(Self { data, count: rows, width, stride })
    }

    /// Rows one after the other.
    pub fn dense(data: &'a [T], rows: usize, width: usize) -> Result<Self> {
        Self::new(data, rows, width, width)
    }

    pub fn rows(&self) -> usize {
        self.count
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The columns of that range, as a matrix.
    pub fn columns(&self, range: Range<usize>) -> Result<Self> {
        self.check(&range, self.width)?;
        let data = if self.count == 0 { &[] } else { &self.data[range.start..] };
        Ok(Self { data, width: range.len(), ..*self })
    }

    /// The rows of that range, as a matrix.
    pub fn range(&self, range: Range<usize>) -> Result<Self> {
        self.check(&range, self.count)?;
        let data = if range.is_empty() { &[] } else { &self.data[range.start * self.stride..] };
        Ok(Self { data, count: range.len(), ..*self })
    }

    fn check(&self, range: &Range<usize>, end: usize) -> Result<()> {
        if range.start <= range.end && range.end <= end {
            return Ok(());
        }
        let (rows, width) = (self.count, self.width);
        Err(Error::internal(format!("{range:?} is outside of {rows} rows of {width} numbers")))
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.stride..][..self.width]
    }

    #[inline(always)]
    pub(super) fn pointer(&self) -> *const T {
        self.data.as_ptr()
    }
}

/// [`Rows`] to write into. Parts of one matrix can be given to several threads.
#[derive(Debug)]
pub struct RowsMut<'a, T = f32> {
    data: *mut T,
    count: usize,
    width: usize,
    stride: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` of those elements of its rows that no other value stands for.
unsafe impl<T: Send> Send for RowsMut<'_, T> {}
// SAFETY: as above; through a shared reference only its shape can be read.
unsafe impl<T: Sync> Sync for RowsMut<'_, T> {}

impl<'a, T> RowsMut<'a, T> {
    pub fn new(data: &'a mut [T], rows: usize, width: usize, stride: usize) -> Result<Self> {
        span(rows, width, stride, data.len())?;
        Ok(Self { data: data.as_mut_ptr(), count: rows, width, stride, owner: PhantomData })
    }

    /// Rows one after the other.
    pub fn dense(data: &'a mut [T], rows: usize, width: usize) -> Result<Self> {
        Self::new(data, rows, width, width)
    }

    pub fn rows(&self) -> usize {
        self.count
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// The same matrix, for a shorter time.
    pub fn reborrow(&mut self) -> RowsMut<'_, T> {
        RowsMut { owner: PhantomData, ..*self }
    }

    /// The columns before `at`, and the rest.
    pub fn split_columns(self, at: usize) -> Result<(Self, Self)> {
        self.check(at, self.width)?;
        let right = Self { data: self.data.wrapping_add(at), width: self.width - at, ..self };
        Ok((Self { width: at, ..self }, right))
    }

    /// The rows before `at`, and the rest.
    pub fn split_rows(self, at: usize) -> Result<(Self, Self)> {
        self.check(at, self.count)?;
        let start = self.data.wrapping_add(at * self.stride);
        let below = Self { data: start, count: self.count - at, ..self };
        Ok((Self { count: at, ..self }, below))
    }

    /// All of its numbers, where rows follow each other.
    pub fn dense_slice(&mut self) -> Result<&mut [T]> {
        if self.stride != self.width && self.count > 1 {
            return Err(Error::internal("rows that do not follow each other are no slice"));
        }
        // SAFETY: the rows are inside of what the constructor has checked, and `self` alone stands for them.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.data, self.count * self.width) })
    }

    /// A part of it, beside other parts that threads share.
    ///
    /// # Safety
    /// While a part lives, no other part that overlaps it does, and the matrix itself is not used.
    pub unsafe fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Result<RowsMut<'_, T>> {
        self.check(rows.end, self.count)?;
        self.check(rows.start, rows.end)?;
        self.check(columns.end, self.width)?;
        self.check(columns.start, columns.end)?;
        let data = self.data.wrapping_add(rows.start * self.stride + columns.start);
        Ok(RowsMut { data, count: rows.len(), width: columns.len(), ..*self })
    }

    fn check(&self, at: usize, end: usize) -> Result<()> {
        if at <= end {
            return Ok(());
        }
        let (rows, width) = (self.count, self.width);
        Err(Error::internal(format!("{at} is outside of {rows} rows of {width} numbers")))
    }

    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.count);
        // SAFETY: the row is inside of what the constructor has checked, and `self` alone stands for it.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.width) }
    }

    #[inline(always)]
    pub(super) fn pointer(&self) -> *mut T {
        self.data
    }

    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut data = [0.0f32; 10];
        assert!(Rows::new(&data, 2, 4, 6).is_ok());
        assert!(Rows::new(&data, 2, 4, 7).is_err());
        assert!(Rows::new(&data, 2, 5, 4).is_err());
        assert!(Rows::new(&data, usize::MAX, 2, 2).is_err());
        assert!(Rows::new(&data, 0, 50, 50).is_ok());
        assert!(Rows::dense(&data, 2, 5).unwrap().columns(3..6).is_err());
        assert!(Rows::dense(&data, 2, 5).unwrap().range(1..3).is_err());
        assert!(RowsMut::dense(&mut data, 2, 6).is_err());
        assert!(RowsMut::dense(&mut data, 2, 5).unwrap().split_columns(6).is_err());
        assert!(RowsMut::dense(&mut data, 2, 5).unwrap().split_rows(3).is_err());
    }

    #[test]
    fn parts_are_where_they_are() {
        let mut data: Vec<usize> = (0..12).collect();
        let all = Rows::new(&data, 3, 4, 4).unwrap();
        assert_eq!(all.range(1..3).unwrap().columns(1..3).unwrap().row(1), [9, 10]);
        let (_, right) = RowsMut::dense(&mut data, 3, 4).unwrap().split_columns(2).unwrap();
        let (_, mut low) = right.split_rows(2).unwrap();
        low.row(0).fill(0);
        assert_eq!(data, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]);
    }
}
