//! Dot products of bytes with NEON's `sdot`.

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vdupq_n_s8, vdupq_n_s32, veorq_s8, vld1q_s8, vreinterpretq_s8_s32,
    vst1q_s32,
};
use std::arch::asm;

use super::f32::PANEL;
use super::tile_i8::{GROUP, ProductI8};

/// # Safety
/// NEON with dot products is here, and `of` holds what it says.
// SAFETY (each block of this file): the caller's, as stated here.
#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dot(of: &ProductI8) {
    for row in (0..of.rows).step_by(4) {
        for column in (0..of.columns).step_by(16) {
            let part = ProductI8 {
                a: of.a.wrapping_add(row * of.a_stride),
                b: of.b.wrapping_add(column * GROUP),
                c: of.c.wrapping_add(row * PANEL + column),
                ..*of
            };
            match (of.rows - row).min(4) {
                1 => unsafe { tile::<1>(&part) },
                2 => unsafe { tile::<2>(&part) },
                3 => unsafe { tile::<3>(&part) },
                _ => unsafe { tile::<4>(&part) },
            }
        }
    }
}

/// Both operands are signed: 128 is taken from each of `a`'s numbers, and its part in the sums is added as one more
/// row that is 128 everywhere.
#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn tile<const ROWS: usize>(of: &ProductI8) {
    let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
    let mut weights = [vdupq_n_s32(0); 4];
    let ones = vdupq_n_s8(1);
    let mut b = of.b;
    for k in 0..of.depth {
        let vectors = [0, 16, 32, 48].map(|at| unsafe { vld1q_s8(b.wrapping_add(at)) });
        for (sum, vector) in weights.iter_mut().zip(vectors) {
            *sum = sdot(*sum, ones, vector);
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let group = of.a.wrapping_add(row * of.a_stride + k * GROUP).cast::<i32>();
            let a = vreinterpretq_s8_s32(vdupq_n_s32(unsafe { group.read_unaligned() }));
            let a = veorq_s8(a, vdupq_n_s8(-128));
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = sdot(*sum, a, vector);
            }
        }
        b = b.wrapping_add(of.columns * GROUP);
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (v, (sum, weights)) in sums.into_iter().zip(weights).enumerate() {
            use std::arch::aarch64::{vaddq_s32, vshlq_n_s32};
            let sum = vaddq_s32(sum, vshlq_n_s32::<7>(weights));
            unsafe { vst1q_s32(of.c.wrapping_add(row * PANEL + v * 4), sum) };
        }
    }
}

/// The intrinsic of this name is not stable yet.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on three registers, and the function's features are those that it needs.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
