//! What words became, remembered: text repeats its words, so most cost one look-up.
//!
//! Bounded by construction: fixed tables, where a new word takes the place of an older one. Endless new words
//! cost time, never memory. A cache belongs to one task at a time (see `Pool`), so it needs no lock.

use std::fmt;
use std::sync::Mutex;

use super::super::memory::Zeros;

/// Longest word, in bytes, that a short entry holds.
pub(super) const SHORT: usize = 15;
/// Longest word, in bytes, that a long entry holds.
pub(super) const LONG: usize = 39;
/// Most ids that a short and a long entry hold.
const SHORT_IDS: usize = 4;
/// Stands for their number in the short entry of a word that has more: those are in a long one.
const MORE: u128 = 7;
const LONG_IDS: usize = 22;

const SHORT_BITS: u32 = 15;
const LONG_BITS: u32 = 14;

/// Where the number of ids stands in an entry's key, above the number of bytes.
const COUNT: u32 = 124;

/// Ids must be below this, so that a long entry has room for their number.
pub(super) const ID_LIMIT: u32 = 1 << ID_BITS;
const ID_BITS: u32 = 27;

/// Words and their ids. Words of up to [`SHORT`] bytes are keyed by value, see [`key`].
///
/// A short entry is two numbers. The key: up to 15 bytes, and in the highest byte their number, and above it
/// that of the ids (7 if a long entry has them); the highest bit is the caller's and tells apart what would be the
/// same word. Then four ids.
/// Two entries share a line of the processor's cache; the newer is first.
///
/// A long entry is eight numbers, 128 bytes: a key of 40, which ends with its length, and 22 ids, with their
/// number in the highest bits of the first. A key of 0 is no entry.
pub(super) struct Cache {
    short: Table<4, SHORT_BITS>,
    long: Table<8, LONG_BITS>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { short: Table::new(), long: Table::new() }
    }
}

/// 2^`BITS` lines of `N` numbers, each at the beginning of a line of the processor's cache.
struct Table<const N: usize, const BITS: u32>(Zeros<u128>);

impl<const N: usize, const BITS: u32> Table<N, BITS> {
    fn new() -> Self {
        Self(Zeros::new(N << BITS, |count| vec![0; count]))
    }

    /// The line of a hash.
    #[inline]
    fn line(&self, hash: u64) -> &[u128; N] {
        &self.0.as_chunks().0[(hash >> (64 - BITS)) as usize]
    }

    fn line_mut(&mut self, hash: u64) -> &mut [u128; N] {
        &mut self.0.as_chunks_mut().0[(hash >> (64 - BITS)) as usize]
    }
}

/// The four ids that a number holds.
#[inline]
fn unpacked(number: u128) -> [u32; 4] {
    [number as u32, (number >> 32) as u32, (number >> 64) as u32, (number >> 96) as u32]
}

#[inline]
fn packed(ids: &[u32]) -> u128 {
    ids.iter().rev().fold(0, |number, &id| number << 32 | u128::from(id))
}

/// The key of a word of 1 to [`SHORT`] bytes.
#[inline]
pub(super) fn key(word: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..word.len()].copy_from_slice(word);
    key_of(bytes, word.len())
}

/// The key of the first `length` (1 to [`SHORT`]) of these bytes.
#[inline]
pub(super) fn key_of(bytes: [u8; 16], length: usize) -> u128 {
    // A table: shifts of 128 bits take longer.
    const KEPT: [u128; 16] = {
        let mut kept = [0; 16];
        let mut length = 1;
        while length < 16 {
            kept[length] = u128::MAX >> (128 - 8 * length);
            length += 1;
        }
        kept
    };
    u128::from_le_bytes(bytes) & KEPT[length & 15] | (length as u128) << 120
}

/// The key of the `length` (1 to [`SHORT`]) bytes at `start`: one load where 16 bytes are there to be read.
#[inline]
pub(super) fn key_at(text: &[u8], start: usize, length: usize) -> u128 {
    match text.get(start..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => key_of(*bytes, length),
        None => key(&text[start..start + length]),
    }
}

impl Cache {
    /// Appends the ids of the word with this key; `false` where it is not known.
    #[inline]
    pub(super) fn append_short(&self, key: u128, ids: &mut Vec<u32>) -> bool {
        let Some((entry, found)) = self.short(key) else { return false };
        let count = entry >> COUNT & 7;
        if count == MORE {
            let bytes = key.to_le_bytes();
            return self.append_long(&bytes[..usize::from(bytes[15] & 0xf)], ids);
        }
        // All of them and back: one store, and no branch on how many there are.
        let length = ids.len() + count as usize;
        ids.extend_from_slice(&unpacked(found));
        ids.truncate(length);
        true
    }

    /// The entry of a key, with its number of ids, and the ids.
    #[inline]
    fn short(&self, key: u128) -> Option<(u128, u128)> {
        let [newer, newer_ids, older, older_ids] = *self.short.line(short_hash(key));
        let same = |entry: u128| (entry ^ key) & !(7 << COUNT) == 0;
        if same(newer) {
            Some((newer, newer_ids))
        } else {
            same(older).then_some((older, older_ids))
        }
    }

    /// Whether the word with this key is known.
    pub(super) fn has_short(&self, key: u128) -> bool {
        self.short(key).is_some()
    }

    /// Whether a word of more than [`SHORT`] bytes is known.
    pub(super) fn has_long(&self, word: &[u8]) -> bool {
        long_key(word).is_some_and(|key| is_of(self.long.line(long_hash(key)), key))
    }

    /// Asks the memory for what a look-up of this key will need.
    #[inline]
    pub(super) fn prefetch_short(&self, key: u128) {
        prefetch(self.short.line(short_hash(key)));
    }

    /// As [`Cache::prefetch_short`], for a word of more than [`SHORT`] bytes.
    pub(super) fn prefetch_long(&self, word: &[u8]) {
        if let Some(key) = long_key(word) {
            prefetch(self.long.line(long_hash(key)));
        }
    }

    /// Appends the ids of `word`; `false` where it is not known.
    #[inline]
    pub(super) fn append(&self, word: &[u8], ids: &mut Vec<u32>) -> bool {
        if (1..=SHORT).contains(&word.len()) {
            self.append_short(key(word), ids)
        } else {
            self.append_long(word, ids)
        }
    }

    /// As [`Cache::append`], of the word from `start` to `end`.
    #[inline]
    pub(super) fn append_at(
        &self,
        text: &[u8],
        start: usize,
        end: usize,
        ids: &mut Vec<u32>,
    ) -> bool {
        if end - start <= SHORT {
            self.append_short(key_at(text, start, end - start), ids)
        } else {
            self.append_long(&text[start..end], ids)
        }
    }

    /// As [`Cache::append`], of a word of more than [`SHORT`] bytes.
    pub(super) fn append_long(&self, word: &[u8], ids: &mut Vec<u32>) -> bool {
        let Some(key) = long_key(word) else { return false };
        let line = self.long.line(long_hash(key));
        let known = is_of(line, key);
        if known {
            let head = unpacked(line[2] >> 64);
            let length = ids.len() + (head[0] >> ID_BITS) as usize;
            ids.extend_from_slice(&[head[0] & (ID_LIMIT - 1), head[1]]);
            for &number in &line[3..] {
                if ids.len() >= length {
                    break;
                }
                ids.extend_from_slice(&unpacked(number));
            }
            ids.truncate(length);
        }
        known
    }

    /// Remembers what the word with this key became, if there is room for its ids.
    pub(super) fn put_short(&mut self, key: u128, ids: &[u32]) {
        let entry = if ids.len() <= SHORT_IDS {
            [key | (ids.len() as u128) << COUNT, packed(ids)]
        } else {
            let bytes = key.to_le_bytes();
            // A long entry has no bit of the caller's.
            if key >> 127 == 1 || !self.put_long(&bytes[..usize::from(bytes[15] & 0xf)], ids) {
                return;
            }
            [key | MORE << COUNT, 0]
        };
        let line = self.short.line_mut(short_hash(key));
        *line = [entry[0], entry[1], line[0], line[1]];
    }

    /// Remembers what `word` became, if there is room for both.
    pub(super) fn put(&mut self, word: &[u8], ids: &[u32]) {
        if (1..=SHORT).contains(&word.len()) {
            self.put_short(key(word), ids);
        } else {
            self.put_long(word, ids);
        }
    }

    fn put_long(&mut self, word: &[u8], ids: &[u32]) -> bool {
        let Some(key) = long_key(word).filter(|_| (1..=LONG_IDS).contains(&ids.len())) else {
            return false;
        };
        let line = self.long.line_mut(long_hash(key));
        let mut kept = [0; LONG_IDS];
        kept[..ids.len()].copy_from_slice(ids);
        kept[0] |= (ids.len() as u32) << ID_BITS;
        *line = [key[0], key[1], key[2] | packed(&kept[..2]) << 64, 0, 0, 0, 0, 0];
        for (number, ids) in line[3..].iter_mut().zip(kept[2..].chunks(4)) {
            *number = packed(ids);
        }
        true
    }
}

/// Whether a long entry is that of a key.
#[inline]
fn is_of(line: &[u128; 8], key: [u128; 3]) -> bool {
    line[0] == key[0] && line[1] == key[1] && line[2] as u64 == key[2] as u64
}

/// Hashes without the number of ids, which a look-up does not know: it is 0 in a key that comes from outside.
#[inline]
fn short_hash(key: u128) -> u64 {
    let (low, high) = (key as u64, (key >> 64) as u64);
    mix(low ^ 0x9e37_79b9_7f4a_7c15, high ^ 0xd1b5_4a32_d192_ed03)
}

/// 40 bytes: the word, zeros and its length.
fn long_key(word: &[u8]) -> Option<[u128; 3]> {
    let mut bytes = [0; 48];
    bytes.get_mut(..word.len()).filter(|_| (1..=LONG).contains(&word.len()))?.copy_from_slice(word);
    bytes[LONG] = word.len() as u8;
    let mut key = [0; 3];
    for (number, bytes) in key.iter_mut().zip(bytes.as_chunks().0) {
        *number = u128::from_le_bytes(*bytes);
    }
    Some(key)
}

fn long_hash([a, b, c]: [u128; 3]) -> u64 {
    let head = mix(a as u64 ^ 0x9e37_79b9_7f4a_7c15, (a >> 64) as u64 ^ 0xd1b5_4a32_d192_ed03);
    let tail =
        mix(b as u64 ^ 0x8ebc_6af0_9c88_c6e3, (b >> 64) as u64 ^ c as u64 ^ 0x5895_b2a5_4f3b_7c21);
    mix(head ^ tail, 0x9e37_79b9_7f4a_7c15)
}

/// Both halves of a 128-bit product, folded.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Asks for memory that is soon to be read or written.
#[inline]
pub(super) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch changes nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Values that tasks borrow, one task at a time: as many as run at once, at most `SLOTS` kept.
///
/// A slot is only ever tried, never waited for. So no task blocks another, and a child forked while
/// another thread held a slot makes a new value instead of waiting for a thread that it does not have.
pub(super) struct Pool<T>([Mutex<Option<Box<T>>>; SLOTS]);

const SLOTS: usize = 64;

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(None)))
    }
}

impl<T: Default> Pool<T> {
    /// Runs `work` with a value of this pool. A value that a panic unwound through is dropped.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let kept = self.0.iter().find_map(|slot| slot.try_lock().ok()?.take());
        let mut value = kept.unwrap_or_default();
        let result = work(&mut value);
        let mut value = Some(value);
        for slot in &self.0 {
            if let Ok(mut slot) = slot.try_lock()
                && slot.is_none()
            {
                *slot = value.take();
                break;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_put() {
        let mut cache = Cache::default();
        let mut word: Vec<u8> = (1..=60).collect();
        for length in 1..=60 {
            for count in 0..=30 {
                let ids: Vec<u32> = (0..count).map(|id| id * 1000 + length as u32).collect();
                word[0] = count as u8 + 1;
                cache.put(&word[..length], &ids);
                let mut found = vec![7];
                if cache.append(&word[..length], &mut found) {
                    assert_eq!(found[1..], ids, "{length} bytes, {count} ids");
                }
                let fits = length <= LONG && count <= 22 && (count > 0 || length <= SHORT);
                assert!(!fits || found.len() == ids.len() + 1, "{length} bytes, {count} ids");
            }
        }
    }

    #[test]
    fn keys_tell_words_apart() {
        let mut text = [b'x'; 40];
        text[..3].copy_from_slice(b"abc");
        assert_eq!(key_at(&text, 0, 3), key(b"abc"));
        assert_eq!(key_at(b"abc", 0, 3), key(b"abc"));
        assert_ne!(key(b"abc"), key(b"abc\0"));
        assert_ne!(long_key(&[0; 16]), long_key(&[0; 17]));
    }

    #[test]
    fn a_pool_lends_a_value_once() {
        let pool = Pool::<Vec<u8>>::default();
        pool.with(|outer| {
            outer.push(1);
            pool.with(|inner| assert!(inner.is_empty()));
        });
        pool.with(|kept| pool.with(|other| assert_eq!(kept.len() + other.len(), 1)));
    }
}
