//! `SentencePiece`'s character map, as the crates `spm_precompiled` and `tokenizers` apply it.
//!
//! They go grapheme by grapheme: of a short grapheme that begins with a key of the map, all is replaced; other
//! graphemes go character by character. Only where a grapheme of several characters begins with a key does that
//! differ from going character by character throughout, and such places can be told from each character and
//! the next. So text is mapped by character, and divided into graphemes only where a word has such a place.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Deserialize;
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

/// Longest grapheme, in bytes, that is looked up as a whole.
const SHORT_GRAPHEME: usize = 5;
/// Code points whose properties are remembered: beyond are private ones and tags.
const REMEMBERED: usize = 0x4_0000;

/// The character's properties are known: tells them from those not yet asked for.
const KNOWN: u8 = 1;
/// The map has the character.
const MAPPED: u8 = 2;
/// The map has the character only as the beginning of longer keys.
const HEAD: u8 = 4;
/// May continue the grapheme of the character before, whatever that is.
const JOINS_LEFT: u8 = 8;
/// May begin a grapheme that goes on with a character that is not [`JOINS_LEFT`].
const JOINS_RIGHT: u8 = 16;

/// Whether what a word becomes depends on the spaces beside it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    /// It may share a grapheme with the space before it.
    pub(super) left: bool,
    /// It may share a grapheme with the space after it.
    pub(super) right: bool,
}

pub(super) struct Charsmap {
    /// A double array over the bytes of keys, in the units of `darts-clone`.
    units: Box<[u32]>,
    /// What keys become, each ended by a zero byte.
    text: String,
    /// By code point, zero where not yet known. Two threads that ask at once find the same.
    properties: Box<[AtomicU8]>,
}

impl fmt::Debug for Charsmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charsmap").field("units", &self.units.len()).finish_non_exhaustive()
    }
}

impl Charsmap {
    /// `None` for a map that a look-up could leave, or that has keys beginning with a space.
    pub(super) fn new(definition: &Value) -> Option<Self> {
        // The crate says whether a map is well formed, and keeps what it has read to itself.
        spm_precompiled::Precompiled::deserialize(definition).ok()?;
        let data = BASE64.decode(definition.get("precompiled_charsmap")?.as_str()?).ok()?;
        let (size, data) = data.split_first_chunk::<4>()?;
        let (units, text) = data.split_at_checked(u32::from_le_bytes(*size) as usize / 4 * 4)?;
        let unit = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let units = units.chunks_exact(4).map(unit).collect::<Option<Box<[u32]>>>()?;
        let map = Self {
            units,
            text: String::from_utf8(text.to_vec()).ok()?,
            properties: (0..REMEMBERED).map(|_| AtomicU8::new(0)).collect(),
        };
        (map.is_closed() && map.properties(' ') & (MAPPED | HEAD) == 0).then_some(map)
    }

    /// Whether every look-up stays inside the units, and finds a text that begins where a character does.
    fn is_closed(&self) -> bool {
        let within = |(at, &unit): (usize, &u32)| {
            let next = at ^ offset(unit);
            let leaf = || self.units.get(next).is_some_and(|&leaf| self.value(leaf).is_some());
            unit >> 31 == 1 || (next | 0xff) < self.units.len() && (!has_leaf(unit) || leaf())
        };
        !self.units.is_empty() && self.units.iter().enumerate().all(within)
    }

    /// Appends what `text` becomes. `after_space`: a space stands before it, rather than nothing or a control.
    pub(super) fn append(&self, text: &str, after_space: bool, out: &mut String) -> Context {
        let start = out.len();
        let properties = |c: Option<char>| c.map_or(0, |c| self.properties(c));
        let left = properties(text.chars().next()) & JOINS_LEFT != 0;
        let last = properties(text.chars().next_back());
        let right = last & JOINS_RIGHT != 0 && last & (MAPPED | HEAD) != 0;
        if left && after_space {
            // The grapheme begins with the space, which no key does: it goes character by character.
            self.append_graphemes(&format!(" {text}"), out);
            out.remove(start);
        } else if !self.append_chars(text, out) {
            out.truncate(start);
            self.append_graphemes(text, out);
        }
        Context { left, right }
    }

    /// Maps `text` character by character; `false` where a grapheme of it could be mapped as a whole.
    fn append_chars(&self, text: &str, out: &mut String) -> bool {
        let mut copied = 0;
        for (at, c) in text.char_indices() {
            let properties = self.properties(c);
            if properties & (MAPPED | JOINS_LEFT | JOINS_RIGHT) == 0 {
                continue;
            }
            if properties & JOINS_LEFT != 0
                && let Some(before) = text[..at].chars().next_back()
                && self.properties(before) & (MAPPED | HEAD) != 0
                && self.find(&text[at - before.len_utf8()..]).is_some()
            {
                return false;
            }
            if properties & (MAPPED | HEAD) == 0 {
                continue;
            }
            let found = self.find(&text[at..]);
            if properties & JOINS_RIGHT != 0 && found.is_some() {
                return false;
            }
            if properties & MAPPED != 0 {
                out.push_str(&text[copied..at]);
                out.push_str(found.unwrap_or_default());
                copied = at + c.len_utf8();
            }
        }
        out.push_str(&text[copied..]);
        true
    }

    /// Maps `text` as upstream does.
    fn append_graphemes(&self, text: &str, out: &mut String) {
        for grapheme in text.graphemes(true) {
            if grapheme.len() <= SHORT_GRAPHEME
                && let Some(found) = self.find(grapheme)
            {
                out.push_str(found);
                continue;
            }
            for (at, c) in grapheme.char_indices() {
                match self.find(&grapheme[at..at + c.len_utf8()]) {
                    Some(found) => out.push_str(found),
                    None => out.push(c),
                }
            }
        }
    }

    /// Whether the map leaves `c` as it is, unless it is followed by an accent.
    pub(super) fn keeps(&self, c: char) -> bool {
        let properties = self.properties(c);
        properties & MAPPED == 0
            && (properties & HEAD == 0 || properties & (JOINS_LEFT | JOINS_RIGHT) == 0)
    }

    /// The first place at `from` or later that divides `text` without dividing a grapheme.
    pub(super) fn cut(&self, text: &str, from: usize) -> Option<usize> {
        let mut chars = text.get(from..)?.char_indices().map(|(at, c)| (at, self.properties(c)));
        let (_, mut before) = chars.next()?;
        chars.find_map(|(at, properties)| {
            let apart = before & (JOINS_LEFT | JOINS_RIGHT) == 0 && properties & JOINS_LEFT == 0;
            before = properties;
            apart.then_some(from + at)
        })
    }

    fn properties(&self, c: char) -> u8 {
        let remembered = self.properties.get(c as usize);
        match remembered.map_or(0, |properties| properties.load(Ordering::Relaxed)) {
            0 => {
                let properties = self.ask(c);
                if let Some(remembered) = remembered {
                    remembered.store(properties, Ordering::Relaxed);
                }
                properties
            }
            properties => properties,
        }
    }

    /// Finds out a character's properties. Which characters join is asked of the crate that finds graphemes:
    /// all that can continue any grapheme continue that of a Hangul syllable without a final consonant, and
    /// such a syllable continues all graphemes that others can, but for pairs of regional indicators and CR LF.
    fn ask(&self, c: char) -> u8 {
        let (mut buffer, syllable) = ([0; 4], '\u{ac00}');
        let key = match self.walk(c.encode_utf8(&mut buffer)) {
            Walk::Found(_) => MAPPED,
            Walk::Prefix => HEAD,
            Walk::Left => 0,
        };
        let one = |text: [char; 2]| String::from_iter(text).graphemes(true).count() == 1;
        let left = if one([syllable, c]) { JOINS_LEFT } else { 0 };
        let pairs = c == '\r' || ('\u{1f1e6}'..='\u{1f1ff}').contains(&c);
        let right = if pairs || one([c, syllable]) { JOINS_RIGHT } else { 0 };
        KNOWN | key | left | right
    }

    /// What the shortest key that `text` begins with becomes.
    fn find(&self, text: &str) -> Option<&str> {
        if let Walk::Found(found) = self.walk(text) { Some(found) } else { None }
    }

    fn walk(&self, text: &str) -> Walk<'_> {
        let unit = |at: usize| self.units.get(at).copied().unwrap_or_default();
        let mut at = offset(unit(0));
        for byte in text.bytes() {
            at ^= usize::from(byte);
            // A zero byte ends keys.
            if byte == 0 || unit(at) & (1 << 31 | 0xff) != u32::from(byte) {
                return Walk::Left;
            }
            let leaf = has_leaf(unit(at));
            at ^= offset(unit(at));
            if leaf {
                return self.value(unit(at)).map_or(Walk::Left, Walk::Found);
            }
        }
        Walk::Prefix
    }

    /// The text that a leaf stands for.
    fn value(&self, leaf: u32) -> Option<&str> {
        let text = self.text.get((leaf & !(1 << 31)) as usize..)?;
        text.split('\0').next()
    }
}

/// Where the bytes of a text lead.
enum Walk<'m> {
    /// To the end of a key.
    Found(&'m str),
    /// Into longer keys.
    Prefix,
    /// Out of all keys.
    Left,
}

fn has_leaf(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}
