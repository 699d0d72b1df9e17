use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::header;
use super::sentence::SENTENCE;
use crate::digest::{hex, sha256};
use crate::error::{Error, Result};

/// Largest accepted sizes in bytes: far above every real file, far below what would hurt.
const CONFIG_BYTES: u64 = 1 << 20;
const TOKENIZER_BYTES: u64 = 64 << 20;
const WEIGHTS_BYTES: u64 = 16 << 30;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Read where they exist; anything else in the folder is ignored.
const OPTIONAL: [&str; 2] = ["tokenizer_config.json", "config_sentence_transformers.json"];
const MODULES: &str = "modules.json";
/// Weight files that can run code when they are opened.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "pkl", "joblib"];

/// The files of one model: read once each, bounded in size, with a digest over all of them.
#[derive(Debug)]
pub struct ModelFiles {
    origin: String,
    files: BTreeMap<String, Source>,
}

#[derive(Debug)]
struct Source {
    content: Content,
    /// sha256 of the bytes first read; later reads must agree.
    digest: OnceLock<[u8; 32]>,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    Disk(PathBuf),
}

impl ModelFiles {
    /// Takes files by name, as they are called in a model repository.
    pub fn from_bytes(files: impl IntoIterator<Item = (String, Bytes)>) -> Result<Self> {
        let mut files: BTreeMap<String, Bytes> = files.into_iter().collect();
        let names: Vec<String> = files.keys().cloned().collect();
        Self::gather("in memory".to_owned(), &names, |name| files.remove(name).map(Content::Memory))
    }

    /// Finds the files that legato reads in a folder; nothing is loaded yet.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let origin = dir.display().to_string();
        let entries = std::fs::read_dir(dir).map_err(|e| {
            let reason = match e.kind() {
                ErrorKind::NotFound => "there is no such folder; check the path".to_owned(),
                ErrorKind::NotADirectory => {
                    "it is a file; give the folder that holds it".to_owned()
                }
                _ => format!("the folder cannot be read ({e})"),
            };
            Error::model(&origin, reason)
        })?;
        let names: Vec<String> =
            entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        Self::gather(origin, &names, |name| {
            let path = dir.join(name);
            path.is_file().then_some(Content::Disk(path))
        })
    }

    /// Takes the files that legato reads; any other has no part in the model, nor in its digest.
    fn gather(
        origin: String,
        names: &[String],
        mut find: impl FnMut(&str) -> Option<Content>,
    ) -> Result<Self> {
        let mut files = Self { origin, files: BTreeMap::new() };
        let mut add = |files: &mut Self, name: &str, folder: Option<&String>| {
            let inner = folder.and_then(|folder| find(&format!("{folder}/{name}")));
            if let Some(content) = inner.or_else(|| find(name)) {
                files.files.insert(name.to_owned(), Source::new(content));
            }
        };
        add(&mut files, MODULES, None);
        let folder = files.transformer_folder()?;
        for name in [CONFIG, TOKENIZER, WEIGHTS].iter().chain(&OPTIONAL).chain(&SENTENCE) {
            add(&mut files, name, folder.as_ref());
        }
        files.require(names)?;
        for name in files.sentence_files()? {
            add(&mut files, &name, None);
        }
        Ok(files)
    }

    /// Fails with what to do when a needed file is not there; `names` lists what is.
    fn require(&self, names: &[String]) -> Result<()> {
        let missing = [CONFIG, WEIGHTS, TOKENIZER].into_iter().find(|name| !self.has(name));
        let Some(missing) = missing else {
            return Ok(());
        };
        let pickle = names.iter().find(|name| {
            let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or("");
            PICKLES.contains(&extension)
        });
        let reason = match (missing, pickle) {
            (WEIGHTS, Some(pickle)) => format!(
                "it has no {WEIGHTS}, and {pickle} is a pickle, which can run code and is refused; \
                 save the model with save_pretrained(..., safe_serialization=True)"
            ),
            (WEIGHTS, None) if names.iter().any(|name| name == WEIGHTS_INDEX) => {
                format!("its weights are sharded ({WEIGHTS_INDEX}); save them as one {WEIGHTS}")
            }
            _ => format!("it has no {missing}; copy the whole model folder"),
        };
        Err(Error::model(&self.origin, reason))
    }

    /// Where the files come from, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether there is a file of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// The model's configuration.
    pub fn config(&self) -> Result<serde_json::Value> {
        self.object(CONFIG).map(serde_json::Value::Object)
    }

    /// The definition of the tokenizer.
    pub fn tokenizer(&self) -> Result<Bytes> {
        self.lowered(self.read(TOKENIZER)?)
    }

    /// A definition of a tokenizer that lies in a file of its own.
    pub fn tokenizer_file(path: &Path) -> Result<Bytes> {
        read_bounded(path, TOKENIZER_BYTES).map_err(|reason| {
            Error::model(path.display().to_string(), format!("the tokenizer {reason}"))
        })
    }

    /// The weights: a safetensors file whose header has been checked.
    pub fn weights(&self) -> Result<Bytes> {
        self.tensors(WEIGHTS)
    }

    /// The weights of a module behind the encoder, checked likewise.
    pub fn module_weights(&self, folder: &str) -> Result<Bytes> {
        self.tensors(&format!("{folder}/{WEIGHTS}"))
    }

    fn tensors(&self, name: &str) -> Result<Bytes> {
        let data = self.read(name)?;
        header::check(&data)
            .map_err(|reason| Error::model(&self.origin, format!("{name} {reason}")))?;
        Ok(data)
    }

    /// A JSON file, parsed.
    pub fn json(&self, name: &str) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.read(name)?).map_err(|e| {
            let at = format!("line {} column {}", e.line(), e.column());
            Error::model(&self.origin, format!("{name} is not valid JSON ({at}); copy it again"))
        })
    }

    /// A JSON file that holds an object, parsed.
    pub fn object(&self, name: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        if let serde_json::Value::Object(object) = self.json(name)? {
            return Ok(object);
        }
        Err(Error::model(&self.origin, format!("{name} is no JSON object; copy it again")))
    }

    /// sha256 of the tokenizer definition, lower-case hex.
    pub fn tokenizer_digest(&self) -> Result<String> {
        if self.do_lower_case()? {
            return Ok(hex(&sha256(&self.tokenizer()?)));
        }
        Ok(hex(&self.file_digest(TOKENIZER)?))
    }

    /// What pins this model: `sha256:` and the digest over names and digests of all files it consists of.
    pub fn digest(&self) -> Result<String> {
        let mut all = Sha256::new();
        for name in self.files.keys() {
            all.update(name.as_bytes());
            all.update([0]);
            all.update(self.file_digest(name)?);
        }
        Ok(format!("sha256:{}", hex(&all.finalize())))
    }

    fn file_digest(&self, name: &str) -> Result<[u8; 32]> {
        if let Some(digest) = self.files.get(name).and_then(|source| source.digest.get()) {
            return Ok(*digest);
        }
        self.read(name).map(|data| sha256(&data))
    }

    /// Reads a file within its size bound, and checks that it is what an earlier read saw.
    fn read(&self, name: &str) -> Result<Bytes> {
        let source = self.files.get(name).ok_or_else(|| {
            Error::model(&self.origin, format!("it has no {name}; copy the whole model folder"))
        })?;
        let limit = match name {
            name if name.ends_with(WEIGHTS) => WEIGHTS_BYTES,
            TOKENIZER => TOKENIZER_BYTES,
            _ => CONFIG_BYTES,
        };
        let data = match &source.content {
            Content::Memory(data) => data.clone(),
            Content::Disk(path) => read_bounded(path, limit)
                .map_err(|reason| Error::model(&self.origin, format!("{name} {reason}")))?,
        };
        if data.len() as u64 > limit {
            let reason = format!("{name} is larger than the limit of {limit} bytes");
            return Err(Error::model(&self.origin, reason));
        }
        let digest = sha256(&data);
        if *source.digest.get_or_init(|| digest) != digest {
            let reason = format!("{name} changed while the model was in use; load it again");
            return Err(Error::model(&self.origin, reason));
        }
        Ok(data)
    }
}

impl Source {
    fn new(content: Content) -> Self {
        Self { content, digest: OnceLock::new() }
    }
}

fn read_bounded(path: &Path, limit: u64) -> Result<Bytes, String> {
    let cannot =
        |e: std::io::Error| format!("cannot be read ({e}); check the path and its permissions");
    // A pipe or a device may never end, and opening it may wait for ever.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is no regular file; check the path".to_owned());
    }
    let file = File::open(path).map_err(cannot)?;
    let bytes = file.metadata().map_err(cannot)?.len();
    if bytes > limit {
        return Err(format!("has {bytes} bytes, the limit is {limit}"));
    }
    let mut data = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut data).map_err(cannot)?;
    Ok(data.into())
}
