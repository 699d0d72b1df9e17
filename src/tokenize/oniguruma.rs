//! Patterns as the engine of PyPI's `tokenizers` reads them, in the words of the engine that is used here.
//!
//! Upstream's Python package searches with Oniguruma, its crate with fancy-regex as built here, and a few
//! classes differ: `\w`, and the POSIX brackets, which are of ASCII alone in one of them. Compared over all
//! code points with tokenizers 0.23.3; other classes agree. What `\b` takes for a word is left as it is.

use serde_json::Value;

/// Oniguruma's word characters are without the joiners, and outside of brackets with superscripts and
/// fractions of Latin-1.
const WORD: &str = r"[[\w²³¹¼½¾]--[\x{200C}\x{200D}]]";
const NOT_WORD: &str = r"[[^\w²³¹¼½¾]\x{200C}\x{200D}]";
const INNER_WORD: &str = r"[\w--[\x{200C}\x{200D}]]";
const INNER_NOT_WORD: &str = r"[[^\w]\x{200C}\x{200D}]";

/// POSIX brackets: name, and what it stands for inside of a class.
const BRACKETS: [(&str, &str); 14] = [
    ("alpha", r"\p{Alphabetic}"),
    ("digit", r"\p{Nd}"),
    ("alnum", r"[\p{Alphabetic}\p{Nd}]"),
    ("upper", r"\p{Uppercase}"),
    ("lower", r"\p{Lowercase}"),
    ("space", r"\s"),
    ("punct", r"[\p{P}\p{S}]"),
    ("cntrl", r"\p{Cc}"),
    ("graph", r"[^\s\p{Cc}\p{Cn}]"),
    ("print", r"[[^\s\p{Cc}\p{Cn}]\p{Zs}]"),
    ("xdigit", "[0-9A-Fa-f]"),
    ("blank", r"[\p{Zs}\t]"),
    ("word", INNER_WORD),
    ("ascii", r"[\x00-\x7F]"),
];

/// The pattern with its differing classes spelt out; `None` if it has none.
pub(super) fn respelt(pattern: &str) -> Option<String> {
    let mut spelt = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern;
    // How many brackets are open: a name in colons is a class inside of one only.
    let mut depth = 0_usize;
    let mut changed = false;
    while let Some(c) = rest.chars().next() {
        let (taken, becomes) = match c {
            '\\' => match rest.as_bytes().get(1) {
                Some(b'w') if depth > 0 => (2, Some(INNER_WORD.to_owned())),
                Some(b'w') => (2, Some(WORD.to_owned())),
                Some(b'W') if depth > 0 => (2, Some(INNER_NOT_WORD.to_owned())),
                Some(b'W') => (2, Some(NOT_WORD.to_owned())),
                _ => (1 + rest[1..].chars().next().map_or(0, char::len_utf8), None),
            },
            '[' if depth > 0 && rest.starts_with("[:") => match bracket(rest) {
                Some((taken, class)) => (taken, Some(class)),
                None => (opening(rest), None),
            },
            '[' => (opening(rest), None),
            _ => (c.len_utf8(), None),
        };
        if becomes.is_none() {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        changed |= becomes.is_some();
        spelt.push_str(becomes.as_deref().unwrap_or(&rest[..taken]));
        rest = &rest[taken..];
    }
    changed.then_some(spelt)
}

/// The length of what opens a class: a bracket that would close it is a character there.
fn opening(text: &str) -> usize {
    let inside = text[1..].trim_start_matches('^');
    text.len() - inside.strip_prefix(']').unwrap_or(inside).len()
}

/// The length of the bracket that `text` begins with, and the class that it stands for.
fn bracket(text: &str) -> Option<(usize, String)> {
    let (name, _) = text.strip_prefix("[:")?.split_once(":]")?;
    let (negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let (_, class) = BRACKETS.into_iter().find(|(known, _)| *known == name)?;
    let length = name.len() + usize::from(negated) + 4;
    Some((length, if negated { format!("[^{class}]") } else { class.to_owned() }))
}

/// Spells out all patterns of a part of a definition; says whether there was anything to do.
pub(super) fn respell(part: &mut Value) -> bool {
    match part {
        Value::Object(fields) => {
            let mut changed = false;
            for (name, value) in fields {
                changed |= match value {
                    Value::String(pattern) if name == "Regex" => {
                        let spelt = respelt(pattern);
                        let differs = spelt.is_some();
                        *pattern = spelt.unwrap_or_else(|| std::mem::take(pattern));
                        differs
                    }
                    value => respell(value),
                };
            }
            changed
        }
        // Not `any`, which would stop at the first.
        Value::Array(values) => values.iter_mut().fold(false, |changed, v| respell(v) | changed),
        _ => false,
    }
}

/// Whether a part of a definition has a pattern that differs.
pub(super) fn differs(part: &Value) -> bool {
    respell(&mut part.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_spelt_out_and_nothing_else() {
        for same in [r"\\w", r"[a\]w]", r"\p{L}+| ?\p{N}", "[:alpha:]", r"\s+(?!\S)", "", "\\"] {
            assert_eq!(respelt(same), None, "{same}");
        }
        assert_eq!(respelt(r"\w+|[^\w\s]"), Some(format!(r"{WORD}+|[^{INNER_WORD}\s]")));
        assert_eq!(respelt(r"[^]\w]"), Some(format!("[^]{INNER_WORD}]")));
        assert_eq!(respelt("[[:punct:]x]"), Some(r"[[\p{P}\p{S}]x]".to_owned()));
        assert_eq!(respelt("[[:^digit:]]"), Some(r"[[^\p{Nd}]]".to_owned()));
    }

    #[test]
    fn all_classes_compile_and_hold_what_was_measured() {
        // Characters of each class, as tokenizers 0.23.3 has them.
        for (class, count) in [
            (r"\w", 144_671),
            (r"\W", 0x11_0000 - 144_671),
            (r"[\w]", 144_665),
            (r"[\W]", 0x11_0000 - 144_665),
            (r"[^\w]", 0x11_0000 - 144_665),
            (r"[\w\s]", 144_690),
            (r"[[:alpha:]]", 142_759),
            (r"[[:alnum:]]", 143_519),
            (r"[[:punct:]]", 9_369),
            (r"[[:graph:]]", 292_447),
            (r"[[:print:]]", 292_464),
            (r"[[:word:]]", 144_665),
            (r"[[:blank:]]", 18),
            (r"[[:xdigit:]]", 22),
            (r"[[:upper:]]", 1_978),
            (r"[[:lower:]]", 2_569),
            (r"[[:cntrl:]]", 65),
            (r"[[:space:]]", 25),
            (r"[[:digit:]]", 760),
            (r"[[:ascii:]]", 128),
        ] {
            let spelt = respelt(class).unwrap_or_else(|| class.to_owned());
            assert_eq!(size(&spelt), count, "{class}");
        }
    }

    fn size(class: &str) -> usize {
        let parsed = regex_syntax::parse(class).unwrap();
        let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) =
            parsed.kind()
        else {
            panic!("{class} is no class");
        };
        set.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum()
    }
}
