//! A WordPiece vocabulary: the longest piece that a word begins with, or goes on with.

use super::super::definition::Text;
use super::cache::ID_LIMIT;

const MULTIPLIER: u64 = 0x0100_0000_01b3;
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// Far more than chance needs; a vocabulary made to collide is left to the exact path.
const PROBES: usize = 512;

const LENGTHS: usize = 2048;

/// Pieces in a hash table whose hash grows byte by byte (FNV-1a): one pass over a word hashes all its beginnings.
#[derive(Debug)]
pub(super) struct Pieces {
    first: Table,
    /// Without their prefix.
    continuing: Table,
}

#[derive(Debug)]
struct Table {
    /// At most half full.
    slots: Box<[Slot]>,
    pieces: Vec<Piece>,
    texts: String,
    longest: usize,
    /// Which lengths the pieces have that begin with two bytes (hashed): bit `n - 1`, the highest for all greater.
    lengths: Box<[u64; LENGTHS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Part of the hash, so that most other pieces are told apart without reading them.
    tag: u32,
    /// Index into `pieces`, one more; 0 is none.
    index: u32,
}

#[derive(Debug)]
struct Piece {
    start: u32,
    length: u32,
    id: u32,
}

impl Pieces {
    /// `None` where two pieces are the same, or share an id, or an id is too great for the cache.
    pub(super) fn new(vocab: &[(Text<'_>, u32)], prefix: &str) -> Option<Self> {
        let mut first = Table::new(vocab.len());
        let mut continuing = Table::new(vocab.len());
        for (text, id) in vocab {
            if *id >= ID_LIMIT || !first.insert(text, *id) {
                return None;
            }
            if let Some(rest) = text.strip_prefix(prefix) {
                continuing.insert(rest, *id);
            }
        }
        Some(Self { first, continuing })
    }

    /// The id of a whole token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let hash = token.bytes().fold(OFFSET, grow);
        self.first.find(hash, token.as_bytes())
    }

    /// Appends the ids of a word's pieces; `false` where no piece fits somewhere, and nothing is appended.
    pub(super) fn split(&self, word: &[u8], ids: &mut Vec<u32>) -> bool {
        let appended = ids.len();
        let mut start = 0;
        while start < word.len() {
            let table = if start == 0 { &self.first } else { &self.continuing };
            let rest = &word[start..word.len().min(start + table.longest)];
            let Some((length, id)) = table.longest_prefix(rest) else {
                ids.truncate(appended);
                return false;
            };
            ids.push(id);
            start += length;
        }
        true
    }
}

impl Table {
    fn new(capacity: usize) -> Self {
        Self {
            slots: vec![Slot::default(); (capacity * 2 + 1).next_power_of_two()].into(),
            pieces: Vec::with_capacity(capacity),
            texts: String::with_capacity(capacity * 8),
            longest: 0,
            lengths: Box::new([0; LENGTHS]),
        }
    }

    /// `false` if the text is there already, or cannot be placed: too many bytes, too many equal hashes.
    fn insert(&mut self, text: &str, id: u32) -> bool {
        let hash = text.bytes().fold(OFFSET, grow);
        let (Ok(start), Ok(length)) = (u32::try_from(self.texts.len()), u32::try_from(text.len()))
        else {
            return false;
        };
        let (mut at, tag) = self.place(hash);
        let mut probes = 0;
        while let Some(piece) = self.piece(self.slots[at]) {
            probes += 1;
            if probes > PROBES || self.slots[at].tag == tag && self.text(piece) == text.as_bytes() {
                return false;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.pieces.push(Piece { start, length, id });
        self.slots[at] = Slot { tag, index: self.pieces.len() as u32 };
        self.texts.push_str(text);
        self.longest = self.longest.max(text.len());
        // A piece of one byte is begun with by every second byte.
        match *text.as_bytes() {
            [] => {}
            [first] => (0..=255).for_each(|second| self.lengths[pair(first, second)] |= 1),
            [first, second, ..] => {
                self.lengths[pair(first, second)] |= 1 << (text.len() - 1).min(63);
            }
        }
        true
    }

    #[inline]
    fn find(&self, hash: u64, text: &[u8]) -> Option<u32> {
        let (mut at, tag) = self.place(hash);
        loop {
            let piece = self.piece(self.slots[at])?;
            if self.slots[at].tag == tag && self.text(piece) == text {
                return Some(piece.id);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The length and id of the longest piece that `text`, which is not empty, begins with.
    fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut lengths = match *text {
            [first, second, ..] => self.lengths[pair(first, second)],
            _ => 1,
        };
        if lengths >> 63 == 1 {
            return self.longest_of_any(text);
        }
        lengths &= u64::MAX >> (64 - text.len().min(64));
        let mut hashes = [0; 64];
        let longest = 64 - lengths.leading_zeros() as usize;
        let mut hash = OFFSET;
        for (&byte, kept) in text[..longest].iter().zip(&mut hashes) {
            hash = grow(hash, byte);
            *kept = hash;
        }
        while lengths != 0 {
            let length = 64 - lengths.leading_zeros() as usize;
            if let Some(id) = self.find(hashes[length - 1], &text[..length]) {
                return Some((length, id));
            }
            lengths &= !(1 << (length - 1));
        }
        None
    }

    /// As `longest_prefix`, of pieces of more than 63 bytes too: from the shortest, so that no hash is kept.
    #[cold]
    fn longest_of_any(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut hash = OFFSET;
        let mut found = None;
        for (index, &byte) in text.iter().enumerate() {
            hash = grow(hash, byte);
            found = self.find(hash, &text[..=index]).map(|id| (index + 1, id)).or(found);
        }
        found
    }

    #[inline]
    fn piece(&self, slot: Slot) -> Option<&Piece> {
        self.pieces.get((slot.index as usize).checked_sub(1)?)
    }

    fn text(&self, piece: &Piece) -> &[u8] {
        &self.texts.as_bytes()[piece.start as usize..][..piece.length as usize]
    }

    /// Where a hash has its slot, and its tag.
    #[inline]
    fn place(&self, hash: u64) -> (usize, u32) {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 32) as usize & (self.slots.len() - 1), mixed as u32)
    }
}

#[inline]
fn grow(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(MULTIPLIER)
}

#[inline]
fn pair(first: u8, second: u8) -> usize {
    ((usize::from(first) * 37) ^ (usize::from(second) * 8)) & (LENGTHS - 1)
}
