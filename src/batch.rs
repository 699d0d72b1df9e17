//! Flat batches: texts of similar length side by side, no padding anywhere.

use std::cmp::Reverse;
use std::ops::Range;

use crate::tokenize::Tokens;

/// Tokens of some texts of a [`Tokens`], longest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `(N,)`.
    pub ids: Vec<u32>,
    /// Segment ids, `(N,)`.
    pub type_ids: Vec<u32>,
    /// Position of each token in its text, `(N,)`.
    pub positions: Vec<u32>,
    /// Tokens of each text, `(B,)`, descending.
    pub lengths: Vec<usize>,
    /// Index of each text in the [`Tokens`] that it came from, `(B,)`.
    pub order: Vec<usize>,
    /// Threads of the current pool that may share its work, at least 1. Results do not depend on it.
    pub threads: usize,
}

/// Texts of one length that lie next to each other in a [`Batch`]: they need no mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where their tokens lie in the batch.
    pub tokens: Range<usize>,
    /// How many texts.
    pub texts: usize,
    /// Tokens of each.
    pub length: usize,
}

#[allow(clippy::cast_possible_truncation)] // a batch has far fewer than 2^32 tokens
impl Batch {
    /// Where the texts begin, `(B,)`.
    #[must_use]
    pub fn first_tokens(&self) -> Vec<u32> {
        let begin = |end: &mut usize, length: &usize| {
            *end += length;
            Some((*end - length) as u32)
        };
        self.lengths.iter().scan(0, begin).collect()
    }

    /// Where the texts end, `(B,)`: they have tokens.
    #[must_use]
    pub fn last_tokens(&self) -> Vec<u32> {
        let end = |(first, &length): (u32, &usize)| first + length as u32 - 1;
        self.first_tokens().into_iter().zip(&self.lengths).map(end).collect()
    }

    /// Runs of texts of equal length, in order; they cover the batch.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut start = 0;
        for &length in &self.lengths {
            let end = start + length;
            match runs.last_mut() {
                Some(run) if run.length == length => {
                    run.texts += 1;
                    run.tokens.end = end;
                }
                _ => runs.push(Run { tokens: start..end, texts: 1, length }),
            }
            start = end;
        }
        runs
    }
}

/// Sorts the texts of `tokens` by length and packs them into batches of about `token_budget` tokens.
///
/// A text longer than the budget gets a batch of its own. Texts of equal length keep their order, so the
/// result depends on nothing but the lengths.
#[must_use]
pub fn pack(tokens: &Tokens, token_budget: usize) -> Vec<Batch> {
    let mut starts = Vec::with_capacity(tokens.len());
    let mut total = 0usize;
    for &length in &tokens.lengths {
        starts.push(total);
        total += length as usize;
    }
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|&text| Reverse(tokens.lengths[text]));

    let mut batches: Vec<Batch> = Vec::new();
    for text in order {
        let length = tokens.lengths[text] as usize;
        let full = batches.last().is_none_or(|batch| batch.ids.len() + length > token_budget);
        if full {
            batches.push(Batch {
                ids: Vec::new(),
                type_ids: Vec::new(),
                positions: Vec::new(),
                lengths: Vec::new(),
                order: Vec::new(),
                threads: 1,
            });
        }
        if let Some(batch) = batches.last_mut() {
            let span = starts[text]..starts[text] + length;
            batch.ids.extend_from_slice(&tokens.ids[span.clone()]);
            batch.type_ids.extend_from_slice(&tokens.type_ids[span]);
            batch.positions.extend(0..tokens.lengths[text]);
            batch.lengths.push(length);
            batch.order.push(text);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(lengths: &[u32]) -> Tokens {
        let total: u32 = lengths.iter().sum();
        Tokens {
            ids: (0..total).collect(),
            type_ids: vec![0; total as usize],
            lengths: lengths.to_vec(),
            ..Tokens::default()
        }
    }

    proptest! {
        #[test]
        fn packing_keeps_every_token_once(lengths in prop::collection::vec(0u32..40, 0..60), budget in 1usize..100) {
            let source = tokens(&lengths);
            let batches = pack(&source, budget);
            let mut seen: Vec<usize> = batches.iter().flat_map(|b| b.order.clone()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            let mut ids: Vec<u32> = batches.iter().flat_map(|b| b.ids.clone()).collect();
            ids.sort_unstable();
            prop_assert_eq!(ids, source.ids);
            for batch in &batches {
                prop_assert!(batch.ids.len() <= budget || batch.lengths.len() == 1);
                prop_assert!(batch.lengths.is_sorted_by(|a, b| a >= b));
                prop_assert_eq!(batch.positions.len(), batch.ids.len());
                let covered: usize = batch.runs().iter().map(|run| run.texts * run.length).sum();
                prop_assert_eq!(covered, batch.ids.len());
            }
        }
    }
}
