//! Byte pair encoding: of all pairs that the vocabulary can merge the one of lowest rank, until none is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::definition::Text;
use super::super::memory::Zeros;
use super::cache::prefetch;
use super::vocabulary::{ID_BITS, Vocabulary};

/// A slot of [`Pairs`] holds two ids and a rank.
const RANK_BITS: u32 = 64 - 2 * ID_BITS;
/// No merge: above every rank.
const NONE: u32 = 1 << RANK_BITS;
/// Words of more symbols are merged with a heap.
const SHORT: usize = 64;

/// Ids below this are those of the bytes, in most vocabularies.
const FIRST: u32 = 256;
/// Far more than chance needs; merges made to collide are left to the exact path.
const PROBES: usize = 512;
/// Merges that a load resolves together.
const TOGETHER: usize = 32;

/// The rank of each pair that can be merged.
#[derive(Debug)]
struct Pairs {
    /// Of two ids below [`FIRST`], which every word begins with: at `left | right`.
    first: Box<[u32]>,
    /// Open addressing in slots of `left | right | rank`. One id at least is not below [`FIRST`], so none is 0.
    slots: Zeros<u64>,
    shift: u32,
}

impl Pairs {
    const FREE: u64 = 0;

    fn with_capacity(pairs: usize) -> Self {
        let bits = (pairs * 3 / 2).next_power_of_two().trailing_zeros().max(4);
        let first = vec![NONE; (FIRST * FIRST) as usize].into_boxed_slice();
        Self { first, slots: Zeros::new(1 << bits, |count| vec![0; count]), shift: 64 - bits }
    }

    /// The last rank of a pair counts, as upstream. `None` where there is no place for it.
    fn insert(&mut self, left: u32, right: u32, rank: u32) -> Option<()> {
        if left < FIRST && right < FIRST {
            self.first[(left * FIRST + right) as usize] = rank;
            return Some(());
        }
        let key = Self::key(left, right);
        let mask = self.slots.len() - 1;
        let home = self.home(key);
        let mut places = (home..home + PROBES).map(|at| at & mask);
        let at = places
            .find(|&at| self.slots[at] == Self::FREE || self.slots[at] >> RANK_BITS == key)?;
        self.slots[at] = key << RANK_BITS | u64::from(rank);
        Some(())
    }

    /// Asks the memory for what [`Pairs::insert`] of the same pair will need.
    fn prefetch(&self, left: u32, right: u32) {
        prefetch(&self.slots[self.home(Self::key(left, right))]);
    }

    /// The rank of a pair, or [`NONE`].
    #[inline]
    fn rank(&self, left: u32, right: u32) -> u32 {
        if left < FIRST && right < FIRST {
            return self.first[(left * FIRST + right) as usize];
        }
        let key = Self::key(left, right);
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        loop {
            let slot = self.slots[at & mask];
            if slot >> RANK_BITS == key {
                return slot as u32 & (NONE - 1);
            }
            if slot == Self::FREE {
                return NONE;
            }
            at += 1;
        }
    }

    #[inline]
    fn key(left: u32, right: u32) -> u64 {
        u64::from(left) << ID_BITS | u64::from(right)
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

/// The merges of a model.
#[derive(Debug)]
pub(super) struct Bpe {
    pairs: Pairs,
    /// What the merge of a rank makes.
    merged: Vec<u32>,
}

/// What a merge of one word needs, kept for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) symbols: Vec<u32>,
    ranks: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    queue: BinaryHeap<Reverse<(u32, u32)>>,
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
        Some(Self { pairs, merged })
    }

    /// Merges `scratch.symbols` and appends what is left to `ids`.
    pub(super) fn merge(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        if scratch.symbols.len() <= SHORT {
            self.merge_short(&mut scratch.symbols, ids);
        } else {
            self.merge_long(scratch, ids);
        }
    }

    /// Looks through all pairs for each merge: nothing is faster for few.
    ///
    /// A pair is its rank above its place, so that the lowest is the one to merge, the leftmost of its rank.
    fn merge_short(&self, symbols: &mut [u32], ids: &mut Vec<u32>) {
        const GONE: u32 = u32::MAX;
        let count = symbols.len();
        let pair = |symbols: &[u32], left: usize, right: usize| {
            let rank = self.pairs.rank(symbols[left], symbols[right]);
            if rank == NONE { GONE } else { rank << 8 | left as u32 }
        };
        let (mut pairs, mut next, mut previous) = ([GONE; SHORT], [0; SHORT], [0; SHORT]);
        for at in 0..count {
            (next[at], previous[at]) = (at as u8 + 1, (at as u8).wrapping_sub(1));
            if at > 0 {
                pairs[at - 1] = pair(symbols, at - 1, at);
            }
        }
        let used = count.next_multiple_of(8).min(SHORT);
        loop {
            let lowest = pairs[..used].iter().copied().min().unwrap_or(GONE);
            if lowest == GONE {
                break;
            }
            let left = (lowest & 0xff) as usize;
            let right = usize::from(next[left]);
            let after = usize::from(next[right]);
            symbols[left] = self.merged[(lowest >> 8) as usize];
            (pairs[left], pairs[right]) = (GONE, GONE);
            next[left] = after as u8;
            if after < count {
                previous[after] = left as u8;
                pairs[left] = pair(symbols, left, after);
            }
            let before = usize::from(previous[left]);
            if before < count {
                pairs[before] = pair(symbols, before, left);
            }
        }
        let mut at = 0;
        while at < count {
            ids.push(symbols[at]);
            at = usize::from(next[at]);
        }
    }

    /// Keeps the pairs in a heap: a word may be as long as a text.
    fn merge_long(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Scratch { symbols, ranks, next, previous, queue } = scratch;
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
            symbols[left] = self.merged[rank as usize];
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
