//! What the BERT normalizer and pre-tokenizer make of one character, looked up.
//!
//! Both work character by character, but for one step: canonical ordering of combining marks. Characters that
//! it could move are [`Kind::Rare`], and a text with one is normalized by upstream's own code instead.
//! Entries are computed from the same tables that upstream asks, a page at a time, when a page is first met.

use std::sync::OnceLock;

use tokenizers::normalizers::BertNormalizer;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::canonical_combining_class;

const PAGE: usize = 64;
const PAGES: usize = 0x11_0000 / PAGE;

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// White space: ends a word, and is gone.
    Space,
    /// Gone without a trace, a word goes on.
    Dropped,
    /// Part of a word, as [`Char::append`] says.
    Word,
    /// Punctuation or an ideograph: a word of its own, as [`Char::append`] says.
    Alone,
    /// Not to be said of the character alone: a combining mark that survives, or several kinds at once.
    Rare,
}

/// A character's kind and what it becomes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Char {
    pub(super) kind: Kind,
    /// Bytes of the text it becomes: in `text` if they are at most four, else in the page's texts.
    pub(super) length: u8,
    text: [u8; 4],
}

#[derive(Debug)]
pub(super) struct Page {
    entries: [Char; PAGE],
    texts: Box<[u8]>,
}

impl Char {
    /// Appends what the character becomes.
    #[inline]
    pub(super) fn append(self, page: &Page, word: &mut Vec<u8>) {
        let length = usize::from(self.length);
        if length <= 4 {
            // All four and back: one store.
            let end = word.len() + length;
            word.extend_from_slice(&self.text);
            word.truncate(end);
        } else {
            let start = u32::from_le_bytes(self.text) as usize;
            word.extend_from_slice(&page.texts[start..start + length]);
        }
    }
}

/// The tables of one normalizer's settings.
pub(super) struct Chars {
    /// `None`: text is normalized already.
    normalizer: Option<BertNormalizer>,
    pages: Box<[OnceLock<Box<Page>>]>,
}

impl std::fmt::Debug for Chars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chars").field("normalizer", &self.normalizer).finish_non_exhaustive()
    }
}

impl Chars {
    pub(super) fn new(normalizer: Option<BertNormalizer>) -> Self {
        let pages = std::iter::repeat_with(OnceLock::new).take(PAGES).collect();
        Self { normalizer, pages }
    }

    /// What becomes of a character, and the page that has its text.
    #[inline]
    pub(super) fn of(&self, c: char) -> (Char, &Page) {
        let code = c as usize;
        let page = self.pages[code / PAGE].get_or_init(|| Box::new(self.page(code / PAGE)));
        (page.entries[code % PAGE], page)
    }

    #[cold]
    fn page(&self, number: usize) -> Page {
        let mut entries = [Char { kind: Kind::Dropped, length: 0, text: [0; 4] }; PAGE];
        let mut texts = Vec::new();
        for (offset, entry) in entries.iter_mut().enumerate() {
            // Surrogates are no characters: their entries are never asked for.
            let code = u32::try_from(number * PAGE + offset).ok().and_then(char::from_u32);
            let Some(c) = code else { continue };
            let (kind, becomes) = page_entry(self.normalizer, c);
            // A canonical decomposition has four characters at most, so a length fits.
            *entry = Char { kind, length: becomes.len() as u8, text: [0; 4] };
            if becomes.len() <= 4 {
                entry.text[..becomes.len()].copy_from_slice(becomes.as_bytes());
            } else {
                entry.text = (texts.len() as u32).to_le_bytes();
                texts.extend_from_slice(becomes.as_bytes());
            }
        }
        Page { entries, texts: texts.into() }
    }

    /// The kind of a character that the normalizer has been through.
    pub(super) fn plain(c: char) -> Kind {
        if c.is_whitespace() {
            Kind::Space
        } else if c.is_ascii_punctuation() || c.is_punctuation() {
            Kind::Alone
        } else {
            Kind::Word
        }
    }
}

/// Upstream's steps for one character: `normalizers/bert.rs`, then `pre_tokenizers/bert.rs`.
fn page_entry(normalizer: Option<BertNormalizer>, c: char) -> (Kind, String) {
    let Some(rules) = normalizer else { return (Chars::plain(c), c.to_string()) };
    let mut c = c;
    if rules.clean_text {
        let kept = matches!(c, '\t' | '\n' | '\r');
        if c == '\0' || c == '\u{fffd}' || (!kept && c.is_other()) {
            return (Kind::Dropped, String::new());
        }
        if c.is_whitespace() {
            c = ' ';
        }
    }
    let alone = rules.handle_chinese_chars && is_ideograph(c);
    let mut text = c.to_string();
    if rules.strip_accents.unwrap_or(rules.lowercase) {
        let kept = |&(c, _): &(char, isize)| !c.is_mark_nonspacing();
        text = text.nfd().filter(kept).map(|(c, _)| c).collect();
        if text.chars().any(|c| canonical_combining_class(c) != 0) {
            return (Kind::Rare, String::new());
        }
    }
    if rules.lowercase {
        text = text.chars().flat_map(char::to_lowercase).collect();
    }
    let mut kinds = text.chars().map(Chars::plain);
    let kind = match (kinds.next(), kinds.next()) {
        (None, _) if alone => Kind::Space,
        (None, _) => Kind::Dropped,
        // Spaces are put around an ideograph.
        (Some(Kind::Word), None) if alone => Kind::Alone,
        (Some(kind), None) => kind,
        _ if !alone && text.chars().all(|c| Chars::plain(c) == Kind::Word) => Kind::Word,
        _ => Kind::Rare,
    };
    (kind, text)
}

/// As `is_chinese_char` of upstream's `normalizers/bert.rs`, with its blocks.
fn is_ideograph(c: char) -> bool {
    matches!(c as u32,
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x2_0000..=0x2_A6DF | 0x2_A700..=0x2_B73F
        | 0x2_B740..=0x2_B81F | 0x2_B920..=0x2_CEAF | 0xF900..=0xFAFF | 0x2_F800..=0x2_FA1F)
}
