//! Operations in chunks that the threads of a pass share. A number does not depend on who computes it, nor on the
//! chunks: these are the same whatever the number of threads.

use std::ops::Range;

use super::pass::Pass;
use crate::error::Result;
use crate::kernels::cpu::RowsMut;

/// Multiplications that are worth sharing: some microseconds.
const WORTH: usize = 1 << 18;

/// Panels of columns that a thread takes at a time.
pub(super) const PANELS: usize = 2;
/// Fewer rows leave a product waiting for its weights: threads then share these, not the rows.
const FEW: usize = 64;

/// Whether threads share so many rows, or else the columns of what comes of them.
pub(super) fn by_rows(rows: usize) -> bool {
    rows >= FEW
}

/// Rows that a thread takes at a time: enough for the weights that it reads, few enough for threads to end at about
/// the same time, and for what becomes of them to stay in the second-level cache.
pub(super) fn step(rows: usize) -> usize {
    (rows / 8).next_multiple_of(8).clamp(32, 64)
}

impl Pass<'_> {
    /// Calls `work` with each number below `chunks`, on several threads where so many multiplications are worth it.
    fn chunks(
        &self,
        multiplications: usize,
        chunks: usize,
        work: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        match &self.team {
            Some(team) if chunks > 1 && multiplications >= WORTH => team.run(chunks, work),
            _ => (0..chunks).try_for_each(work),
        }
    }

    /// Calls `work` with tiles of `out`, of so many rows and columns but for the last ones, and with where they lie.
    pub(super) fn tiles(
        &self,
        multiplications: usize,
        out: &mut RowsMut,
        (rows, columns): (usize, usize),
        work: impl Fn(Range<usize>, Range<usize>, RowsMut) -> Result<()> + Sync,
    ) -> Result<()> {
        let (height, width) = (out.rows(), out.width());
        let across = width.div_ceil(columns.max(1));
        let out = &*out;
        self.chunks(multiplications, height.div_ceil(rows.max(1)) * across, &|chunk| {
            let (row, column) = (chunk / across * rows, chunk % across * columns);
            let rows = row..height.min(row + rows);
            let columns = column..width.min(column + columns);
            // SAFETY: tiles do not overlap, and each has one chunk, which is done once, before `out` is used again.
            let tile = unsafe { out.part(rows.clone(), columns.clone()) }?;
            work(rows, columns, tile)
        })
    }

    /// Calls `work` with the rows of each text in `out`, in so many parts of equal width, and with where they lie.
    pub(super) fn texts(
        &self,
        multiplications: usize,
        out: &mut RowsMut,
        parts: usize,
        work: impl Fn(Range<usize>, Range<usize>, RowsMut) -> Result<()> + Sync,
    ) -> Result<()> {
        let (lengths, width) = (&self.batch.lengths, out.width() / parts.max(1));
        let out = &*out;
        self.chunks(multiplications, lengths.len() * parts, &|chunk| {
            let (text, part) = (chunk / parts, chunk % parts);
            let start: usize = lengths[..text].iter().sum();
            let rows = start..start + lengths[text];
            let columns = part * width..(part + 1) * width;
            // SAFETY: texts do not overlap, nor do their parts, and each has one chunk, which is done once, before
            // `out` is used again.
            let place = unsafe { out.part(rows.clone(), columns.clone()) }?;
            work(rows, columns, place)
        })
    }
}
