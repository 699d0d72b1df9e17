//! AVX2 and AVX-512.

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_T1, _mm_loadu_ps, _mm_prefetch, _mm256_castps128_ps256,
    _mm256_fmadd_ps, _mm256_insertf128_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::lanes::Lanes;
use super::tile::{Product, product};

/// The two differ in names and sizes.
macro_rules! lanes {
    (
        $name:ident, $vector:ident, $width:literal, $rows:literal x $vectors:literal, $features:literal,
        $zero:ident, $load:ident, $store:ident, $splat:ident, $mul_add:ident
    ) => {
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name;

        // SAFETY (each block): the caller vouches for the instruction set and the pointers.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Lanes for $name {
            type F32 = $vector;
            const WIDTH: usize = $width;
            const TILE_ROWS: usize = $rows;
            const TILE_VECTORS: usize = $vectors;

            #[inline(always)]
            unsafe fn zero() -> $vector {
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> $vector {
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(value: $vector, to: *mut f32) {
                unsafe { $store(to, value) };
            }

            #[inline(always)]
            unsafe fn splat(from: *const f32) -> $vector {
                unsafe { $splat(*from) }
            }

            #[inline(always)]
            unsafe fn mul_add(a: $vector, b: $vector, c: $vector) -> $vector {
                unsafe { $mul_add(a, b, c) }
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
                #[target_feature(enable = $features)]
                unsafe fn compiled(of: &Product) {
                    unsafe { product::<$name>(of) };
                }
                unsafe { compiled(of) };
            }
        }
    };
}

lanes!(
    Avx2,
    __m256,
    8,
    6 x 2,
    "avx2,fma",
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps
);
lanes!(
    Avx512,
    __m512,
    16,
    8 x 3,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps
);

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
