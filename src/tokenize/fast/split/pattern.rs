use super::classes::{Classes, LETTER, MARK, NEWLINE, NUMBER, SPACE, SYMBOL};

/// A regular expression of a pre-tokenizer, by what its alternatives are.
///
/// In this order, each of which may be missing: contractions, words, numbers, symbols, white space up to a
/// newline. Then always `\s+(?!\S)|\s+`.
#[derive(Debug, Clone)]
pub(in super::super) struct Pattern {
    pub(super) classes: &'static Classes,
    pub(super) contractions: Contractions,
    pub(super) words: Words,
    /// The most digits that one match has; 0 for no alternative.
    pub(super) digits: usize,
    /// Whether a space may precede digits.
    pub(super) digits_lead: bool,
    pub(super) symbols: Symbols,
    pub(super) trailer: Trailer,
    /// Whether there is `\s*[\r\n]+`.
    pub(super) newlines: bool,
    /// Whether what no alternative matches is dropped.
    pub(super) drops: bool,
}

/// `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contractions {
    None,
    Exact,
    /// In any case; that of `s` has a third letter, U+017F.
    AnyCase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// ` ?\p{L}+`
    Spaced,
    /// `[^\r\n\p{L}\p{N}]?\p{L}+`
    Led,
    /// `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+`
    Marked,
    /// Upper before lower case, see `scan::cased`; whether contractions in any case may follow.
    Cased { contractions: bool },
    /// A mark of ASCII with ASCII letters, or `[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+`.
    DeepSeek,
}

/// The class that is meant is `kind`, or what is not of `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbols {
    pub(super) kind: u8,
    pub(super) negated: bool,
}

/// What else belongs to symbols that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailer {
    None,
    Newlines,
    NewlinesAndSlashes,
}

const CONTRACTIONS: [(&str, Contractions); 4] = [
    ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|", Contractions::AnyCase),
    ("'(?i:[sdmt]|ll|ve|re)|", Contractions::AnyCase),
    ("'s|'t|'re|'ve|'m|'ll|'d|", Contractions::Exact),
    ("", Contractions::None),
];

const WORDS: [(&str, Words); 6] = [
    (r" ?\p{L}+|", Words::Spaced),
    (r"[^\r\n\p{L}\p{N}]?\p{L}+|", Words::Led),
    (r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|", Words::Marked),
    (
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        ),
        Words::Cased { contractions: true },
    ),
    (
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
        ),
        Words::Cased { contractions: false },
    ),
    (
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
            r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|",
        ),
        Words::DeepSeek,
    ),
];

const NUMBERS: [(&str, usize, bool); 5] = [
    (r" ?\p{N}+|", usize::MAX, true),
    (r"\p{N}{1,3}|", 3, false),
    (r"\p{N}+|", usize::MAX, false),
    (r"\p{N}|", 1, false),
    ("", 0, false),
];

const NOT_WORDS: Symbols = Symbols { kind: LETTER | NUMBER | SPACE, negated: true };
const NOT_MARKED: Symbols = Symbols { kind: LETTER | MARK | NUMBER | SPACE, negated: true };
const SYMBOLS: [(&str, Symbols, Trailer); 5] = [
    (r" ?[^\s\p{L}\p{N}]+[\r\n]*|", NOT_WORDS, Trailer::Newlines),
    (r" ?[^\s\p{L}\p{N}]+[\r\n/]*|", NOT_WORDS, Trailer::NewlinesAndSlashes),
    (r" ?[^\s\p{L}\p{N}]+|", NOT_WORDS, Trailer::None),
    (r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|", NOT_MARKED, Trailer::Newlines),
    (r" ?[\p{P}\p{S}]+[\r\n]*|", Symbols { kind: SYMBOL, negated: false }, Trailer::Newlines),
];

/// The same: a run of white space up to its last newline.
const NEWLINES: [(&str, bool); 3] = [(r"\s*[\r\n]+|", true), (r"\s*[\r\n]|", true), ("", false)];

const REST: &str = r"\s+(?!\S)|\s+";

/// What `ByteLevel` itself splits by.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

impl Pattern {
    /// Reads a regular expression; `None` if it is not made of the known alternatives.
    ///
    /// `drops`: what it does not match is dropped, rather than a piece of its own.
    pub(in super::super) fn new(regex: &str, drops: bool) -> Option<Self> {
        // Some files have the characters themselves in their classes, which is the same.
        let regex = regex.replace('\r', r"\r").replace('\n', r"\n");
        let (&(_, contractions), rest) = first(&CONTRACTIONS, |entry| entry.0, &regex)?;
        let (&(_, words), rest) = first(&WORDS, |entry| entry.0, rest)?;
        let (&(_, digits, digits_lead), rest) = first(&NUMBERS, |entry| entry.0, rest)?;
        let (&(_, symbols, trailer), rest) = first(&SYMBOLS, |entry| entry.0, rest)?;
        let (&(_, newlines), rest) = first(&NEWLINES, |entry| entry.0, rest)?;
        let classes = Classes::of_process()?;
        let pattern = Self {
            classes,
            contractions,
            words,
            digits,
            digits_lead,
            symbols,
            trailer,
            newlines,
            drops,
        };
        (rest == REST && (!drops || pattern.matches_all())).then_some(pattern)
    }

    /// What `ByteLevel` itself splits by.
    pub(in super::super) fn gpt2() -> Option<Self> {
        Self::new(GPT2, false)
    }

    /// Whether every character is matched by some alternative.
    fn matches_all(&self) -> bool {
        let marks_are_words = matches!(self.words, Words::Marked | Words::Cased { .. });
        self.digits > 0
            && (self.symbols == NOT_WORDS || self.symbols == NOT_MARKED && marks_are_words)
    }

    pub(in super::super) fn is_letter(&self, c: char) -> bool {
        self.classes.of(c.into()) & LETTER != 0
    }

    #[inline]
    pub(super) fn is_symbol(&self, class: u8) -> bool {
        (class & self.symbols.kind == 0) == self.symbols.negated
    }

    #[inline]
    pub(super) fn is_newline(class: u8) -> bool {
        class & NEWLINE != 0
    }
}

/// The first entry whose text `regex` begins with, and what follows it.
fn first<'t, 'r, T>(
    table: &'t [T],
    text: impl Fn(&T) -> &'static str,
    regex: &'r str,
) -> Option<(&'t T, &'r str)> {
    table.iter().find_map(|entry| Some((entry, regex.strip_prefix(text(entry))?)))
}
