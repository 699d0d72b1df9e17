use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::quantized::scale_name;
use super::tensor::{Scratch, Tensor};
use super::unread::unread;
use crate::error::{Error, Result};
use crate::hub::Checkpoint;

/// What the numbers of a tensor were read as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    pub float: bool,
    pub int8: bool,
}

/// The tensors of a checkpoint by their own names, checked against the shapes that the config implies. Numbers are
/// read when they are asked for, some rows at a time.
#[derive(Debug)]
pub struct Weights<'data> {
    origin: String,
    checkpoint: Held<'data>,
    /// Buffers that are used again from tensor to tensor.
    scratch: Mutex<Vec<Scratch>>,
    uses: Mutex<BTreeMap<String, Use>>,
}

#[derive(Debug)]
enum Held<'data> {
    Own(Box<Checkpoint>),
    Lent(&'data Checkpoint),
}

impl<'data> Weights<'data> {
    /// Takes a file of weights.
    #[must_use]
    pub fn new(origin: &str, checkpoint: &'data Checkpoint) -> Self {
        Self::of(origin, Held::Lent(checkpoint))
    }

    /// Takes a copy of the bytes of a safetensors file.
    pub fn parse(origin: &str, data: &[u8]) -> Result<Self> {
        let checkpoint = Checkpoint::from_bytes(Bytes::copy_from_slice(data));
        let bad = |reason| Error::model(origin, format!("model.safetensors {reason}"));
        Ok(Self::of(origin, Held::Own(Box::new(checkpoint.map_err(bad)?))))
    }

    fn of(origin: &str, checkpoint: Held<'data>) -> Self {
        let (scratch, uses) = (Mutex::default(), Mutex::default());
        Self { origin: origin.to_owned(), checkpoint, scratch, uses }
    }

    /// Where the model came from, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The file.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        match &self.checkpoint {
            Held::Own(checkpoint) => checkpoint,
            Held::Lent(checkpoint) => checkpoint,
        }
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint().tensor(name).is_some()
    }

    /// The tensor called by one of `names`, of that shape and of a dtype that is read; its numbers are not yet.
    pub fn tensor(&self, names: &[&str], shape: &[usize]) -> Result<Tensor<'_>> {
        let found = names.iter().find_map(|name| Some((*name, self.checkpoint().tensor(name)?)));
        let Some((name, info)) = found else {
            let names = names.join(" or ");
            return Err(self.bad(format!("weights have no tensor {names}; copy the whole model")));
        };
        if info.shape != shape {
            return Err(self.bad(format!(
                "tensor {name} has shape {:?}, config.json implies {shape:?}",
                info.shape
            )));
        }
        Tensor::new(self, name, info)
    }

    /// The numbers of the tensor called by one of `names`, all finite, in float32.
    pub fn get(&self, names: &[&str], shape: &[usize]) -> Result<Cow<'static, [f32]>> {
        self.tensor(names, shape)?.whole().map(Cow::Owned)
    }

    /// An [`Error::Model`] about this checkpoint.
    pub fn bad(&self, reason: impl Into<String>) -> Error {
        Error::model(&self.origin, reason)
    }

    /// What each tensor was read as so far.
    #[must_use]
    pub fn uses(&self) -> BTreeMap<String, Use> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails where a layer has tensors that nobody has read: see [`unread`].
    pub fn check_read(&self) -> Result<()> {
        let (uses, all) = (self.uses(), self.checkpoint().names());
        let scales: Vec<String> = uses.keys().map(|name| scale_name(name)).collect();
        let read = uses.keys().chain(&scales).map(String::as_str).collect();
        let Some(name) = unread(all.iter().map(String::as_str), &read) else { return Ok(()) };
        Err(self.bad(format!(
            "tensor {name} is no part of the model that config.json describes; copy both from the same model"
        )))
    }

    pub(super) fn note(&self, name: &str, mark: impl FnOnce(&mut Use)) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        mark(uses.entry(name.to_owned()).or_default());
    }

    /// Calls `work` with buffers that no other thread uses meanwhile.
    pub(super) fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let free = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free().pop();
        let mut scratch = kept.unwrap_or_default();
        let done = work(&mut scratch);
        free().push(scratch);
        done
    }
}
