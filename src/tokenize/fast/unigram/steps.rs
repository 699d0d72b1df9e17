//! The steps that normalizers are made of, as upstream takes them (tokenizers 0.23.2, `normalizers/`).

use regex_syntax::hir::{Class, ClassUnicode, HirKind};
use serde_json::Value;
use unicode_normalization_alignments::char::is_combining_mark;
use unicode_normalization_alignments::{
    IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

use super::charsmap::{Charsmap, Context};

/// What is done to a word, whatever stands beside it.
#[derive(Debug)]
pub(super) enum Step {
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
pub(super) enum Form {
    C,
    D,
    Kc,
    Kd,
}

impl Step {
    /// `None` for a step that is not known.
    pub(super) fn new(definition: &Value) -> Option<Self> {
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

    /// Appends what becomes of `word`. `after_space`: a space stands before it.
    pub(super) fn append(&self, word: &str, after_space: bool, out: &mut String) -> Context {
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
    pub(super) fn keeps(&self, c: char) -> bool {
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

/// The kind of pattern, the pattern and what it becomes.
pub(super) fn replace(definition: &Value) -> Option<(&str, &str, &str)> {
    if definition.get("type")?.as_str()? != "Replace" {
        return None;
    }
    let patterns = definition.get("pattern")?.as_object().filter(|patterns| patterns.len() == 1)?;
    let (kind, pattern) = patterns.iter().next()?;
    Some((kind, pattern.as_str()?, definition.get("content")?.as_str()?))
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
