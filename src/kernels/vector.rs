//! Functions of single numbers, written so that the compiler turns loops over them into vector code.

use pulp::{Arch, NullaryFnOnce};

/// A loop that is compiled once for each instruction set.
///
/// `run` and all that it calls must be `#[inline(always)]`: a function that stays on its own is compiled for the
/// oldest processor only, where one multiply-add is a call.
pub(super) trait Loop {
    fn run(self);
}

/// Runs a loop as compiled for the best instruction set that this processor has.
pub(super) fn vectorized(work: impl Loop) {
    Arch::new().dispatch(Dispatched(work));
}

struct Dispatched<L>(L);

impl<L: Loop> NullaryFnOnce for Dispatched<L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.run();
    }
}

/// 1.5 * 2^23: adding it leaves a number's integer part in the low bits.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_145_75;
const LN2_LOW: f32 = 1.428_606_8e-6;

/// `e^x` to 2 units in the last place, for x from -87 to 88; beyond, the value at that end.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x)); // |r| <= ln(2) / 2
    let p = r.mul_add(1.0 / 720.0, 1.0 / 120.0);
    let p = r.mul_add(p, 1.0 / 24.0);
    let p = r.mul_add(p, 1.0 / 6.0);
    let p = r.mul_add(p, 0.5);
    let p = r.mul_add(p, 1.0);
    let p = r.mul_add(p, 1.0);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

/// The error function, to 5e-7.
///
/// Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let a = x.abs();
    // One, beyond: and the exponential would come near to the subnormal numbers, which are slow. NaN stays.
    let a = if a > 6.0 { 6.0 } else { a };
    let t = 1.0 / a.mul_add(0.327_591_1, 1.0);
    let p = t.mul_add(1.061_405_4, -1.453_152_1);
    let p = t.mul_add(p, 1.421_413_8);
    let p = t.mul_add(p, -0.284_496_72);
    let p = t.mul_add(p, 0.254_829_6) * t;
    (1.0 - p * exp(-a * a)).copysign(x)
}

/// GELU to 2e-5, or 2e-5 of x where that is more: for what is quantized to eight bits next, in steps that are a
/// hundred times larger. `x Phi(x)` with `Phi(x) = 1/2 + x P(x^2)`, without a division and an exponential.
#[inline(always)]
pub(super) fn gelu_coarse(x: f32) -> f32 {
    const P: [f32; 9] = [
        0.004_867_407_5,
        -0.011_606_213,
        0.012_238_649,
        -0.016_474_575,
        0.028_847_432,
        -0.041_249_655,
        0.054_249_18,
        -0.075_713_48,
        0.153_540_65,
    ];
    by_polynomial(x, 4.6, P)
}

/// `x (1/2 + c p(2 c^2 / end^2 - 1))`, with c as x from `-end` to `end`; highest power first. NaN stays.
#[inline(always)]
fn by_polynomial<const N: usize>(x: f32, end: f32, p: [f32; N]) -> f32 {
    let c = x.clamp(-end, end);
    let t = (c * c).mul_add(2.0 / (end * end), -1.0);
    let mut sum = p[0];
    for p in &p[1..] {
        sum = sum.mul_add(t, *p);
    }
    // What is left of the polynomial at its end must not be multiplied with a large negative x.
    x * if x <= -end { 0.0 } else { c.mul_add(sum, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_is_close(x in -87.0f32..88.0) {
            let expected = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) / expected - 1.0).abs() < 3e-7);
        }
    }

    proptest! {
        #[test]
        fn gelus_are_close(x in -30.0f32..30.0) {
            let exact = f64::from(x);
            let exact = 0.5 * exact * (1.0 + libm::erf(exact * std::f64::consts::FRAC_1_SQRT_2));
            let size = f64::from(x).abs().max(1.0);
            prop_assert!((f64::from(gelu_coarse(x)) - exact).abs() < 2e-5 * size, "{x}");
        }
    }

    #[test]
    fn ends() {
        let gelu = gelu_coarse;
        assert!(gelu(-1e6).abs() < 1e-30 && (gelu(1e6) - 1e6).abs() < 50.0);
        assert!(gelu(f32::NAN).is_nan() && gelu(0.0).abs() < 1e-30);
        assert!((f64::from(erf(0.7)) - libm::erf(0.7)).abs() < 5e-7 && erf(f32::NAN).is_nan());
        assert!(exp(-1e30) < 1e-37 && exp(1e30) > 1e38);
    }
}
