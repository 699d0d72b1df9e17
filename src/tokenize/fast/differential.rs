//! Every fast path beside upstream itself, on texts that are made to tell them apart.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::definition::Definition;
use super::family::Fast;

/// A change to a definition.
type Edit = fn(&mut Value);

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
            self.fast.with_work(|work| {
                // Between others, which it must not mix with.
                for text in ["a b", text, "c"] {
                    self.fast.encode(text, work, limit.filter(|_| text != "a b"));
                }
                self.fast.settle(work);
                let of_text = work.drain::<3, ()>(|[_, own, _]| {
                    ids.extend_from_slice(own);
                    Ok(())
                });
                assert!(of_text.is_ok() && work.ended() == 0);
            });
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
            for (text, limit) in &texts {
                both.check(text, *limit);
            }
        }
    }

    #[test]
    fn long_texts_are_cut_early_without_a_difference() {
        let bert = json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        });
        let mut ideographs = definition(&bert);
        let tokens = ideographs["added_tokens"].as_array_mut().unwrap();
        tokens.truncate(2);
        tokens.push(added(u32::try_from(PIECES.len()).unwrap(), "口野", &[]));
        let definitions = [definition(&bert), ideographs].map(|definition| Both::new(&definition));
        for text in ["abc de, ", "野口", "abcabc", "new york <x>", "日 "] {
            for limit in [0, 1, 100, 512] {
                for both in &definitions {
                    both.check(&text.repeat(20_000), limit);
                }
            }
        }
    }

    #[test]
    fn what_is_not_certain_is_left_to_upstream() {
        let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true});
        assert!(covered(&definition(&bert)));
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

mod bpe {
    use std::fmt::Write as _;

    use tokenizers::models::TrainerWrapper;
    use tokenizers::models::bpe::{BPE, BpeTrainer};
    use tokenizers::pre_tokenizers::PreTokenizerWrapper;

    use super::*;

    const LLAMA3: &str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const QWEN35: &str = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const O200K: &str = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const TEKKEN: &str = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
        r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const DEEPSEEK: &str = concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
        "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|",
        "\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    );

    fn split(regex: &str) -> Value {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    }

    fn bytes(space: bool, regex: bool) -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": regex})
    }

    fn sequence(steps: &[Value]) -> Value {
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    fn byte_level_splits() -> Vec<Value> {
        let only = |regex| sequence(&[split(regex), bytes(false, false)]);
        let mut kept = split(O200K);
        (kept["behavior"], kept["invert"]) = ("Removed".into(), true.into());
        let digits = |individual: bool| json!({"type": "Digits", "individual_digits": individual});
        vec![
            bytes(false, true),
            bytes(true, true),
            only(LLAMA3),
            only(QWEN35),
            only(O200K),
            only(TEKKEN),
            sequence(&[kept, bytes(false, false)]),
            sequence(&[digits(true), bytes(false, true)]),
            sequence(&[digits(false), bytes(false, true)]),
            sequence(&[
                split(r"\p{N}{1,3}"),
                split("[一-龥぀-ゟ゠-ヿ]+"),
                split(DEEPSEEK),
                bytes(false, false),
            ]),
        ]
    }

    /// Text to learn merges from, by a fixed generator: words that share parts, in several scripts.
    fn corpus() -> Vec<String> {
        let parts = [
            "ab",
            "cab",
            "e",
            "THE",
            "in'",
            "ell",
            "野口",
            "日本",
            "哈",
            "при",
            "вет",
            "é",
            "α",
            "😀",
            "กำ",
            " ",
            " ",
            " ",
            "  ",
            "\n",
            "12",
            "3",
            "...",
            "，",
            "a",
            "b",
            "c",
            "d",
            "🇩🇪",
            "क्षि",
        ];
        let mut state = 7_u32;
        let mut line = || {
            let mut text = String::new();
            for _ in 0..30 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(parts[(state >> 16) as usize % parts.len()]);
            }
            text
        };
        (0..200).map(|_| line()).collect()
    }

    /// A model of merges learned from [`corpus`], as `pre_tokenizer` divides it.
    fn trained(pre_tokenizer: &Value, alphabet: impl IntoIterator<Item = char>) -> Value {
        let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
        let divides: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer.clone()).unwrap();
        tokenizer.with_pre_tokenizer(Some(divides));
        let trainer = BpeTrainer::builder()
            .vocab_size(900)
            .show_progress(false)
            .initial_alphabet(alphabet.into_iter().collect())
            .build();
        tokenizer.train(&mut TrainerWrapper::from(trainer), corpus().into_iter()).unwrap();
        serde_json::to_value(tokenizer.get_model()).unwrap()
    }

    fn definition(normalizer: &Value, pre_tokenizer: &Value, model: &Value) -> Value {
        let n = u32::try_from(model["vocab"].as_object().unwrap().len()).unwrap();
        json!({
            "version": "1.0",
            "added_tokens": [
                added(n, "<s>", &["special"]),
                added(n + 1, "new york", &["normalized"]),
                added(n + 2, "<x>", &["rstrip", "lstrip"]),
                added(n + 3, "里佳", &["normalized", "single_word"]),
            ],
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": null,
            "decoder": null,
            "model": model,
        })
    }

    fn byte_level() -> Vec<Both> {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet;
        let normalizers = [Value::Null, json!({"type": "NFC"}), json!({"type": "NFKC"})];
        let definitions = byte_level_splits().into_iter().enumerate().map(|(index, splits)| {
            let mut model = trained(&splits, alphabet());
            model["ignore_merges"] = (index % 2 == 1).into();
            // A token that no merge makes is a word of its own only if merges are ignored.
            let n = model["vocab"].as_object().unwrap().len();
            model["vocab"]["Ġabcab"] = n.into();
            let mut definition = definition(&normalizers[index % 3], &splits, &model);
            if index % 4 < 2 {
                definition["added_tokens"].as_array_mut().unwrap().truncate(1);
            }
            Both::new(&definition)
        });
        definitions.collect()
    }

    fn sentence_piece_model(split: bool) -> Value {
        let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": split});
        let mut model = trained(&spaces, ['▁', 'x', 'y', 'n', 'e', 'w', 'o', 'r', 'k', '<', '>']);
        (model["byte_fallback"], model["fuse_unk"]) = (true.into(), true.into());
        model["unk_token"] = "<unk>".into();
        let n = model["vocab"].as_object().unwrap().len();
        for byte in 0..256 {
            let mut name = String::new();
            write!(name, "<0x{byte:02X}>").unwrap();
            model["vocab"][name] = (n + byte).into();
        }
        model["vocab"]["<unk>"] = (n + 256).into();
        model
    }

    fn sentence_piece() -> Vec<Both> {
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let both = json!({"type": "Sequence", "normalizers": [prepend, replace]});
        let gemma = json!({"type": "Split", "pattern": {"String": " "},
            "behavior": "MergedWithPrevious", "invert": false});
        let meta = |scheme: &str, split: bool| {
            let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                "split": split});
            (Value::Null, spaces)
        };
        let (whole, divided) = (sentence_piece_model(false), sentence_piece_model(true));
        let shapes = [
            (both.clone(), Value::Null),
            (replace.clone(), gemma),
            (replace, Value::Null),
            meta("first", false),
            meta("always", true),
            meta("never", true),
            meta("first", true),
        ];
        let shapes = shapes.iter().flat_map(|(normalizer, splits)| {
            [&whole, &divided].map(|model| definition(normalizer, splits, model))
        });
        shapes.map(|definition| Both::new(&definition)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn byte_level_equals_upstream(
            texts in prop::collection::vec((texts(), 0..40_usize), 200),
        ) {
            thread_local!(static ALL: Vec<Both> = byte_level());
            ALL.with(|all| for (both, (text, limit)) in all.iter().cycle().zip(&texts) {
                both.check(text, *limit);
            });
        }

        #[test]
        fn sentence_piece_equals_upstream(
            texts in prop::collection::vec((texts(), 0..40_usize), 200),
        ) {
            thread_local!(static ALL: Vec<Both> = sentence_piece());
            ALL.with(|all| for (both, (text, limit)) in all.iter().cycle().zip(&texts) {
                both.check(text, *limit);
            });
        }
    }

    #[test]
    fn long_words_and_texts_are_no_different() {
        for both in byte_level().iter().chain(&sentence_piece()) {
            for text in
                ["abcab", "abc cab. ", "野口", "日本，", "哈", " ", "\n ", "<x> ", "при", "1"]
            {
                for limit in [1, 100] {
                    both.check(&text.repeat(1_000), limit);
                }
            }
        }
    }

    #[test]
    fn what_is_not_certain_is_left_to_upstream() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let splits = bytes(false, true);
        let plain = definition(&Value::Null, &splits, &trained(&splits, alphabet));
        assert!(covered(&plain));
        let edits: [(&str, Edit); 9] = [
            ("dropout", |d| d["model"]["dropout"] = 0.5.into()),
            ("a suffix", |d| d["model"]["end_of_word_suffix"] = "</w>".into()),
            ("a byte without a token", |d| {
                d["model"]["vocab"].as_object_mut().unwrap().remove("ġ");
            }),
            ("two tokens with one id", |d| d["model"]["vocab"]["zz"] = 5.into()),
            ("a merge of no token", |d| d["model"]["merges"][0][0] = "zz".into()),
            ("another expression", |d| {
                d["pre_tokenizer"] = sequence(&[split(r"\w+"), bytes(false, false)]);
            }),
            ("no expression", |d| d["pre_tokenizer"] = bytes(false, false)),
            ("another normalizer", |d| d["normalizer"] = json!({"type": "Lowercase"})),
            ("spaces in every piece", |d| {
                d["pre_tokenizer"] = sequence(&[split(LLAMA3), bytes(true, false)]);
            }),
        ];
        for (what, edit) in edits {
            let mut definition = plain.clone();
            edit(&mut definition);
            assert!(!covered(&definition), "{what}");
        }
    }
}
