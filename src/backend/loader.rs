use std::borrow::Cow;

use super::seam::{Backend, Dense, NormWeights};
use super::tensor::{Matrix, Tensor};
use super::weights::Weights;
use crate::error::Result;
use crate::kernels::NormKind;

/// Numbers of a checkpoint, or made of them.
type Values<'w> = Cow<'w, [f32]>;

/// Loads the layers of a model, whose names share a prefix, into a backend.
#[derive(Debug)]
pub struct Loader<'w, B> {
    backend: &'w B,
    weights: &'w Weights<'w>,
    prefix: String,
}

impl<'w, B: Backend> Loader<'w, B> {
    /// Names as they stand in the checkpoint.
    pub fn new(backend: &'w B, weights: &'w Weights<'w>) -> Self {
        Self { backend, weights, prefix: String::new() }
    }

    /// The checkpoint.
    #[must_use]
    pub fn weights(&self) -> &'w Weights<'w> {
        self.weights
    }

    /// The backend that is loaded into.
    #[must_use]
    pub fn backend(&self) -> &'w B {
        self.backend
    }

    /// Names below `name`.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        let prefix = format!("{}{name}.", self.prefix);
        Self { backend: self.backend, weights: self.weights, prefix }
    }

    /// Names below the first of `prefixes` under which there is a tensor `name`; below none, as they stand.
    #[must_use]
    pub fn under(&self, prefixes: &[&str], name: &str) -> Self {
        let found = prefixes.iter().find(|p| self.has(&format!("{p}{name}")));
        let prefix = format!("{}{}", self.prefix, found.unwrap_or(&""));
        Self { backend: self.backend, weights: self.weights, prefix }
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.weights.has(&format!("{}{name}", self.prefix))
    }

    /// The numbers of a tensor.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Values<'w>> {
        self.weights.get(&[&format!("{}{name}", self.prefix)], shape)
    }

    /// A tensor, whose numbers are not read yet.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'w>> {
        self.weights.tensor(&[&format!("{}{name}", self.prefix)], shape)
    }

    /// A table of `rows` rows that are looked up.
    pub fn table(&self, name: &str, rows: usize, width: usize) -> Result<B::Table> {
        let rows = self.tensor(&format!("{name}.weight"), &[rows, width])?;
        self.backend.lookup_table(&rows, width)
    }

    /// A linear layer's weight and, where it has one, its bias.
    pub fn dense(&self, name: &str, input: usize, output: usize, bias: bool) -> Result<Dense<'w>> {
        let weight = self.tensor(&format!("{name}.weight"), &[output, input])?;
        let weight = Matrix::Tensors(vec![weight]);
        let values = || self.values(&format!("{name}.bias"), &[output]);
        let bias = bias.then(values).transpose()?;
        Ok(Dense { weight, bias, input, output })
    }

    /// A linear layer with a bias.
    pub fn linear(&self, name: &str, input: usize, output: usize) -> Result<B::Linear> {
        self.backend.pack(&self.dense(name, input, output, true)?)
    }

    /// A linear layer without one.
    pub fn linear_without_bias(
        &self,
        name: &str,
        input: usize,
        output: usize,
    ) -> Result<B::Linear> {
        self.backend.pack(&self.dense(name, input, output, false)?)
    }

    /// Layers that read the same input as one, each `output` wide.
    pub fn stacked(
        &self,
        names: &[&str],
        input: usize,
        output: usize,
        bias: bool,
    ) -> Result<B::Linear> {
        let (mut weights, mut biases) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            weights.push(self.tensor(&format!("{name}.weight"), &[output, input])?);
            if bias {
                biases.extend_from_slice(&self.values(&format!("{name}.bias"), &[output])?);
            }
        }
        let (weight, bias) = (Matrix::Tensors(weights), bias.then_some(Cow::Owned(biases)));
        let output = output * names.len();
        self.backend.pack(&Dense { weight, bias, input, output })
    }

    /// A layer norm.
    pub fn layer_norm(&self, name: &str, width: usize, eps: f32) -> Result<B::Norm> {
        let (gain, bias) = self.norm_values(name, width)?;
        let weights = NormWeights { kind: NormKind::Layer, gain: &gain, bias: Some(&bias), eps };
        self.backend.norm_of(weights)
    }

    /// A layer norm that has a gain only.
    pub fn layer_norm_without_bias(&self, name: &str, width: usize, eps: f32) -> Result<B::Norm> {
        let gain = self.norm_part(name, ["weight", "gamma"], width)?;
        let weights = NormWeights { kind: NormKind::Layer, gain: &gain, bias: None, eps };
        self.backend.norm_of(weights)
    }

    /// A norm's gain and bias. Checkpoints that were converted from TensorFlow call them gamma and beta.
    pub fn norm_values(&self, name: &str, width: usize) -> Result<(Values<'w>, Values<'w>)> {
        let gain = self.norm_part(name, ["weight", "gamma"], width)?;
        Ok((gain, self.norm_part(name, ["bias", "beta"], width)?))
    }

    fn norm_part(&self, name: &str, parts: [&str; 2], width: usize) -> Result<Values<'w>> {
        let [new, old] = parts.map(|part| format!("{}{name}.{part}", self.prefix));
        self.weights.get(&[&new, &old], &[width])
    }
}
