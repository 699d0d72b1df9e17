//! Dot products of bytes with AVX2, AVX-512 and AVX-512-VNNI.
//!
//! `vpmaddubsw` adds pairs of products in 16 bits, which 255 * 127 * 2 overflows. Where there is no VNNI, bytes
//! are therefore widened to 16 bits and multiplied with `vpmaddwd`: a third slower, and exact.

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm256_add_epi32,
    _mm256_cvtepi8_epi16, _mm256_hadd_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    _mm256_unpacklo_epi8, _mm512_add_epi32, _mm512_cvtepi8_epi16, _mm512_dpbusd_epi32,
    _mm512_loadu_si512, _mm512_madd_epi16, _mm512_permutex2var_epi32, _mm512_set1_epi32,
    _mm512_setr_epi32, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_unpacklo_epi8,
};

use super::f32::PANEL;
use super::tile_i8::{GROUP, ProductI8};

/// Calls a function of a number of rows, and of vectors, that are known at compile time.
macro_rules! by_rows {
    ($rows:expr, $($row:literal)|+, $call:ident, $of:expr) => {
        match $rows {
            $($row => unsafe { $call::<$row>($of) },)+
            _ => {}
        }
    };
    ($rows:expr, $($row:literal)|+, $call:ident x $vectors:literal, $of:expr) => {
        match $rows {
            $($row => unsafe { $call::<$row, $vectors>($of) },)+
            _ => {}
        }
    };
}

/// Four bytes of a row, as one number.
///
/// # Safety
/// The group is inside of the row.
#[inline(always)]
unsafe fn group(of: &ProductI8, row: usize, group: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { of.a.add(row * of.a_stride + group * GROUP).cast::<i32>().read_unaligned() }
}

/// # Safety
/// AVX-512-VNNI is here, and `of` holds what it says.
// SAFETY (each block of this file): the caller's, as stated with the functions.
#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn vnni(of: &ProductI8) {
    match of.columns {
        16 => by_rows!(of.rows, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8, vnni_tile x 1, of),
        32 => by_rows!(of.rows, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8, vnni_tile x 2, of),
        _ => by_rows!(of.rows, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8, vnni_tile x 3, of),
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn vnni_tile<const ROWS: usize, const VECTORS: usize>(of: &ProductI8) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
    let mut b = of.b;
    let (mut line, mut lines) = (of.prefetch, of.prefetch_lines);
    let spread = lines.div_ceil(of.depth.max(1));
    for k in 0..of.depth {
        let mut vectors = [_mm512_setzero_si512(); VECTORS];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = unsafe { _mm512_loadu_si512(b.add(v * 64).cast()) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = _mm512_set1_epi32(unsafe { group(of, row, k) });
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = _mm512_dpbusd_epi32(*sum, a, vector);
            }
        }
        b = b.wrapping_add(VECTORS * 64);
        for _ in 0..spread.min(lines) {
            _mm_prefetch::<_MM_HINT_T1>(line);
            line = line.wrapping_add(64);
            lines -= 1;
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            unsafe { _mm512_storeu_si512(of.c.add(row * PANEL + v * 16).cast(), sum) };
        }
    }
}

/// # Safety
/// AVX-512 (F, BW) is here, and `of` holds what it says.
#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn avx512(of: &ProductI8) {
    for column in (0..of.columns).step_by(16) {
        let part =
            ProductI8 { b: of.b.wrapping_add(column * GROUP), c: of.c.wrapping_add(column), ..*of };
        by_rows!(of.rows, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8, avx512_tile, &part);
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn avx512_tile<const ROWS: usize>(of: &ProductI8) {
    let zero = _mm512_setzero_si512();
    let mut sums: [[__m512i; 2]; ROWS] = [[zero; 2]; ROWS];
    let mut b = of.b;
    for k in 0..of.depth {
        let vectors = [0, 32]
            .map(|half| unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(b.add(half).cast())) });
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = _mm512_unpacklo_epi8(_mm512_set1_epi32(unsafe { group(of, row, k) }), zero);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = _mm512_add_epi32(*sum, _mm512_madd_epi16(a, vector));
            }
        }
        b = b.wrapping_add(of.columns * GROUP);
    }
    // Each column's sum is in two neighbouring lanes.
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (row, [low, high]) in sums.into_iter().enumerate() {
        let evens = _mm512_permutex2var_epi32(low, even, high);
        let odds = _mm512_permutex2var_epi32(low, odd, high);
        let sum = _mm512_add_epi32(evens, odds);
        unsafe { _mm512_storeu_si512(of.c.add(row * PANEL).cast(), sum) };
    }
}

/// # Safety
/// AVX2 is here, and `of` holds what it says.
#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(of: &ProductI8) {
    for row in (0..of.rows).step_by(4) {
        for column in (0..of.columns).step_by(8) {
            let part = ProductI8 {
                a: of.a.wrapping_add(row * of.a_stride),
                b: of.b.wrapping_add(column * GROUP),
                c: of.c.wrapping_add(row * PANEL + column),
                ..*of
            };
            by_rows!((of.rows - row).min(4), 1 | 2 | 3 | 4, avx2_tile, &part);
        }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn avx2_tile<const ROWS: usize>(of: &ProductI8) {
    let zero = _mm256_setzero_si256();
    let mut sums: [[__m256i; 2]; ROWS] = [[zero; 2]; ROWS];
    let mut b = of.b;
    for k in 0..of.depth {
        let vectors = [0, 16]
            .map(|half| unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(b.add(half).cast())) });
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = _mm256_unpacklo_epi8(_mm256_set1_epi32(unsafe { group(of, row, k) }), zero);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, vector));
            }
        }
        b = b.wrapping_add(of.columns * GROUP);
    }
    for (row, [low, high]) in sums.into_iter().enumerate() {
        // Pairs of columns 0, 2, 1, 3 after the addition of neighbours.
        let sum = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
        unsafe { _mm256_storeu_si256(of.c.add(row * PANEL).cast(), sum) };
    }
}
