//! One product or one text's attention, on several threads: some columns each. A column's numbers do not depend
//! on who computes it.

use rayon::prelude::*;

use crate::error::Result;
use crate::kernels::cpu::RowsMut;

/// Multiplications that are worth waking a thread for: tens of microseconds.
const WORTH: usize = 1 << 20;

/// How many threads of `threads` should share so many multiplications.
pub(super) fn parts(threads: usize, multiplications: usize) -> usize {
    threads.min(multiplications / WORTH).max(1)
}

/// Calls `work` with the first column of each of `parts` parts of `out`, and the part: whole units of `unit`
/// columns, but for the last one.
pub(super) fn by_columns<'a, W: Send>(
    out: RowsMut<'a>,
    unit: usize,
    scratch: &mut [W],
    work: impl Fn(usize, RowsMut<'a>, &mut W) -> Result<()> + Sync,
) -> Result<()> {
    let units = out.width().div_ceil(unit);
    let each = units.div_ceil(scratch.len().max(1)) * unit;
    let (mut rest, mut first, mut tasks) = (out, 0, Vec::with_capacity(scratch.len()));
    for scratch in scratch {
        let (part, right) = {
            let at = each.min(rest.width());
            rest.split_columns(at)?
        };
        rest = right;
        let width = part.width();
        if width > 0 {
            tasks.push((first, part, scratch));
        }
        first += width;
    }
    if tasks.len() == 1 {
        return tasks.into_iter().try_for_each(|(first, part, scratch)| work(first, part, scratch));
    }
    tasks
        .into_par_iter()
        .with_max_len(1)
        .try_for_each(|(first, part, scratch)| work(first, part, scratch))
}
