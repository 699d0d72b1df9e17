use rayon::prelude::*;

use super::memory::ask_for_huge_pages;
use super::options::Side;
use super::tokens::Tokens;
use crate::error::{Error, Result};

/// Cells that are worth sharing among threads.
const SHARED_CELLS: usize = 1 << 17;

/// What a call made of its texts: rows of tokens, in the order of the texts.
#[derive(Debug, Default)]
pub struct Rows {
    /// One for each task, in order.
    pub(super) parts: Vec<Part>,
}

/// Rows that one task made, flat.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) ids: Vec<u32>,
    /// Empty if all are 0.
    pub(super) type_ids: Vec<u32>,
    /// Whether the template added the token. Empty unless asked for.
    pub(super) special: Vec<bool>,
    /// Where in the text it is, in characters. Empty unless asked for.
    pub(super) offsets: Vec<(u32, u32)>,
    pub(super) lengths: Vec<u32>,
    /// Which text a row is of. Empty unless a text may have several.
    pub(super) texts: Vec<usize>,
    pub(super) truncated: usize,
}

/// How rows become as wide as each other.
#[derive(Debug, Clone, Copy)]
pub struct Padding {
    pub width: usize,
    pub side: Side,
    pub id: u32,
    pub type_id: u32,
}

/// What a matrix says of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Ids,
    TypeIds,
    /// 1 for a token, 0 for padding.
    Attention,
    /// 1 for a token of the template and for padding.
    Special,
    /// Start and end: two numbers for each token.
    Offsets,
}

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

impl Padding {
    /// What a column says of padding.
    #[must_use]
    pub fn value(&self, column: Column) -> u32 {
        match column {
            Column::Ids => self.id,
            Column::TypeIds => self.type_id,
            Column::Special => 1,
            Column::Attention | Column::Offsets => 0,
        }
    }
}

impl Rows {
    /// Most cells of a padded matrix: 16 GiB. A greater one is a mistake, which must not end the process.
    pub const MOST_CELLS: usize = 1 << 31;

    /// Number of rows, `B`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lengths.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.lengths.is_empty())
    }

    /// Tokens of each row, `(B,)`.
    pub fn lengths(&self) -> impl Iterator<Item = u32> + '_ {
        self.parts.iter().flat_map(|part| part.lengths.iter().copied())
    }

    /// Index of the text that each row is of, `(B,)`; empty unless windows were asked for.
    pub fn texts(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().flat_map(|part| part.texts.iter().copied())
    }

    /// A column as a matrix, `(B, T)`, or `(B, T, 2)` for offsets. Shared among threads in a rayon pool.
    pub fn matrix<T: Cell>(&self, column: Column, padding: &Padding) -> Result<Vec<T>> {
        let parts: Vec<View<'_>> = self.parts.iter().map(Part::view).collect();
        matrix(&parts, column, padding)
    }

    /// A column of each row, without padding: its numbers are the caller's to collect.
    pub fn each(&self, column: Column, mut row: impl FnMut(&mut dyn Iterator<Item = u32>)) {
        for part in &self.parts {
            let view = part.view();
            let mut start = 0;
            for &length in view.lengths {
                let span = start..start + length as usize;
                start = span.end;
                match column {
                    Column::Ids => row(&mut view.ids[span].iter().copied()),
                    Column::TypeIds if view.type_ids.is_empty() => row(&mut span.map(|_| 0)),
                    Column::TypeIds => row(&mut view.type_ids[span].iter().copied()),
                    Column::Attention => row(&mut span.map(|_| 1)),
                    Column::Special => row(&mut view.special[span].iter().map(|&is| u32::from(is))),
                    Column::Offsets => {
                        row(&mut view.offsets[span].iter().flat_map(|&(start, end)| [start, end]));
                    }
                }
            }
        }
    }

    /// The rows as [`Tokens`] of the tokenizer with this digest.
    pub(super) fn into_tokens(mut self, tokenizer_digest: String) -> Tokens {
        let truncated = self.parts.iter().map(|part| part.truncated).sum();
        let typed = self.parts.iter().any(|part| !part.type_ids.is_empty());
        if let [part] = &mut self.parts[..] {
            let part = std::mem::take(part);
            let type_ids = if typed { part.type_ids } else { vec![0; part.ids.len()] };
            return Tokens {
                ids: part.ids,
                type_ids,
                lengths: part.lengths,
                truncated,
                tokenizer_digest,
            };
        }
        let count = self.parts.iter().map(|part| part.ids.len()).sum();
        let mut ids = Vec::with_capacity(count);
        let mut type_ids = if typed { Vec::with_capacity(count) } else { vec![0; count] };
        let mut lengths = Vec::with_capacity(self.len());
        for part in &self.parts {
            ids.extend_from_slice(&part.ids);
            lengths.extend_from_slice(&part.lengths);
            if typed {
                type_ids.extend_from_slice(&part.type_ids);
                type_ids.resize(ids.len(), 0);
            }
        }
        Tokens { ids, type_ids, lengths, truncated, tokenizer_digest }
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

/// Rows, borrowed.
struct View<'a> {
    ids: &'a [u32],
    type_ids: &'a [u32],
    special: &'a [bool],
    offsets: &'a [(u32, u32)],
    lengths: &'a [u32],
}

impl Part {
    fn view(&self) -> View<'_> {
        let Self { ids, type_ids, special, offsets, lengths, .. } = self;
        View { ids, type_ids, special, offsets, lengths }
    }
}

fn matrix<T: Cell>(parts: &[View<'_>], column: Column, padding: &Padding) -> Result<Vec<T>> {
    let cells =
        if column == Column::Offsets { padding.width.checked_mul(2) } else { Some(padding.width) };
    let rows = parts.iter().map(|part| part.lengths.len()).sum();
    let size =
        cells.and_then(|cells| cells.checked_mul(rows)).filter(|&size| size <= Rows::MOST_CELLS);
    let mut matrix = size.and_then(zeroed).ok_or_else(|| {
        Error::input("the padded matrix does not fit in memory; encode fewer texts at once")
    })?;
    let (Some(width), Some(size)) = (cells.filter(|&width| width > 0), size) else {
        return Ok(matrix);
    };
    let mut rest = &mut matrix[..];
    let mut tasks = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, others) = rest.split_at_mut(part.lengths.len() * width);
        rest = others;
        tasks.push((part, own));
    }
    if size >= SHARED_CELLS && rayon::current_thread_index().is_some() {
        tasks.into_par_iter().for_each(|(part, cells)| part.fill(column, padding, cells));
    } else {
        for (part, cells) in tasks {
            part.fill(column, padding, cells);
        }
    }
    Ok(matrix)
}

impl View<'_> {
    /// Writes what is not 0 of a column into `cells`, which are.
    fn fill<T: Cell>(&self, column: Column, padding: &Padding, cells: &mut [T]) {
        let numbers = if column == Column::Offsets { 2 } else { 1 };
        let pad = padding.value(column);
        let mut start = 0;
        for (row, &length) in cells.chunks_exact_mut(padding.width * numbers).zip(self.lengths) {
            let span = start..start + length as usize;
            start = span.end;
            let (padded, row) = match padding.side {
                Side::Right => {
                    let (row, padded) = row.split_at_mut(span.len() * numbers);
                    (padded, row)
                }
                Side::Left => row.split_at_mut(row.len() - span.len() * numbers),
            };
            if pad != 0 {
                padded.fill(T::of(pad));
            }
            match column {
                Column::Ids => copy(row, &self.ids[span], T::of),
                Column::TypeIds if self.type_ids.is_empty() => {}
                Column::TypeIds => copy(row, &self.type_ids[span], T::of),
                Column::Attention => row.fill(T::of(1)),
                Column::Special => copy(row, &self.special[span], |is| T::of(u32::from(is))),
                Column::Offsets => {
                    for (pair, &(start, end)) in row.chunks_exact_mut(2).zip(&self.offsets[span]) {
                        pair.copy_from_slice(&[T::of(start), T::of(end)]);
                    }
                }
            }
        }
    }
}

fn copy<T, V: Copy>(row: &mut [T], values: &[V], cell: impl Fn(V) -> T) {
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
