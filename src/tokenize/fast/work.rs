//! What a task reuses from text to text, and the words of its texts on their way to ids.
//!
//! Words are not looked up as they are found. They wait until there are enough of them, while the lines of the
//! cache that may hold them come from memory: so look-ups do not wait one after the other, and words that are met
//! for the first time are encoded together, see [`Model::learn`].

use std::cell::RefCell;

use super::cache::{Cache, SHORT, key};
use super::{bpe, unigram};

/// Words that wait at most: as many lines as the processor's first cache holds beside all else.
const MOST: usize = 256;

/// Words that are learnt at once, at most: those of one text without spaces may be many more.
const LEARNT: usize = 4096;

/// Bytes, and ids, that are kept allocated between tasks.
const KEPT: usize = 1 << 18;

/// What turns words into ids.
pub(super) trait Model {
    /// Appends the ids of a word that no short entry of the cache has, to `work.ids`.
    fn word(&self, word: &[u8], work: &mut Work);

    /// Puts words into the cache that it does not have: a hint, which may take some and leave others.
    fn learn(&self, _words: Words<'_>, _work: &mut Work) {}
}

/// What a task reuses from text to text.
#[derive(Debug, Default)]
pub(in super::super) struct Work {
    pub(super) cache: Cache,
    /// Ids of texts, one text after the other.
    pub(super) ids: Vec<u32>,
    /// Where in `ids` texts end.
    pub(super) ends: Vec<usize>,
    /// A place in `ids`.
    mark: usize,
    queue: Queue,
    /// Words to be learnt.
    pub(super) new: Queue,
    pub(super) merge: bpe::Scratch,
    pub(super) lattice: unigram::Lattice,
    /// A normalized word.
    pub(super) bytes: Vec<u8>,
    /// Normalized text.
    pub(super) text: String,
}

impl Work {
    /// Begins a text.
    pub(super) fn begin(&mut self) {
        self.queue.text = self.queue.entries.len();
        self.queue.marks = 0;
    }

    /// Ends a text.
    pub(super) fn end(&mut self) {
        if self.queue.entries.is_empty() {
            self.ends.push(self.ids.len());
        } else {
            self.queue.entries.push(END);
        }
    }

    /// Ids that the last text has at least: no word becomes none.
    #[inline]
    pub(super) fn least(&self) -> usize {
        let waiting = self.queue.entries.len() - self.queue.text - self.queue.marks;
        // Where other texts wait too, nothing of this one is settled.
        if self.queue.text == 0 { self.ids.len() - self.start() + waiting } else { waiting }
    }

    /// Where in `ids` a text has `limit` ids, if all that it has are settled.
    pub(super) fn end_of(&self, limit: usize) -> usize {
        self.start().saturating_add(limit)
    }

    /// Whether waiting for more words brings nothing.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.queue.entries.len() >= MOST
    }

    /// Adds the word with this key, which the family's cache knows it by.
    #[inline]
    pub(super) fn push_short(&mut self, key: u128) {
        self.cache.prefetch_short(key);
        self.queue.entries.push(key);
    }

    /// Adds a word of any length.
    pub(super) fn push(&mut self, word: &[u8]) {
        if word.len() > SHORT {
            self.cache.prefetch_long(word);
            self.queue.push_long(word);
        } else if !word.is_empty() {
            self.push_short(key(word));
        }
    }

    /// Adds a token that is no word.
    pub(super) fn push_id(&mut self, id: u32) {
        if self.queue.entries.is_empty() {
            self.ids.push(id);
        } else {
            self.queue.entries.push(ID | u128::from(id));
        }
    }

    /// Marks a place to which [`Work::back_to_mark`] goes back.
    pub(super) fn mark(&mut self) {
        if self.queue.entries.is_empty() {
            self.mark = self.ids.len();
        } else {
            self.queue.entries.push(MARK);
            self.queue.marks += 1;
        }
    }

    /// Takes back all since the last mark, all of which is settled.
    pub(super) fn back_to_mark(&mut self) {
        self.ids.truncate(self.mark);
    }

    /// Appends the ids of all words that wait.
    pub(super) fn settle(&mut self, model: &impl Model) {
        let mut queue = std::mem::take(&mut self.queue);
        self.ids.reserve(queue.entries.len() * 2);
        let mut learnt = 0;
        for (at, &entry) in queue.entries.iter().enumerate() {
            if entry & LENGTH != 0 {
                if self.cache.append_short(entry, &mut self.ids) {
                    continue;
                }
            } else if entry & KIND == END {
                self.ends.push(self.ids.len());
                continue;
            } else if entry & KIND == ID {
                self.ids.push(entry as u32);
                continue;
            } else if entry & KIND == MARK {
                self.mark = self.ids.len();
                continue;
            } else if self.cache.append_long(queue.long(entry), &mut self.ids) {
                continue;
            }
            if at >= learnt {
                model.learn(Words { queue: &queue, at }, self);
                learnt = queue.entries.len();
            }
            queue.word(entry, |word| model.word(word, self));
        }
        queue.clear();
        self.queue = queue;
    }

    /// Takes back what the last text has got so far, all of which is settled.
    pub(super) fn restart(&mut self) {
        self.ids.truncate(self.start());
        self.begin();
    }

    /// How many texts have ended and have all their ids.
    pub(in super::super) fn ended(&self) -> usize {
        self.ends.len()
    }

    /// Runs `each` with the ids of texts that have ended, `N` at a time, and forgets those; stops where it fails.
    pub(in super::super) fn drain<const N: usize, E>(
        &mut self,
        mut each: impl FnMut([&[u32]; N]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (groups, rest) = self.ends.as_chunks::<N>();
        let mut start = 0;
        for ends in groups {
            each(ends.map(|end| &self.ids[std::mem::replace(&mut start, end)..end]))?;
        }
        self.ids.drain(..start);
        let done = self.ends.len() - rest.len();
        self.ends.drain(..done);
        self.ends.iter_mut().for_each(|end| *end -= start);
        Ok(())
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.ids.clear();
        self.ids.shrink_to(KEPT);
        self.ends.shrink_to(KEPT);
        for queue in [&mut self.queue, &mut self.new] {
            queue.clear();
            queue.entries.shrink_to(KEPT / 16);
            queue.long.shrink_to(KEPT);
        }
        self.bytes.shrink_to(KEPT);
        self.text.shrink_to(KEPT);
        self.merge.shrink_to(KEPT);
    }

    /// Where in `ids` the text begins that has not ended.
    fn start(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

/// An entry of a queue is the key of a word, which has its length in these bits, or else of a kind.
const LENGTH: u128 = 0xf << 120;
const KIND: u128 = 0xff << 112;
const LONG: u128 = 1 << 112;
const ID: u128 = 2 << 112;
const END: u128 = 3 << 112;
const MARK: u128 = 4 << 112;
/// Where a long word's place stands above its length.
const PLACE: u32 = 56;

/// Words that wait, and what stands between them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: Vec<u128>,
    /// Bytes of words that are too long for a key.
    long: Vec<u8>,
    /// Where in `entries` the last text begins.
    text: usize,
    /// How many of its entries are marks.
    marks: usize,
}

impl Queue {
    pub(super) fn push_short(&mut self, key: u128) {
        self.entries.push(key);
    }

    /// Adds a word of any length.
    pub(super) fn push(&mut self, word: &[u8]) {
        if (1..=SHORT).contains(&word.len()) {
            self.push_short(key(word));
        } else if !word.is_empty() {
            self.push_long(word);
        }
    }

    fn push_long(&mut self, word: &[u8]) {
        let place = (self.long.len() as u128) << PLACE | word.len() as u128;
        self.entries.push(LONG | place);
        self.long.extend_from_slice(word);
    }

    /// Whether there is nothing to gain from more words to be learnt.
    pub(super) fn is_enough(&self) -> bool {
        self.entries.len() >= LEARNT
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.long.clear();
        (self.text, self.marks) = (0, 0);
    }

    /// Merges all words of at most [`bpe::SHORT`] symbols that `cache` does not have, and puts them there.
    ///
    /// `whole` may know a word as it is, and then puts it there; `symbols` is what a word is before any merge.
    pub(super) fn learn(
        &self,
        cache: &mut Cache,
        scratch: &mut bpe::Scratch,
        bpe: &bpe::Bpe,
        whole: impl Fn(&Self, u128, &mut Cache) -> bool,
        symbols: impl Fn(&[u8], &mut Vec<u32>),
    ) {
        let cache = RefCell::new(cache);
        let mut entries = self.entries.iter().copied();
        let next = |of_next: &mut Vec<u32>| {
            let mut cache = cache.borrow_mut();
            let entry = entries
                .find(|&entry| !self.is_in(entry, &cache) && !whole(self, entry, &mut cache))?;
            self.word(entry, |word| symbols(word, of_next));
            Some(entry)
        };
        let done = |entry, ids: &[u32]| self.put(entry, ids, &mut cache.borrow_mut());
        bpe.merge_many(scratch, next, done);
    }

    /// Runs `work` with the bytes of an entry that is a word.
    #[inline]
    pub(super) fn word<R>(&self, entry: u128, work: impl FnOnce(&[u8]) -> R) -> R {
        if entry & LENGTH != 0 {
            let bytes = entry.to_le_bytes();
            work(&bytes[..usize::from(bytes[15] & 0xf)])
        } else {
            work(self.long(entry))
        }
    }

    /// Whether `cache` has an entry that is a word.
    fn is_in(&self, entry: u128, cache: &Cache) -> bool {
        if entry & LENGTH != 0 { cache.has_short(entry) } else { cache.has_long(self.long(entry)) }
    }

    /// Puts what an entry that is a word became into `cache`.
    pub(super) fn put(&self, entry: u128, ids: &[u32], cache: &mut Cache) {
        if entry & LENGTH != 0 {
            cache.put_short(entry, ids);
        } else {
            cache.put(self.long(entry), ids);
        }
    }

    fn long(&self, entry: u128) -> &[u8] {
        let mask = (1 << PLACE) - 1;
        let (start, length) = ((entry >> PLACE & mask) as usize, (entry & mask) as usize);
        &self.long[start..start + length]
    }
}

/// The words of a queue from one on.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    queue: &'a Queue,
    at: usize,
}

impl Words<'_> {
    /// Runs `each` with all of them that `cache` does not have.
    pub(super) fn unknown(self, cache: &Cache, mut each: impl FnMut(&[u8])) {
        for &entry in &self.queue.entries[self.at..] {
            let is_word = entry & LENGTH != 0 || entry & KIND == LONG;
            if is_word && !self.queue.is_in(entry, cache) {
                self.queue.word(entry, &mut each);
            }
        }
    }
}

#[cfg(test)]
mod tests;
