//! Where words can be cut because no merge reaches over.

use super::split::decode;

/// Which two characters some merge can join: a filter, which may take others for such a pair too.
///
/// A merge of two tokens reaches over the place between the last character of the left one and the first of
/// the right one. Where no merge does that, the parts on both sides are merged on their own: exactly what
/// becomes of them together, in smaller pieces that text repeats more often.
#[derive(Debug)]
pub(super) struct Boundaries {
    ascii: [u128; 128],
    others: Box<[u64]>,
}

const BITS: u32 = 20;
const WORDS: usize = 1 << (BITS - 6);
/// Stands for a token that is only a part of a character: this and its byte next to the boundary.
const PART: u32 = 0x11_0000;

impl Default for Boundaries {
    fn default() -> Self {
        Self { ascii: [0; 128], others: vec![0; WORDS].into_boxed_slice() }
    }
}

impl Boundaries {
    /// Notes a merge of two tokens, which may begin and end inside of a character.
    pub(super) fn insert(&mut self, left: &[u8], right: &[u8]) {
        if let Some((left, right)) = last(left).zip(first(right)) {
            self.join(left, right);
        }
    }

    /// Notes that some merge joins two characters.
    pub(super) fn join(&mut self, left: u32, right: u32) {
        if let Some(rights) = self.ascii.get_mut(left as usize).filter(|_| right < 128) {
            *rights |= 1 << right;
        } else {
            let (word, bit) = place(left, right);
            self.others[word] |= bit;
        }
    }

    /// Whether some merge may join two characters.
    #[inline]
    pub(super) fn joins(&self, left: u32, right: u32) -> bool {
        if let Some(rights) = self.ascii.get(left as usize).filter(|_| right < 128) {
            return rights >> right & 1 == 1;
        }
        let (word, bit) = place(left, right);
        self.others[word] & bit != 0
    }

    /// The end of the part that `word` begins with: the first place that no merge reaches over.
    pub(super) fn end(&self, word: &[u8]) -> usize {
        let (mut left, mut at) = decode(word, 0);
        while at < word.len() {
            let (right, length) = decode(word, at);
            let before = PART | u32::from(word[at - 1]);
            let after = PART | u32::from(word[at]);
            let joined = self.joins(left, right)
                || self.joins(left, after)
                || self.joins(before, right)
                || self.joins(before, after);
            if !joined {
                break;
            }
            left = right;
            at += length;
        }
        at
    }
}

/// What `token` ends in, if it ends where a character does.
fn last(token: &[u8]) -> Option<u32> {
    let start = token.iter().rposition(|&byte| !(0x80..0xc0).contains(&byte));
    let Some(start) = start else { return token.last().map(|&byte| PART | u32::from(byte)) };
    let (point, length) = decode(token, start);
    (start + length == token.len()).then_some(point)
}

/// What `token` begins with, if it begins where a character does.
fn first(token: &[u8]) -> Option<u32> {
    let byte = *token.first().filter(|byte| !(0x80..0xc0).contains(*byte))?;
    let (point, length) = decode(token, 0);
    Some(if length <= token.len() { point } else { PART | u32::from(byte) })
}

#[inline]
fn place(left: u32, right: u32) -> (usize, u64) {
    let key = u64::from(left) << 32 | u64::from(right);
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
    ((hash / 64) as usize, 1 << (hash % 64))
}
