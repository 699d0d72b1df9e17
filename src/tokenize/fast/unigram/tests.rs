//! Unigram beside upstream, with every normalizer and pre-tokenizer that is taken.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::differential::{Both, added, covered, texts};

/// Of characters that are pieces too.
const LONG_PIECE: &str = "abcdeabcdeabcdeabcdeabcdeabcde";

/// Many of the same score, so that which of two ways comes first is seen.
const PIECES: [(&str, f64); 51] = [
    ("<unk>", 0.0),
    ("<s>", 0.0),
    ("▁", -2.0),
    ("a", -3.0),
    ("b", -3.0),
    ("aa", -6.0),
    ("aaa", -9.0),
    ("aaaa", -11.5),
    ("ab", -5.0),
    ("ba", -5.5),
    ("▁a", -4.0),
    ("▁ab", -5.0),
    ("c", -4.25),
    ("d", -4.25),
    ("cd", -8.5),
    ("bcd", -8.0),
    ("e", -3.1),
    ("é", -5.3),
    ("ée", -7.7),
    ("E", -6.1),
    ("DE", -6.2),
    ("n", -4.0),
    ("new", -5.0),
    ("▁new", -4.5),
    ("york", -7.0),
    ("ork", -6.5),
    (".", -3.5),
    ("...", -6.0),
    ("..", -6.5),
    ("....", -14.0),
    ("哈", -5.1),
    ("哈哈", -10.2),
    ("哈哈哈", -15.3),
    ("野口", -9.0),
    ("口", -6.7),
    ("里佳", -8.0),
    ("佳", -9.9),
    ("가", -6.0),
    ("각", -7.0),
    ("ก", -5.0),
    ("า", -5.2),
    ("α", -6.0),
    ("β", -6.3),
    ("αβ", -9.1),
    ("1", -4.0),
    ("12", -6.0),
    ("\u{301}", -7.0),
    ("𠀀", -8.0),
    ("<0x41>", -30.0),
    (LONG_PIECE, -5.0),
    ("ab", -4.75),
];

/// Keys that characters, accents, syllables, flags and line ends can make a grapheme of.
const CHARSMAP: [(&str, &str); 22] = [
    ("\t", " "),
    ("\n", " "),
    ("\r", " "),
    ("\u{1}", ""),
    ("\u{85}", " "),
    ("\u{a0}", " "),
    ("\u{a8}", " \u{308}"),
    ("\u{301}\u{302}", "x"),
    ("\u{600}", "b"),
    ("\u{200b}", ""),
    ("\u{3000}", " "),
    ("A\u{301}", "Á"),
    ("e\u{301}", "é"),
    ("ﬁ", "fi"),
    ("①", "1"),
    ("½", "1/2"),
    ("กำ", "กา"),
    ("ำ", "ํา"),
    ("\u{1100}", "가"),
    ("가\u{11a8}", "각"),
    ("🇩", "D"),
    ("か\u{3099}", "が"),
];

/// A character map of these keys, each node's children in 256 units of their own.
fn charsmap() -> Value {
    let (mut units, mut text) = (vec![0u32; 512], Vec::new());
    units[0] = 256 << 10;
    for (key, value) in CHARSMAP {
        let (mut at, mut base) = (0, 256);
        for &byte in key.as_bytes() {
            at = base ^ usize::from(byte);
            if units[at] == 0 {
                let next = units.len();
                units[at] = u32::from(byte) | u32::try_from(at ^ next).unwrap() << 10;
                units.resize(next + 256, 0);
            }
            base = at ^ (units[at] >> 10) as usize;
        }
        units[at] |= 1 << 8;
        units[base] = 1 << 31 | u32::try_from(text.len()).unwrap();
        text.extend(value.bytes().chain([0]));
    }
    let size = u32::try_from(units.len() * 4).unwrap();
    let mut data = size.to_le_bytes().to_vec();
    data.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    data.extend(text);
    json!({"type": "Precompiled", "precompiled_charsmap": BASE64.encode(&data)})
}

fn strip(left: bool, right: bool) -> Value {
    json!({"type": "Strip", "strip_left": left, "strip_right": right})
}

fn replace(kind: &str, pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {kind: pattern}, "content": content})
}

fn sequence(normalizers: &[Value]) -> Value {
    json!({"type": "Sequence", "normalizers": normalizers})
}

fn normalizers() -> Vec<Value> {
    let (map, form) = (charsmap(), |name: &str| json!({ "type": name }));
    let spaces = |content| replace("Regex", " {2,}", content);
    vec![
        Value::Null,
        map.clone(),
        sequence(&[map.clone(), spaces(" ")]),
        sequence(&[map.clone(), strip(false, true), spaces(" ")]),
        sequence(&[map.clone(), strip(false, true)]),
        sequence(&[strip(true, true), map.clone(), spaces(" ")]),
        sequence(&[strip(false, true), spaces(" ")]),
        sequence(&[
            replace("String", "``", "\""),
            replace("String", "''", "\""),
            form("NFKD"),
            form("StripAccents"),
            form("Lowercase"),
            map.clone(),
        ]),
        sequence(&[
            replace("Regex", r"[\u00AD\u200B\u2060]", ""),
            replace("Regex", r"\p{Zs}", " "),
            form("NFC"),
        ]),
        sequence(&[form("Nmt"), form("NFKC"), spaces(" ")]),
        sequence(&[replace("Regex", r"\n", " "), form("NFD"), map]),
    ]
}

fn metaspace(prepend: &str, split: bool) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend, "split": split})
}

fn pre_tokenizers() -> Vec<Value> {
    let words = json!({"type": "WhitespaceSplit"});
    let both = |marker: Value| json!({"type": "Sequence", "pretokenizers": [words, marker]});
    vec![
        both(metaspace("always", true)),
        both(metaspace("never", true)),
        both(metaspace("always", false)),
        metaspace("always", true),
        metaspace("first", true),
        metaspace("never", true),
        metaspace("always", false),
        metaspace("first", false),
        json!({"type": "Metaspace", "replacement": "_", "str_rep": "_", "add_prefix_space": true}),
        words,
        Value::Null,
    ]
}

fn definition(normalizer: &Value, pre_tokenizer: &Value) -> Value {
    json!({
        "version": "1.0",
        "added_tokens": [added(1, "<s>", &["special"]), added(PIECES.len() as u32, "<m>", &["lstrip"])],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": null,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": PIECES.as_slice()},
    })
}

/// Adds the pieces that stand for bytes, and a token that is searched in normalized text.
fn with(mut definition: Value, bytes: bool, token: bool) -> Value {
    let vocab = definition["model"]["vocab"].as_array_mut().unwrap();
    if bytes {
        let pieces = (0..=255).filter(|byte| *byte != 0x9f).map(|byte| format!("<0x{byte:02X}>"));
        vocab.extend(pieces.map(|piece| json!([piece, -40.0])));
        definition["model"]["byte_fallback"] = true.into();
    }
    let size = u32::try_from(definition["model"]["vocab"].as_array().unwrap().len()).unwrap();
    definition["added_tokens"][1]["id"] = size.into();
    if token {
        let token = added(size + 1, "new york", &["normalized"]);
        definition["added_tokens"].as_array_mut().unwrap().push(token);
    }
    definition
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_upstream(
        normalizer in prop::sample::select(normalizers()),
        pre_tokenizer in prop::sample::select(pre_tokenizers()),
        (bytes, token) in any::<(bool, bool)>(),
        texts in prop::collection::vec((texts(), 0..40_usize), 1..12),
    ) {
        let definition = with(definition(&normalizer, &pre_tokenizer), bytes, token);
        // What moves the first character, or divides what it became, is left to upstream.
        prop_assume!(pre_tokenizer["prepend_scheme"] != "first" || covered(&definition));
        let both = Both::new(&definition);
        for (text, limit) in &texts {
            both.check(text, *limit);
        }
    }
}

/// What the character map of the tests can take for a grapheme of several characters, and what cannot be one.
const PARTS: [&str; 33] = [
    "\t", "\n", "\r", "\r\n", "\u{1}", "\u{a0}", "\u{a8}", "\u{301}", "\u{302}", "\u{600}",
    "\u{200b}", "\u{200d}", "A", "e", "é", "b", "①", "ก", "ำ", "\u{e48}", "\u{1100}", "\u{1161}",
    "가", "\u{11a8}", "🇩", "🇪", "か", "\u{3099}", "क", "\u{94d}", "▁", "\u{2028}", "<m>",
];

#[test]
fn graphemes_equal_upstream_whatever_stands_beside_them() {
    for (normalizer, pre_tokenizer) in [(1, 0), (1, 3), (3, 3), (10, 3), (7, 0)] {
        let (normalizers, pre_tokenizers) = (normalizers(), pre_tokenizers());
        // One for all, so that a word is met again where it stands otherwise.
        let both = Both::new(&definition(&normalizers[normalizer], &pre_tokenizers[pre_tokenizer]));
        for (first, second) in PARTS.iter().flat_map(|part| PARTS.map(|other| (part, other))) {
            let word = format!("{first}{second}");
            for text in [
                word.clone(),
                format!(" {word} {word}"),
                format!("{word}e {word}e"),
                format!("a{word} b\n{word} a"),
                format!("<m>{word}<m> {word}  "),
            ] {
                both.check(&text, 3);
            }
        }
    }
}

#[test]
fn real_definitions_are_covered() {
    for pre_tokenizer in [&pre_tokenizers()[0], &metaspace("always", true)] {
        for normalizer in normalizers() {
            assert!(covered(&definition(&normalizer, pre_tokenizer)), "{normalizer}");
        }
    }
    let collapsed = replace("Regex", " {2,}", "▁");
    let normalizer = sequence(&[charsmap(), strip(false, true), collapsed]);
    assert!(covered(&definition(&normalizer, &metaspace("first", true))));
}

#[test]
fn long_texts_are_cut_early_without_a_difference() {
    for pre_tokenizer in &pre_tokenizers()[..4] {
        let both = Both::new(&with(definition(&charsmap(), pre_tokenizer), true, false));
        for text in
            ["aab new york. ", "哈哈哈哈", "野口里佳\n", "ab", "\u{2603}", "   ", "e\u{301}"]
        {
            for limit in [0, 1, 100, 512] {
                both.check(&text.repeat(4_000), limit);
            }
        }
    }
}

#[test]
fn no_piece_is_taken_for_another_where_a_long_word_is_divided() {
    let both = Both::new(&definition(&charsmap(), &metaspace("never", true)));
    let text = "n".repeat(40) + &LONG_PIECE.repeat(400);
    for limit in 160..270 {
        both.check(&text, limit);
    }
}

#[test]
fn what_is_not_certain_is_left_to_upstream() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 9] = [
        ("a model without an unknown token", |d| d["model"]["unk_id"] = Value::Null),
        ("an unknown token that is not there", |d| d["model"]["unk_id"] = 999.into()),
        ("a model of another family", |d| d["model"]["type"] = "BPE".into()),
        ("a regular expression that is no class", |d| {
            d["normalizer"] = replace("Regex", "a+", "a");
        }),
        ("a change of spaces", |d| d["normalizer"] = replace("String", " ", "▁")),
        ("a damaged character map", |d| {
            d["normalizer"] =
                json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="});
        }),
        ("another pre-tokenizer", |d| d["pre_tokenizer"] = json!({"type": "Whitespace"})),
        ("a contradiction", |d| {
            d["pre_tokenizer"]["add_prefix_space"] = false.into();
        }),
        ("an id that upstream gives otherwise", |d| d["added_tokens"][1]["id"] = 7.into()),
    ];
    for (what, edit) in edits {
        let mut definition = definition(&charsmap(), &metaspace("always", true));
        assert!(covered(&definition));
        edit(&mut definition);
        assert!(!covered(&definition), "{what}");
    }
}
