//! Definitions that would take time or memory without bound, refused before anything of them is used.
//!
//! Upstream trusts a definition: forty normalizers that each double the text make a terabyte of one byte.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Largest accepted definition in bytes, as in `hub`.
const MOST_BYTES: usize = 64 << 20;
/// Most steps of a normalizer, a pre-tokenizer or a decoder.
const MOST_STEPS: usize = 256;
/// How many times longer a text may become.
const MOST_GROWTH: f64 = 64.0;
/// Most bytes that a normalizer puts before a text.
const MOST_PREFIX: usize = 1024;
/// Longest word that `WordPiece` looks into: it takes time with the cube of the length.
const MOST_WORD: u64 = 1000;

/// The parts that are looked at; whatever else there is is upstream's to judge.
#[derive(Deserialize)]
pub(super) struct Shape {
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    #[serde(default)]
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    max_input_chars_per_word: Option<Value>,
}

/// Fails for a definition that no sane tokenizer has.
pub(super) fn size(data: &[u8]) -> Result<()> {
    if data.len() > MOST_BYTES {
        return refuse(&format!("it has {} bytes, the limit is {MOST_BYTES}", data.len()));
    }
    Ok(())
}

/// Fails for a definition that upstream would use without bound; returns the parts that were looked at.
pub(super) fn check(data: &[u8]) -> Result<Shape> {
    let shape: Shape = match serde_json::from_slice(data) {
        Ok(shape) => shape,
        Err(e) => return refuse(&format!("it cannot be read ({e}); export it again")),
    };
    steps(&shape.normalizer, &shape.pre_tokenizer, &shape.decoder)?;
    let word = shape.model.as_ref().and_then(|model| model.max_input_chars_per_word.as_ref());
    if word.and_then(Value::as_u64).is_some_and(|word| word > MOST_WORD) {
        return refuse(&format!("its model has max_input_chars_per_word above {MOST_WORD}"));
    }
    Ok(shape)
}

/// Fails for steps that make much of little.
pub(super) fn steps(normalizer: &Value, pre_tokenizer: &Value, decoder: &Value) -> Result<()> {
    for (name, part) in
        [("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer), ("decoder", decoder)]
    {
        let mut all = Steps::default();
        all.add(part);
        if all.count > MOST_STEPS {
            return refuse(&format!("its {name} has more than {MOST_STEPS} steps"));
        }
        if all.growth > MOST_GROWTH {
            let culprit = all.culprit.unwrap_or_default();
            return refuse(&format!(
                "its {name} makes a text more than {MOST_GROWTH} times longer ({culprit})"
            ));
        }
        if all.prefix > MOST_PREFIX {
            return refuse(&format!("its {name} adds more than {MOST_PREFIX} bytes to a text"));
        }
    }
    Ok(())
}

/// An error about the definition.
pub(super) fn refuse<T>(reason: &str) -> Result<T> {
    Err(Error::model("tokenizer.json", reason))
}

/// What the steps of a part do to the length of a text, at worst.
struct Steps<'v> {
    count: usize,
    growth: f64,
    prefix: usize,
    /// The type of the step that multiplies the most.
    culprit: Option<&'v str>,
    most: f64,
}

impl Default for Steps<'_> {
    fn default() -> Self {
        Self { count: 0, growth: 1.0, prefix: 0, culprit: None, most: 1.0 }
    }
}

impl<'v> Steps<'v> {
    fn add(&mut self, step: &'v Value) {
        for list in ["normalizers", "pretokenizers", "decoders"] {
            let steps = step[list].as_array().into_iter().flatten();
            steps.for_each(|step| self.add(step));
        }
        let kind = step["type"].as_str().unwrap_or_default();
        let growth = growth(kind, step).max(1.0);
        self.count += 1;
        self.growth *= growth;
        self.prefix += step["prepend"].as_str().map_or(0, str::len);
        if growth > self.most {
            (self.most, self.culprit) = (growth, Some(kind));
        }
    }
}

/// How many bytes a step makes of one, at worst.
#[allow(clippy::cast_precision_loss)] // lengths of strings in a file of 64 MiB
fn growth(kind: &str, step: &Value) -> f64 {
    match kind {
        "ByteLevel" => 2.0,
        "Replace" => {
            let content = step["content"].as_str().unwrap_or_default().len() as f64;
            let pattern = &step["pattern"];
            let shortest = match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
                (Some(text), _) => text.len(),
                (None, Some(regex)) => shortest(regex),
                (None, None) => 0,
            };
            // What matches nothing matches between any two characters.
            if shortest == 0 { 1.0 + content } else { content / shortest as f64 }
        }
        "Precompiled" => precompiled(step["precompiled_charsmap"].as_str().unwrap_or_default()),
        _ => 1.0,
    }
}

/// Bytes of the shortest match; 0 where that is not known.
fn shortest(regex: &str) -> usize {
    let parsed = regex_syntax::parse(regex).ok();
    parsed.and_then(|hir| hir.properties().minimum_len()).unwrap_or(0)
}

/// The longest of the strings that a charsmap replaces characters by. What sentencepiece replaces by more
/// than a few bytes are characters of three.
#[allow(clippy::cast_precision_loss)]
fn precompiled(charsmap: &str) -> f64 {
    // What is no base64 is no charsmap either: upstream says so.
    let Ok(map) = BASE64.decode(charsmap) else { return 1.0 };
    let trie = map.get(..4).and_then(|size| <[u8; 4]>::try_from(size).ok());
    let strings = trie.and_then(|size| map.get(4 + u32::from_le_bytes(size) as usize..));
    let longest = strings.unwrap_or(&map).split(|&byte| byte == 0).map(<[u8]>::len).max();
    longest.unwrap_or(0) as f64 / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(part: &str, value: &Value) -> Result<()> {
        check(json!({part: value}).to_string().as_bytes()).map(|_| ())
    }

    #[allow(clippy::needless_pass_by_value)] // reads better where it is called
    fn replace(pattern: Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    #[test]
    fn what_tokenizers_have_is_accepted() {
        let spaces = replace(json!({"Regex": " {2,}"}), "▁");
        let quotes = replace(json!({"String": "``"}), "\"");
        let marks = replace(json!({"String": " "}), "▁");
        let steps = [spaces, quotes, marks, json!({"type": "Prepend", "prepend": "▁"})];
        checked("normalizer", &json!({"type": "Sequence", "normalizers": steps})).unwrap();
        checked("pre_tokenizer", &json!({"type": "ByteLevel", "use_regex": true})).unwrap();
        checked("model", &json!({"type": "WordPiece", "max_input_chars_per_word": 200})).unwrap();
    }

    #[test]
    fn what_multiplies_is_refused() {
        let twice = replace(json!({"String": "a"}), "aa");
        let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "normalizers": steps});
        assert!(checked("normalizer", &sequence(vec![twice.clone(); 6])).is_ok());
        let error = checked("normalizer", &sequence(vec![twice.clone(); 7])).unwrap_err();
        assert!(error.to_string().contains("(Replace)"), "{error}");
        let nested = sequence(vec![sequence(vec![twice.clone(); 4]), sequence(vec![twice; 4])]);
        assert!(checked("normalizer", &nested).is_err());
        for pattern in [json!({"String": ""}), json!({"Regex": "b*"}), json!({"Regex": "(?=a)"})] {
            let long = "x".repeat(64);
            assert!(checked("normalizer", &replace(pattern, &long)).is_err());
        }
        let bytes = vec![json!({"type": "ByteLevel"}); 7];
        let bytes = json!({"type": "Sequence", "pretokenizers": bytes});
        assert!(checked("pre_tokenizer", &bytes).is_err());
        assert!(checked("normalizer", &sequence(vec![json!({"type": "NFC"}); 300])).is_err());
        let prefix = json!({"type": "Prepend", "prepend": "x".repeat(2000)});
        assert!(checked("normalizer", &prefix).is_err());
        let word = json!({"type": "WordPiece", "max_input_chars_per_word": 100_000});
        assert!(checked("model", &word).is_err());
    }

    #[test]
    fn a_charsmap_is_as_long_as_its_strings() {
        // A trie of no bytes, then strings: 3 bytes, and 300.
        let map = [&[0; 4][..], b"abc\0", &[b'x'; 300], b"\0"].concat();
        let text = BASE64.encode(map);
        assert!((precompiled(&text) - 100.0).abs() < 1e-9);
    }
}
