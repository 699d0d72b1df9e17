//! Byte pair encoding: of all pairs that the vocabulary can merge the one of lowest rank, until none is left.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::cache::ID_LIMIT;
use super::definition::{Model, Text};

/// A slot of [`Pairs`] holds two ids and a rank.
const ID_BITS: u32 = 20;
const RANK_BITS: u32 = 64 - 2 * ID_BITS;
/// No merge: above every rank.
const NONE: u32 = 1 << RANK_BITS;
/// Words of more symbols are merged with a heap.
const SHORT: usize = 64;

/// The tokens of a definition and their ids: what a load looks up.
#[derive(Debug)]
pub(super) struct Vocabulary<'a>(HashMap<&'a str, u32, BuildHasherDefault<TextHasher>>);

impl<'a> Vocabulary<'a> {
    /// `None` if the model is not one whose merges are upstream's: options that change them, or tokens that
    /// share a key or an id.
    pub(super) fn new(model: &'a Model<'_>) -> Option<Self> {
        let absent = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        let plain = model.kind == "BPE"
            && model.dropout.is_none()
            && absent(&model.continuing_subword_prefix)
            && absent(&model.end_of_word_suffix)
            && model.max_input_chars_per_word.is_none()
            && model.unk_id.is_none();
        let tokens = model.vocab.ids().filter(|_| plain)?;
        let limit = ID_LIMIT.min(1 << ID_BITS);
        let mut seen = vec![false; 1 << ID_BITS];
        let mut ids = HashMap::with_capacity_and_hasher(tokens.len(), BuildHasherDefault::default());
        for (text, id) in tokens {
            let taken = *id >= limit || std::mem::replace(&mut seen[*id as usize], true);
            if taken || ids.insert(&**text, *id).is_some() {
                return None;
            }
        }
        Some(Self(ids))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.0.get(token).copied()
    }

    /// Resolves merges; `None` if one has a token that is not known.
    pub(super) fn merges(&self, merges: &[(Text<'_>, Text<'_>)]) -> Option<Bpe> {
        if merges.len() >= NONE as usize {
            return None;
        }
        let mut pairs = Pairs::with_capacity(merges.len());
        let mut merged = Vec::with_capacity(merges.len());
        let mut token = String::new();
        for (rank, (left, right)) in (0..).zip(merges) {
            token.clear();
            token.push_str(left);
            token.push_str(right);
            pairs.insert(self.id(left)?, self.id(right)?, rank);
            merged.push(self.id(&token)?);
        }
        Some(Bpe { pairs, merged })
    }
}

/// Hashes bytes, eight at a time. Keys are a model file's, whose author gains nothing by collisions.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        product as u64 ^ (product >> 64) as u64
    };
    let mut chunks = bytes.chunks_exact(8);
    let mut state = bytes.len() as u64 ^ 0xd1b5_4a32_d192_ed03;
    for chunk in &mut chunks {
        state = fold(state, u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    fold(state, u64::from_le_bytes(last))
}

/// [`hash`] for a map of strings.
#[derive(Debug, Default)]
struct TextHasher(u64);

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    /// The mark that ends a string, whose length is hashed already.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The rank of each pair that can be merged: open addressing in slots of `left | right | rank`.
#[derive(Debug)]
struct Pairs {
    slots: Box<[u64]>,
    shift: u32,
}

impl Pairs {
    const FREE: u64 = u64::MAX;

    fn with_capacity(pairs: usize) -> Self {
        let bits = (pairs * 2).next_power_of_two().trailing_zeros().max(4);
        Self { slots: vec![Self::FREE; 1 << bits].into_boxed_slice(), shift: 64 - bits }
    }

    /// The last rank of a pair counts, as upstream.
    fn insert(&mut self, left: u32, right: u32, rank: u32) {
        let key = Self::key(left, right);
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        while self.slots[at] != Self::FREE && self.slots[at] >> RANK_BITS != key {
            at = (at + 1) & mask;
        }
        self.slots[at] = key << RANK_BITS | u64::from(rank);
    }

    /// The rank of a pair, or [`NONE`].
    #[inline]
    fn rank(&self, left: u32, right: u32) -> u32 {
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
    /// Merges `scratch.symbols` and appends what is left to `ids`.
    pub(super) fn merge(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let count = scratch.symbols.len();
        scratch.ranks.clear();
        let pairs = scratch.symbols.windows(2).map(|pair| self.pairs.rank(pair[0], pair[1]));
        scratch.ranks.extend(pairs);
        scratch.ranks.push(NONE);
        if count <= SHORT {
            self.merge_short(scratch, ids);
        } else {
            self.merge_long(scratch, ids);
        }
    }

    /// Looks through all ranks for each merge: nothing is faster for few.
    fn merge_short(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Scratch { symbols, ranks, .. } = scratch;
        loop {
            let lowest = ranks.iter().copied().min().unwrap_or(NONE);
            if lowest == NONE {
                break;
            }
            let Some(at) = ranks.iter().position(|&rank| rank == lowest) else { break };
            symbols[at] = self.merged[lowest as usize];
            symbols.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.pairs.rank(symbols[at - 1], symbols[at]);
            }
            if at + 1 < symbols.len() {
                ranks[at] = self.pairs.rank(symbols[at], symbols[at + 1]);
            }
        }
        ids.extend_from_slice(symbols);
    }

    /// Keeps the pairs in a heap: a word may be as long as a text.
    fn merge_long(&self, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Scratch { symbols, ranks, next, previous, queue } = scratch;
        let count = symbols.len() as u32;
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
