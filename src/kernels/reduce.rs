//! Sums and maxima in lanes, that the compiler turns into vector code.

const LANES: usize = 32;

/// Sums in lanes: float addition in one chain would neither vectorize nor be as exact.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = f(x);
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    halve(lanes, |a, b| a + b)
}

/// The largest number. NaN is passed over.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = larger(*lane, x);
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    halve(lanes, larger)
}

/// One number of all lanes, by halves: one after the other, they would wait for each other 32 times.
#[inline(always)]
pub(super) fn halve<const N: usize>(mut lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    const { assert!(N.is_power_of_two()) };
    let mut count = N / 2;
    while count > 0 {
        let (low, high) = lanes.split_at_mut(count);
        for (a, b) in low.iter_mut().zip(high.iter()).take(count) {
            *a = f(*a, *b);
        }
        count /= 2;
    }
    lanes[0]
}
