use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::function::{Activation, Function, WithFunction};
use super::place::{is_cpu_f32, values, values_mut};
use super::vector::{Loop, vectorized};

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
        vectorized(Each { x, bias, activation: *self });
        Ok(())
    }
}

struct Each<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
    activation: Activation,
}

impl Loop for Each<'_> {
    #[inline(always)]
    fn run(self) {
        let activation = self.activation;
        activation.with(self);
    }
}

impl WithFunction for Each<'_> {
    #[inline(always)]
    fn call(self, function: impl Function) {
        for row in self.x.chunks_exact_mut(self.bias.len()) {
            for (x, b) in row.iter_mut().zip(self.bias) {
                *x = function.of(*x + b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    const ALL: [Activation; 6] = [
        Activation::Identity,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];

    proptest! {
        #[test]
        fn as_composed(rows in 1usize..5, width in 1usize..70, seed in -8.0f32..8.0) {
            let data: Vec<f32> = (0..rows * width).map(|i| (seed + i as f32 * 0.37).sin() * 6.0).collect();
            let bias: Vec<f32> = (0..width).map(|i| (seed * i as f32).cos()).collect();
            let bias = Tensor::from_vec(bias, width, &Device::Cpu).unwrap();
            for activation in ALL {
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
