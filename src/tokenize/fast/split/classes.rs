use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{L}`, `\p{N}`, `\s`, `[\r\n]`, `\p{M}`.
pub(in super::super) const LETTER: u8 = 1;
pub(super) const NUMBER: u8 = 2;
pub(super) const SPACE: u8 = 4;
pub(super) const NEWLINE: u8 = 8;
pub(super) const MARK: u8 = 16;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what has no case is in both.
pub(super) const UPPER: u8 = 32;
pub(super) const LOWER: u8 = 64;
/// `[\p{P}\p{S}]`.
pub(super) const SYMBOL: u8 = 128;

const CLASSES: [(&str, u8); 8] = [
    (r"\p{L}", LETTER),
    (r"\p{N}", NUMBER),
    (r"\s", SPACE),
    (r"[\r\n]", NEWLINE),
    (r"\p{M}", MARK),
    (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
    (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
    (r"[\p{P}\p{S}]", SYMBOL),
];

const PAGE: usize = 256;

/// The classes of every character, by the tables of the regex engine that upstream uses.
///
/// Pages of 256 characters, equal ones kept once: most of a script's characters share a page.
#[derive(Debug)]
pub(in super::super) struct Classes {
    ascii: [u8; 128],
    pages: Vec<[u8; PAGE]>,
    /// Which of `pages` a character's is.
    index: Vec<u16>,
}

impl Classes {
    /// Made once for the process. `None` if the engine's tables lack a class, which no build of it does.
    pub(super) fn of_process() -> Option<&'static Self> {
        static TABLE: OnceLock<Option<Classes>> = OnceLock::new();
        TABLE.get_or_init(Self::new).as_ref()
    }

    fn new() -> Option<Self> {
        let mut all = vec![0; char::MAX as usize + 1];
        for (pattern, bit) in CLASSES {
            for (first, last) in ranges(pattern)? {
                all[first as usize..=last as usize].iter_mut().for_each(|class| *class |= bit);
            }
        }
        let (mut pages, mut index) = (vec![[0; PAGE]], Vec::new());
        for chunk in all.chunks_exact(PAGE) {
            let page = <[u8; PAGE]>::try_from(chunk).ok()?;
            // Long stretches of a script are alike: looking at the latest pages finds nearly all.
            let known = pages.iter().rposition(|other| *other == page).unwrap_or(pages.len());
            if known == pages.len() {
                pages.push(page);
            }
            index.push(u16::try_from(known).ok()?);
        }
        let ascii = all.get(..128)?.try_into().ok()?;
        Some(Self { ascii, pages, index })
    }

    /// The classes of a code point.
    #[inline]
    pub(in super::super) fn of(&self, point: u32) -> u8 {
        let point = point as usize;
        self.pages[usize::from(self.index[point / PAGE])][point % PAGE]
    }

    /// The classes of the character at `at`, and its length in bytes; no classes at the text's end.
    #[inline]
    pub(in super::super) fn at(&self, text: &[u8], at: usize) -> (u8, usize) {
        match text.get(at) {
            Some(&byte) if byte < 128 => (self.ascii[usize::from(byte)], 1),
            Some(_) => {
                let (point, length) = decode(text, at);
                (self.of(point), length)
            }
            None => (0, 0),
        }
    }
}

/// The code point and the length of the character that begins at `at`, in valid UTF-8.
#[inline]
pub(in super::super) fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let byte = |offset: usize| u32::from(text.get(at + offset).copied().unwrap_or(0));
    let low = |offset: usize| byte(offset) & 0x3f;
    match byte(0) {
        first @ ..0x80 => (first, 1),
        first @ ..0xe0 => ((first & 0x1f) << 6 | low(1), 2),
        first @ ..0xf0 => ((first & 0xf) << 12 | low(1) << 6 | low(2), 3),
        first => ((first & 7) << 18 | low(1) << 12 | low(2) << 6 | low(3), 4),
    }
}

/// The ranges of a pattern that is one character class.
fn ranges(pattern: &str) -> Option<Vec<(u32, u32)>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            Some(class.iter().map(|range| (range.start().into(), range.end().into())).collect())
        }
        HirKind::Class(Class::Bytes(class)) => {
            Some(class.iter().map(|range| (range.start().into(), range.end().into())).collect())
        }
        _ => None,
    }
}
