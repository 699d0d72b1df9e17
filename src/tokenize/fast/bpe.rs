//! Byte pair encoding: of all pairs that the vocabulary can merge the one of lowest rank, until none is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::definition::Text;
use super::pairs::{NONE, Pairs};
use super::vocabulary::Vocabulary;

/// Words of more symbols are merged with a heap.
pub(super) const SHORT: usize = 64;
/// Words that are merged at once: as many as there are reads that a processor waits for at once.
const LANES: usize = 12;

/// Merges that a load resolves together.
const TOGETHER: usize = 32;

/// The merges of a model.
#[derive(Debug)]
pub(super) struct Bpe {
    pairs: Pairs,
    merged: Merged,
}

/// What the merge of a rank makes.
#[derive(Debug)]
enum Merged {
    /// Tokens are numbered in the order of the merges, as in most vocabularies: the first of them.
    From(u32),
    Each(Vec<u32>),
}

impl Merged {
    fn new(ids: Vec<u32>) -> Self {
        match ids.first() {
            Some(&first) if ids.iter().zip(first..).all(|(&id, next)| id == next) => {
                Self::From(first)
            }
            _ => Self::Each(ids),
        }
    }

    #[inline]
    fn of(&self, rank: u32) -> u32 {
        match self {
            Self::From(first) => first + rank,
            Self::Each(ids) => ids[rank as usize],
        }
    }
}

/// What merging needs, kept for the next words.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) symbols: Vec<u32>,
    ranks: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    queue: BinaryHeap<Reverse<(u32, u32)>>,
    lanes: [Lane; LANES],
    left: Vec<u32>,
}

/// A word of few symbols on its way: looks through all pairs for each merge, and nothing is faster for few.
#[derive(Debug)]
struct Lane {
    symbols: [u32; SHORT],
    /// The rank of each symbol and the next above the place of the first: the lowest is the one to merge, the
    /// leftmost of its rank. `GONE` where nothing merges them.
    pairs: [u32; SHORT],
    next: [u8; SHORT],
    previous: [u8; SHORT],
    count: usize,
    /// The symbol that the last merge made: its pairs are yet to be ranked.
    made: usize,
}

const GONE: u32 = u32::MAX;

impl Default for Lane {
    fn default() -> Self {
        let (symbols, pairs, next, previous) = ([0; SHORT], [GONE; SHORT], [0; SHORT], [0; SHORT]);
        Self { symbols, pairs, next, previous, count: 0, made: SHORT }
    }
}

impl Lane {
    fn start(&mut self, symbols: &[u32], bpe: &Bpe) {
        self.count = symbols.len().min(SHORT);
        self.made = SHORT;
        let count = self.count;
        self.symbols[..count].copy_from_slice(&symbols[..count]);
        self.pairs[..count.next_multiple_of(8).min(SHORT)].fill(GONE);
        for at in 0..count {
            (self.next[at], self.previous[at]) = (at as u8 + 1, (at as u8).wrapping_sub(1));
        }
        for right in 1..count {
            self.pairs[right - 1] = self.pair(right - 1, right, bpe);
        }
    }

    #[inline]
    fn pair(&self, left: usize, right: usize, bpe: &Bpe) -> u32 {
        let rank = bpe.pairs.rank(self.symbols[left], self.symbols[right]);
        if rank == NONE { GONE } else { rank << 8 | left as u32 }
    }

    /// The symbols that stand before and after one; none is [`Lane::count`] or more.
    #[inline]
    fn beside(&self, at: usize) -> (usize, usize) {
        (usize::from(self.previous[at]), usize::from(self.next[at]))
    }

    /// Ranks the pairs of the symbol that the last merge made.
    #[inline]
    fn rank(&mut self, bpe: &Bpe) {
        if self.made < self.count {
            let (before, after) = self.beside(self.made);
            if after < self.count {
                self.pairs[self.made] = self.pair(self.made, after, bpe);
            }
            if before < self.count {
                self.pairs[before] = self.pair(before, self.made, bpe);
            }
        }
    }

    /// Merges the pair of lowest rank, and asks the memory for what [`Lane::rank`] will need; `false` if no pair
    /// is left.
    #[inline]
    fn merge(&mut self, bpe: &Bpe) -> bool {
        let pairs = &self.pairs[..self.count.next_multiple_of(8).min(SHORT)];
        let lowest = pairs.iter().copied().min().unwrap_or(GONE);
        if lowest == GONE {
            return false;
        }
        let left = (lowest & 0xff) as usize;
        let right = usize::from(self.next[left]);
        let after = usize::from(self.next[right]);
        let symbol = bpe.merged.of(lowest >> 8);
        self.symbols[left] = symbol;
        (self.pairs[left], self.pairs[right]) = (GONE, GONE);
        self.next[left] = after as u8;
        if after < self.count {
            self.previous[after] = left as u8;
            bpe.pairs.prefetch(symbol, self.symbols[after]);
        }
        let before = usize::from(self.previous[left]);
        if before < self.count {
            bpe.pairs.prefetch(self.symbols[before], symbol);
        }
        self.made = left;
        true
    }

    /// What is left.
    fn ids(&self) -> impl Iterator<Item = u32> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let id = self.symbols[..self.count].get(at)?;
            at = usize::from(self.next[at]);
            Some(*id)
        })
    }
}

impl Scratch {
    /// Gives back what is allocated beyond so many symbols.
    pub(super) fn shrink_to(&mut self, symbols: usize) {
        for kept in [&mut self.symbols, &mut self.ranks, &mut self.next, &mut self.previous] {
            kept.clear();
            kept.shrink_to(symbols);
        }
        self.queue.clear();
        self.queue.shrink_to(symbols);
    }
}

impl Bpe {
    /// Resolves merges; `None` if one has a token that is not known, or two that `allowed` does not allow.
    pub(super) fn new(
        vocabulary: &Vocabulary<'_>,
        merges: &[(Text<'_>, Text<'_>)],
        allowed: impl Fn(u32, u32) -> bool,
    ) -> Option<Self> {
        if merges.len() >= NONE as usize {
            return None;
        }
        let mut pairs = Pairs::with_capacity(merges.len());
        let mut merged = Vec::with_capacity(merges.len());
        let (mut id, mut rank) = (0, 0);
        let mut resolved = [(0, 0); TOGETHER];
        for merges in merges.chunks(TOGETHER) {
            // Tables of this size are out of every cache: a group waits for its places together.
            for (left, right) in merges {
                vocabulary.prefetch(left, right);
            }
            for ((left, right), ids) in merges.iter().zip(&mut resolved) {
                // Most vocabularies number their tokens in the order of the merges.
                id = vocabulary.joined(left, right, id + 1)?;
                merged.push(id);
                *ids = (vocabulary.id(left)?, vocabulary.id(right)?);
                pairs.prefetch(ids.0, ids.1);
            }
            for &(left, right) in &resolved[..merges.len()] {
                if !allowed(left, right) {
                    return None;
                }
                pairs.insert(left, right, rank)?;
                rank += 1;
            }
        }
        Some(Self { pairs, merged: Merged::new(merged) })
    }

    /// Merges `scratch.symbols` and appends what is left to `ids`.
    pub(super) fn merge(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        if scratch.symbols.len() <= SHORT {
            let lane = &mut scratch.lanes[0];
            lane.start(&scratch.symbols, self);
            while lane.merge(self) {
                lane.rank(self);
            }
            ids.extend(lane.ids());
        } else {
            self.merge_long(scratch, ids);
        }
    }

    /// Merges words a step of each in turn, so that while one waits for memory others go on.
    ///
    /// `next` gives the symbols of a word, at most [`SHORT`], and what it is called; `done` is told what is left.
    pub(super) fn merge_many<N>(
        &self,
        scratch: &mut Scratch,
        mut next: impl FnMut(&mut Vec<u32>) -> Option<N>,
        mut done: impl FnMut(N, &[u32]),
    ) {
        let Scratch { symbols, lanes, left, .. } = scratch;
        let mut names: [Option<N>; LANES] = [const { None }; LANES];
        let mut busy = 0;
        loop {
            let mut at = 0;
            while at < LANES {
                let lane = &mut lanes[at];
                if at < busy {
                    lane.rank(self);
                    if lane.merge(self) {
                        at += 1;
                        continue;
                    }
                    left.clear();
                    left.extend(lane.ids());
                    if let Some(name) = names[at].take() {
                        done(name, left);
                    }
                }
                symbols.clear();
                if let Some(name) = next(symbols) {
                    lane.start(symbols, self);
                    names[at] = Some(name);
                    busy = busy.max(at + 1);
                    at += 1;
                } else if at < busy {
                    // The last one takes its place.
                    busy -= 1;
                    lanes.swap(at, busy);
                    names.swap(at, busy);
                } else {
                    break;
                }
            }
            if busy == 0 {
                return;
            }
        }
    }

    /// Keeps the pairs in a heap: a word may be as long as a text.
    fn merge_long(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Scratch { symbols, ranks, next, previous, queue, .. } = scratch;
        let count = symbols.len() as u32;
        ranks.clear();
        ranks.extend(symbols.windows(2).map(|pair| self.pairs.rank(pair[0], pair[1])));
        ranks.push(NONE);
        next.clear();
        next.extend(1..=count);
        previous.clear();
        previous.extend((0..count).map(|at| at.wrapping_sub(1)));
        queue.clear();
        let pairs = (0..).zip(ranks.iter()).filter(|&(_, &rank)| rank != NONE);
        queue.extend(pairs.map(|(at, &rank)| Reverse((rank, at))));
        while let Some(Reverse((rank, at))) = queue.pop() {
            let left = at as usize;
            // The pair that was meant may be gone: merged away, or another since.
            if ranks[left] != rank {
                continue;
            }
            let right = next[left] as usize;
            symbols[left] = self.merged.of(rank);
            ranks[right] = NONE;
            let after = next[right];
            next[left] = after;
            ranks[left] = NONE;
            if after < count {
                previous[after as usize] = at;
                ranks[left] = self.pairs.rank(symbols[left], symbols[after as usize]);
                if ranks[left] != NONE {
                    queue.push(Reverse((ranks[left], at)));
                }
            }
            let before = previous[left];
            if before < count {
                let rank = self.pairs.rank(symbols[before as usize], symbols[left]);
                ranks[before as usize] = rank;
                if rank != NONE {
                    queue.push(Reverse((rank, before)));
                }
            }
        }
        let mut at = 0;
        while at < count {
            ids.push(symbols[at as usize]);
            at = next[at as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Merges of any two symbols that are there by then, each into a symbol of its own.
    fn merges() -> impl Strategy<Value = Bpe> {
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..60)
            .prop_flat_map(|pairs| (Just(pairs), any::<bool>()))
            .prop_map(|(chosen, in_order)| {
                let mut pairs = Pairs::with_capacity(chosen.len());
                let mut known = vec![97, 98, 99];
                let mut merged = Vec::new();
                for (rank, (left, right)) in (0..).zip(chosen) {
                    // Numbered in the order of the merges, or not.
                    let id = 300 + if in_order { rank } else { 100 - rank };
                    pairs.insert(*left.get(&known), *right.get(&known), rank).unwrap();
                    known.push(id);
                    merged.push(id);
                }
                Bpe { pairs, merged: Merged::new(merged) }
            })
    }

    proptest! {
        #[test]
        fn words_merge_alike_alone_side_by_side_and_in_the_heap(
            bpe in merges(),
            words in prop::collection::vec(prop::collection::vec(97..100_u32, 1..SHORT + 1), 0..40),
        ) {
            let mut scratch = Scratch::default();
            let mut expected = Vec::new();
            for word in &words {
                let mut alone = Vec::new();
                scratch.symbols.clone_from(word);
                bpe.merge(&mut scratch, &mut alone);
                let mut of_heap = Vec::new();
                scratch.symbols.clone_from(word);
                bpe.merge_long(&mut scratch, &mut of_heap);
                prop_assert_eq!(&alone, &of_heap);
                expected.push(of_heap);
            }
            let mut found = vec![Vec::new(); words.len()];
            let mut names = 0..words.len();
            let next = |symbols: &mut Vec<u32>| {
                let name = names.next()?;
                symbols.extend(&words[name]);
                Some(name)
            };
            bpe.merge_many(&mut scratch, next, |name, ids| found[name] = ids.to_vec());
            prop_assert_eq!(found, expected);
        }
    }
}
