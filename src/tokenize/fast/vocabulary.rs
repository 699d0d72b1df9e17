use super::super::definition::{Model, Text};
use super::cache::{ID_LIMIT, SHORT, key, prefetch};

/// Ids of BPE models are below this, so that two of them and a rank fit one word (see `bpe`).
pub(super) const ID_BITS: u32 = 20;
const _: () = assert!(1 << ID_BITS <= ID_LIMIT);

/// The tokens of a BPE definition by text and by id: what a load looks up.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    by_id: Vec<Option<&'a str>>,
    count: usize,
    /// Open addressing.
    slots: Box<[Slot]>,
    shift: u32,
}

/// Short tokens by value: a look-up then needs one place of memory, where it costs most.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Key,
    id: u32,
}

/// Up to 15 bytes and their number, or a hash and [`LONG`]; in halves, so that a slot has 24 bytes.
type Key = [u64; 2];
const FREE: Key = [0; 2];
const LONG: u64 = u64::MAX;

/// Far more than chance needs; a vocabulary made to collide is left to the exact path.
const PROBES: usize = 512;

impl<'a> Vocabulary<'a> {
    /// `None` if the model's merges are not upstream's plain ones, or if two tokens share a text or an id.
    pub(super) fn new(model: &'a Model<'_>) -> Option<Self> {
        let absent = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        let plain = model.kind == "BPE"
            && model.dropout.is_none()
            && absent(&model.continuing_subword_prefix)
            && absent(&model.end_of_word_suffix)
            && model.max_input_chars_per_word.is_none()
            && model.unk_id.is_none();
        Self::of(model.vocab.ids().filter(|_| plain)?)
    }

    fn of(tokens: &'a [(Text<'_>, u32)]) -> Option<Self> {
        let bits = (tokens.len() * 2).next_power_of_two().trailing_zeros().max(4);
        let slots = vec![Slot { key: FREE, id: 0 }; 1 << bits].into_boxed_slice();
        let by_id = Vec::with_capacity(tokens.len());
        let mut vocabulary = Self { by_id, count: tokens.len(), slots, shift: 64 - bits };
        for (text, id) in tokens {
            vocabulary.insert(text, *id)?;
        }
        Some(vocabulary)
    }

    fn insert(&mut self, text: &'a str, id: u32) -> Option<()> {
        let index = id as usize;
        if text.is_empty() || id >= 1 << ID_BITS {
            return None;
        }
        if self.by_id.len() <= index {
            self.by_id.resize(index + 1, None);
        }
        let key = key_of(text);
        let (found, at) = self.find(text, key);
        if at.wrapping_sub(self.home(key)) & (self.slots.len() - 1) > PROBES
            || found.is_some()
            || self.by_id[index].replace(text).is_some()
        {
            return None;
        }
        self.slots[at] = Slot { key, id };
        Some(())
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        if text.is_empty() { None } else { self.find(text, key_of(text)).0 }
    }

    /// The id of `left` and `right` put together, which `guess` may be.
    pub(super) fn joined(&self, left: &str, right: &str, guess: u32) -> Option<u32> {
        let rest = self.by_id.get(guess as usize).copied().flatten();
        if rest.and_then(|text| text.strip_prefix(left)) == Some(right) {
            return Some(guess);
        }
        let mut joined = [0; 64];
        let length = left.len() + right.len();
        if length > joined.len() {
            return self.id(&[left, right].concat());
        }
        joined[..left.len()].copy_from_slice(left.as_bytes());
        joined[left.len()..length].copy_from_slice(right.as_bytes());
        self.id(str::from_utf8(&joined[..length]).ok()?)
    }

    /// Asks the memory for what the look-ups of two tokens will need.
    pub(super) fn prefetch(&self, left: &str, right: &str) {
        for text in [left, right].into_iter().filter(|text| !text.is_empty()) {
            prefetch(&self.slots[self.home(key_of(text))]);
        }
    }

    #[inline]
    fn home(&self, key: Key) -> usize {
        (fold(fold(key[0]) ^ key[1]) >> self.shift) as usize
    }

    /// The id of `text`, and its slot or the one that it would take.
    fn find(&self, text: &str, key: Key) -> (Option<u32>, usize) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        loop {
            let slot = self.slots[at];
            if slot.key == FREE {
                return (None, at);
            }
            if slot.key == key && (key[1] != LONG || self.by_id[slot.id as usize] == Some(text)) {
                return (Some(slot.id), at);
            }
            at = (at + 1) & mask;
        }
    }
}

/// The key of a text that is not empty.
#[inline]
fn key_of(text: &str) -> Key {
    if text.len() > SHORT {
        return [hash(text.as_bytes()), LONG];
    }
    let key = key(text.as_bytes());
    [key as u64, (key >> 64) as u64]
}

/// Hashes bytes, eight at a time.
#[inline]
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut state = bytes.len() as u64 ^ 0xd1b5_4a32_d192_ed03;
    for chunk in &mut chunks {
        state = fold(state ^ u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(last))
}

#[inline]
fn fold(state: u64) -> u64 {
    let product = u128::from(state ^ 0x8ebc_6af0_9c88_c6e3) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    product as u64 ^ (product >> 64) as u64
}
