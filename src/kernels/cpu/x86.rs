//! AVX2 and AVX-512.

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_T1, _mm_loadu_ps, _mm_prefetch, _mm256_broadcast_ss,
    _mm256_castps128_ps256, _mm256_fmadd_ps, _mm256_insertf128_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::lanes::Lanes;
use super::tile::{Product, product};

#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2;

#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512;

// SAFETY (each block of the two implementations): the caller vouches for the instruction set and the pointers.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Avx2 {
    type F32 = __m256;
    const WIDTH: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(value: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, value) };
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m256 {
        unsafe { _mm256_broadcast_ss(&*from) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        unsafe { transpose(from, stride, to, to_stride) };
    }

    unsafe fn product(of: &Product) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn compiled(of: &Product) {
            unsafe { product::<Avx2>(of) };
        }
        unsafe { compiled(of) };
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Avx512 {
    type F32 = __m512;
    const WIDTH: usize = 16;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(value: __m512, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, value) };
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m512 {
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        unsafe { transpose(from, stride, to, to_stride) };
    }

    unsafe fn product(of: &Product) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn compiled(of: &Product) {
            unsafe { product::<Avx512>(of) };
        }
        unsafe { compiled(of) };
    }
}

/// [`Lanes::transpose`]: halves of rows 0 and 4, 1 and 5 and so on are loaded side by side, so that no step crosses
/// the halves of a register.
#[inline(always)]
unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    for side in [0, 4] {
        // SAFETY: the caller's squares are valid, and AVX2 is here.
        unsafe {
            let pair = |row: usize| {
                let [low, high] = [row, row + 4].map(|row| from.add(row * stride + side));
                let low = _mm256_castps128_ps256(_mm_loadu_ps(low));
                _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(high))
            };
            let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab2, cd2) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            let columns = [
                _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
                _mm256_shuffle_ps::<0b01_00_01_00>(ab2, cd2),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab2, cd2),
            ];
            for (column, values) in columns.into_iter().enumerate() {
                _mm256_storeu_ps(to.add((side + column) * to_stride), values);
            }
        }
    }
}
