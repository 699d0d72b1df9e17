//! The normalizers that Unigram tokenizers come with, applied to one word at a time.
//!
//! A word is what lies between two ASCII spaces. Every step taken here leaves spaces alone, and makes of a word
//! the same whatever stands beyond them; `Charsmap` says where that is not so.

use std::borrow::Cow;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};
use serde_json::Value;
use unicode_normalization_alignments::char::is_combining_mark;
use unicode_normalization_alignments::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

use super::charsmap::{Charsmap, Context};

#[derive(Debug, Default)]
pub(super) struct Normalizer {
    /// White space is stripped before the steps: on the left, on the right.
    strip: (bool, bool),
    steps: Vec<Step>,
    /// White space is stripped on the right after the steps.
    pub(super) strip_end: bool,
    /// Runs of spaces become this, last of all.
    pub(super) collapse: Option<String>,
    /// ASCII characters that the steps leave as they are among others of this kind.
    plain: Plain,
}

#[derive(Debug)]
struct Plain([bool; 128]);

impl Default for Plain {
    fn default() -> Self {
        Self([true; 128])
    }
}

#[derive(Debug)]
enum Step {
    Charsmap(Charsmap),
    /// Every character of a class becomes a text.
    Class(ClassUnicode, String),
    /// Every occurrence of the first becomes the second.
    Text(String, String),
    Form(Form),
    StripAccents,
    Lowercase,
    Nmt,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    C,
    D,
    Kc,
    Kd,
}

impl Normalizer {
    /// `None` for a normalizer that is not made of the known steps in the usual order.
    pub(super) fn new(definition: &Value) -> Option<Self> {
        let mut definitions = Vec::new();
        flatten(definition, &mut definitions)?;
        let mut rest = &definitions[..];
        let mut normalizer = Self::default();
        if let [first, after @ ..] = rest
            && let Some(strip) = strip(first)
        {
            (normalizer.strip, rest) = (strip, after);
        }
        while let [first, after @ ..] = rest
            && let Some(step) = Step::new(first)
        {
            normalizer.steps.push(step);
            rest = after;
        }
        if let [first, after @ ..] = rest
            && let Some(strip) = strip(first)
        {
            if strip.0 {
                return None;
            }
            (normalizer.strip_end, rest) = (strip.1, after);
        }
        if let [first, after @ ..] = rest
            && let Some(content) = collapse(first)
        {
            (normalizer.collapse, rest) = (Some(content), after);
        }
        let plain = |c: char| normalizer.steps.iter().all(|step| step.keeps(c));
        normalizer.plain = Plain(std::array::from_fn(|byte| plain(char::from(byte as u8))));
        (rest.is_empty() && normalizer.plain.0[usize::from(b' ')]).then_some(normalizer)
    }

    /// Whether nothing is done to any text.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
            && self.strip == (false, false)
            && !self.strip_end
            && self.collapse.is_none()
    }

    /// Whether the first character that is left can be another than the first character of the text, in a way
    /// that upstream's offsets show.
    pub(super) fn moves_first(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Charsmap(_) | Step::Form(_) | Step::Lowercase => false,
            Step::Class(_, content) => content.is_empty(),
            Step::Text(..) | Step::StripAccents | Step::Nmt => true,
        })
    }

    /// Whether ASCII letters stay letters.
    pub(super) fn keeps_letters(&self) -> bool {
        let keeps = |c: char| c.is_ascii_alphabetic();
        let lowercase = |step: &Step| matches!(step, Step::Lowercase);
        let kept = |step: &Step| ('A'..='z').filter(|&c| keeps(c)).all(|c| step.keeps(c));
        self.steps.iter().all(|step| lowercase(step) || kept(step))
    }

    /// What is left of a section after the first step, which may strip it.
    pub(super) fn stripped<'t>(&self, mut text: &'t str) -> &'t str {
        if self.strip.0 {
            text = text.trim_start();
        }
        if self.strip.1 {
            text = text.trim_end();
        }
        text
    }

    /// Whether the steps leave `word` as it is, by its bytes alone.
    pub(super) fn is_plain(&self, word: &str) -> bool {
        word.bytes().all(|byte| self.plain.0.get(usize::from(byte)).is_some_and(|&plain| plain))
    }

    /// What an ASCII character that stands alone becomes; `None` where its neighbours could matter.
    pub(super) fn separator(&self, c: char) -> Option<String> {
        let within = |step: &Step| matches!(step, Step::Text(pattern, _) if pattern.contains(c));
        if c == '\r' || self.steps.iter().any(within) {
            return None;
        }
        let mut text = String::new();
        self.word(c.encode_utf8(&mut [0; 4]), false, &mut text);
        Some(text)
    }

    /// Appends what the steps make of `word`. `after_space`: a space stands before it.
    pub(super) fn word(&self, word: &str, after_space: bool, out: &mut String) -> Context {
        match &*self.steps {
            [] => {
                out.push_str(word);
                Context::default()
            }
            [step] => step.append(word, after_space, out),
            [first, steps @ ..] => {
                let (mut from, mut to) = (String::new(), String::new());
                let mut context = first.append(word, after_space, &mut from);
                for step in steps {
                    to.clear();
                    let here = step.append(&from, after_space, &mut to);
                    context.left |= here.left;
                    context.right |= here.right;
                    std::mem::swap(&mut from, &mut to);
                }
                out.push_str(&from);
                context
            }
        }
    }

    /// Appends what the steps make of the word at `start`, which the space or control at `end` ends, and answers
    /// where it ended: later if the steps could see beyond that.
    pub(super) fn word_at(
        &self,
        text: &str,
        start: usize,
        mut end: usize,
        out: &mut String,
    ) -> (usize, Context) {
        let begin = out.len();
        let after_space = text[..start].ends_with(' ');
        loop {
            let context = self.word(&text[start..end], after_space, out);
            if !context.right || end == text.len() {
                return (end, context);
            }
            out.truncate(begin);
            let beyond = &text.as_bytes()[end + 1..];
            end += 1 + memchr::memchr(b' ', beyond).unwrap_or(beyond.len());
        }
    }

    /// A place at `from` or later where a word can be divided and each part taken alone; `None` where there may
    /// be none.
    pub(super) fn cut(&self, text: &str, from: usize) -> Option<usize> {
        let from = text.ceil_char_boundary(from);
        match &*self.steps {
            [] => Some(from),
            [Step::Charsmap(map)] => map.cut(text, from),
            _ => None,
        }
    }

    /// What becomes of a whole section.
    pub(super) fn section<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = self.stripped(text);
        let plain = self.collapse.is_none() && self.is_plain(text);
        if self.steps.is_empty() && self.collapse.is_none() || plain {
            return Cow::Borrowed(if self.strip_end { text.trim_end() } else { text });
        }
        let mut out = String::with_capacity(text.len() + text.len() / 8);
        let mut at = 0;
        while at < text.len() {
            let end = memchr::memchr(b' ', &text.as_bytes()[at..]).map_or(text.len(), |i| at + i);
            if self.is_plain(&text[at..end]) {
                out.push_str(&text[at..end]);
                at = end;
            } else {
                at = self.word_at(text, at, end, &mut out).0;
            }
            if at < text.len() {
                out.push(' ');
                at += 1;
            }
        }
        if self.strip_end {
            out.truncate(out.trim_end().len());
        }
        Cow::Owned(match &self.collapse {
            Some(content) => collapsed(&out, content),
            None => out,
        })
    }

    /// How much of a section is left when white space is stripped from the end of what it becomes; `None`
    /// where that cannot be told from its last characters.
    pub(super) fn strip_end<'t>(&self, text: &'t str) -> Option<&'t str> {
        let blank = |c: char| {
            let alone = if c.is_ascii() { self.separator(c) } else { None };
            alone.is_some_and(|text| !text.is_empty() && text.trim_start().is_empty())
        };
        let vanishes = |step: &Step| matches!(step, Step::Text(_, content) if content.trim_end() != content || content.is_empty());
        let kept = text.trim_end_matches(blank);
        let mut last = kept.chars().rev();
        let Some(c) = last.next() else { return Some(kept) };
        let mut alone = String::new();
        let mut context = self.word(c.encode_utf8(&mut [0; 4]), false, &mut alone);
        let ends = alone.chars().next_back().is_some_and(|c| !c.is_whitespace());
        if let Some(before) = last.next() {
            context.right |= self.word(before.encode_utf8(&mut [0; 4]), false, &mut alone).right;
        }
        let known = !context.left && !context.right && !self.steps.iter().any(vanishes);
        (ends && known).then_some(kept)
    }
}

/// Lists the parts of nested sequences.
fn flatten<'d>(definition: &'d Value, parts: &mut Vec<&'d Value>) -> Option<()> {
    match definition.get("type").and_then(Value::as_str) {
        _ if definition.is_null() => {}
        Some("Sequence") => {
            for part in definition.get("normalizers")?.as_array()? {
                if part.is_null() {
                    return None;
                }
                flatten(part, parts)?;
            }
        }
        Some(_) => parts.push(definition),
        None => return None,
    }
    Some(())
}

fn strip(definition: &Value) -> Option<(bool, bool)> {
    let side = |name: &str| definition.get(name)?.as_bool();
    let is = definition.get("type")?.as_str()? == "Strip";
    if is { side("strip_left").zip(side("strip_right")) } else { None }
}

/// What runs of two spaces and more become.
fn collapse(definition: &Value) -> Option<String> {
    let (kind, pattern, content) = replace(definition)?;
    (kind == "Regex" && pattern == " {2,}").then(|| content.to_owned())
}

fn replace(definition: &Value) -> Option<(&str, &str, &str)> {
    if definition.get("type")?.as_str()? != "Replace" {
        return None;
    }
    let patterns = definition.get("pattern")?.as_object().filter(|patterns| patterns.len() == 1)?;
    let (kind, pattern) = patterns.iter().next()?;
    Some((kind, pattern.as_str()?, definition.get("content")?.as_str()?))
}

fn collapsed(text: &str, content: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest.as_bytes(), b"  ") {
        out.push_str(&rest[..at]);
        out.push_str(content);
        rest = rest[at..].trim_start_matches(' ');
    }
    out.push_str(rest);
    out
}

/// Reads a regular expression that is no more than a class of characters or a text.
///
/// Nothing is let through that `fancy-regex` could read otherwise than `regex-syntax`.
fn regex(pattern: &str, content: &str) -> Option<Step> {
    let mut chars = pattern.chars();
    if pattern.matches('[').count() > 1 || pattern.contains("--") {
        return None;
    }
    while let Some(c) = chars.next() {
        let known = match c {
            '\\' => {
                matches!(chars.next()?, 'p' | 'P' | 's' | 'd' | 'w' | 't' | 'n' | 'r' | 'u' | 'x')
            }
            '&' | '~' | '#' | '(' | ')' | '|' | '*' | '+' | '?' | '.' => false,
            _ => true,
        };
        if !known {
            return None;
        }
    }
    match regex_syntax::parse(pattern).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(Step::Class(class, content.to_owned())),
        HirKind::Literal(text) => {
            Some(Step::Text(String::from_utf8(text.0.into_vec()).ok()?, content.to_owned()))
        }
        _ => None,
    }
}

impl Step {
    fn new(definition: &Value) -> Option<Self> {
        Some(match definition.get("type")?.as_str()? {
            "Precompiled" => Self::Charsmap(Charsmap::new(definition)?),
            "NFC" => Self::Form(Form::C),
            "NFD" => Self::Form(Form::D),
            "NFKC" => Self::Form(Form::Kc),
            "NFKD" => Self::Form(Form::Kd),
            "StripAccents" => Self::StripAccents,
            "Lowercase" => Self::Lowercase,
            "Nmt" => Self::Nmt,
            _ => match replace(definition)? {
                ("String", pattern, content) if !pattern.is_empty() => {
                    Self::Text(pattern.to_owned(), content.to_owned())
                }
                ("Regex", pattern, content) => regex(pattern, content)?,
                _ => return None,
            },
        })
    }

    fn append(&self, word: &str, after_space: bool, out: &mut String) -> Context {
        match self {
            Self::Charsmap(map) => return map.append(word, after_space, out),
            Self::Class(class, content) => {
                for c in word.chars() {
                    if contains(class, c) { out.push_str(content) } else { out.push(c) }
                }
            }
            Self::Text(pattern, content) => {
                let mut rest = word;
                while let Some((before, after)) = rest.split_once(&**pattern) {
                    out.push_str(before);
                    out.push_str(content);
                    rest = after;
                }
                out.push_str(rest);
            }
            Self::Form(form) => form.append(word, out),
            Self::StripAccents => out.extend(word.chars().filter(|&c| !is_combining_mark(c))),
            Self::Lowercase => out.extend(word.chars().flat_map(char::to_lowercase)),
            Self::Nmt => out.extend(word.chars().filter_map(nmt)),
        }
        Context::default()
    }

    /// Whether an ASCII character is left as it is wherever it stands among others of this kind.
    fn keeps(&self, c: char) -> bool {
        match self {
            Self::Charsmap(map) => map.keeps(c),
            Self::Class(class, content) => {
                !contains(class, c) || content.strip_prefix(c).is_some_and(str::is_empty)
            }
            Self::Text(pattern, _) => !pattern.contains(c),
            Self::Form(_) | Self::StripAccents => true,
            Self::Lowercase => !c.is_ascii_uppercase(),
            Self::Nmt => nmt(c) == Some(c),
        }
    }
}

impl Form {
    fn append(self, word: &str, out: &mut String) {
        let chars = || word.chars();
        let quick = match self {
            Self::C => is_nfc_quick(chars()),
            Self::D => is_nfd_quick(chars()),
            Self::Kc => is_nfkc_quick(chars()),
            Self::Kd => is_nfkd_quick(chars()),
        };
        if quick == IsNormalized::Yes {
            return out.push_str(word);
        }
        match self {
            Self::C => out.extend(word.nfc().map(|(c, _)| c)),
            Self::D => out.extend(word.nfd().map(|(c, _)| c)),
            Self::Kc => out.extend(word.nfkc().map(|(c, _)| c)),
            Self::Kd => out.extend(word.nfkd().map(|(c, _)| c)),
        }
    }
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    let ranges = class.ranges();
    let after = ranges.partition_point(|range| range.start() <= c);
    after > 0 && c <= ranges[after - 1].end()
}

/// What upstream's `Nmt` makes of a character (tokenizers 0.23.2, `normalizers/unicode.rs`).
fn nmt(c: char) -> Option<char> {
    match c as u32 {
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0x8f | 0x9f => None,
        0x9
        | 0xa
        | 0xc
        | 0xd
        | 0x1680
        | 0x200b..=0x200f
        | 0x2028
        | 0x2029
        | 0x2581
        | 0xfeff
        | 0xfffd => Some(' '),
        _ => Some(c),
    }
}
