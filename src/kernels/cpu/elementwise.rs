//! Gates and rotary positions.

use super::super::function::{Activation, Function, WithFunction};
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::view::{Rows, RowsMut};
use crate::error::{Error, Result};

/// `out = activation(gate) * up`, (N, I) all: two halves of one projection's output.
pub fn gated(activation: Activation, gate: Rows, up: Rows, out: RowsMut) -> Result<()> {
    gated_on(Isa::best(), activation, gate, up, out)
}

/// [`gated`] on that instruction set.
pub fn gated_on(
    isa: Isa,
    activation: Activation,
    gate: Rows,
    up: Rows,
    out: RowsMut,
) -> Result<()> {
    let shape = (out.rows(), out.width());
    if [&gate, &up].iter().any(|m| (m.rows(), m.width()) != shape) {
        return Err(Error::internal(format!("gate: inputs are not {} x {}", shape.0, shape.1)));
    }
    isa.run(Gated { activation, gate, up, out });
    Ok(())
}

struct Gated<'a> {
    activation: Activation,
    gate: Rows<'a>,
    up: Rows<'a>,
    out: RowsMut<'a>,
}

impl Work for Gated<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let activation = self.activation;
        activation.with(self);
    }
}

impl WithFunction for Gated<'_> {
    #[inline(always)]
    fn call(mut self, function: impl Function) {
        for row in 0..self.gate.rows() {
            let inputs = self.gate.row(row).iter().zip(self.up.row(row));
            for (y, (gate, up)) in self.out.row(row).iter_mut().zip(inputs) {
                *y = function.of(*gate) * up;
            }
        }
    }
}

/// Rotates each head of `x` (T, heads * width) in place, as `rotate_half` of transformers does: number `i` of a
/// head's first half with number `i` of its second, by the angle whose cosine and sine are `cos` and `sin`
/// (T, rotated / 2). What is beyond `rotated` numbers of a head stays.
pub fn rotate(cos: Rows, sin: Rows, width: usize, x: RowsMut) -> Result<()> {
    rotate_on(Isa::best(), cos, sin, width, x)
}

/// [`rotate`] on that instruction set.
pub fn rotate_on(isa: Isa, cos: Rows, sin: Rows, width: usize, x: RowsMut) -> Result<()> {
    let (tokens, half) = (x.rows(), cos.width());
    let same = cos.rows() == tokens && (sin.rows(), sin.width()) == (tokens, half);
    if !same || width == 0 || !x.width().is_multiple_of(width) || 2 * half > width {
        return Err(Error::internal(format!(
            "rotation: {half} angles for heads of {width} in {tokens} rows of {} numbers",
            x.width()
        )));
    }
    isa.run(Rotate { cos, sin, width, x });
    Ok(())
}

struct Rotate<'a> {
    cos: Rows<'a>,
    sin: Rows<'a>,
    width: usize,
    x: RowsMut<'a>,
}

impl Work for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        for row in 0..self.x.rows() {
            let (cos, sin) = (self.cos.row(row), self.sin.row(row));
            for head in self.x.row(row).chunks_exact_mut(self.width) {
                let (low, high) = head.split_at_mut(cos.len());
                for ((l, h), (c, s)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
                    (*l, *h) = (*l * c - *h * s, *h * c + *l * s);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::f32::tests::wave;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gates(rows in 1usize..4, width in 1usize..90, seed in -8.0f32..8.0) {
            let data: Vec<f32> = wave(rows * width * 2, seed).iter().map(|x| x * 4.0).collect();
            let both = Rows::dense(&data, rows, 2 * width).unwrap();
            let (gate, up) = (both.columns(0..width).unwrap(), both.columns(width..2 * width).unwrap());
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let gelu = |x: f64| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
            let functions: [(_, &dyn Fn(f64) -> f64); 2] = [(Activation::Silu, &silu), (Activation::Gelu, &gelu)];
            for (activation, function) in functions {
                for isa in Isa::all() {
                    let mut found = vec![0.0; rows * width];
                    let out = RowsMut::dense(&mut found, rows, width).unwrap();
                    gated_on(isa, activation, gate, up, out).unwrap();
                    for (i, f) in found.iter().enumerate() {
                        let (row, column) = (i / width, i % width);
                        let e = function(f64::from(gate.row(row)[column])) * f64::from(up.row(row)[column]);
                        prop_assert!((f64::from(*f) - e).abs() < 1e-5, "{f} {e}");
                    }
                }
            }
        }

        #[test]
        fn turns(tokens in 1usize..5, heads in 1usize..4, half in 1usize..40, kept in 0usize..4, seed in -8.0f32..8.0) {
            let width = 2 * half + kept;
            let angles = wave(tokens * half, seed);
            let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
            let data = wave(tokens * heads * width, -seed);
            for isa in Isa::all() {
                let mut found = data.clone();
                let view = |m| Rows::dense(m, tokens, half).unwrap();
                let x = RowsMut::dense(&mut found, tokens, heads * width).unwrap();
                rotate_on(isa, view(&cos), view(&sin), width, x).unwrap();
                for (i, f) in found.iter().enumerate() {
                    let (token, at) = (i / (heads * width), i % width);
                    let angle = |at: usize| angles[token * half + at % half];
                    let e = match at / half {
                        0 => data[i] * angle(at).cos() - data[i + half] * angle(at).sin(),
                        1 => data[i] * angle(at).cos() + data[i - half] * angle(at).sin(),
                        _ => data[i],
                    };
                    prop_assert!((f - e).abs() < 1e-6, "{f} {e}");
                }
            }
        }
    }

    fn to(out: &mut [f32], rows: usize) -> RowsMut<'_> {
        RowsMut::dense(out, rows, 4).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (data, mut out) = ([1.0; 12], [0.0; 12]);
        let m = Rows::dense(&data, 3, 4).unwrap();
        assert!(gated(Activation::Silu, m, m, to(&mut out, 3)).is_ok());
        assert!(gated(Activation::Silu, m, m, to(&mut out, 2)).is_err());
        let angles = m.columns(0..2).unwrap();
        assert!(rotate(angles, angles, 4, to(&mut out, 3)).is_ok());
        assert!(rotate(angles, angles, 3, to(&mut out, 3)).is_err());
        assert!(rotate(angles, angles, 0, to(&mut out, 3)).is_err());
        assert!(rotate(m, m, 4, to(&mut out, 3)).is_err());
        assert!(rotate(angles, angles, 4, to(&mut out, 2)).is_err());
    }
}
