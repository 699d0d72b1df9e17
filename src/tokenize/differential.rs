//! Every fast path beside upstream itself, on texts that are made to tell them apart.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::definition::Definition;
use super::fast::Fast;

/// A definition, as the fast path and as upstream read it.
pub(super) struct Both {
    fast: Fast,
    upstream: tokenizers::Tokenizer,
}

impl Both {
    /// Panics where no family covers the definition.
    pub(super) fn new(definition: &Value) -> Self {
        let data = serde_json::to_vec(definition).unwrap();
        let fast = Fast::new(&Definition::parse(&data).unwrap()).expect("a family covers this");
        Self { fast, upstream: tokenizers::Tokenizer::from_bytes(&data).unwrap() }
    }

    /// Fails where the ids differ: of the whole text, and of as much as a limit asks for.
    pub(super) fn check(&self, text: &str, limit: usize) {
        let expected = self.upstream.encode_fast(text, false).unwrap();
        let expected = expected.get_ids();
        assert_eq!(self.encode(text, None), expected, "{text:?}");
        let cut = self.encode(text, Some(limit));
        let kept = limit.min(expected.len());
        assert!(cut.len() >= kept, "{} of {kept} ids of {text:?}", cut.len());
        assert_eq!(cut[..kept], expected[..kept], "{limit} of {text:?}");
    }

    fn encode(&self, text: &str, limit: Option<usize>) -> Vec<u32> {
        let mut ids = Vec::new();
        // Twice: what was not in the cache, and what then is.
        for _ in 0..2 {
            ids.clear();
            self.fast.with_work(|work| self.fast.encode(text, work, &mut ids, limit));
        }
        ids
    }
}

/// Whether a family covers the definition.
pub(super) fn covered(definition: &Value) -> bool {
    let data = serde_json::to_vec(definition).unwrap();
    Definition::parse(&data).is_some_and(|definition| Fast::new(&definition).is_some())
}

/// Texts of words, of characters of every block, and of what tokenizers treat in ways of their own.
pub(super) fn texts() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "'s",
        "'S",
        "'\u{17f}",
        "I'LL",
        "\u{212a}",
        "\r\n",
        "\n\n ",
        "   ",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{200d}",
        "\u{fe0f}",
        "👩\u{200d}👩\u{200d}👧",
        "🇩🇪🇫",
        "e\u{301}",
        "\u{302e}",
        "\u{1d165}\u{1d16d}",
        "ﬁ",
        "İ",
        "ß",
        "Σς",
        "①½",
        "٣४",
        "...",
        "。，",
        "▁",
        "▁▁",
        "Ġ",
        "<0x0A>",
        "##ab",
        "[UNK]",
        "[CLS]",
        "<s>",
        "aaaaaaaaaaaaaaaaaaaa",
        "哈哈哈哈",
        "野口里佳",
        "각",
        "\u{1100}\u{1161}\u{11a8}",
        "กำ",
        "क्षि",
        "\0",
        "\u{fffd}",
        "\u{ad}",
        "12345678",
        "a_b",
        "𠀀",
        "new york",
        " .",
        "\u{85}",
    ]);
    let part = prop_oneof![
        4 => "[a-eA-E]{1,9}",
        2 => odd.prop_map(str::to_owned),
        1 => prop::collection::vec(any::<char>(), 1..6).prop_map(|c| c.into_iter().collect()),
        1 => "[a-z0-9,.!? -]{1,40}",
        1 => "[α-ωа-яא-ת가-힣ぁ-ん一-龥]{1,12}",
    ];
    let parts = prop::collection::vec((part, prop_oneof![3 => Just(" "), 2 => Just("")]), 0..24);
    parts.prop_map(|parts| {
        parts.into_iter().flat_map(|(part, space)| [part, space.into()]).collect()
    })
}

/// An added token with the given fields set.
pub(super) fn added(id: u32, content: &str, set: &[&str]) -> Value {
    let mut token = json!({"id": id, "content": content, "special": false});
    for field in ["single_word", "lstrip", "rstrip", "normalized", "special"] {
        token[field] = set.contains(&field).into();
    }
    token
}

mod wordpiece {
    use super::*;

    const PIECES: [&str; 32] = [
        "[UNK]", "[CLS]", "a", "b", "c", "d", "##a", "##b", "##c", "##e", "ab", "##ab", "abc",
        "abcd", "##bcd", "e", "new", "york", "##s", "'", ".", "s", "12", "##34", "野", "口", "α",
        "##β", "##я", "ᄀ", "##ᅡ", "ß",
    ];

    fn definition(normalizer: &Value) -> Value {
        let vocab: serde_json::Map<_, _> = PIECES
            .iter()
            .zip(0..)
            .map(|(piece, id): (_, u32)| ((*piece).into(), id.into()))
            .collect();
        let n = u32::try_from(PIECES.len()).unwrap();
        json!({
            "version": "1.0",
            "added_tokens": [
                added(0, "[UNK]", &["special"]),
                added(1, "[CLS]", &["special", "lstrip"]),
                added(n, "New York", &["normalized"]),
                added(n + 1, "<x>", &["rstrip", "single_word"]),
                added(n + 2, "é", &["normalized", "single_word"]),
            ],
            "normalizer": normalizer,
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": null,
            "decoder": null,
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 30, "vocab": vocab,
            },
        })
    }

    fn normalizers() -> impl Strategy<Value = Value> {
        let flag = any::<bool>;
        let bert = (flag(), flag(), prop::option::of(flag()), flag()).prop_map(
            |(clean_text, handle_chinese_chars, strip_accents, lowercase)| {
                json!({
                    "type": "BertNormalizer", "clean_text": clean_text, "lowercase": lowercase,
                    "handle_chinese_chars": handle_chinese_chars, "strip_accents": strip_accents,
                })
            },
        );
        let others = json!({"type": "Sequence", "normalizers": [
            {"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"},
        ]});
        prop_oneof![6 => bert, 1 => Just(Value::Null), 1 => Just(others)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn equals_upstream(
            normalizer in normalizers(),
            apart in any::<bool>(),
            texts in prop::collection::vec((texts(), 0..40_usize), 1..12),
        ) {
            let mut definition = definition(&normalizer);
            if apart {
                // Without added tokens in normalized text, both are done in one pass.
                definition["added_tokens"].as_array_mut().unwrap().truncate(2);
            }
            let both = Both::new(&definition);
            texts.iter().for_each(|(text, limit)| both.check(text, *limit));
        }
    }

    #[test]
    fn long_texts_are_cut_early_without_a_difference() {
        let both = Both::new(&definition(&json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        })));
        for text in ["abc de, ", "野口", "abcabc", "new york <x>", "日 "] {
            for limit in [0, 1, 100, 512] {
                both.check(&text.repeat(20_000), limit);
            }
        }
    }

    #[test]
    fn what_is_not_certain_is_left_to_upstream() {
        let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true});
        assert!(covered(&definition(&bert)));
        type Edit = fn(&mut Value);
        let edits: [(&str, Edit); 6] = [
            ("another pre-tokenizer", |d| d["pre_tokenizer"] = json!({"type": "Whitespace"})),
            ("an id that upstream gives otherwise", |d| d["added_tokens"][2]["id"] = 99.into()),
            ("an unknown token that is not there", |d| d["model"]["unk_token"] = "[NONE]".into()),
            ("an id too great for the cache", |d| d["model"]["vocab"]["a"] = (1_u32 << 31).into()),
            ("an unknown field", |d| d["model"]["surprise"] = 1.into()),
            ("a repeated token", |d| d["added_tokens"][1] = d["added_tokens"][0].clone()),
        ];
        for (what, edit) in edits {
            let mut definition = definition(&bert);
            edit(&mut definition);
            assert!(!covered(&definition), "{what}");
        }
    }
}
