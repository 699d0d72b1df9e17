use super::super::memory::Zeros;
use super::cache::prefetch;
use super::vocabulary::ID_BITS;

/// A slot of [`Pairs`] holds two ids and a rank.
const RANK_BITS: u32 = 64 - 2 * ID_BITS;
/// No merge: above every rank.
pub(super) const NONE: u32 = 1 << RANK_BITS;

/// Ids below this are those of the bytes, in most vocabularies.
const FIRST: u32 = 256;
/// Far more than chance needs; merges made to collide are left to the exact path.
const PROBES: usize = 512;

/// The rank of each pair that can be merged.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Of two ids below [`FIRST`], which every word begins with: at `left | right`.
    first: Box<[u32]>,
    /// Open addressing in slots of `left | right | rank`. One id at least is not below [`FIRST`], so none is 0.
    slots: Zeros<u64>,
    shift: u32,
}

impl Pairs {
    const FREE: u64 = 0;

    pub(super) fn with_capacity(pairs: usize) -> Self {
        let bits = (pairs * 3 / 2).next_power_of_two().trailing_zeros().max(4);
        let first = vec![NONE; (FIRST * FIRST) as usize].into_boxed_slice();
        Self { first, slots: Zeros::new(1 << bits, |count| vec![0; count]), shift: 64 - bits }
    }

    /// The last rank of a pair counts, as upstream. `None` where there is no place for it.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32) -> Option<()> {
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
    pub(super) fn prefetch(&self, left: u32, right: u32) {
        prefetch(&self.slots[self.home(Self::key(left, right))]);
    }

    /// The rank of a pair, or [`NONE`].
    #[inline]
    pub(super) fn rank(&self, left: u32, right: u32) -> u32 {
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
