//! Activation functions.

use super::vector::{erf, exp, gelu_coarse};

/// What is applied to each number after its bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Identity,
    /// With the error function, as BERT's.
    Gelu,
    /// With the tanh approximation.
    GeluTanh,
    Relu,
    Silu,
    Tanh,
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

/// A function of single numbers, of a type of its own: a loop is compiled for each.
pub(super) trait Function: Copy {
    fn of(self, x: f32) -> f32;
}

/// A loop that takes its function as a type.
pub(super) trait WithFunction {
    fn call(self, function: impl Function);
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

    /// Runs `work` with the type of this function.
    #[inline(always)]
    pub(super) fn with(self, work: impl WithFunction) {
        match self {
            Self::Identity => work.call(Identity),
            Self::Gelu => work.call(Gelu),
            Self::GeluTanh => work.call(GeluTanh),
            Self::Relu => work.call(Relu),
            Self::Silu => work.call(Silu),
            Self::Tanh => work.call(Tanh),
        }
    }

    /// [`Activation::with`] for what is quantized to eight bits next: as near as that asks for.
    #[inline(always)]
    pub(super) fn with_coarse(self, work: impl WithFunction) {
        match self {
            Self::Gelu => work.call(GeluCoarse),
            other => other.with(work),
        }
    }
}

#[derive(Clone, Copy)]
struct Identity;
#[derive(Clone, Copy)]
struct Gelu;
#[derive(Clone, Copy)]
struct GeluCoarse;
#[derive(Clone, Copy)]
struct GeluTanh;
#[derive(Clone, Copy)]
struct Relu;
#[derive(Clone, Copy)]
struct Silu;
#[derive(Clone, Copy)]
struct Tanh;

impl Function for Identity {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        x
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
    }
}

impl Function for GeluCoarse {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        gelu_coarse(x)
    }
}

impl Function for GeluTanh {
    // 0.5 (1 + tanh(u)) = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        let u = 0.797_884_6 * x * (0.044_715 * x).mul_add(x, 1.0);
        x / (1.0 + exp(-2.0 * u))
    }
}

impl Function for Relu {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        x.max(0.0)
    }
}

impl Function for Silu {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }
}

impl Function for Tanh {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        2.0 / (1.0 + exp(-2.0 * x)) - 1.0
    }
}
