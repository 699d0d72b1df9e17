//! The product of a few rows and one panel of columns in eight bits.

use super::f32::PANEL;
use super::isa::{Isa, Set};

/// Numbers that one dot product takes.
pub(super) const GROUP: usize = 4;
/// The most rows of a tile.
pub(super) const TILE_ROWS: usize = 8;

/// `c = a b` for `a` (rows, depth, 4) from 0 to 255, `b` (depth, columns, 4) and `c` (rows, [`PANEL`]), of which
/// `columns`, a multiple of 16, are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProductI8 {
    /// At most [`TILE_ROWS`].
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) a: *const u8,
    pub(super) a_stride: usize,
    pub(super) b: *const i8,
    pub(super) c: *mut i32,
    /// Cache lines that will be read next.
    pub(super) prefetch: *const i8,
    pub(super) prefetch_lines: usize,
}

/// All sets compute the same integers.
///
/// # Safety
/// The matrices lie in memory that is valid for them, `c` for writing by nobody else.
#[inline(always)]
pub(super) unsafe fn product(isa: Isa, of: &ProductI8) {
    // SAFETY: the caller's, and an `Isa` is proof of its instruction set.
    unsafe {
        match isa.set() {
            #[cfg(target_arch = "x86_64")]
            Set::Vnni => super::x86_i8::vnni(of),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::x86_i8::avx512(of),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::x86_i8::avx2(of),
            #[cfg(target_arch = "aarch64")]
            Set::NeonDot => super::neon_i8::dot(of),
            _ => portable(of),
        }
    }
}

/// The plain reference, and what runs where there is nothing better.
pub(super) unsafe fn portable(of: &ProductI8) {
    for row in 0..of.rows {
        let mut sums = [0i32; PANEL];
        for group in 0..of.depth {
            // SAFETY: the caller's: four numbers of this row, and `columns` times four of the panel.
            let (a, b) = unsafe {
                let a = of.a.add(row * of.a_stride + group * GROUP).cast::<[u8; GROUP]>();
                let b = of.b.add(group * of.columns * GROUP);
                (*a, std::slice::from_raw_parts(b, of.columns * GROUP))
            };
            for (sum, b) in sums.iter_mut().zip(b.chunks_exact(GROUP)) {
                *sum += a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>();
            }
        }
        // SAFETY: the caller's: `c` has room for `rows` rows of a panel.
        let c = unsafe { std::slice::from_raw_parts_mut(of.c.add(row * PANEL), of.columns) };
        c.copy_from_slice(&sums[..of.columns]);
    }
}
