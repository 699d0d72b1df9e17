//! The engine on the tiny model: what it answers, and that nothing but the text decides it.

use std::sync::atomic::AtomicBool;

use legato::engine::EngineOptions;
use legato::tokenize::EncodeOptions;
use legato::{Engine, Error, ModelFiles, Tokens};
use safetensors::Dtype;

use crate::models::{GO, Raw, Tiny, embed, encode, folder, furthest, parse, texts};

/// What sentence-transformers and transformers answer (`tests/data/make_tiny_bert.py`).
fn expected(name: &str) -> Raw {
    let data = std::fs::read(folder().join("expected.safetensors")).unwrap();
    parse(&data)[name].clone()
}

fn integers(raw: &Raw) -> Vec<u32> {
    assert_eq!(raw.dtype, Dtype::I64);
    let wide = raw.data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
    wide.map(|n| u32::try_from(n).unwrap()).collect()
}

fn options(pooling: Option<&str>, normalize: Option<bool>) -> EngineOptions {
    EngineOptions { pooling: pooling.map(str::to_owned), normalize, ..EngineOptions::default() }
}

#[test]
fn answers_like_the_original_libraries() {
    let files = ModelFiles::from_dir(&folder()).unwrap();
    for (name, options) in [
        ("mean_normalized", options(None, None)),
        ("mean", options(Some("mean"), Some(false))),
        ("cls", options(Some("cls"), Some(false))),
    ] {
        let engine = Engine::load(&files, &options).unwrap();
        let tokens = encode(&engine, &texts());
        assert_eq!(tokens.ids, integers(&expected("input_ids")));
        assert_eq!(tokens.lengths, integers(&expected("lengths")));
        let expected = expected(name).floats();
        let difference = furthest(&engine.run(&tokens, &GO).unwrap().vectors, &expected);
        assert!(difference <= 1e-5, "{name}: {difference}");
    }
}

#[test]
fn a_text_has_one_vector_in_any_company() {
    let engine = Tiny::new().engine();
    let one_each = texts();
    // Enough for several batches, long and short ones mixed.
    let many: Vec<String> = (0..40).flat_map(|_| one_each.clone()).collect();
    let backwards: Vec<String> = many.iter().rev().cloned().collect();
    let alone: Vec<f32> =
        many.iter().flat_map(|text| embed(&engine, std::slice::from_ref(text))).collect();
    let together = embed(&engine, &many);
    let width = engine.hidden_size();
    let reversed: Vec<f32> =
        embed(&engine, &backwards).chunks_exact(width).rev().flatten().copied().collect();
    assert!(furthest(&alone, &together) <= 1e-6);
    assert!(furthest(&reversed, &together) <= 1e-6);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let engine = Tiny::new().engine();
    let many: Vec<String> = (0..40).flat_map(|_| texts()).collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| embed(&engine, &many))
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        assert!(furthest(&one, &with(threads)) <= 1e-6, "{threads}");
    }
    assert_eq!(one, with(1));
}

#[test]
fn no_text_has_no_vector() {
    let outputs = Tiny::new().engine();
    let outputs = outputs.run(&encode(&outputs, &[]), &GO).unwrap();
    assert_eq!((outputs.vectors.len(), outputs.width), (0, 32));
}

#[test]
fn refuses_tokens_that_are_not_its_own() {
    let engine = Tiny::new().engine();
    let texts: Vec<String> = ["river", "the sun"].map(str::to_owned).into();
    let good = encode(&engine, &texts);
    assert!(engine.run(&good, &GO).is_ok());
    let (vocabulary, positions) = (249, engine.max_positions());
    assert_eq!(positions, 64);
    type Change = Box<dyn Fn(&mut Tokens)>;
    let cases: [(&str, Change); 8] = [
        (
            "encode the texts with the model's own tokenizer",
            Box::new(|t| t.tokenizer_digest = "00".repeat(32)),
        ),
        ("text 0 has a token id", Box::new(move |t| t.ids[1] = vocabulary)),
        ("text 1 has a token id", Box::new(|t| *t.ids.last_mut().unwrap() = u32::MAX)),
        ("text 1 has a segment id", Box::new(|t| t.type_ids[3] = 2)),
        ("text 2 has no tokens", Box::new(|t| t.lengths.push(0))),
        ("do not fit together", Box::new(|t| t.lengths[0] += 1)),
        ("do not fit together", Box::new(|t| t.lengths = vec![u32::MAX; 3])),
        (
            "text 2 has 65 tokens, the model takes 64",
            Box::new(|t| {
                t.ids.extend([1; 65]);
                t.type_ids.extend([0; 65]);
                t.lengths.push(65);
            }),
        ),
    ];
    for (said, change) in cases {
        let mut tokens = good.clone();
        change(&mut tokens);
        match engine.run(&tokens, &GO) {
            Err(Error::Input { reason }) => assert!(reason.contains(said), "{reason}"),
            other => panic!("{said}: {other:?}"),
        }
    }
    // The last values that fit are taken.
    let mut tokens = good;
    tokens.ids[1] = vocabulary - 1;
    tokens.type_ids[1] = 1;
    assert!(engine.run(&tokens, &GO).is_ok());
}

#[test]
fn texts_are_cut_to_the_limit_of_the_call() {
    let engine = Tiny::new().engine();
    let tokenizer = engine.tokenizer();
    assert_eq!(tokenizer.max_length(), Some(48));
    let long = ["the sun ".repeat(100)];
    let encode = |truncation, max_length| {
        let truncation = if truncation { EncodeOptions::default().truncation } else { None };
        let options = EncodeOptions { truncation, max_length, ..EncodeOptions::default() };
        tokenizer.encode(&long[..], options, &GO)
    };
    for (truncation, max_length, length, truncated) in [
        (true, None, 48, 1),
        (true, Some(3), 3, 1),
        (true, Some(64), 64, 1),
        (true, Some(202), 202, 0),
        (false, Some(3), 202, 0),
    ] {
        let tokens = encode(truncation, max_length).unwrap();
        assert_eq!((tokens.lengths[0], tokens.truncated), (length, truncated));
    }
    for max_length in [0, 1, 2] {
        let Err(Error::Input { reason }) = encode(true, Some(max_length)) else {
            panic!("{max_length}")
        };
        assert!(reason.contains("set it to 3 or more"), "{reason}");
    }
}

#[test]
fn options_in_the_tokenizer_file_do_not_leak() {
    let plain = Tiny::new();
    let embedded = plain.clone().json("tokenizer.json", |t| {
        t["truncation"] = serde_json::json!({
            "direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0
        });
        t["padding"] = serde_json::json!({
            "strategy": {"Fixed": 60}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
        });
    });
    let (plain, embedded) = (plain.engine(), embedded.engine());
    assert_eq!(encode(&plain, &texts()).ids, encode(&embedded, &texts()).ids);
    assert_eq!(embed(&plain, &texts()), embed(&embedded, &texts()));
}

#[test]
fn a_set_flag_stops_it() {
    let engine = Tiny::new().engine();
    let (tokens, stop) = (encode(&engine, &texts()), AtomicBool::new(true));
    assert!(matches!(engine.run(&tokens, &stop), Err(Error::Stopped)));
    let options = EncodeOptions::default();
    assert!(matches!(engine.encode_and_run(&texts(), None, options, &stop), Err(Error::Stopped)));
    assert!(matches!(engine.tokenizer().encode(&texts()[..], options, &stop), Err(Error::Stopped)));
}

#[test]
fn names_of_other_checkpoints_mean_the_same() {
    let plain = Tiny::new();
    let vectors = embed(&plain.engine(), &texts());
    let old_norms = |name: &str| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let prefixed = |name: &str| format!("bert.{name}");
    for variant in [
        plain.clone().renamed(old_norms),
        plain.clone().renamed(prefixed),
        plain.clone().renamed(|name| prefixed(&old_norms(name))),
        // A checkpoint with heads and buffers that the encoder has no use for.
        plain.clone().renamed(prefixed).weights(|tensors| {
            let shape = vec![2];
            tensors.insert("cls.bias".into(), Raw { dtype: Dtype::F32, shape, data: vec![255; 8] });
            let shape = vec![1, 64];
            let ids = Raw { dtype: Dtype::I64, shape, data: vec![0; 512] };
            tensors.insert("bert.embeddings.position_ids".into(), ids);
        }),
    ] {
        assert_eq!(embed(&variant.engine(), &texts()), vectors);
    }
}

#[test]
fn half_precision_weights_are_widened_exactly() {
    use candle_core::{DType, Device, Tensor};
    for (stored, dtype) in [(Dtype::BF16, DType::BF16), (Dtype::F16, DType::F16)] {
        let narrow = |raw: &Raw| {
            let wide = Tensor::from_vec(raw.floats(), raw.shape.clone(), &Device::Cpu).unwrap();
            wide.to_dtype(dtype).unwrap()
        };
        let bytes = |tensor: &Tensor, dtype| {
            let path = tempfile::NamedTempFile::new().unwrap();
            tensor.save_safetensors("x", path.path()).unwrap();
            let raw = parse(&std::fs::read(path.path()).unwrap()).remove("x").unwrap();
            assert_eq!(raw.dtype, dtype);
            raw
        };
        let narrowed = Tiny::new().weights(|tensors| {
            for raw in tensors.values_mut() {
                *raw = bytes(&narrow(raw), stored);
            }
        });
        let rounded = Tiny::new().weights(|tensors| {
            let wide = |raw: &Raw| narrow(raw).to_dtype(DType::F32).unwrap();
            for raw in tensors.values_mut() {
                *raw = bytes(&wide(raw), Dtype::F32);
            }
        });
        assert_eq!(embed(&narrowed.engine(), &texts()), embed(&rounded.engine(), &texts()));
        let original = embed(&Tiny::new().engine(), &texts());
        assert!(furthest(&embed(&narrowed.engine(), &texts()), &original) < 0.05);
    }
}
