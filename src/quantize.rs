//! A model's folder with its weights in eight bits: what `legato quantize` writes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::Path;

use crate::backend::{Cpu, Loader, Weights, quantized};
use crate::error::{Error, Result};
use crate::head::{self, Head};
use crate::hub::{Checkpoint, ModelFiles};
use crate::model;

/// Writes a model to a new folder with the weights in eight bits that [`Cpu::int8`] computes with: the vectors are
/// those of the same model quantized at load. Which weights these are is what loading the encoder and every head
/// that the checkpoint has shows; the others, and the other files, are copied.
///
/// # Errors
/// [`Error::Model`] for what cannot be loaded, or is quantized already; [`Error::Input`] for a folder that is not
/// empty; [`Error::Denied`] and [`Error::Full`] where it cannot be written.
pub fn quantize(files: &ModelFiles, out: &Path) -> Result<ModelFiles> {
    let matrices = files.load_weights(|checkpoint| matrices(files, checkpoint))?;
    let source = files.digest()?;
    make_empty(out)?;
    for (name, data) in files.all_but_weights()? {
        let path = out.join(name);
        let folder = path.parent().unwrap_or(out);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, &data));
        written.map_err(|e| failed(&path, &e))?;
    }
    let path = out.join(ModelFiles::WEIGHTS);
    // Renamed once it is whole: without it, the folder is no model.
    let staged = out.join(format!(".{}.part", ModelFiles::WEIGHTS));
    let failed = |e: &io::Error| failed(&staged, e);
    files.load_weights(|checkpoint| {
        let weights = Weights::new(files.origin(), checkpoint);
        let mut to = BufWriter::new(File::create(&staged).map_err(|e| failed(&e))?);
        quantized::write(&weights, &matrices, &source, &mut to, failed)?;
        let file = to.into_inner().map_err(|e| failed(e.error()))?;
        file.sync_all().map_err(|e| failed(&e))
    })?;
    fs::rename(&staged, &path).map_err(|e| failed(&e))?;
    ModelFiles::from_dir(out)
}

/// The tensors of which nothing but their numbers in eight bits is used.
fn matrices(files: &ModelFiles, checkpoint: &Checkpoint) -> Result<BTreeSet<String>> {
    let (config, backend) = (files.config()?, Cpu::int8());
    let weights = Weights::new(files.origin(), checkpoint);
    if quantized::is_written(checkpoint) {
        return Err(weights.bad("its weights are quantized already"));
    }
    let hidden = model::architecture(&config, &weights, &backend)?.sizes().hidden;
    let loader = Loader::new(&backend, &weights);
    for task in head::tasks(&config, &loader)? {
        Head::load(&config, &loader, task, hidden)?;
    }
    let uses = weights.uses().into_iter();
    Ok(uses.filter(|(_, uses)| uses.int8 && !uses.float).map(|(name, _)| name).collect())
}

fn make_empty(out: &Path) -> Result<()> {
    fs::create_dir_all(out).map_err(|e| failed(out, &e))?;
    if fs::read_dir(out).map_err(|e| failed(out, &e))?.next().is_none() {
        return Ok(());
    }
    Err(Error::input(format!("folder {} is not empty; give a new one", out.display())))
}

fn failed(path: &Path, e: &io::Error) -> Error {
    let (uri, reason) = (path.display().to_string(), e.to_string());
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full { uri, reason },
        _ => Error::Denied { action: "writing", uri, reason },
    }
}
