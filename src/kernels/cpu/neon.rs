//! NEON.

use std::arch::aarch64::{
    float32x4_t, vdupq_n_f32, vfmaq_f32, vld1q_dup_f32, vld1q_f32, vst1q_f32,
};

use super::lanes::Lanes;
use super::tile::{Product, product};

#[derive(Debug, Clone, Copy)]
pub(super) struct Neon;

// SAFETY (each block): the caller vouches for the instruction set and the pointers.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Neon {
    type F32 = float32x4_t;
    const WIDTH: usize = 4;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(value: float32x4_t, to: *mut f32) {
        unsafe { vst1q_f32(to, value) };
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> float32x4_t {
        unsafe { vld1q_dup_f32(from) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn prefetch(_from: *const f32) {}

    unsafe fn product(of: &Product) {
        #[target_feature(enable = "neon")]
        unsafe fn compiled(of: &Product) {
            unsafe { product::<Neon>(of) };
        }
        unsafe { compiled(of) };
    }
}
