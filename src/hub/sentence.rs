use serde_json::{Map, Value};

use super::files::ModelFiles;
use crate::error::{Error, Result};

const MODULES: &str = "modules.json";
const TOKENIZER: &str = "tokenizer_config.json";

/// What older versions call the file, by the model's class; the first that is there counts.
pub(super) const SENTENCE: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The switches of older configurations, in the order in which their vectors follow each other.
const SWITCHES: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// What the sentence-transformers files of a model say about its output.
///
/// Source: `sentence_transformers/base/modules/{transformer,dense,normalize}.py` and
/// `sentence_transformers/sentence_transformer/modules/pooling.py`, 6.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceConfig {
    /// Names of poolings, joined by `+`: `mean` where the model has no sentence-transformers files, as in that
    /// library.
    pub pooling: String,
    /// Whether the tokens of a prompt are pooled too.
    pub include_prompt: bool,
    /// Layers that pooled vectors pass, in their order.
    pub dense: Vec<DenseConfig>,
    /// Whether vectors are scaled to unit length.
    pub normalize: bool,
    /// Most tokens of a text, special tokens included.
    pub max_length: Option<usize>,
}

/// A linear layer behind the pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseConfig {
    /// Where its configuration and its weights are.
    pub folder: String,
    pub input: usize,
    pub output: usize,
    pub bias: bool,
    /// The class in torch, without its module, such as `Tanh`.
    pub activation: String,
}

impl ModelFiles {
    /// Reads what becomes of hidden states, and the limit in tokens.
    pub fn sentence_config(&self) -> Result<SentenceConfig> {
        let mut config = SentenceConfig {
            pooling: "mean".into(),
            include_prompt: true,
            dense: Vec::new(),
            normalize: false,
            max_length: self.limit()?,
        };
        for module in self.modules()? {
            match module.kind.as_str() {
                "Transformer" => {}
                "Pooling" => self.pooling(&module.path, &mut config)?,
                "Dense" if config.normalize => {
                    let reason = format!(
                        "{MODULES} has a Dense module behind Normalize, which is not supported; \
                         Dense, then Normalize is"
                    );
                    return Err(Error::model(self.origin(), reason));
                }
                "Dense" => config.dense.push(self.dense(module.path)?),
                "Normalize" => config.normalize = true,
                other => {
                    let reason = format!(
                        "{MODULES} has a module of type {other}, which is not supported; \
                         Transformer, Pooling, Dense and Normalize are"
                    );
                    return Err(Error::model(self.origin(), reason));
                }
            }
        }
        Ok(config)
    }

    /// The folder of the encoder's own files, where it is not the model's: older versions have `0_Transformer`.
    pub(super) fn transformer_folder(&self) -> Result<Option<String>> {
        let modules = self.modules()?.into_iter().filter(|module| module.kind == "Transformer");
        Ok(modules.map(|module| module.path).find(|path| !path.is_empty()))
    }

    /// Files of the modules that have some of their own.
    pub(super) fn sentence_files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for Module { kind, path } in self.modules()? {
            if kind == "Pooling" || kind == "Dense" {
                files.push(format!("{path}/config.json"));
            }
            if kind == "Dense" {
                files.push(format!("{path}/model.safetensors"));
            }
        }
        Ok(files)
    }

    fn modules(&self) -> Result<Vec<Module>> {
        if !self.has(MODULES) {
            return Ok(Vec::new());
        }
        let bad =
            |what: &str| Error::model(self.origin(), format!("{MODULES} {what}; copy it again"));
        let value = self.json(MODULES)?;
        let entries = value.as_array().ok_or_else(|| bad("is not a list of modules"))?;
        let mut modules = Vec::with_capacity(entries.len());
        for entry in entries {
            let kind = entry["type"].as_str().ok_or_else(|| bad("has a module without a type"))?;
            let path = entry["path"].as_str().unwrap_or_default();
            // The path comes from the model: it may name a folder beside this file and nothing else.
            if path.contains(['/', '\\', '\0']) || matches!(path, "." | "..") {
                return Err(bad("has a module path that leaves the model folder"));
            }
            let kind = kind.rsplit('.').next().unwrap_or(kind).to_owned();
            if matches!(&*kind, "Pooling" | "Dense") && path.is_empty() {
                return Err(bad(&format!("has a {kind} module without a folder of its own")));
            }
            modules.push(Module { kind, path: path.to_owned() });
        }
        Ok(modules)
    }

    fn pooling(&self, path: &str, config: &mut SentenceConfig) -> Result<()> {
        let name = format!("{path}/config.json");
        let file = self.object(&name)?;
        config.include_prompt =
            file.get("include_prompt").is_none_or(|on| *on != Value::Bool(false));
        config.pooling = match file.get("pooling_mode") {
            Some(Value::String(mode)) => mode.clone(),
            Some(Value::Array(modes)) if !modes.is_empty() => {
                let modes: Vec<&str> = modes.iter().filter_map(Value::as_str).collect();
                modes.join("+")
            }
            _ => self.switched(&name, &file)?,
        };
        Ok(())
    }

    /// The poolings that an older configuration turns on; none is the mean.
    fn switched(&self, name: &str, file: &Map<String, Value>) -> Result<String> {
        let on = |switch: &str| file.get(switch) == Some(&Value::Bool(true));
        let known = |key: &str| SWITCHES.iter().any(|(switch, _)| *switch == key);
        let other =
            file.keys().find(|key| key.starts_with("pooling_mode_") && !known(key) && on(key));
        if let Some(other) = other {
            let reason = format!("{name} turns on {other}, which is not supported");
            return Err(Error::model(self.origin(), reason));
        }
        let modes: Vec<&str> =
            SWITCHES.iter().filter(|(switch, _)| on(switch)).map(|(_, mode)| *mode).collect();
        Ok(if modes.is_empty() { "mean".to_owned() } else { modes.join("+") })
    }

    fn dense(&self, folder: String) -> Result<DenseConfig> {
        let name = format!("{folder}/config.json");
        let file = self.object(&name)?;
        let bad = |what: String| Error::model(self.origin(), format!("{name} {what}"));
        let size = |key: &str| {
            let size = file.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
            size.ok_or_else(|| bad(format!("has no {key}; copy it again")))
        };
        let text = |key: &str| file.get(key).and_then(Value::as_str);
        for key in ["module_input_name", "module_output_name"] {
            if text(key).is_some_and(|name| name != "sentence_embedding") {
                return Err(bad(format!(
                    "has a {key} other than sentence_embedding; only that is supported"
                )));
            }
        }
        if file.get("use_residual") == Some(&Value::Bool(true)) {
            return Err(bad("asks for use_residual, which is not supported".to_owned()));
        }
        let activation = text("activation_function").unwrap_or("torch.nn.modules.activation.Tanh");
        let activation = activation.rsplit('.').next().unwrap_or(activation).to_owned();
        let (input, output) = (size("in_features")?, size("out_features")?);
        let bias = file.get("bias") != Some(&Value::Bool(false));
        Ok(DenseConfig { folder, input, output, bias, activation })
    }

    /// Whether texts are lower-cased before anything else the tokenizer does.
    pub(super) fn do_lower_case(&self) -> Result<bool> {
        let Some(file) = self.sentence_file() else { return Ok(false) };
        Ok(self.object(file)?.get("do_lower_case") == Some(&Value::Bool(true)))
    }

    /// The smallest of the limits that the model's files state.
    fn limit(&self) -> Result<Option<usize>> {
        let sentence = self.sentence_file().map(|file| self.stated(file, "max_seq_length"));
        let sentence = sentence.transpose()?.flatten();
        let tokenizer = self.stated(TOKENIZER, "model_max_length")?;
        Ok(sentence.or(tokenizer).into_iter().chain(self.max_positions()?).min())
    }

    fn sentence_file(&self) -> Option<&'static str> {
        SENTENCE.into_iter().find(|file| self.has(file))
    }

    /// Most tokens that the model's position embeddings reach.
    pub fn max_positions(&self) -> Result<Option<usize>> {
        self.stated("config.json", "max_position_embeddings")
    }

    /// A limit in tokens that a file states.
    fn stated(&self, file: &str, key: &str) -> Result<Option<usize>> {
        let value = if self.has(file) { self.object(file)?.remove(key) } else { None };
        let limit = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value.as_f64(),
        };
        match limit.filter(|&n| n >= 1.0 && n.fract() == 0.0) {
            // transformers writes 1e30 for "no limit".
            Some(n) if n >= f64::from(1 << 30) => Ok(None),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 2^30
            Some(n) => Ok(Some(n as usize)),
            None => {
                let reason = format!("{file}: {key} must be a whole number of tokens, 1 or more");
                Err(Error::model(self.origin(), reason))
            }
        }
    }
}

struct Module {
    kind: String,
    path: String,
}
