use super::super::definition::Text;
use super::cache::prefetch;
use super::vocabulary::hash;

/// The characters that stand for bytes in byte-level vocabularies, as upstream's `bytes_char`.
#[derive(Debug)]
pub(super) struct Alphabet {
    pub(super) letters: [char; 256],
    bytes: [Option<u8>; 512],
}

impl Alphabet {
    pub(super) fn new() -> Self {
        let (mut letters, mut bytes, mut next) = (['\0'; 256], [None; 512], 0x100);
        for byte in 0..=255_u8 {
            let mut point = u32::from(byte);
            if !matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..) {
                (point, next) = (next, next + 1);
            }
            letters[usize::from(byte)] = char::from_u32(point).unwrap_or_default();
            bytes[point as usize] = Some(byte);
        }
        Self { letters, bytes }
    }

    pub(super) fn byte(&self, letter: char) -> Option<u8> {
        self.bytes.get(letter as usize).copied().flatten()
    }
}

/// The tokens of a byte-level vocabulary by their bytes.
#[derive(Debug)]
pub(super) struct Tokenset {
    bytes: Vec<u8>,
    /// Open addressing; a free slot has no length.
    slots: Box<[Slot]>,
    shift: u32,
    longest: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    start: u32,
    length: u32,
    id: u32,
}

impl Tokenset {
    pub(super) fn new(tokens: &[(Text<'_>, u32)], alphabet: &Alphabet) -> Option<Self> {
        let bits = (tokens.len() * 2).next_power_of_two().trailing_zeros().max(4);
        let slots = vec![Slot::default(); 1 << bits].into_boxed_slice();
        let mut set = Self { bytes: Vec::new(), slots, shift: 64 - bits, longest: 0 };
        for (text, id) in tokens {
            let start = set.bytes.len();
            set.bytes.extend(text.chars().map_while(|c| alphabet.byte(c)));
            // A token with another character never is a word.
            if text.is_empty() || text.chars().any(|c| alphabet.byte(c).is_none()) {
                set.bytes.truncate(start);
            } else {
                set.insert(start, *id)?;
            }
        }
        Some(set)
    }

    /// Enters the token whose bytes begin at `start`.
    fn insert(&mut self, start: usize, id: u32) -> Option<()> {
        let token = &self.bytes[start..];
        let mut at = self.home(token);
        while self.slots[at].length != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.longest = self.longest.max(token.len());
        let (start, length) = (u32::try_from(start).ok()?, u32::try_from(token.len()).ok()?);
        self.slots[at] = Slot { start, length, id };
        Some(())
    }

    /// The id of the token that is `word`.
    pub(super) fn id(&self, word: &[u8]) -> Option<u32> {
        if word.len() > self.longest {
            return None;
        }
        let mut at = self.home(word);
        while self.slots[at].length != 0 {
            let Slot { start, length, id } = self.slots[at];
            let token = &self.bytes[start as usize..][..length as usize];
            if token == word {
                return Some(id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// Asks the memory for what [`Tokenset::id`] of the same word will need first.
    pub(super) fn prefetch(&self, word: &[u8]) {
        prefetch(&self.slots[self.home(word)]);
    }

    fn home(&self, word: &[u8]) -> usize {
        (hash(word) >> self.shift) as usize
    }
}
