//! The scanner: from where a piece begins to where it ends.

use super::classes::{LETTER, LOWER, MARK, NUMBER, SPACE, SYMBOL, UPPER, decode};
use super::pattern::{Contractions, Pattern, Trailer, Words};

const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// Upstream's regex engine gives up on a run of white space of so many characters (its stack holds a million
/// places to come back to): the rest of the text is then one piece.
const BLANKS: usize = 999_999;

impl Pattern {
    /// The end of the piece that begins at `at`, which is before the text's end.
    #[inline]
    pub(in super::super) fn end(&self, text: &[u8], at: usize) -> usize {
        if let Some(end) = self.ascii_word(text, at) {
            return end;
        }
        if let Some(end) = self.matched(text, at) {
            return end;
        }
        // Nothing matches here: the piece goes on to where something does.
        let mut end = at;
        while end < text.len() {
            end += self.classes.at(text, end).1;
            if end < text.len() && self.matched(text, end).is_some() {
                break;
            }
        }
        end
    }

    /// Whether upstream drops the piece from `at` to the text's end.
    pub(in super::super) fn drops(&self, text: &[u8], at: usize) -> bool {
        self.drops && text.len() - at >= BLANKS && self.gives_up(text, at)
    }

    /// ASCII letters up to another ASCII character, with a space before them or not: most of most texts.
    #[inline]
    fn ascii_word(&self, text: &[u8], at: usize) -> Option<usize> {
        let start = at + usize::from(text[at] == b' ');
        let chunk = u64::from_le_bytes(text.get(start..start + 8)?.try_into().ok()?);
        let end = if let Words::Cased { contractions } = self.words {
            let upper = leading(capitals(chunk));
            if upper == 8 {
                return None;
            }
            let count = upper + leading(small(chunk) >> (8 * upper));
            let end = if count < 8 { start + count } else { small_end(text, start + 8) };
            if contractions && text.get(end) == Some(&b'\'') {
                return None;
            }
            end
        } else {
            let count = leading(letters(chunk));
            if count < 8 { start + count } else { letters_end(text, start + 8) }
        };
        let ascii = text.get(end).is_none_or(u8::is_ascii);
        (end > start && ascii).then_some(end)
    }

    fn matched(&self, text: &[u8], at: usize) -> Option<usize> {
        let (class, length) = self.classes.at(text, at);
        let next = at + length;
        if text[at] == b'\''
            && let Some(end) = self.contraction(text, at)
        {
            return Some(end);
        }
        if let Some(end) = self.word(text, at, class, next) {
            return Some(end);
        }
        let spaced = if text[at] == b' ' { Some(self.classes.at(text, next)) } else { None };
        if self.digits > 0 {
            if class & NUMBER != 0 {
                return Some(self.digits_end(text, next));
            }
            if let Some((class, length)) = spaced
                && self.digits_lead
                && class & NUMBER != 0
            {
                return Some(self.digits_end(text, next + length));
            }
        }
        if let Some((class, length)) = spaced
            && length > 0
            && self.is_symbol(class)
        {
            return Some(self.symbols_end(text, next + length));
        }
        if self.is_symbol(class) {
            return Some(self.symbols_end(text, next));
        }
        (class & SPACE != 0).then(|| self.blanks_end(text, at))
    }

    /// `'s` and its like.
    fn contraction(&self, text: &[u8], at: usize) -> Option<usize> {
        let fold = match self.contractions {
            Contractions::None => return None,
            Contractions::Exact => false,
            Contractions::AnyCase => true,
        };
        contraction(text, at, fold)
    }

    /// The word at `at`, whose first character has `class` and ends at `next`.
    fn word(&self, text: &[u8], at: usize, class: u8, next: usize) -> Option<usize> {
        let (kind, leads) = match self.words {
            Words::Spaced => (LETTER, text[at] == b' '),
            Words::Led => (LETTER, leads(class)),
            Words::Marked => (LETTER | MARK, leads(class)),
            Words::Cased { contractions } => {
                // Words with a small letter come first, whether something leads them or not.
                let none = (None, None);
                let (led, led_capitals) = if leads(class) { self.cased(text, next) } else { none };
                let (own, own_capitals) = if led.is_none() { self.cased(text, at) } else { none };
                let end = led.or(own).or(led_capitals).or(own_capitals)?;
                let more = if contractions { contraction(text, end, true) } else { None };
                return Some(more.unwrap_or(end));
            }
            Words::DeepSeek => {
                if class & SYMBOL != 0 && text[at].is_ascii() {
                    let end = letters_end(text, next);
                    if end > next {
                        return Some(end);
                    }
                }
                let leads = class & (LETTER | SYMBOL) == 0 && !Self::is_newline(class);
                (LETTER | MARK, leads)
            }
        };
        if class & kind != 0 {
            return Some(self.run(text, next, kind));
        }
        let (class, length) = if leads { self.classes.at(text, next) } else { (0, 0) };
        (class & kind != 0).then(|| self.run(text, next + length, kind))
    }

    /// Where `U*L+` ends that begins at `at`, and `U+L*` if there is none. What has no case is in both.
    fn cased(&self, text: &[u8], at: usize) -> (Option<usize>, Option<usize>) {
        let mut end = at;
        let mut caseless = None; // the end of the last such character
        loop {
            let (class, length) = self.classes.at(text, end);
            if class & UPPER == 0 {
                if class & LOWER != 0 {
                    return (Some(self.run(text, end + length, LOWER)), None);
                }
                return (caseless, (end > at).then_some(end));
            }
            end += length;
            if class & LOWER != 0 {
                caseless = Some(end);
            }
        }
    }

    /// The end of the run of characters of `kind` that goes on at `at`.
    #[inline]
    fn run(&self, text: &[u8], mut at: usize, kind: u8) -> usize {
        loop {
            let (class, length) = self.classes.at(text, at);
            if class & kind == 0 {
                return at;
            }
            at += length;
        }
    }

    /// The end of digits of which one ends at `at`.
    fn digits_end(&self, text: &[u8], mut at: usize) -> usize {
        let mut count = 1;
        while count < self.digits {
            let (class, length) = self.classes.at(text, at);
            if class & NUMBER == 0 {
                break;
            }
            at += length;
            count += 1;
        }
        at
    }

    /// The end of symbols of which one ends at `at`, with what belongs to them.
    fn symbols_end(&self, text: &[u8], mut at: usize) -> usize {
        loop {
            let (class, length) = self.classes.at(text, at);
            if length == 0 || !self.is_symbol(class) {
                break;
            }
            at += length;
        }
        let trails = |byte: &u8| match self.trailer {
            Trailer::None => false,
            Trailer::Newlines => matches!(byte, b'\r' | b'\n'),
            Trailer::NewlinesAndSlashes => matches!(byte, b'\r' | b'\n' | b'/'),
        };
        at + text[at..].iter().take_while(|byte| trails(byte)).count()
    }

    /// The end of white space: its last newline if that counts, or else all but what leads the next piece.
    fn blanks_end(&self, text: &[u8], at: usize) -> usize {
        let (mut end, mut last, mut newline, mut count) = (at, at, None, 0);
        loop {
            let (class, length) = self.classes.at(text, end);
            if class & SPACE == 0 {
                break;
            }
            last = end;
            end += length;
            count += 1;
            if Self::is_newline(class) {
                newline = Some(end);
            }
        }
        match newline.filter(|_| self.newlines) {
            Some(newline) => newline,
            None if count >= BLANKS => text.len(),
            None if end == text.len() || last == at => end,
            None => last,
        }
    }

    /// Whether white space begins at `at` that is more than upstream's engine can take.
    fn gives_up(&self, text: &[u8], at: usize) -> bool {
        let blanks = &text[at..self.run(text, at, SPACE)];
        let newline = self.newlines && blanks.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        !newline && str::from_utf8(blanks).is_ok_and(|blanks| blanks.chars().count() >= BLANKS)
    }
}

/// Whether a character may lead a word: `[^\r\n\p{L}\p{N}]`.
#[inline]
fn leads(class: u8) -> bool {
    class & (LETTER | NUMBER) == 0 && !Pattern::is_newline(class)
}

/// The end of a contraction at `at`; `fold` for any case.
fn contraction(text: &[u8], at: usize, fold: bool) -> Option<usize> {
    if text.get(at) != Some(&b'\'') {
        return None;
    }
    let byte = |offset: usize| {
        let byte = text.get(at + offset).copied().unwrap_or(0);
        if fold { byte.to_ascii_lowercase() } else { byte }
    };
    match (byte(1), byte(2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', b'e') | (b'l', b'l') => Some(at + 3),
        (128.., _) if fold && decode(text, at + 1).0 == 0x17f => Some(at + 3),
        _ => None,
    }
}

/// The end of the ASCII letters from `at`.
#[inline]
pub(in super::super) fn letters_end(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()) {
        let count = leading(letters(u64::from_le_bytes(chunk)));
        at += count;
        if count < 8 {
            return at;
        }
    }
    at + text[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count()
}

fn small_end(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| byte.is_ascii_lowercase()).count()
}

/// How many of the first bytes are marked by their highest bit.
#[inline]
fn leading(marks: u64) -> usize {
    (!marks & HIGH).trailing_zeros() as usize / 8
}

/// Marks the ASCII letters among eight bytes.
#[inline]
fn letters(bytes: u64) -> u64 {
    between(bytes | (0x20 * ONES), b'a', b'z')
}

#[inline]
fn capitals(bytes: u64) -> u64 {
    between(bytes, b'A', b'Z')
}

#[inline]
fn small(bytes: u64) -> u64 {
    between(bytes, b'a', b'z')
}

/// Marks the bytes from `first` to `last`, both ASCII.
#[inline]
fn between(bytes: u64, first: u8, last: u8) -> u64 {
    let low = bytes & !HIGH;
    let from = low + u64::from(0x80 - first) * ONES;
    let above = low + u64::from(0x7f - last) * ONES;
    from & !above & !bytes & HIGH
}
