//! What a processor can do at most: independent multiplications and additions in registers.

/// Operations of one call, whatever the instruction set: loops are as long as it takes.
pub(crate) const OPERATIONS: f64 = 12.0 * 128.0 * 65_536.0;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::contenders;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn contenders() -> Vec<super::Contender<'static>> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected as has;
    use std::arch::x86_64::{
        __m256, __m512, __m512i, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbusd_epi32,
        _mm512_fmadd_ps, _mm512_set1_epi32, _mm512_set1_ps,
    };
    use std::hint::black_box;

    use super::super::Contender;
    use super::OPERATIONS;

    /// Twelve chains: more than any processor's latency times its rate.
    macro_rules! chains {
        ($name:ident, $features:literal, $vector:ty, $start:expr, $step:expr) => {
            #[target_feature(enable = $features)]
            fn $name(times: usize) -> $vector {
                let z = $start;
                let [mut a, mut b, mut c, mut d, mut e, mut f] = [z; 6];
                let [mut g, mut h, mut i, mut j, mut k, mut l] = [z; 6];
                for _ in 0..times {
                    (a, b, c) = ($step(a, z, z), $step(b, z, z), $step(c, z, z));
                    (d, e, f) = ($step(d, z, z), $step(e, z, z), $step(f, z, z));
                    (g, h, i) = ($step(g, z, z), $step(h, z, z), $step(i, z, z));
                    (j, k, l) = ($step(j, z, z), $step(k, z, z), $step(l, z, z));
                }
                [a, b, c, d, e, f, g, h, i, j, k, l].into_iter().fold(z, |s, v| $step(s, v, v))
            }
        };
    }

    chains!(fma256, "avx2,fma", __m256, _mm256_set1_ps(black_box(0.5)), _mm256_fmadd_ps);
    chains!(fma512, "avx512f", __m512, _mm512_set1_ps(black_box(0.5)), _mm512_fmadd_ps);
    chains!(
        vnni,
        "avx512f,avx512vnni",
        __m512i,
        _mm512_set1_epi32(black_box(0x0101_0101)),
        _mm512_dpbusd_epi32
    );

    pub(crate) fn contenders() -> Vec<Contender<'static>> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let times = |each: f64| (OPERATIONS / 12.0 / each) as usize;
        let mut all: Vec<Contender> = Vec::new();
        if has!("avx2") && has!("fma") {
            let run = move |_| {
                // SAFETY: the features are there.
                black_box(unsafe { fma256(times(16.0)) });
            };
            all.push(("avx2 f32".into(), Box::new(run)));
        }
        if has!("avx512f") {
            let run = move |_| {
                // SAFETY: the features are there.
                black_box(unsafe { fma512(times(32.0)) });
            };
            all.push(("avx512 f32".into(), Box::new(run)));
        }
        if has!("avx512f") && has!("avx512vnni") {
            let run = move |_| {
                // SAFETY: the features are there.
                black_box(unsafe { vnni(times(128.0)) });
            };
            all.push(("avx512-vnni int8".into(), Box::new(run)));
        }
        all
    }
}
