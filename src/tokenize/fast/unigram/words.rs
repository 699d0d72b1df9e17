//! A section of a text, word by word.

use super::charsmap::Context;
use super::normalizer::Normalizer;
use super::split::Split;
use super::{Unigram, Work};

/// Bytes from which on a word is not normalized as a whole if only the first of its ids are wanted.
const LONG: usize = 1 << 12;
/// Bytes of a normalized word that are kept allocated between words.
const KEPT: usize = 1 << 16;
/// Bytes of a long word for each id that is wanted, at the first try.
const BYTES_PER_ID: usize = 16;

/// The ASCII characters, all below `!`, that end a word as a space does.
#[derive(Debug)]
pub(super) struct Separators([bool; 33]);

impl Separators {
    /// Those of text that is yet to be normalized.
    pub(super) fn raw(normalizer: &Normalizer, split: &Split) -> Self {
        let ends = |c: char| {
            let text = normalizer.separator(c).unwrap_or_default();
            match split {
                Split::Words(_) => !text.is_empty() && text.chars().all(char::is_whitespace),
                _ => text == " ",
            }
        };
        Self(std::array::from_fn(|byte| ends(char::from(byte as u8))))
    }

    /// Those of normalized text.
    pub(super) fn normalized(split: &Split) -> Self {
        let ends = |c: char| c == ' ' || matches!(split, Split::Words(_)) && c.is_whitespace();
        Self(std::array::from_fn(|byte| ends(char::from(byte as u8))))
    }

    #[inline]
    fn has(&self, byte: u8) -> bool {
        byte == b' ' || self.0.get(usize::from(byte)).is_some_and(|&has| has)
    }

    /// Whether a word ends at `at`. The second half of CR LF is no end: the two are one grapheme.
    #[inline]
    fn at(&self, text: &[u8], at: usize) -> bool {
        self.has(text[at])
            && !(text[at] == b'\n' && at > 0 && text[at - 1] == b'\r' && !self.has(b'\r'))
    }

    /// Where the word that begins at `start` ends.
    #[inline]
    fn end(&self, text: &[u8], start: usize) -> usize {
        const ONES: u64 = u64::MAX / 255;
        let mut at = start;
        loop {
            let eight = text.get(at..at + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
            let Some(bytes) = eight.map(u64::from_le_bytes) else { break };
            // The lowest byte that is below `!` sets its highest bit; those above it may do so too.
            let low = bytes.wrapping_sub(0x21 * ONES) & !bytes & (0x80 * ONES);
            if low == 0 {
                at += 8;
                continue;
            }
            at += low.trailing_zeros() as usize / 8;
            if self.at(text, at) {
                return at;
            }
            at += 1;
        }
        while at < text.len() && !self.at(text, at) {
            at += 1;
        }
        at
    }
}

/// The encoding of one section.
pub(super) struct Words<'a> {
    pub(super) family: &'a Unigram,
    /// `None` for text that is already normalized.
    pub(super) steps: Option<&'a Normalizer>,
    /// Words of text and of normalized text must not meet in one cache.
    pub(super) cached: bool,
    /// No more ids are needed than make `work.ids` this long.
    pub(super) limit: usize,
    pub(super) work: &'a mut Work,
}

/// What stands before a word.
#[derive(Clone, Copy)]
struct Before {
    /// How many spaces that become marks.
    spaces: usize,
    /// Whether a word without such a space, unless it begins with a mark, is given one.
    marked: bool,
}

impl Words<'_> {
    /// Appends the ids of a section.
    pub(super) fn encode(mut self, text: &str, at_start: bool) {
        let family = self.family;
        let separators = if self.steps.is_some() { &family.raw } else { &family.normalized };
        let marked = family.split.marker().is_some_and(|marker| marker.begins(at_start));
        let marks = family.split.marks_spaces();
        let mut before = Before { spaces: 0, marked };
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if self.work.ids.len() >= self.limit {
                return;
            }
            if separators.at(bytes, at) {
                before.spaces += usize::from(marks);
                at += 1;
            } else {
                at = self.word(text, at, separators.end(bytes, at), &mut before);
            }
        }
        self.marks(self.collapsed(before.spaces));
    }

    /// Appends the ids of a section that is not divided.
    pub(super) fn whole(self, text: &str, at_start: bool) {
        let Some(first) = text.chars().next() else { return };
        let lattice = &mut self.work.lattice;
        lattice.clear();
        let marker = self.family.split.marker();
        if let Some(marker) = marker.filter(|marker| marker.begins(at_start))
            && first != ' '
            && first != marker.mark
        {
            lattice.push(marker.mark, &self.family.model);
        }
        for c in text.chars() {
            let mark = marker.filter(|_| c == ' ').map(|marker| marker.mark);
            lattice.push(mark.unwrap_or(c), &self.family.model);
        }
        self.family.model.encode(lattice, &mut self.work.ids, self.limit, false);
    }

    /// Appends the ids of the word from `start` to `end`, and answers where it ended: later, if it could not be
    /// told without what follows.
    #[inline]
    fn word(&mut self, text: &str, start: usize, end: usize, before: &mut Before) -> usize {
        // The first word may be without a mark that it has elsewhere.
        let as_others = before.spaces > 0 || before.marked || !self.family.split.marks_spaces();
        let known = self.cached && as_others;
        if known {
            let length = self.work.ids.len();
            if before.spaces > 1 {
                self.marks(self.collapsed(before.spaces) - 1);
            }
            let Work { cache, ids, .. } = &mut *self.work;
            if cache.append_at(text.as_bytes(), start, end, ids) {
                before.spaces = 0;
                return end;
            }
            self.work.ids.truncate(length);
        }
        self.new_word(text, start, end, before, known)
    }

    /// As [`Words::word`], of a word that is not in the cache, which is put there if `remember`.
    fn new_word(
        &mut self,
        text: &str,
        start: usize,
        mut end: usize,
        before: &mut Before,
        remember: bool,
    ) -> usize {
        if end - start > LONG && self.limit < usize::MAX && self.begin(&text[start..end], *before) {
            return end;
        }
        let mut buffer = std::mem::take(&mut self.work.text);
        buffer.clear();
        let mut context = Context::default();
        let word = match self.steps {
            Some(steps) if !steps.is_plain(&text[start..end]) => {
                (end, context) = steps.word_at(text, start, end, &mut buffer);
                &*buffer
            }
            _ => &text[start..end],
        };
        let mut length = self.work.ids.len();
        let mut alike = true;
        if let Split::Marks(marker) = &self.family.split {
            length += self.collapsed(before.spaces).saturating_sub(1) * self.family.mark_ids.len();
            alike = !word.is_empty() && !word.contains(' ') && !word.starts_with(marker.mark);
        }
        self.words(word, before, false);
        // What is left off at the limit is not known.
        if remember && alike && !context.left && !context.right && self.work.ids.len() < self.limit
        {
            let Work { cache, ids, .. } = &mut *self.work;
            cache.put(&text.as_bytes()[start..end], &ids[length..]);
        }
        if buffer.capacity() <= KEPT {
            self.work.text = buffer;
        }
        end
    }

    /// Encodes as much of a long word as is wanted; `false`, and nothing appended, where that is most of it.
    fn begin(&mut self, word: &str, before: Before) -> bool {
        let length = self.work.ids.len();
        let mut bytes = (self.limit - length).saturating_mul(BYTES_PER_ID).max(LONG);
        while bytes < word.len() / 2 {
            let mut normalized = String::new();
            let cut = match self.steps {
                // What stands before the word may belong to its first grapheme.
                Some(steps) => steps.cut(word, bytes).filter(|&cut| {
                    let context = steps.word(&word[..cut], false, &mut normalized);
                    !context.left
                }),
                None => Some(word.ceil_char_boundary(bytes)),
            };
            let Some(cut) = cut else { return false };
            let part = if self.steps.is_some() { &*normalized } else { &word[..cut] };
            self.words(part, &mut { before }, true);
            if self.work.ids.len() >= self.limit {
                return true;
            }
            self.work.ids.truncate(length);
            bytes = bytes.saturating_mul(4);
        }
        false
    }

    /// Appends the ids of normalized text. `open`: its last word goes on.
    fn words(&mut self, text: &str, before: &mut Before, open: bool) {
        let Unigram { model, split, .. } = self.family;
        let marks = split.marks_spaces();
        let mark = split.marker().map(|marker| marker.mark);
        let divider = split.marker().filter(|marker| marker.split).map(|marker| marker.mark);
        let mut inside = false;
        for c in text.chars() {
            if if marks { c == ' ' } else { c.is_whitespace() } {
                before.spaces += usize::from(marks);
                if std::mem::take(&mut inside) {
                    self.lattice(false);
                    if self.work.ids.len() >= self.limit {
                        return;
                    }
                }
                continue;
            }
            if !inside {
                inside = true;
                self.marks(self.collapsed(before.spaces).saturating_sub(1));
                self.work.lattice.clear();
                let first = before.marked && Some(c) != mark;
                if let Some(mark) = mark.filter(|_| before.spaces > 0 || first) {
                    self.work.lattice.push(mark, model);
                }
                before.spaces = 0;
            }
            if Some(c) == divider && !self.work.lattice.is_empty() {
                self.lattice(false);
                if self.work.ids.len() >= self.limit {
                    return;
                }
                self.work.lattice.clear();
            }
            self.work.lattice.push(c, model);
        }
        if inside {
            self.lattice(open);
        }
    }

    /// Appends the ids of the pre-token in the lattice.
    fn lattice(&mut self, open: bool) {
        let Work { lattice, ids, .. } = &mut *self.work;
        self.family.model.encode(lattice, ids, self.limit, open);
    }

    /// How many spaces are left of these.
    fn collapsed(&self, spaces: usize) -> usize {
        let collapses = self.steps.is_some_and(|steps| steps.collapse.is_some());
        if collapses { spaces.min(1) } else { spaces }
    }

    /// Appends the ids of marks that stand alone.
    fn marks(&mut self, count: usize) {
        for _ in 0..count {
            if self.work.ids.len() >= self.limit {
                return;
            }
            self.work.ids.extend_from_slice(&self.family.mark_ids);
        }
    }
}
