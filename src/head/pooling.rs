use crate::batch::Batch;
use crate::error::{Error, Result};

/// Smallest norm that a vector is divided by, as in `torch.nn.functional.normalize`.
const EPSILON: f32 = 1e-12;

/// One vector a text from the hidden states of its tokens.
///
/// Source: `sentence_transformers/models/Pooling.py` and `Normalize.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens, special ones included.
    Mean,
    /// The first token.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The last token.
    LastToken,
}

const NAMES: [(&str, Pooling); 4] = [
    ("mean", Pooling::Mean),
    ("cls", Pooling::Cls),
    ("max", Pooling::Max),
    ("lasttoken", Pooling::LastToken),
];

impl Pooling {
    /// Reads a name as sentence-transformers writes it.
    pub fn from_name(name: &str) -> Result<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, pooling)| *pooling).ok_or_else(
            || {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                Error::input(format!("pooling '{name}' is not supported; use {}", known.join(", ")))
            },
        )
    }

    /// The name that [`Pooling::from_name`] takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, pooling)| *pooling == self).map_or("mean", |(name, _)| name)
    }

    /// Pools `hidden` (N, H) into (B, H), in the order of the batch. Every text has a token.
    #[must_use]
    pub fn pool(self, hidden: &[f32], width: usize, batch: &Batch, normalize: bool) -> Vec<f32> {
        let mut pooled = Vec::with_capacity(batch.lengths.len() * width);
        let mut rest = hidden;
        for &length in &batch.lengths {
            let (text, after) = rest.split_at(length * width); // (T, H)
            rest = after;
            let start = pooled.len();
            match self {
                Self::Cls => pooled.extend_from_slice(&text[..width]),
                Self::LastToken => pooled.extend_from_slice(&text[(length - 1) * width..]),
                Self::Mean => {
                    pooled.resize(start + width, 0.0);
                    let sum = &mut pooled[start..];
                    for token in text.chunks_exact(width) {
                        for (s, x) in sum.iter_mut().zip(token) {
                            *s += x;
                        }
                    }
                    #[allow(clippy::cast_precision_loss)] // exact to 2^24 tokens
                    let count = length as f32;
                    for s in sum {
                        *s /= count;
                    }
                }
                Self::Max => {
                    pooled.resize(start + width, f32::NEG_INFINITY);
                    let most = &mut pooled[start..];
                    for token in text.chunks_exact(width) {
                        for (m, x) in most.iter_mut().zip(token) {
                            *m = m.max(*x);
                        }
                    }
                }
            }
            if normalize {
                let vector = &mut pooled[start..];
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(EPSILON);
                for x in vector {
                    *x /= norm;
                }
            }
        }
        pooled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[usize]) -> Batch {
        let total: usize = lengths.iter().sum();
        Batch {
            ids: vec![0; total],
            type_ids: vec![0; total],
            positions: vec![0; total],
            lengths: lengths.to_vec(),
            order: (0..lengths.len()).collect(),
            threads: 1,
        }
    }

    #[test]
    fn pools_each_text_alone() {
        let hidden = [1.0, 2.0, 3.0, 0.0, 5.0, 6.0]; // (3, 2): texts of 2 tokens and 1 token
        let batch = batch(&[2, 1]);
        let pool = |pooling: Pooling| pooling.pool(&hidden, 2, &batch, false);
        assert_eq!(pool(Pooling::Mean), [2.0, 1.0, 5.0, 6.0]);
        assert_eq!(pool(Pooling::Cls), [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(pool(Pooling::Max), [3.0, 2.0, 5.0, 6.0]);
        assert_eq!(pool(Pooling::LastToken), [3.0, 0.0, 5.0, 6.0]);
    }

    #[test]
    fn normalizes_to_unit_length() {
        let vectors = Pooling::Cls.pool(&[3.0, 4.0, 0.0, 0.0], 2, &batch(&[1, 1]), true);
        assert_eq!(vectors, [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn names_round_trip() {
        for (name, pooling) in NAMES {
            assert_eq!(Pooling::from_name(name).unwrap(), pooling);
            assert_eq!(pooling.name(), name);
        }
        assert!(Pooling::from_name("weightedmean").is_err());
    }
}
