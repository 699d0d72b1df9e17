use super::definition::Text;

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
    /// `alphabet`: which character stands for each byte. A token with another character never is a word.
    pub(super) fn new(tokens: &[(Text<'_>, u32)], alphabet: &[char; 256]) -> Option<Self> {
        let mut of_char = [None; 512];
        for (byte, &letter) in (0..=255_u8).zip(alphabet) {
            *of_char.get_mut(letter as usize)? = Some(byte);
        }
        let bits = (tokens.len() * 2).next_power_of_two().trailing_zeros().max(4);
        let slots = vec![Slot::default(); 1 << bits].into_boxed_slice();
        let mut set = Self { bytes: Vec::new(), slots, shift: 64 - bits, longest: 0 };
        for (text, id) in tokens {
            let start = set.bytes.len();
            let byte = |c: char| of_char.get(c as usize).copied().flatten();
            for c in text.chars() {
                let Some(byte) = byte(c) else { break };
                set.bytes.push(byte);
            }
            if text.is_empty() || !text.chars().all(|c| byte(c).is_some()) {
                set.bytes.truncate(start);
                continue;
            }
            set.insert(start, *id)?;
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

    fn home(&self, word: &[u8]) -> usize {
        let hash = super::bpe::hash(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> self.shift) as usize
    }
}
