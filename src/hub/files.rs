use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::checkpoint::Checkpoint;
use super::disk::{cannot_read, check_size, hash, open_bounded, read_all};
use super::sentence::SENTENCE;
use super::state::State;
use crate::digest::{hex, sha256};
use crate::error::{Error, Result};

/// Largest accepted sizes in bytes: far above every real file, far below what would hurt.
const CONFIG_BYTES: u64 = 1 << 20;
const TOKENIZER_BYTES: u64 = 64 << 20;
const WEIGHTS_BYTES: u64 = 16 << 30;
const MODULE_BYTES: u64 = 1 << 30;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Read where they exist; anything else in the folder is ignored.
const OPTIONAL: [&str; 2] = ["tokenizer_config.json", "config_sentence_transformers.json"];
const MODULES: &str = "modules.json";
/// Weight files that can run code when they are opened.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "pkl", "joblib"];

/// The files of one model, bounded in size, with a digest over all of them: of the bytes that were first read.
/// A file that gives others later is refused.
#[derive(Debug)]
pub struct ModelFiles {
    origin: String,
    files: BTreeMap<String, Source>,
}

#[derive(Debug)]
struct Source {
    content: Content,
    /// Of the bytes first read; later reads must agree.
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    sha256: [u8; 32],
    /// A file that is still in this state need not be hashed again.
    state: Option<State>,
}

enum Content {
    Memory(Bytes),
    Disk(PathBuf),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(data) => write!(f, "Memory({} bytes)", data.len()),
            Self::Disk(path) => write!(f, "Disk({})", path.display()),
        }
    }
}

impl ModelFiles {
    /// What the weights are called.
    pub const WEIGHTS: &str = WEIGHTS;

    /// Takes files by name, as they are called in a model repository.
    pub fn from_bytes(files: impl IntoIterator<Item = (String, Bytes)>) -> Result<Self> {
        let mut files: BTreeMap<String, Bytes> = files.into_iter().collect();
        let names: Vec<String> = files.keys().cloned().collect();
        let find = |name: &str| files.remove(name).map(Content::Memory);
        Self::gather("in memory".to_owned(), &names, true, find)
    }

    /// Finds the files that legato reads in a folder; nothing is loaded yet.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        Self::find(dir, true)
    }

    /// Finds the files by which texts become tokens: the weights need not be there, and are left out.
    pub fn without_weights(dir: &Path) -> Result<Self> {
        Self::find(dir, false)
    }

    fn find(dir: &Path, weights: bool) -> Result<Self> {
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
        Self::gather(origin, &names, weights, |name| {
            let path = dir.join(name);
            path.is_file().then_some(Content::Disk(path))
        })
    }

    /// Takes the files that legato reads; any other has no part in the model, nor in its digest.
    fn gather(
        origin: String,
        names: &[String],
        weights: bool,
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
        let wanted = |name: &str| weights || !name.ends_with(WEIGHTS);
        for name in [CONFIG, TOKENIZER, WEIGHTS].iter().chain(&OPTIONAL).chain(&SENTENCE) {
            if wanted(name) {
                add(&mut files, name, folder.as_ref());
            }
        }
        files.require(names, wanted)?;
        for name in files.sentence_files()?.into_iter().filter(|name| wanted(name)) {
            add(&mut files, &name, None);
        }
        Ok(files)
    }

    /// Fails with what to do when a needed file is not there; `names` lists what is.
    fn require(&self, names: &[String], wanted: impl Fn(&str) -> bool) -> Result<()> {
        let mut needed = [CONFIG, WEIGHTS, TOKENIZER].into_iter().filter(|name| wanted(name));
        let missing = needed.find(|name| !self.has(name));
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
        let read = |(file, state): (File, State)| read_all(&file, state.bytes());
        open_bounded(path, TOKENIZER_BYTES).and_then(read).map_err(|reason| {
            Error::model(path.display().to_string(), format!("the tokenizer {reason}"))
        })
    }

    /// Hands the weights to `load`, a safetensors file whose header has been checked, and hashes them meanwhile
    /// on another thread of the pool, unless that was done before. What `load` made is given out only if the
    /// file stayed as it was, and is the one that was hashed.
    pub fn load_weights<T: Send>(
        &self,
        load: impl FnOnce(&Checkpoint) -> Result<T> + Send,
    ) -> Result<T> {
        let bad = |reason| Error::model(&self.origin, format!("{WEIGHTS} {reason}"));
        let source = self.source(WEIGHTS)?;
        match &source.content {
            Content::Memory(data) => {
                check_size(data.len() as u64, WEIGHTS_BYTES).map_err(bad)?;
                let checkpoint = Checkpoint::from_bytes(data.clone()).map_err(bad)?;
                load(&checkpoint)
            }
            Content::Disk(path) => {
                let (file, state) = open_bounded(path, WEIGHTS_BYTES).map_err(bad)?;
                let twin = file.try_clone().map_err(|e| bad(cannot_read(&e)))?;
                let checkpoint = Checkpoint::from_file(file, state.bytes()).map_err(bad)?;
                let (loaded, digest) = rayon::join(
                    || load(&checkpoint),
                    || source.known_in(&state).map_or_else(|| hash(&twin, state.bytes()), Ok),
                );
                let loaded = loaded?;
                self.agree(WEIGHTS, &twin, state, digest.map_err(bad)?)?;
                Ok(loaded)
            }
        }
    }

    /// Where each file lies, by the name that it has in the digest; nothing of files in memory.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files.iter().filter_map(|(name, source)| match &source.content {
            Content::Memory(_) => None,
            Content::Disk(path) => Some((name.as_str(), path.as_path())),
        })
    }

    /// Names and bytes of all files but the weights.
    pub fn all_but_weights(&self) -> Result<Vec<(&str, Bytes)>> {
        let others = self.files.keys().filter(|name| *name != WEIGHTS);
        others.map(|name| Ok((name.as_str(), self.read(name)?))).collect()
    }

    /// The weights of a module behind the encoder, which are small.
    pub fn module_weights(&self, folder: &str) -> Result<Checkpoint> {
        let name = format!("{folder}/{WEIGHTS}");
        Checkpoint::from_bytes(self.read(&name)?)
            .map_err(|reason| Error::model(&self.origin, format!("{name} {reason}")))
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
        self.source(WEIGHTS)?;
        let mut all = Sha256::new();
        for name in self.files.keys() {
            all.update(name.as_bytes());
            all.update([0]);
            all.update(self.file_digest(name)?);
        }
        Ok(format!("sha256:{}", hex(&all.finalize())))
    }

    fn file_digest(&self, name: &str) -> Result<[u8; 32]> {
        let source = self.source(name)?;
        if let Some(known) = *source.known() {
            return Ok(known.sha256);
        }
        let bad = |reason| Error::model(&self.origin, format!("{name} {reason}"));
        match &source.content {
            Content::Memory(data) => {
                let sha256 = sha256(data);
                *source.known() = Some(Known { sha256, state: None });
                Ok(sha256)
            }
            Content::Disk(path) => {
                let (file, state) = open_bounded(path, limit(name)).map_err(bad)?;
                let digest = hash(&file, state.bytes()).map_err(bad)?;
                self.agree(name, &file, state, digest)?;
                Ok(digest)
            }
        }
    }

    /// Reads a file within its size bound, and checks that it is what an earlier read saw.
    fn read(&self, name: &str) -> Result<Bytes> {
        let source = self.source(name)?;
        let bad = |reason| Error::model(&self.origin, format!("{name} {reason}"));
        match &source.content {
            Content::Memory(data) => {
                check_size(data.len() as u64, limit(name)).map_err(bad)?;
                Ok(data.clone())
            }
            Content::Disk(path) => {
                let (file, state) = open_bounded(path, limit(name)).map_err(bad)?;
                let data = read_all(&file, state.bytes()).map_err(bad)?;
                let digest = source.known_in(&state).unwrap_or_else(|| sha256(&data));
                self.agree(name, &file, state, digest)?;
                Ok(data)
            }
        }
    }

    fn source(&self, name: &str) -> Result<&Source> {
        self.files.get(name).ok_or_else(|| {
            Error::model(&self.origin, format!("it has no {name}; copy the whole model folder"))
        })
    }

    /// Fails unless a file that was read is still in the state that it was opened in, and gave what it gave before.
    fn agree(&self, name: &str, file: &File, before: State, sha256: [u8; 32]) -> Result<()> {
        let bad = |reason| Error::model(&self.origin, format!("{name} {reason}"));
        let after = file.metadata().map_err(|e| bad(cannot_read(&e)))?;
        let mut known = self.source(name)?.known();
        if State::of(&after) != before || known.is_some_and(|known| known.sha256 != sha256) {
            return Err(bad("changed while the model was in use; load it again".to_owned()));
        }
        *known = Some(Known { sha256, state: before.is_settled().then_some(before) });
        Ok(())
    }
}

impl Source {
    fn new(content: Content) -> Self {
        Self { content, known: Mutex::new(None) }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest, if a file in this state has been hashed.
    fn known_in(&self, state: &State) -> Option<[u8; 32]> {
        (*self.known())
            .filter(|known| known.state.as_ref() == Some(state))
            .map(|known| known.sha256)
    }
}

/// Largest accepted size of the file of this name.
fn limit(name: &str) -> u64 {
    match name {
        WEIGHTS => WEIGHTS_BYTES,
        TOKENIZER => TOKENIZER_BYTES,
        module if module.ends_with(WEIGHTS) => MODULE_BYTES,
        _ => CONFIG_BYTES,
    }
}
