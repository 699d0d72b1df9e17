//! A WordPiece vocabulary: the longest piece that a word begins with, or goes on with.

use super::cache::ID_LIMIT;
use super::definition::Text;

const MULTIPLIER: u64 = 0x0100_0000_01b3;
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// Far more than chance needs; a vocabulary made to collide is left to the exact path.
const PROBES: usize = 512;

/// Pieces in a hash table whose hash grows byte by byte (FNV-1a): one pass over a word hashes all its beginnings.
#[derive(Debug)]
pub(super) struct Pieces {
    first: Table,
    /// Without their prefix.
    continuing: Table,
}

#[derive(Debug)]
struct Table {
    /// Indices into `pieces`, one more each; 0 is none. At most half full.
    slots: Box<[u32]>,
    pieces: Vec<Piece>,
    texts: String,
    longest: usize,
}

#[derive(Debug)]
struct Piece {
    hash: u64,
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
        let mut hashes = [0_u64; 64];
        let mut start = 0;
        while start < word.len() {
            let table = if start == 0 { &self.first } else { &self.continuing };
            let rest = &word[start..word.len().min(start + table.longest)];
            let Some((length, id)) = table.longest_prefix(rest, &mut hashes) else {
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
            slots: vec![0; (capacity * 2 + 1).next_power_of_two()].into(),
            pieces: Vec::with_capacity(capacity),
            texts: String::with_capacity(capacity * 8),
            longest: 0,
        }
    }

    /// `false` if the text is there already, or cannot be placed: too many bytes, too many equal hashes.
    fn insert(&mut self, text: &str, id: u32) -> bool {
        let hash = text.bytes().fold(OFFSET, grow);
        let (Ok(start), Ok(length)) = (u32::try_from(self.texts.len()), u32::try_from(text.len()))
        else {
            return false;
        };
        let mut slot = self.slot(hash);
        let mut probes = 0;
        while self.slots[slot] != 0 {
            probes += 1;
            if probes > PROBES {
                return false;
            }
            let piece = &self.pieces[self.slots[slot] as usize - 1];
            if piece.hash == hash && self.text(piece) == text.as_bytes() {
                return false;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.pieces.push(Piece { hash, start, length, id });
        self.slots[slot] = self.pieces.len() as u32;
        self.texts.push_str(text);
        self.longest = self.longest.max(text.len());
        true
    }

    #[inline]
    fn find(&self, hash: u64, text: &[u8]) -> Option<u32> {
        let mut slot = self.slot(hash);
        loop {
            let piece = &self.pieces[(self.slots[slot] as usize).checked_sub(1)?];
            if piece.hash == hash && self.text(piece) == text {
                return Some(piece.id);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// The length and id of the longest piece that `text` begins with.
    fn longest_prefix(&self, text: &[u8], hashes: &mut [u64; 64]) -> Option<(usize, u32)> {
        let mut hash = OFFSET;
        if text.len() <= hashes.len() {
            for (&byte, kept) in text.iter().zip(hashes.iter_mut()) {
                hash = grow(hash, byte);
                *kept = hash;
            }
            let mut lengths = (1..=text.len()).rev();
            return lengths.find_map(|n| Some((n, self.find(hashes[n - 1], &text[..n])?)));
        }
        // A vocabulary with very long pieces: from the left, so that no memory is needed.
        let mut found = None;
        for (index, &byte) in text.iter().enumerate() {
            hash = grow(hash, byte);
            found = self.find(hash, &text[..=index]).map(|id| (index + 1, id)).or(found);
        }
        found
    }

    fn text(&self, piece: &Piece) -> &[u8] {
        &self.texts.as_bytes()[piece.start as usize..][..piece.length as usize]
    }

    #[inline]
    fn slot(&self, hash: u64) -> usize {
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.slots.len() - 1)
    }
}

#[inline]
fn grow(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(MULTIPLIER)
}
