//! The normalizers that Unigram tokenizers come with, applied to one word at a time.
//!
//! A word is what lies between two ASCII spaces. Every step taken here leaves spaces alone, and makes of a word
//! the same whatever stands beyond them; `Charsmap` says where that is not so.

use std::borrow::Cow;

use serde_json::Value;

use super::charsmap::Context;
use super::steps::{Step, replace};

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
