//! Models that are stored in eight bits: what quantizing at load gives, and nothing hostile is taken.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use candle_core::Device;
use legato::backend::quantized::{FORMAT, SOURCE, VERSION, scale_name};
use legato::batch::pack;
use legato::device::Precision;
use legato::engine::EngineOptions;
use legato::head::{self, Task};
use legato::quantize::quantize;
use legato::{Engine, Error, ModelFiles, model};
use safetensors::{Dtype, SafeTensors, View};

use crate::models::{Raw, Tensors, Tiny, embed, encode, furthest, parse, texts};
use crate::parity::{folders, tensors, tokens};

const WORDS: &str = "embeddings.word_embeddings.weight";
const QUERY: &str = "encoder.layer.0.attention.self.query.weight";

fn int8() -> EngineOptions {
    EngineOptions { dtype: "int8".into(), device: "cpu".into(), ..EngineOptions::default() }
}

/// The tiny BERT with a vocabulary that is worth quantizing.
fn wide() -> Tiny {
    let rows = 10_000;
    Tiny::new().json("config.json", |config| config["vocab_size"] = rows.into()).weights(|all| {
        let words = all.get_mut(WORDS).unwrap();
        words.shape[0] = rows;
        words.data = words.data.iter().copied().cycle().take(rows * 32 * 4).collect();
    })
}

fn written(tiny: &Tiny, out: &Path) -> ModelFiles {
    quantize(&ModelFiles::from_bytes(tiny.0.clone()).unwrap(), out).unwrap()
}

fn metadata(data: &[u8]) -> HashMap<String, String> {
    SafeTensors::read_metadata(data).unwrap().1.metadata().clone().unwrap()
}

fn file(tensors: &Tensors, metadata: HashMap<String, String>) -> Vec<u8> {
    struct Part<'a>(&'a Raw);
    impl View for Part<'_> {
        fn dtype(&self) -> Dtype {
            self.0.dtype
        }
        fn shape(&self) -> &[usize] {
            &self.0.shape
        }
        fn data(&self) -> std::borrow::Cow<'_, [u8]> {
            (&self.0.data[..]).into()
        }
        fn data_len(&self) -> usize {
            self.0.data.len()
        }
    }
    let parts = tensors.iter().map(|(name, raw)| (name.clone(), Part(raw)));
    safetensors::serialize(parts, Some(metadata)).unwrap()
}

#[test]
fn every_architecture_answers_as_if_quantized_at_load() {
    let cpu = Device::Cpu;
    for folder in folders() {
        let name = folder.file_name().unwrap().display();
        let out = tempfile::tempdir().unwrap();
        let tokens = tokens(&tensors(&folder, "expected.safetensors"));
        let batch = &pack(&tokens, 1 << 20)[0];
        let mut files = Tiny::new().0;
        for part in ["config.json", "model.safetensors"] {
            files.insert(part.into(), Bytes::from(fs::read(folder.join(part)).unwrap()));
        }
        let source = ModelFiles::from_bytes(files).unwrap();
        let small = quantize(&source, out.path()).unwrap();
        let hidden = |files: &ModelFiles| {
            let encoder = model::load(files, &cpu, Precision::Int8).unwrap();
            let mut found = Vec::new();
            encoder.forward(batch, None, &mut |rows| found = rows.to_vec()).unwrap();
            found
        };
        assert_eq!(hidden(&source), hidden(&small), "{name}");
        let stored = parse(&fs::read(out.path().join("model.safetensors")).unwrap());
        let count = stored.values().filter(|raw| raw.dtype == Dtype::I8).count();
        assert!(count >= 4, "{name}: {count} matrices were quantized");
    }
}

#[test]
fn heads_answer_as_if_quantized_at_load() {
    let folder = folders().into_iter().find(|folder| folder.ends_with("bert")).unwrap();
    let tokens = tokens(&tensors(&folder, "expected.safetensors"));
    let batch = &pack(&tokens, 1 << 20)[0];
    for task in [Task::SequenceClassification, Task::MaskedLm] {
        let encoder = tensors(&folder, "model.safetensors").into_iter();
        let mut all: Tensors = encoder.map(|(name, raw)| (format!("bert.{name}"), raw)).collect();
        all.extend(tensors(&folder, &format!("{}.safetensors", task.name())));
        all.remove("expected/logits");
        let config = fs::read(folder.join("config.json")).unwrap();
        let weights = crate::models::serialize(&all);
        let tiny = Tiny::new().with("config.json", config).with("model.safetensors", weights);
        let out = tempfile::tempdir().unwrap();
        let small = written(&tiny, out.path());
        let logits = |files: &ModelFiles| {
            let model = head::load(files, &Device::Cpu, Precision::Int8, task).unwrap();
            let mut found = Vec::new();
            model.logits(batch, None, &mut |rows| found = rows.to_vec()).unwrap();
            found
        };
        assert_eq!(logits(&ModelFiles::from_bytes(tiny.0).unwrap()), logits(&small));
        let stored = parse(&fs::read(out.path().join("model.safetensors")).unwrap());
        // What answers with a few labels stays as it is.
        if task == Task::SequenceClassification {
            assert_eq!(stored["classifier.weight"].dtype, Dtype::F32);
        }
    }
}

#[test]
fn a_large_table_is_kept_in_eight_bits() {
    let (tiny, out) = (wide(), tempfile::tempdir().unwrap());
    let (exact, loaded) = (tiny.engine(), tiny.load(&int8()).unwrap());
    let stored = Engine::load(&written(&tiny, out.path()), &int8()).unwrap();
    let texts = texts();
    assert_eq!(embed(&loaded, &texts), embed(&stored, &texts));
    assert_eq!(encode(&loaded, &texts), encode(&stored, &texts));
    assert!(furthest(&embed(&exact, &texts), &embed(&loaded, &texts)) < 0.1);
    for (engine, kept) in [(&exact, "float32"), (&loaded, "int8"), (&stored, "int8")] {
        let shown = format!("{engine:?}");
        assert!(shown.contains(&format!("Table(10000 x 32, {kept})")), "{shown}");
        assert!(shown.len() < 5_000, "{}", shown.len());
    }
}

#[test]
fn sixteen_bits_stay_sixteen_bits() {
    let half = |dtype: Dtype| {
        Tiny::new().weights(|all| {
            for raw in all.values_mut().filter(|raw| raw.dtype == Dtype::F32) {
                let narrow = |x: f32| match dtype {
                    Dtype::BF16 => half::bf16::from_f32(x).to_le_bytes(),
                    _ => half::f16::from_f32(x).to_le_bytes(),
                };
                raw.data = raw.floats().into_iter().flat_map(narrow).collect();
                raw.dtype = dtype;
            }
        })
    };
    let widened = |dtype: Dtype| {
        Tiny::new().weights(|all| {
            for raw in all.values_mut().filter(|raw| raw.dtype == Dtype::F32) {
                let wide = |x: f32| match dtype {
                    Dtype::BF16 => half::bf16::from_f32(x).to_f32(),
                    _ => half::f16::from_f32(x).to_f32(),
                };
                raw.data = raw.floats().into_iter().flat_map(|x| wide(x).to_le_bytes()).collect();
            }
        })
    };
    for (dtype, kept) in [(Dtype::F16, "float16"), (Dtype::BF16, "bfloat16")] {
        let engine = half(dtype).engine();
        assert_eq!(embed(&engine, &texts()), embed(&widened(dtype).engine(), &texts()));
        assert!(format!("{engine:?}").contains(&format!("Table(249 x 32, {kept})")));
    }
}

#[test]
fn a_quantized_model_says_what_it_is() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = ModelFiles::from_bytes(wide().0).unwrap();
    let first = quantize(&source, one.path()).unwrap();
    let said = metadata(&fs::read(one.path().join("model.safetensors")).unwrap());
    assert_eq!(said[FORMAT.0], FORMAT.1);
    assert_eq!(said[SOURCE], source.digest().unwrap());
    let digest = first.digest().unwrap();
    assert_ne!(digest, source.digest().unwrap());
    assert_eq!(quantize(&source, two.path()).unwrap().digest().unwrap(), digest);
    let bytes = |dir: &Path| fs::metadata(dir.join("model.safetensors")).unwrap().len();
    let before = wide().0["model.safetensors"].len() as u64;
    assert!(bytes(one.path()) * 3 < before, "{} of {before}", bytes(one.path()));
    // Nothing is written over, and nothing is quantized twice.
    assert!(matches!(quantize(&source, one.path()), Err(Error::Input { .. })));
    let error = quantize(&first, &two.path().join("again")).unwrap_err().to_string();
    assert!(error.contains("quantized already"), "{error}");
    let error = Engine::load(&first, &EngineOptions::default()).unwrap_err().to_string();
    assert!(error.contains("load the model with dtype int8"), "{error}");
}

#[test]
fn hostile_files_are_refused() {
    let out = tempfile::tempdir().unwrap();
    written(&wide(), out.path());
    let data = fs::read(out.path().join("model.safetensors")).unwrap();
    let (good, said) = (parse(&data), metadata(&data));
    let load = |tensors: &Tensors, said: HashMap<String, String>| {
        wide().with("model.safetensors", file(tensors, said)).load(&int8())
    };
    load(&good, said.clone()).unwrap();
    let refused = |what: &str, change: &dyn Fn(&mut Tensors), wanted: &str| {
        for name in [WORDS, QUERY] {
            let mut bad = good.clone();
            let scale = bad.remove(&scale_name(name)).unwrap();
            bad.insert("scale".into(), scale);
            let matrix = bad.remove(name).unwrap();
            bad.insert("matrix".into(), matrix);
            change(&mut bad);
            for (from, to) in [("scale", scale_name(name)), ("matrix", name.to_owned())] {
                if let Some(raw) = bad.remove(from) {
                    bad.insert(to, raw);
                }
            }
            match load(&bad, said.clone()) {
                Err(Error::Model { reason, .. }) => {
                    assert!(reason.contains(wanted), "{what} of {name}: {reason}");
                }
                other => panic!("{what} of {name}: {other:?}"),
            }
        }
    };
    for value in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e-40] {
        let set = |all: &mut Tensors| all.get_mut("scale").unwrap().set(3, value);
        refused(&format!("a scale {value}"), &set, "no positive number");
    }
    refused("no scale", &|all| drop(all.remove("scale")), "has no scales");
    let short = |all: &mut Tensors| {
        let scale = all.get_mut("scale").unwrap();
        scale.shape[0] -= 1;
        scale.data.truncate(scale.data.len() - 4);
    };
    refused("a scale too few", &short, "has scales that are not");
    refused("integer scales", &|all| all.get_mut("scale").unwrap().dtype = Dtype::I32, "float32");
    let least = |all: &mut Tensors| all.get_mut("matrix").unwrap().data[40] = 0x80;
    refused("-128", &least, "-128");
    for (key, value) in [(FORMAT.0, "int4"), (VERSION.0, "2")] {
        let mut other = said.clone();
        other.insert(key.into(), value.into());
        let error = load(&good, other).unwrap_err().to_string();
        assert!(error.contains("has dtype I8"), "{error}");
    }
    let error = load(&good, HashMap::new()).unwrap_err().to_string();
    assert!(error.contains("F32, F16 and BF16 are supported"), "{error}");
}

#[test]
fn a_file_that_is_cut_short_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    for (name, data) in wide().0 {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    let files = ModelFiles::from_dir(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    let found = files.load_weights(|checkpoint| {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let weights = legato::backend::Weights::new("test", checkpoint);
        weights.get(&[WORDS], &[10_000, 32]).map(|_| ())
    });
    let error = found.unwrap_err().to_string();
    assert!(error.contains("cannot be read to its end"), "{error}");
    let error = Engine::load(&files, &int8()).unwrap_err().to_string();
    assert!(error.contains("damaged or truncated"), "{error}");
}

#[test]
fn a_file_that_changes_under_a_load_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, data) in Tiny::new().0 {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    let files = ModelFiles::from_dir(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    let found = files.load_weights(|_| {
        let mut data = fs::read(&path).unwrap();
        *data.last_mut().unwrap() ^= 1;
        // Clocks of file systems are coarse.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, data).unwrap();
        Ok(())
    });
    let error = found.unwrap_err().to_string();
    assert!(error.contains("changed while the model was in use"), "{error}");
}
