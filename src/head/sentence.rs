use super::pooling::Pooling;
use crate::backend::{Activation, Cpu, HostLinear, Loader, Weights};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::hub::{DenseConfig, ModelFiles};

/// Smallest norm that a vector is divided by, as in `torch.nn.functional.normalize`.
const EPSILON: f32 = 1e-12;

/// Classes of `torch.nn` that sentence-transformers writes into the configuration of a Dense module.
const ACTIVATIONS: [(&str, Activation); 5] = [
    ("Tanh", Activation::Tanh),
    ("Identity", Activation::Identity),
    ("ReLU", Activation::Relu),
    ("GELU", Activation::Gelu),
    ("SiLU", Activation::Silu),
];

/// Hidden states to one vector a text, as the modules of a sentence-transformers model say.
#[derive(Debug)]
pub struct Sentence {
    pooling: Pooling,
    include_prompt: bool,
    dense: Vec<HostLinear>,
    normalize: bool,
}

/// How vectors are to differ from what the model's files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Instead of the model's.
    pub pooling: Option<Pooling>,
    /// `Some(true)`: vectors have unit length when all else is done. `Some(false)`: they are left as they are.
    /// `None`: as the model's files say, before they are cut.
    pub normalize: Option<bool>,
    /// Numbers of a vector, the first ones; `None` keeps all.
    pub truncate_dim: Option<usize>,
    /// Tokens at the beginning of each text that are not pooled.
    pub skip: usize,
}

impl Shape {
    /// This, where it says something, else what `other` says.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            pooling: self.pooling.or_else(|| other.pooling.clone()),
            normalize: self.normalize.or(other.normalize),
            truncate_dim: self.truncate_dim.or(other.truncate_dim),
            skip: self.skip,
        }
    }
}

impl Sentence {
    /// Loads what the model's files say behind an encoder with hidden states of `hidden` numbers.
    pub fn load(files: &ModelFiles, hidden: usize) -> Result<Self> {
        let config = files.sentence_config()?;
        let bad = |reason: String| Error::model(files.origin(), reason);
        let pooling = Pooling::from_name(&config.pooling).map_err(|e| bad(e.to_string()))?;
        let (mut width, mut dense) = (pooling.width(hidden), Vec::new());
        for layer in &config.dense {
            if layer.input != width {
                let DenseConfig { folder, input, .. } = layer;
                return Err(bad(format!(
                    "{folder}/config.json takes {input} numbers, what it gets has {width}; copy it again"
                )));
            }
            dense.push(linear(files, layer)?);
            width = layer.output;
        }
        let (normalize, include_prompt) = (config.normalize, config.include_prompt);
        Ok(Self { pooling, include_prompt, dense, normalize })
    }

    /// The model's pooling.
    #[must_use]
    pub fn pooling(&self) -> &Pooling {
        &self.pooling
    }

    /// Whether the model's files ask for vectors of unit length.
    #[must_use]
    pub fn normalize(&self) -> bool {
        self.normalize
    }

    /// Whether the tokens of a prompt are pooled too.
    #[must_use]
    pub fn include_prompt(&self) -> bool {
        self.include_prompt
    }

    /// Numbers of a vector.
    ///
    /// # Errors
    /// [`Error::Input`] for a pooling whose vectors the model's Dense layers do not take, and for a vector of no
    /// numbers, or of more than there are.
    pub fn width(&self, hidden: usize, shape: &Shape) -> Result<usize> {
        let pooling = shape.pooling.as_ref().unwrap_or(&self.pooling);
        let pooled = pooling.width(hidden);
        let expected = self.dense.first().map_or(pooled, HostLinear::input);
        if pooled != expected {
            return Err(Error::input(format!(
                "pooling '{}' gives {pooled} numbers, the model's Dense layer takes {expected}",
                pooling.name()
            )));
        }
        let whole = self.dense.last().map_or(pooled, HostLinear::output);
        match shape.truncate_dim {
            Some(dim) if dim == 0 || dim > whole => Err(Error::input(format!(
                "truncate_dim must be 1 to {whole}, the numbers of the model's vectors, not {dim}"
            ))),
            dim => Ok(dim.unwrap_or(whole)),
        }
    }

    /// The tokens whose hidden states are pooled, where they are one a text.
    #[must_use]
    pub fn looks_at(&self, batch: &Batch, shape: &Shape) -> Option<Vec<u32>> {
        let skip = if self.include_prompt { 0 } else { shape.skip };
        shape.pooling.as_ref().unwrap_or(&self.pooling).looks_at(batch, skip)
    }

    /// `hidden` (N, H), texts of `lengths` tokens behind each other, to vectors, (B, width).
    pub fn vectors(
        &self,
        hidden: &[f32],
        width: usize,
        lengths: &[usize],
        shape: &Shape,
    ) -> Result<Vec<f32>> {
        let wanted = self.width(width, shape)?;
        let pooling = shape.pooling.as_ref().unwrap_or(&self.pooling);
        let skip = if self.include_prompt { 0 } else { shape.skip };
        let mut vectors = pooling.pool(hidden, width, lengths, skip);
        for layer in &self.dense {
            vectors = layer.forward(&vectors)?;
        }
        let whole = vectors.len() / lengths.len().max(1);
        if shape.normalize.unwrap_or(self.normalize)
            && (wanted == whole || shape.normalize.is_none())
        {
            normalize(&mut vectors, whole);
        }
        if wanted < whole {
            vectors = vectors.chunks_exact(whole).flat_map(|row| &row[..wanted]).copied().collect();
            if shape.normalize == Some(true) {
                normalize(&mut vectors, wanted);
            }
        }
        Ok(vectors)
    }
}

fn linear(files: &ModelFiles, layer: &DenseConfig) -> Result<HostLinear> {
    let DenseConfig { folder, input, output, bias, activation: name } = layer;
    let found = ACTIVATIONS.iter().find(|(known, _)| known == name);
    let Some((_, activation)) = found else {
        let known: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
        let reason = format!(
            "{folder}/config.json has the activation {name}, which is not supported; {} are",
            known.join(", ")
        );
        return Err(Error::model(files.origin(), reason));
    };
    let data = files.module_weights(folder)?;
    let weights = Weights::new(files.origin(), &data);
    let backend = Cpu::default();
    let dense = Loader::new(&backend, &weights).dense("linear", *input, *output, *bias)?;
    HostLinear::new(&dense, *activation)
}

/// Scales rows of `width` numbers to unit length.
fn normalize(vectors: &mut [f32], width: usize) {
    for vector in vectors.chunks_exact_mut(width) {
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(EPSILON);
        for x in vector {
            *x /= norm;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_cut_and_scaled_as_asked() {
        let pooling = Pooling::from_name("cls").unwrap();
        let head = Sentence { pooling, include_prompt: true, dense: Vec::new(), normalize: true };
        let hidden = [3.0, 4.0, 0.0, 0.0]; // (2, 2)
        let of = |normalize, truncate_dim| {
            let shape = Shape { normalize, truncate_dim, ..Shape::default() };
            head.vectors(&hidden, 2, &[1, 1], &shape).unwrap()
        };
        assert_eq!(of(None, None), [0.6, 0.8, 0.0, 0.0]);
        assert_eq!(of(Some(false), None), hidden);
        assert_eq!(of(Some(true), None), [0.6, 0.8, 0.0, 0.0]);
        assert_eq!(of(None, Some(1)), [0.6, 0.0]);
        assert_eq!(of(Some(true), Some(1)), [1.0, 0.0]);
        assert_eq!(of(Some(false), Some(1)), [3.0, 0.0]);
        for wrong in [0, 3] {
            let shape = Shape { truncate_dim: Some(wrong), ..Shape::default() };
            assert!(head.vectors(&hidden, 2, &[1, 1], &shape).is_err());
        }
    }
}
