//! Rows as padded matrices: each cell is written once, into memory that nothing has been written to.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::memory::ask_for_huge_pages;
use super::options::Side;
use super::rows::{Column, Padding, Part, Rows};
use super::tokens::Tokens;
use crate::error::{Error, Result};

/// Cells that are worth sharing among threads.
const SHARED_CELLS: usize = 1 << 17;

/// What is written at once, and again while it is in the nearest cache.
const BLOCK_BYTES: usize = 16 << 10;

/// Of so many cells one at most is a token, for zeros to be asked of the system instead of written.
const SPARSE: usize = 4;

/// A number that matrices are made of: a plain integer, for which zeroed memory is valid.
pub trait Cell: sealed::Integer + Copy + Send + Sync {
    fn of(value: u32) -> Self;
}

mod sealed {
    pub trait Integer {}
    impl Integer for i64 {}
    impl Integer for i32 {}
}

impl Cell for i64 {
    fn of(value: u32) -> Self {
        value.into()
    }
}

impl Cell for i32 {
    fn of(value: u32) -> Self {
        value.cast_signed()
    }
}

/// Rows, borrowed.
pub(super) struct View<'a> {
    pub(super) ids: &'a [u32],
    pub(super) type_ids: &'a [u32],
    pub(super) special: &'a [bool],
    pub(super) offsets: &'a [(u32, u32)],
    pub(super) lengths: &'a [u32],
}

impl Rows {
    /// A column as a matrix, `(B, T)`, or `(B, T, 2)` for offsets. Shared among threads in a rayon pool.
    pub fn matrix<T: Cell>(&self, column: Column, padding: &Padding) -> Result<Vec<T>> {
        let parts: Vec<View<'_>> = self.parts.iter().map(Part::view).collect();
        matrix(&parts, column, padding)
    }

    /// Writes every cell of what [`Rows::matrix`] returns.
    ///
    /// # Panics
    ///
    /// Panics if there are more cells than those, or fewer, so that none stays unwritten.
    pub fn write<T: Cell>(
        &self,
        column: Column,
        padding: &Padding,
        mut cells: &mut [MaybeUninit<T>],
    ) {
        for part in self.parts.iter().map(Part::view) {
            let width = padding.width.saturating_mul(numbers(column));
            let own = cells.split_off_mut(..part.lengths.len().saturating_mul(width));
            part.write(column, padding, own.unwrap_or_default());
        }
        assert!(cells.is_empty(), "a matrix has more cells than its rows");
    }
}

impl Tokens {
    /// A column as a matrix, `(B, T)`.
    pub fn matrix<T: Cell>(&self, column: Column, padding: &Padding) -> Result<Vec<T>> {
        let (special, offsets) = (&[][..], &[][..]);
        let view = View {
            ids: &self.ids,
            type_ids: &self.type_ids,
            special,
            offsets,
            lengths: &self.lengths,
        };
        matrix(&[view], column, padding)
    }
}

/// Cells of a token.
fn numbers(column: Column) -> usize {
    if column == Column::Offsets { 2 } else { 1 }
}

fn matrix<T: Cell>(parts: &[View<'_>], column: Column, padding: &Padding) -> Result<Vec<T>> {
    let rows: usize = parts.iter().map(|part| part.lengths.len()).sum();
    let width = padding.width.checked_mul(numbers(column));
    let size = width.and_then(|width| width.checked_mul(rows));
    let Some((width, size)) = width.zip(size).filter(|&(_, size)| size <= Rows::MOST_CELLS) else {
        return Err(too_large());
    };
    let tokens: usize = parts.iter().map(|part| part.tokens(column) * numbers(column)).sum();
    if padding.value(column) == 0 && tokens <= size / SPARSE {
        let mut zeros = zeroed(size).ok_or_else(too_large)?;
        each(parts, width, &mut zeros, |part, cells| part.fill(column, padding, cells));
        return Ok(zeros);
    }
    let mut matrix = Vec::new();
    matrix.try_reserve_exact(size).map_err(|_| too_large())?;
    let cells = &mut matrix.spare_capacity_mut()[..size];
    ask_for_huge_pages(cells);
    each(parts, width, cells, |part, cells| part.write(column, padding, cells));
    // SAFETY: there is room for `size` cells. They are the cells of the parts, since `size` is `width` for each
    // of their rows, and `View::write` has written every cell that it was given, or panicked.
    unsafe { matrix.set_len(size) };
    Ok(matrix)
}

fn too_large() -> Error {
    Error::input("the padded matrix does not fit in memory; encode fewer texts at once")
}

/// Calls `work` with each part and its cells, `width` for each of its rows.
fn each<C: Send>(
    parts: &[View<'_>],
    width: usize,
    cells: &mut [C],
    work: impl Fn(&View<'_>, &mut [C]) + Sync,
) {
    let shared = cells.len() >= SHARED_CELLS && rayon::current_thread_index().is_some();
    let mut rest = cells;
    let mut tasks = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, others) = rest.split_at_mut(part.lengths.len() * width);
        rest = others;
        tasks.push((part, own));
    }
    if shared {
        tasks.into_par_iter().for_each(|(part, cells)| work(part, cells));
    } else {
        for (part, cells) in tasks {
            work(part, cells);
        }
    }
}

impl View<'_> {
    /// Tokens for which a column may have another value than 0.
    fn tokens(&self, column: Column) -> usize {
        if column == Column::TypeIds { self.type_ids.len() } else { self.ids.len() }
    }

    /// Writes every cell of a column: zeros into as much as stays in the nearest cache, then what is not 0.
    ///
    /// The processor writes many zeros in a row without reading what they replace, which it does for numbers.
    fn write<T: Cell>(&self, column: Column, padding: &Padding, cells: &mut [MaybeUninit<T>]) {
        let rows = BLOCK_BYTES / size_of::<T>() / padding.width.saturating_mul(2).max(1);
        let zero = |block: &mut [MaybeUninit<T>]| block.fill(MaybeUninit::new(T::of(0)));
        self.each(column, padding, cells, rows.max(1), zero, MaybeUninit::new);
    }

    /// Writes what is not 0 of a column into cells that are.
    fn fill<T: Cell>(&self, column: Column, padding: &Padding, cells: &mut [T]) {
        if self.tokens(column) > 0 || padding.value(column) != 0 {
            self.each(column, padding, cells, usize::MAX, |_| (), |cell| cell);
        }
    }

    /// Writes what is not 0 of a column, after `prepare` has got each block of so many rows.
    fn each<T: Cell, C: Copy>(
        &self,
        column: Column,
        padding: &Padding,
        cells: &mut [C],
        rows: usize,
        prepare: impl Fn(&mut [C]),
        cell: impl Fn(T) -> C,
    ) {
        let numbers = numbers(column);
        let width = padding.width.saturating_mul(numbers);
        let size = width.checked_mul(self.lengths.len());
        assert_eq!(size, Some(cells.len()), "a matrix is not as its rows");
        if width == 0 {
            return;
        }
        let pad = padding.value(column);
        let (mut start, mut lengths) = (0, self.lengths.iter());
        for block in cells.chunks_mut(width.saturating_mul(rows)) {
            prepare(block);
            for (row, &length) in block.chunks_exact_mut(width).zip(&mut lengths) {
                let span = start..start + length as usize;
                start = span.end;
                let (row, padded) = match padding.side {
                    Side::Right => row.split_at_mut(span.len() * numbers),
                    Side::Left => {
                        let (padded, row) = row.split_at_mut(width - span.len() * numbers);
                        (row, padded)
                    }
                };
                if pad != 0 {
                    padded.fill(cell(T::of(pad)));
                }
                self.row(column, row, span, &cell);
            }
        }
    }

    /// Writes what is not 0 of the cells of one row's tokens.
    fn row<T: Cell, C: Copy>(
        &self,
        column: Column,
        row: &mut [C],
        span: std::ops::Range<usize>,
        cell: impl Fn(T) -> C,
    ) {
        match column {
            Column::Ids => copy(row, &self.ids[span], |id| cell(T::of(id))),
            Column::TypeIds if self.type_ids.is_empty() => {}
            Column::TypeIds => copy(row, &self.type_ids[span], |id| cell(T::of(id))),
            Column::Attention => row.fill(cell(T::of(1))),
            Column::Special => {
                copy(row, &self.special[span], |is| cell(T::of(u32::from(is))));
            }
            Column::Offsets => {
                let (pairs, rest) = row.as_chunks_mut::<2>();
                assert!(rest.is_empty(), "a pair has two cells");
                copy(pairs, &self.offsets[span], |(start, end)| {
                    [cell(T::of(start)), cell(T::of(end))]
                });
            }
        }
    }
}

fn copy<C, V: Copy>(row: &mut [C], values: &[V], cell: impl Fn(V) -> C) {
    assert_eq!(row.len(), values.len(), "a row is not as its tokens");
    for (to, &value) in row.iter_mut().zip(values) {
        *to = cell(value);
    }
}

/// Zeros that the system hands out untouched, so that those nobody writes cost nothing; `None` where there is
/// no memory, which would otherwise end the process.
fn zeroed<T: Cell>(count: usize) -> Option<Vec<T>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let layout = std::alloc::Layout::array::<T>(count).ok()?;
    #[allow(clippy::same_length_and_capacity)] // as it is allocated
    // SAFETY: the layout is not empty; a `Cell` is a plain integer, for which zeroed memory is valid, and the
    // vector gets the pointer, length and capacity of this very allocation of the global allocator.
    let mut zeros = unsafe {
        let start = std::alloc::alloc_zeroed(layout).cast::<T>();
        (!start.is_null()).then(|| Vec::from_raw_parts(start, count, count))
    }?;
    ask_for_huge_pages(&mut zeros);
    Some(zeros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 5] =
        [Column::Ids, Column::TypeIds, Column::Attention, Column::Special, Column::Offsets];

    /// The numbers of a token.
    fn token(part: &Part, column: Column, at: usize) -> Vec<i64> {
        match column {
            Column::Ids => vec![part.ids[at].into()],
            Column::TypeIds => vec![part.type_ids.get(at).copied().unwrap_or(0).into()],
            Column::Attention => vec![1],
            Column::Special => vec![part.special[at].into()],
            Column::Offsets => vec![part.offsets[at].0.into(), part.offsets[at].1.into()],
        }
    }

    /// The reference: cell by cell.
    fn plainly(rows: &Rows, column: Column, padding: &Padding) -> Vec<i64> {
        let mut cells = Vec::new();
        for part in &rows.parts {
            let mut start = 0;
            for &length in &part.lengths {
                let length = length as usize;
                let pads = padding.width - length;
                let pad = vec![i64::from(padding.value(column)); pads * numbers(column)];
                let row = (start..start + length).flat_map(|at| token(part, column, at));
                match padding.side {
                    Side::Left => cells.extend(pad.into_iter().chain(row)),
                    Side::Right => cells.extend(row.chain(pad)),
                }
                start += length;
            }
        }
        cells
    }

    fn part(lengths: &[u32], typed: bool) -> Part {
        let count: u32 = lengths.iter().sum();
        Part {
            ids: (0..count).map(|at| u32::MAX / 2 - at).collect(),
            type_ids: if typed { (0..count).map(|at| at % 3).collect() } else { Vec::new() },
            special: (0..count).map(|at| at % 5 == 0).collect(),
            offsets: (0..count).map(|at| (at, at + 2)).collect(),
            lengths: lengths.to_vec(),
            ..Part::default()
        }
    }

    proptest! {
        #[test]
        fn as_cell_by_cell(
            parts in prop::collection::vec(
                (prop::collection::vec(0_u32..40, 0..12), any::<bool>()), 0..4),
            more in prop_oneof![0_usize..8, 100_usize..400],
            left in any::<bool>(),
            id in prop_oneof![Just(0_u32), any::<u32>().prop_map(|id| id >> 1)],
            type_id in 0_u32..2,
        ) {
            let rows = Rows { parts: parts.iter().map(|(of, typed)| part(of, *typed)).collect() };
            let width = rows.lengths().max().unwrap_or(0) as usize + more;
            let side = if left { Side::Left } else { Side::Right };
            let padding = Padding { width, side, id, type_id };
            for column in COLUMNS {
                let expected = plainly(&rows, column, &padding);
                prop_assert_eq!(&rows.matrix::<i64>(column, &padding).unwrap(), &expected);
                let narrow = rows.matrix::<i32>(column, &padding).unwrap();
                prop_assert!(narrow.into_iter().map(i64::from).eq(expected.iter().copied()));
                let mut cells = vec![MaybeUninit::new(-1_i64); expected.len()];
                rows.write(column, &padding, &mut cells);
                // SAFETY: each was written when it was made.
                let cells: Vec<i64> =
                    cells.into_iter().map(|cell| unsafe { cell.assume_init() }).collect();
                prop_assert_eq!(&cells, &expected);
            }
        }
    }

    #[test]
    fn as_in_one_thread() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let parts = [100, 7, 300].map(|count| part(&vec![150; count], true));
        let rows = Rows { parts: parts.into() };
        for (width, id) in [(500, 0), (500, 9), (2000, 0)] {
            let padding = Padding { width, side: Side::Right, id, type_id: 0 };
            for column in COLUMNS {
                let shared = pool.install(|| rows.matrix::<i64>(column, &padding)).unwrap();
                assert!(shared == plainly(&rows, column, &padding), "{column:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "more cells")]
    fn too_many_cells_are_not_left_unwritten() {
        let rows = Rows { parts: vec![part(&[2, 3], false)] };
        let padding = Padding { width: 3, side: Side::Right, id: 0, type_id: 0 };
        rows.write(Column::Ids, &padding, &mut [MaybeUninit::<i64>::uninit(); 7]);
    }

    #[test]
    #[should_panic(expected = "not as its rows")]
    fn too_few_cells_are_not_written_as_if_they_were_enough() {
        let rows = Rows { parts: vec![part(&[2, 3], false)] };
        let padding = Padding { width: 3, side: Side::Right, id: 0, type_id: 0 };
        rows.write(Column::Ids, &padding, &mut [MaybeUninit::<i64>::uninit(); 5]);
    }
}
