use crate::kernels::Activation;
use crate::kernels::activation::activate;
use crate::kernels::product::{View, ViewMut, product};

/// The weight of a linear layer, laid out as [`matmul`] reads it.
#[derive(Debug)]
pub struct Packed {
    weight: Vec<f32>, // (in, out)
    input: usize,
    output: usize,
}

impl Packed {
    /// Packs a checkpoint's weight, `(out, in)` row after row.
    #[must_use]
    pub fn pack(weight: &[f32], output: usize, input: usize) -> Self {
        // As many rows at a time as numbers fit into a cache line: each line is written at once.
        const LINE: usize = 16;
        let mut packed = vec![0.0; weight.len()];
        for start in (0..output).step_by(LINE) {
            let end = output.min(start + LINE);
            for i in 0..input {
                for (o, to) in (start..end).zip(&mut packed[i * output + start..]) {
                    *to = weight[o * input + i];
                }
            }
        }
        Self { weight: packed, input, output }
    }

    /// Width of a row that goes in.
    #[must_use]
    pub fn input(&self) -> usize {
        self.input
    }

    /// Width of a row that comes out.
    #[must_use]
    pub fn output(&self) -> usize {
        self.output
    }
}

/// What happens to a product before it is written.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    None,
    /// `(out,)` is added to each row.
    Bias(&'a [f32]),
    /// And the activation applied.
    BiasActivation(&'a [f32], Activation),
    /// `(M, out)` holds a residual: the product and, where there is one, the bias are added to it.
    Accumulate(Option<&'a [f32]>),
}

/// `out = epilogue(x weight)`: `x` (M, in), `out` (M, out).
pub fn matmul(x: &[f32], packed: &Packed, epilogue: Epilogue<'_>, out: &mut [f32]) {
    let rows = x.len() / packed.input.max(1);
    let (input, output) = (packed.input, packed.output);
    product(
        ViewMut { data: out, rows, columns: output, stride: output },
        View { data: x, rows, columns: input, stride: input, transposed: false },
        View {
            data: &packed.weight,
            rows: input,
            columns: output,
            stride: output,
            transposed: false,
        },
        matches!(epilogue, Epilogue::Accumulate(_)),
    );
    match epilogue {
        Epilogue::None | Epilogue::Accumulate(None) => {}
        Epilogue::Bias(bias) | Epilogue::Accumulate(Some(bias)) => {
            activate(out, bias, Activation::Identity);
        }
        Epilogue::BiasActivation(bias, activation) => activate(out, bias, activation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Case<'a> = (Epilogue<'a>, Box<dyn Fn(f32, usize, usize) -> f32 + 'a>);

    proptest! {
        #[test]
        fn as_sums(m in 1usize..9, k in 1usize..40, n in 1usize..40, seed in -8.0f32..8.0) {
            let wave = |len: usize, step: f32| -> Vec<f32> {
                (0..len).map(|i| (seed + i as f32 * step).sin()).collect()
            };
            let (x, w, bias, residual) =
                (wave(m * k, 0.7), wave(n * k, 0.3), wave(n, 0.9), wave(m * n, 0.2));
            let packed = Packed::pack(&w, n, k);
            let sum = |i: usize, j: usize| -> f32 { (0..k).map(|p| x[i * k + p] * w[j * k + p]).sum() };
            let cases: [Case<'_>; 5] = [
                (Epilogue::None, Box::new(|s, _, _| s)),
                (Epilogue::Bias(&bias), Box::new(|s, _, j| s + bias[j])),
                (
                    Epilogue::BiasActivation(&bias, Activation::Relu),
                    Box::new(|s, _, j| (s + bias[j]).max(0.0)),
                ),
                (Epilogue::Accumulate(None), Box::new(|s, i, j| s + residual[i * n + j])),
                (
                    Epilogue::Accumulate(Some(&bias)),
                    Box::new(|s, i, j| s + bias[j] + residual[i * n + j]),
                ),
            ];
            for (epilogue, expected) in cases {
                let mut out = residual.clone();
                matmul(&x, &packed, epilogue, &mut out);
                for i in 0..m {
                    for j in 0..n {
                        let difference = (out[i * n + j] - expected(sum(i, j), i, j)).abs();
                        prop_assert!(difference < 1e-4, "{epilogue:?} {difference}");
                    }
                }
            }
        }
    }
}
