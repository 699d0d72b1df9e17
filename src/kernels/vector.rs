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

        #[test]
        fn erf_is_close(x in -10.0f32..10.0) {
            prop_assert!((f64::from(erf(x)) - libm::erf(f64::from(x))).abs() < 5e-7);
        }
    }

    #[test]
    fn ends() {
        assert!(exp(-1e30) < 1e-37 && exp(1e30) > 1e38);
        assert!(erf(0.0).abs() < 5e-7);
        assert!(erf(1e30) > 1.0 - 1e-7 && erf(f32::NEG_INFINITY) < -1.0 + 1e-7);
        assert!(erf(f32::NAN).is_nan());
    }
}
