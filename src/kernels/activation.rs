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
}

/// `activation(x + bias)` for `x` (N, H) and `bias` (H,). Uses up `x`.
pub fn bias_activation(x: Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    if !is_cpu_f32(&x) {
        return composed(&x, bias, activation);
    }
    x.inplace_op2(bias, &activation)?;
    Ok(x)
}

fn composed(x: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = x.broadcast_add(bias)?;
    match activation {
        Activation::Identity => Ok(x),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
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
        match self {
            Self::Identity => vectorized(Each { x, bias, function: Identity }),
            Self::Gelu => vectorized(Each { x, bias, function: Gelu }),
            Self::GeluTanh => vectorized(Each { x, bias, function: GeluTanh }),
            Self::Relu => vectorized(Each { x, bias, function: Relu }),
        }
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

trait Function {
    fn of(&self, x: f32) -> f32;
}

struct Identity;
struct Gelu;
struct GeluTanh;
struct Relu;

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
            for activation in [Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
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
    }
}
