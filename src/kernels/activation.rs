use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::place::{is_cpu_f32, values, values_mut};
use super::vector::{Loop, erf, exp, vectorized};

/// What is applied to each number after its bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Identity,
    /// With the error function, as BERT's.
    Gelu,
    /// With the tanh approximation.
    GeluTanh,
    Relu,
    /// Also called swish.
    Silu,
    Tanh,
}

impl Activation {
    /// Reads `hidden_act` as configs write it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    /// The names that [`Activation::from_name`] takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

const NAMES: [(&str, Activation); 8] = [
    ("gelu", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

/// `activation(x + bias)` for `x` (N, H) and `bias` (H,). Uses up `x`.
pub fn bias_activation(x: Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    if !is_cpu_f32(&x) {
        return composed(&x, bias, activation);
    }
    x.inplace_op2(bias, &activation)?;
    Ok(x)
}

fn composed(x: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    apply(x.broadcast_add(bias)?, activation)
}

/// `activation(x)`, composed of candle's operations.
pub fn apply(x: Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
    }
}

/// `x = activation(x + bias)` for rows of `bias.len()`.
pub(super) fn activate(x: &mut [f32], bias: &[f32], activation: Activation) {
    match activation {
        Activation::Identity => vectorized(Each { x, bias, function: Identity }),
        Activation::Gelu => vectorized(Each { x, bias, function: Gelu }),
        Activation::GeluTanh => vectorized(Each { x, bias, function: GeluTanh }),
        Activation::Relu => vectorized(Each { x, bias, function: Relu }),
        Activation::Silu => vectorized(Each { x, bias, function: Silu }),
        Activation::Tanh => vectorized(Each { x, bias, function: Tanh }),
    }
}

/// `out = activation(left) * right` for rows `[left, right]` of `x`.
pub(super) fn activate_gate(x: &[f32], width: usize, activation: Activation, out: &mut [f32]) {
    match activation {
        Activation::Identity => vectorized(Gate { x, width, out, function: Identity }),
        Activation::Gelu => vectorized(Gate { x, width, out, function: Gelu }),
        Activation::GeluTanh => vectorized(Gate { x, width, out, function: GeluTanh }),
        Activation::Relu => vectorized(Gate { x, width, out, function: Relu }),
        Activation::Silu => vectorized(Gate { x, width, out, function: Silu }),
        Activation::Tanh => vectorized(Gate { x, width, out, function: Tanh }),
    }
}

impl InplaceOp2 for Activation {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let (x, bias) = (values_mut(x, layout)?, values(bias, bias_layout)?);
        activate(x, bias, *self);
        Ok(())
    }
}

struct Each<'a, F> {
    x: &'a mut [f32],
    bias: &'a [f32],
    function: F,
}

impl<F: Function> Loop for Each<'_, F> {
    #[inline(always)]
    fn run(self) {
        for row in self.x.chunks_exact_mut(self.bias.len()) {
            for (x, b) in row.iter_mut().zip(self.bias) {
                *x = self.function.of(*x + b);
            }
        }
    }
}

struct Gate<'a, F> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
    function: F,
}

impl<F: Function> Loop for Gate<'_, F> {
    #[inline(always)]
    fn run(self) {
        let rows = self.x.chunks_exact(2 * self.width);
        for (row, out) in rows.zip(self.out.chunks_exact_mut(self.width)) {
            let (left, right) = row.split_at(self.width);
            for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
                *out = self.function.of(*left) * right;
            }
        }
    }
}

trait Function {
    fn of(&self, x: f32) -> f32;
}

struct Identity;
struct Gelu;
struct GeluTanh;
struct Relu;
struct Silu;
struct Tanh;

impl Function for Identity {
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        x
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
    }
}

impl Function for GeluTanh {
    // 0.5 (1 + tanh(u)) = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        let u = 0.797_884_6 * x * (0.044_715 * x).mul_add(x, 1.0);
        x / (1.0 + exp(-2.0 * u))
    }
}

impl Function for Relu {
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        x.max(0.0)
    }
}

impl Function for Silu {
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }
}

impl Function for Tanh {
    // (1 - e^-2|x|) / (1 + e^-2|x|): no overflow, and no cancellation that matters at 1e-7 absolute.
    #[inline(always)]
    fn of(&self, x: f32) -> f32 {
        let e = exp(-2.0 * x.abs());
        ((1.0 - e) / (1.0 + e)).copysign(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_composed(rows in 1usize..5, width in 1usize..70, seed in -8.0f32..8.0) {
            let data: Vec<f32> = (0..rows * width).map(|i| (seed + i as f32 * 0.37).sin() * 6.0).collect();
            let bias: Vec<f32> = (0..width).map(|i| (seed * i as f32).cos()).collect();
            let bias = Tensor::from_vec(bias, width, &Device::Cpu).unwrap();
            for activation in std::iter::once(Activation::Identity).chain(NAMES.map(|(_, activation)| activation)) {
                let x = Tensor::from_vec(data.clone(), (rows, width), &Device::Cpu).unwrap();
                let expected = composed(&x, &bias, activation).unwrap();
                let found = bias_activation(x, &bias, activation).unwrap();
                let (a, b): (Vec<f32>, Vec<f32>) =
                    (expected.flatten_all().unwrap().to_vec1().unwrap(), found.flatten_all().unwrap().to_vec1().unwrap());
                for (a, b) in a.iter().zip(&b) {
                    prop_assert!((a - b).abs() < 2e-6, "{activation:?} {a} {b}");
                }
            }
        }

        #[test]
        fn a_gate_is_an_activation_and_a_product(rows in 1usize..5, width in 1usize..70, seed in -8.0f32..8.0) {
            let x: Vec<f32> = (0..rows * 2 * width).map(|i| (seed + i as f32 * 0.37).sin() * 6.0).collect();
            for (_, activation) in NAMES {
                let mut out = vec![0.0; rows * width];
                activate_gate(&x, width, activation, &mut out);
                for (row, out) in x.chunks(2 * width).zip(out.chunks(width)) {
                    let mut left = row[..width].to_vec();
                    activate(&mut left, &vec![0.0; width], activation);
                    let expected: Vec<f32> = left.iter().zip(&row[width..]).map(|(a, b)| a * b).collect();
                    prop_assert_eq!(out, &expected[..]);
                }
            }
        }
    }
}
