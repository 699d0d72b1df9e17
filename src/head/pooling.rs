use crate::batch::Batch;
use crate::error::{Error, Result};

/// How hidden states of a text's tokens become one vector.
///
/// Source: `sentence_transformers/sentence_transformer/modules/pooling.py`, 6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The mean over all tokens, special ones included.
    Mean,
    /// The first token.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The last token.
    LastToken,
    /// The sum over all tokens, divided by the root of their number.
    MeanSqrtLen,
    /// The mean over all tokens, weighted by their positions, which count from 1.
    WeightedMean,
}

const NAMES: [(&str, Mode); 6] = [
    ("mean", Mode::Mean),
    ("cls", Mode::Cls),
    ("max", Mode::Max),
    ("lasttoken", Mode::LastToken),
    ("mean_sqrt_len_tokens", Mode::MeanSqrtLen),
    ("weightedmean", Mode::WeightedMean),
];

/// Modes whose vectors are put behind each other: mostly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooling(Vec<Mode>);

impl Pooling {
    /// Reads names as sentence-transformers writes them, joined by `+`.
    pub fn from_name(name: &str) -> Result<Self> {
        let modes = name.split('+').map(|part| {
            NAMES.iter().find(|(known, _)| *known == part).map(|(_, mode)| *mode).ok_or_else(|| {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                let known = known.join(", ");
                Error::input(format!(
                    "pooling '{part}' is not supported; use {known}, or several joined by '+'"
                ))
            })
        });
        modes.collect::<Result<_>>().map(Self)
    }

    /// The name that [`Pooling::from_name`] takes.
    #[must_use]
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|mode| mode.name()).collect();
        names.join("+")
    }

    /// Numbers of a vector, of hidden states of `width`.
    #[must_use]
    pub fn width(&self, width: usize) -> usize {
        self.0.len() * width
    }

    /// The one token of each text that is looked at, where that is all: the others' states are not needed then.
    #[must_use]
    pub fn looks_at(&self, batch: &Batch, skip: usize) -> Option<Vec<u32>> {
        match (&self.0[..], skip) {
            ([Mode::Cls], 0) => Some(batch.first_tokens()),
            ([Mode::LastToken], 0) => Some(batch.last_tokens()),
            _ => None,
        }
    }

    /// Pools `hidden` (N, H), texts of `lengths` tokens behind each other, into (B, modes H). Every text has a
    /// token; of each, the first `skip` have no part in it.
    #[must_use]
    pub fn pool(&self, hidden: &[f32], width: usize, lengths: &[usize], skip: usize) -> Vec<f32> {
        let mut pooled = vec![0.0; lengths.len() * self.width(width)];
        let mut rest = hidden;
        let mut places = pooled.chunks_exact_mut(width);
        for &length in lengths {
            let (text, after) = rest.split_at(length * width); // (T, H)
            rest = after;
            for (&mode, place) in self.0.iter().zip(places.by_ref().take(self.0.len())) {
                mode.pool(text, skip.min(length), place);
            }
        }
        pooled
    }
}

impl Mode {
    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, mode)| *mode == self).map_or("mean", |(name, _)| name)
    }

    /// `text` (T, H), without its first `skip` tokens, into `place` (H,), which is zero. Where nothing is left,
    /// there it stays, but for the first token, which upstream takes then.
    #[allow(clippy::cast_precision_loss)] // exact to 2^24 tokens
    fn pool(self, text: &[f32], skip: usize, place: &mut [f32]) {
        let width = place.len();
        let tokens = &text[skip * width..];
        let count = tokens.len() / width;
        if count == 0 {
            if self == Self::Cls {
                place.copy_from_slice(&text[..width]);
            }
            return;
        }
        match self {
            Self::Cls => place.copy_from_slice(&tokens[..width]),
            Self::LastToken => place.copy_from_slice(&tokens[(count - 1) * width..]),
            Self::Mean => summed(tokens, place, count as f32),
            Self::MeanSqrtLen => summed(tokens, place, (count as f32).sqrt()),
            Self::WeightedMean => {
                let weights = skip + 1..=skip + count;
                for (token, weight) in tokens.chunks_exact(width).zip(weights.clone()) {
                    for (s, x) in place.iter_mut().zip(token) {
                        *s += x * weight as f32;
                    }
                }
                let total = weights.sum::<usize>() as f32;
                for s in place {
                    *s /= total;
                }
            }
            Self::Max => {
                place.copy_from_slice(&tokens[..width]);
                for token in tokens.chunks_exact(width) {
                    for (m, x) in place.iter_mut().zip(token) {
                        *m = m.max(*x);
                    }
                }
            }
        }
    }
}

/// The sum of rows, divided.
fn summed(tokens: &[f32], place: &mut [f32], divisor: f32) {
    for token in tokens.chunks_exact(place.len()) {
        for (s, x) in place.iter_mut().zip(token) {
            *s += x;
        }
    }
    for s in place {
        *s /= divisor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: [f32; 6] = [1.0, 2.0, 3.0, 0.0, 5.0, 6.0]; // (3, 2): texts of 2 tokens and 1 token

    fn pool(name: &str, skip: usize) -> Vec<f32> {
        Pooling::from_name(name).unwrap().pool(&HIDDEN, 2, &[2, 1], skip)
    }

    #[test]
    fn pools_each_text_alone() {
        assert_eq!(pool("mean", 0), [2.0, 1.0, 5.0, 6.0]);
        assert_eq!(pool("cls", 0), [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(pool("max", 0), [3.0, 2.0, 5.0, 6.0]);
        assert_eq!(pool("lasttoken", 0), [3.0, 0.0, 5.0, 6.0]);
        let root = 2.0f32.sqrt();
        assert_eq!(pool("mean_sqrt_len_tokens", 0), [4.0 / root, 2.0 / root, 5.0, 6.0]);
        assert_eq!(pool("weightedmean", 0), [7.0 / 3.0, 2.0 / 3.0, 5.0, 6.0]);
        assert_eq!(pool("cls+max", 0), [1.0, 2.0, 3.0, 2.0, 5.0, 6.0, 5.0, 6.0]);
    }

    #[test]
    fn leaves_out_what_is_skipped() {
        for name in ["mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"] {
            assert_eq!(pool(name, 1), [3.0, 0.0, 0.0, 0.0], "{name}");
        }
        assert_eq!(pool("cls", 1), [3.0, 0.0, 5.0, 6.0]);
    }

    #[test]
    fn names_round_trip() {
        for (name, mode) in NAMES {
            assert_eq!(Pooling::from_name(name).unwrap(), Pooling(vec![mode]));
            assert_eq!(mode.name(), name);
        }
        assert_eq!(Pooling::from_name("cls+mean").unwrap().name(), "cls+mean");
        for wrong in ["median", "", "cls+", "cls, mean"] {
            assert!(Pooling::from_name(wrong).is_err(), "{wrong}");
        }
    }
}
