//! NFC and NFKC, at the price of a look at each character where a text is composed already.

use std::borrow::Cow;
use std::sync::OnceLock;

use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_normalization_alignments::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick,
};

/// A normal form, as `unicode-normalization-alignments` makes it: upstream's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Nfc,
    Nfkc,
}

impl Form {
    pub(super) fn apply(self, text: &str) -> Cow<'_, str> {
        if text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let fixed = self.fixed_points();
        let mut made = String::new();
        let mut copied = 0; // how much of `text` is in `made`
        let mut last = 0; // where the last fixed character begins
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            if self.is_fixed(fixed, c) {
                last = at;
                continue;
            }
            // What is not fixed can change, or be changed by, all up to the next fixed character, and the
            // last one before it.
            let end =
                chars.find(|&(_, c)| self.is_fixed(fixed, c)).map_or(text.len(), |(at, _)| at);
            let part = &text[last..end];
            if !self.same(part) {
                made.reserve(text.len() - copied);
                made.push_str(&text[copied..last]);
                self.push(part, &mut made);
                copied = end;
            }
            last = end;
        }
        if copied == 0 && made.is_empty() {
            return Cow::Borrowed(text);
        }
        made.push_str(&text[copied..]);
        Cow::Owned(made)
    }

    /// Whether the character stays as it is, whatever stands before it.
    pub(super) fn keeps(self, c: char) -> bool {
        self.is_fixed(self.fixed_points(), c)
    }

    fn same(self, part: &str) -> bool {
        match self {
            Self::Nfc => part.nfc().map(|(c, _)| c).eq(part.chars()),
            Self::Nfkc => part.nfkc().map(|(c, _)| c).eq(part.chars()),
        }
    }

    fn push(self, part: &str, made: &mut String) {
        match self {
            Self::Nfc => made.extend(part.nfc().map(|(c, _)| c)),
            Self::Nfkc => made.extend(part.nfkc().map(|(c, _)| c)),
        }
    }

    /// Whether the character stays as it is, and none before it reaches over it.
    #[inline]
    fn is_fixed(self, fixed: &[u64], c: char) -> bool {
        let point = c as usize;
        match fixed.get(point / 64) {
            Some(bits) => bits >> (point % 64) & 1 == 1,
            None => self.looks_fixed(c),
        }
    }

    fn looks_fixed(self, c: char) -> bool {
        let one = std::iter::once(c);
        let quick = match self {
            Self::Nfc => is_nfc_quick(one),
            Self::Nfkc => is_nfkc_quick(one),
        };
        matches!(quick, IsNormalized::Yes) && canonical_combining_class(c) == 0
    }

    /// One bit for each character of the basic plane, looked up once for the process.
    fn fixed_points(self) -> &'static [u64] {
        static NFC: OnceLock<Vec<u64>> = OnceLock::new();
        static NFKC: OnceLock<Vec<u64>> = OnceLock::new();
        let table = match self {
            Self::Nfc => &NFC,
            Self::Nfkc => &NFKC,
        };
        table.get_or_init(|| {
            let bit = |point| char::from_u32(point).is_some_and(|c| self.looks_fixed(c));
            let word = |first| (0..64_u32).map(|i| u64::from(bit(first + i)) << i).sum();
            (0..0x1_0000).step_by(64).map(word).collect()
        })
    }
}
