use std::borrow::Cow;
use std::fmt::Debug;

use candle_core::{DType, Device};
use serde_json::Value;

use super::family::{Act, Dense, FAMILIES, Family, Masked};
use super::spec::{Task, labels};
use crate::backend::{self, Activation, Backend, Candle, Cpu, Loader, Matrix, Weights};
use crate::batch::Batch;
use crate::device::{Precision, no_int8};
use crate::error::{Error, Result};
use crate::hub::ModelFiles;
use crate::model::{self, Architecture, Bounds, Sizes};

/// Distance from zero where a config says nothing.
const EPS: f32 = 1e-12;

/// Which hidden states a head looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    Tokens,
    First,
    Mean,
}

/// Hidden states to logits.
#[derive(Debug)]
pub struct Head<B: Backend> {
    pick: Pick,
    transform: Option<Transform<B>>,
    output: B::Linear,
    width: usize,
}

#[derive(Debug)]
struct Transform<B: Backend> {
    layer: B::Linear,
    activation: Activation,
    norm: Option<B::Norm>,
}

impl<B: Backend> Head<B> {
    /// Loads the head of a task.
    pub fn load(
        config: &Value,
        weights: &Loader<'_, B>,
        task: Task,
        hidden: usize,
    ) -> Result<Self> {
        let checkpoint = weights.weights();
        let model_type = model::model_type(config, checkpoint.origin())?;
        let Some(family) = family(model_type) else {
            return Err(checkpoint.bad(format!("there are no heads for model_type '{model_type}'")));
        };
        let at = Names { family, weights, config, hidden };
        at.check(task)?;
        let whole = |dense: &Dense| at.transform(dense, hidden).map(Some);
        let per_token = || family.token.as_ref().map_or(Ok(None), whole);
        let labels = labels(config);
        let (pick, transform, (output, width)) = match task {
            Task::SequenceClassification => {
                let output = at.labels(family.text_labels, labels)?;
                (at.pick()?, whole(&family.pooled)?, output)
            }
            Task::TokenClassification => {
                (Pick::Tokens, per_token()?, at.labels(family.token_labels, labels)?)
            }
            Task::QuestionAnswering => (Pick::Tokens, per_token()?, at.labels(family.spans, 2)?),
            Task::MaskedLm => {
                let (transform, output) = at.masked()?;
                (Pick::Tokens, Some(transform), output)
            }
        };
        Ok(Self { pick, transform, output, width })
    }

    /// The tokens whose hidden states the head looks at, where these are not all: the first ones of texts, or those
    /// of `only`.
    pub fn looks_at<'o>(&self, batch: &Batch, only: Option<&'o [u32]>) -> Option<Cow<'o, [u32]>> {
        match self.pick {
            Pick::Tokens => only.map(Cow::Borrowed),
            Pick::First => Some(Cow::Owned(batch.first_tokens())),
            Pick::Mean => None,
        }
    }

    /// The hidden states that it looks at to logits, a row a text or a token.
    pub fn forward(&self, pass: &B::Pass<'_>, hidden: &B::Rows) -> Result<B::Rows> {
        let mean = match self.pick {
            Pick::Mean => Some(B::mean(pass, hidden)?),
            Pick::First | Pick::Tokens => None,
        };
        let x = mean.as_ref().unwrap_or(hidden);
        let Some(Transform { layer, activation, norm }) = &self.transform else {
            return B::linear(pass, x, &self.output, Activation::Identity);
        };
        let mut x = B::linear(pass, x, layer, *activation)?;
        if let Some(norm) = norm {
            x = B::norm(pass, &x, norm)?;
        }
        B::linear(pass, &x, &self.output, Activation::Identity)
    }

    /// Logits in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
}

fn family(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
}

/// The tasks whose heads a checkpoint has.
pub fn tasks<B: Backend>(config: &Value, weights: &Loader<'_, B>) -> Result<Vec<Task>> {
    let family = family(model::model_type(config, weights.weights().origin())?);
    Ok(family.map_or_else(Vec::new, |family| Names { family, weights, config, hidden: 0 }.found()))
}

/// The last layer, and its width.
type Output<B> = (<B as Backend>::Linear, usize);

/// A head's tensors in a checkpoint.
struct Names<'l, 'w, B: Backend> {
    family: &'static Family,
    weights: &'l Loader<'w, B>,
    config: &'l Value,
    hidden: usize,
}

impl<B: Backend> Names<'_, '_, B> {
    fn bad(&self, reason: impl Into<String>) -> Error {
        self.weights.weights().bad(reason)
    }

    /// Fails with what the checkpoint has unless it has the head of `task`.
    fn check(&self, task: Task) -> Result<()> {
        let found = self.found();
        if found.contains(&task) {
            return Ok(());
        }
        let names: Vec<&str> = found.iter().map(|task| task.name()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let wanted = task.name();
        Err(self.bad(format!("it has no head for {wanted}; the heads that it has: {names}")))
    }

    fn found(&self) -> Vec<Task> {
        Task::ALL.into_iter().filter(|&task| self.is_there(task)).collect()
    }

    /// Whether the head's tensors are there. Some families call those of two tasks the same, and then
    /// what the config says decides.
    fn is_there(&self, task: Task) -> bool {
        let family = self.family;
        let has = |name: &str| self.weights.has(&format!("{name}.weight"));
        let there = match task {
            Task::SequenceClassification => {
                has(family.text_labels) && has(&self.full(family.pooled.name))
            }
            Task::TokenClassification => has(family.token_labels),
            Task::QuestionAnswering => has(family.spans),
            Task::MaskedLm => family.masked.iter().any(|masked| has(masked.dense.name)),
        };
        let classes = self.config["architectures"].as_array().map_or(&[][..], Vec::as_slice);
        let mut said = classes.iter().filter_map(Value::as_str).filter_map(Task::of_class);
        there && said.next().is_none_or(|first| first == task || said.any(|other| other == task))
    }

    /// A name with the encoder's prefix for its star.
    fn full(&self, name: &str) -> String {
        let Some(rest) = name.strip_prefix('*') else { return name.to_owned() };
        let weight = format!("{rest}.weight");
        let has = |prefix: &&&str| self.weights.has(&format!("{prefix}{weight}"));
        format!("{}{rest}", self.family.prefixes.iter().find(has).copied().unwrap_or_default())
    }

    fn pick(&self) -> Result<Pick> {
        match self.config["classifier_pooling"].as_str() {
            None | Some("cls") => Ok(Pick::First),
            Some("mean") => Ok(Pick::Mean),
            Some(other) => {
                let reason =
                    format!("classifier_pooling '{other}' is not supported; cls and mean are");
                Err(self.bad(reason))
            }
        }
    }

    fn linear(&self, name: &str, input: usize, output: usize) -> Result<B::Linear> {
        let bias = self.weights.has(&format!("{name}.bias"));
        self.weights.backend().pack_exact(&self.weights.dense(name, input, output, bias)?)
    }

    fn labels(&self, name: &str, count: usize) -> Result<Output<B>> {
        Bounds::LABELS.check("number of labels", count).map_err(|reason| self.bad(reason))?;
        Ok((self.linear(name, self.hidden, count)?, count))
    }

    fn transform(&self, dense: &Dense, output: usize) -> Result<Transform<B>> {
        let activation = match dense.activation {
            Act::Fixed(activation) => activation,
            Act::Config(field, default) => {
                let name = self.config[field].as_str().unwrap_or(default);
                model::activation(field, name).map_err(|reason| self.bad(reason))?
            }
        };
        let norm = dense.norm.map(|name| self.norm(name, output)).transpose()?;
        let layer = self.linear(&self.full(dense.name), self.hidden, output)?;
        Ok(Transform { layer, activation, norm })
    }

    fn norm(&self, name: &str, width: usize) -> Result<B::Norm> {
        let eps = ["layer_norm_eps", "norm_eps", "layer_norm_epsilon"]
            .iter()
            .find_map(|field| self.config[*field].as_f64());
        #[allow(clippy::cast_possible_truncation)] // computed with in float32
        let eps = eps.map_or(EPS, |eps| eps as f32);
        let has_bias =
            ["bias", "beta"].iter().any(|part| self.weights.has(&format!("{name}.{part}")));
        if has_bias {
            self.weights.layer_norm(name, width, eps)
        } else {
            self.weights.layer_norm_without_bias(name, width, eps)
        }
    }

    fn masked(&self) -> Result<(Transform<B>, Output<B>)> {
        let has = |masked: &&Masked| self.weights.has(&format!("{}.weight", masked.dense.name));
        let masked = self.family.masked.iter().find(has).unwrap_or(&self.family.masked[0]);
        let size = |field: &str| self.config[field].as_u64().and_then(|n| usize::try_from(n).ok());
        let wide = size("embedding_size").unwrap_or(self.hidden);
        let vocab = size("vocab_size").unwrap_or_default();
        Bounds::VOCAB.check("vocab_size", vocab).map_err(|reason| self.bad(reason))?;
        let words = self.full(&format!("*{}", self.family.words));
        let own = self.weights.has(masked.weight);
        let weight = if own { masked.weight.to_owned() } else { format!("{words}.weight") };
        let weight = Matrix::Tensors(vec![self.weights.tensor(&weight, &[vocab, wide])?]);
        let bias = masked.biases.iter().find(|name| self.weights.has(name));
        let bias = bias.map(|name| self.weights.values(name, &[vocab])).transpose()?;
        let output = backend::Dense { weight, bias, input: wide, output: vocab };
        let transform = self.transform(&masked.dense, wide)?;
        Ok((transform, (self.weights.backend().pack(&output)?, vocab)))
    }
}

/// An encoder with the head of a task.
pub trait TaskModel: Send + Sync + Debug {
    /// Hands logits to `read`, in float32, a row a text or a token; of tokens, those of `only` where it is given.
    fn logits(
        &self,
        batch: &Batch,
        only: Option<&[u32]>,
        read: &mut dyn FnMut(&[f32]),
    ) -> Result<()>;

    /// Logits in a row.
    fn width(&self) -> usize;

    /// What the encoder takes and gives.
    fn sizes(&self) -> Sizes;
}

/// The same on a backend.
#[derive(Debug)]
pub struct Model<B: Backend> {
    backend: B,
    encoder: Box<dyn Architecture<B>>,
    head: Head<B>,
}

impl<B: Backend> Model<B> {
    /// Loads encoder and head of a checkpoint.
    pub fn load(config: &Value, weights: &Weights<'_>, backend: B, task: Task) -> Result<Self> {
        let encoder = model::architecture(config, weights, &backend)?;
        let hidden = encoder.sizes().hidden;
        let head = Head::load(config, &Loader::new(&backend, weights), task, hidden)?;
        Ok(Self { backend, encoder, head })
    }
}

impl<B: Backend> TaskModel for Model<B> {
    fn logits(
        &self,
        batch: &Batch,
        only: Option<&[u32]>,
        read: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let pass = self.backend.pass(batch)?;
        let tokens = self.head.looks_at(batch, only);
        let hidden = self.encoder.forward(&pass, batch, tokens.as_deref())?;
        let logits = self.head.forward(&pass, &hidden)?;
        B::read(&pass, &logits, read)
    }

    fn width(&self) -> usize {
        self.head.width()
    }

    fn sizes(&self) -> Sizes {
        self.encoder.sizes()
    }
}

/// Loads a model with its head onto `device`, as [`model::load`] loads an encoder.
pub fn load(
    files: &ModelFiles,
    device: &Device,
    precision: Precision,
    task: Task,
) -> Result<Box<dyn TaskModel>> {
    let config = files.config()?;
    model::model_type(&config, files.origin())?;
    files.load_weights(|checkpoint| {
        let weights = Weights::new(files.origin(), checkpoint);
        Ok(match (device, precision) {
            (Device::Cpu, Precision::Float(DType::F32)) => {
                Box::new(Model::load(&config, &weights, Cpu::default(), task)?)
            }
            (Device::Cpu, Precision::Int8) => {
                Box::new(Model::load(&config, &weights, Cpu::int8(), task)?) as Box<dyn TaskModel>
            }
            (_, Precision::Int8) => return Err(no_int8(device)),
            (_, Precision::Float(dtype)) => {
                Box::new(Model::load(&config, &weights, Candle::new(device, dtype), task)?)
            }
        })
    })
}
