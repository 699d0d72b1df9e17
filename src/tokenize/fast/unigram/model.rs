//! The pieces of highest score, as `tokenizers` 0.23.2 finds them (`models/unigram/model.rs`, `encode_optimized`).
//!
//! Scores are summed in `f64` from the start of a pre-token, in upstream's order: other sums would round
//! otherwise, and then pieces of equal score could win that lose upstream.

use super::super::super::definition::Model as Definition;
use super::super::cache::ID_LIMIT;
use super::trie::{Node, Trie};

/// Below the lowest score by this much is what an unknown character costs.
const UNKNOWN_PENALTY: f64 = 10.0;
/// Scores are at most this far from zero, so that no sum of them overflows.
const SCORE_LIMIT: f64 = 1e200;
/// Characters after which a place that no piece spans ends a part, which is then read back.
const PART: usize = 64;
/// Places that are kept allocated between texts.
const KEPT: usize = 1 << 14;

#[derive(Debug)]
pub(super) struct Model {
    trie: Trie,
    unknown: u32,
    unknown_score: f64,
    /// Ids of `<0x00>` to `<0xFF>`, if characters without a piece become bytes.
    bytes: Option<Box<[Option<u32>; 256]>>,
}

/// The best way to a place between characters.
#[derive(Debug, Clone, Copy)]
struct Place {
    score: f64,
    /// Where the last piece starts.
    start: u32,
    id: u32,
}

const UNREACHED: Place = Place { score: f64::NEG_INFINITY, start: 0, id: 0 };

/// A pre-token, as characters and their codes, and the ways through it.
#[derive(Debug, Default)]
pub(in super::super) struct Lattice {
    chars: Vec<(char, u16)>,
    /// One more than there are characters.
    places: Vec<Place>,
    /// Start and id of pieces, the last first.
    path: Vec<(u32, u32)>,
}

impl Lattice {
    /// Starts a new pre-token.
    pub(super) fn clear(&mut self) {
        if self.places.capacity() > KEPT {
            *self = Self::default();
        }
        self.chars.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    #[inline]
    pub(super) fn push(&mut self, c: char, model: &Model) {
        self.chars.push((c, model.trie.code(c)));
    }
}

impl Model {
    /// `None` for a model that is not of this family, or that upstream could fail on.
    pub(super) fn new(definition: &Definition<'_>) -> Option<Self> {
        let vocab = definition.vocab.scores()?;
        let of_others = definition.dropout.is_some()
            || definition.unk_token.is_some()
            || !definition.merges.0.is_empty();
        if definition.kind != "Unigram" || of_others || vocab.len() >= ID_LIMIT as usize {
            return None;
        }
        let unknown = definition.unk_id.filter(|&id| id < vocab.len())? as u32;
        let pieces: Vec<(&str, f64)> =
            vocab.iter().map(|(text, score)| (&**text, *score)).collect();
        if pieces.iter().any(|(_, score)| score.abs() > SCORE_LIMIT) {
            return None;
        }
        let lowest = pieces.iter().map(|&(_, score)| score).fold(f64::INFINITY, f64::min);
        let mut model = Self {
            trie: Trie::new(&pieces)?,
            unknown,
            unknown_score: lowest - UNKNOWN_PENALTY,
            bytes: None,
        };
        if definition.byte_fallback == Some(true) {
            let id = |byte: usize| model.id(&format!("<0x{byte:02X}>"));
            model.bytes = Some(Box::new(std::array::from_fn(id)));
        }
        Some(model)
    }

    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        self.trie.id(piece.chars().map(|c| self.trie.code(c)))
    }

    /// Appends the ids of the pre-token in `lattice`; may stop once `ids` has `limit` or more.
    ///
    /// `open`: the pre-token goes on, so that only those ids are appended that do not depend on how.
    pub(super) fn encode(
        &self,
        lattice: &mut Lattice,
        ids: &mut Vec<u32>,
        limit: usize,
        open: bool,
    ) {
        let Lattice { chars, places, path } = lattice;
        places.clear();
        places.resize(chars.len() + 1, UNREACHED);
        places[0].score = 0.0;
        let mut pending = None; // where unknown characters began that may go on
        // Pieces that start before this end before the known part of the pre-token does.
        let settled =
            if open { chars.len().saturating_sub(self.trie.longest()) } else { usize::MAX };
        let (mut part, mut reach) = (0, 0);
        for start in 0..chars.len() {
            if start == reach && start - part >= PART && start <= settled {
                read_back(places, part, start, path);
                self.append(chars, path, &mut pending, ids);
                if ids.len() >= limit {
                    return;
                }
                part = start;
            }
            reach = reach.max(start + self.leave(start, &chars[start..], &mut places[start..]));
        }
        if open {
            return;
        }
        read_back(places, part, chars.len(), path);
        self.append(chars, path, &mut pending, ids);
        if let Some(start) = pending {
            self.append_unknown(&chars[start as usize..], ids);
        }
    }

    /// Takes all pieces from the first of `places`, which is at `start`, and answers how far the longest leads.
    #[inline]
    fn leave(&self, start: usize, chars: &[(char, u16)], places: &mut [Place]) -> usize {
        let Some((&mut Place { score: before, .. }, places)) = places.split_first_mut() else {
            return 0;
        };
        let (mut reached, mut base) = (0, 0);
        for (length, (place, &(_, code))) in (1..).zip(places.iter_mut().zip(chars)) {
            let node = self.trie.child(base, code);
            match node.and_then(Node::piece) {
                Some((id, score)) => {
                    arrive(place, start, before + score, id);
                    reached = length;
                }
                None if length == 1 => {
                    arrive(place, start, before + self.unknown_score, self.unknown);
                    reached = 1;
                }
                None => {}
            }
            match node.and_then(Node::children) {
                Some(children) => base = children,
                None => break,
            }
        }
        reached
    }

    /// Appends the ids of a path. Unknown characters that stand together are looked up together.
    fn append(
        &self,
        chars: &[(char, u16)],
        path: &mut Vec<(u32, u32)>,
        pending: &mut Option<u32>,
        ids: &mut Vec<u32>,
    ) {
        for (start, id) in path.drain(..).rev() {
            if id == self.unknown {
                pending.get_or_insert(start);
                continue;
            }
            if let Some(first) = pending.take() {
                self.append_unknown(&chars[first as usize..start as usize], ids);
            }
            ids.push(id);
        }
    }

    fn append_unknown(&self, chars: &[(char, u16)], ids: &mut Vec<u32>) {
        if let Some(id) = self.trie.id(chars.iter().map(|&(_, code)| code)) {
            return ids.push(id);
        }
        if let Some(bytes) = &self.bytes {
            let before = ids.len();
            let mut known = true;
            for (c, _) in chars {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    match bytes[usize::from(byte)] {
                        Some(id) => ids.push(id),
                        None => known = false,
                    }
                }
            }
            if known {
                return;
            }
            ids.truncate(before);
        }
        ids.push(self.unknown);
    }
}

/// A later way to a place must be better than the earlier ones.
#[inline]
fn arrive(place: &mut Place, start: usize, score: f64, id: u32) {
    if score > place.score {
        *place = Place { score, start: start as u32, id };
    }
}

/// Lists the pieces of the best way from `part` to `end`, the last first.
fn read_back(places: &[Place], part: usize, mut end: usize, path: &mut Vec<(u32, u32)>) {
    path.clear();
    while end > part {
        let Place { start, id, .. } = places[end];
        path.push((start, id));
        end = start as usize;
    }
}
