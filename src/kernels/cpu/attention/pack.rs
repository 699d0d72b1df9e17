//! Keys and values of a head, as products read them.

use std::ops::Range;

use super::plan::Plan;
use crate::kernels::cpu::f32::PANEL;
use crate::kernels::cpu::lanes::Lanes;
use crate::kernels::cpu::view::Rows;

/// `width` numbers from `column` on of these rows, transposed, in panels as a packed weight's.
#[inline(always)]
pub(super) fn panels<L: Lanes>(
    from: &Rows,
    rows: Range<usize>,
    column: usize,
    width: usize,
    to: &mut [f32],
) {
    for first in (0..rows.len()).step_by(PANEL) {
        let used = (rows.len() - first).min(PANEL);
        let columns = used.next_multiple_of(16);
        let panel = &mut to[first * width..][..columns * width];
        let squares = if width.is_multiple_of(8) { used - used % 8 } else { 0 };
        for at in (0..squares).step_by(8) {
            let key = (rows.start + first + at) * from.stride() + column;
            for depth in (0..width).step_by(8) {
                let to = panel[depth * columns + at..].as_mut_ptr();
                // SAFETY: eight rows have eight numbers from here on, and eight rows of the panel room for them.
                unsafe {
                    L::transpose(from.pointer().add(key + depth), from.stride(), to, columns);
                }
            }
        }
        for at in squares..used {
            let key = &from.row(rows.start + first + at)[column..][..width];
            for (to, k) in panel[at..].iter_mut().step_by(columns).zip(key) {
                *to = *k;
            }
        }
        if used < columns {
            for row in panel.chunks_exact_mut(columns) {
                for x in &mut row[used..] {
                    *x = 0.0;
                }
            }
        }
    }
}

/// The values of a head, rows one after the other, with zeros up to whole vectors.
#[inline(always)]
pub(super) fn values(from: &Rows, plan: &Plan, column: usize, values: &mut [f32]) {
    for (row, to) in values.chunks_exact_mut(plan.lanes.max(1)).take(plan.tokens).enumerate() {
        let value = &from.row(row)[column..][..plan.width];
        let (to, _) = to.as_chunks_mut::<16>();
        let (whole, rest) = value.as_chunks::<16>();
        for (to, whole) in to.iter_mut().zip(whole) {
            *to = *whole;
        }
        if let Some(last) = to.get_mut(whole.len()) {
            *last = [0.0; 16];
            last[..rest.len()].copy_from_slice(rest);
        }
    }
}
