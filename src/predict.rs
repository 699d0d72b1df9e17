//! A model with the head of a task, and its tokenizer: tokens to logits.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use rayon::prelude::*;

use crate::batch::{self, Batch};
use crate::device;
use crate::engine::{self, TOKEN_BUDGET};
use crate::error::{Error, Result};
use crate::head::{self, Task, TaskModel};
use crate::hub::ModelFiles;
use crate::tokenize::{Tokenizer, Tokens};

/// Logits in the order in which texts or tokens were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// `(rows, width)`, row after row.
    pub values: Vec<f32>,
    /// Texts, or tokens.
    pub rows: usize,
    /// Labels, or the vocabulary.
    pub width: usize,
}

/// A model with the head of a task.
pub struct TaskEngine {
    model: Box<dyn TaskModel>,
    tokenizer: Arc<Tokenizer>,
    task: Task,
    device: Device,
}

impl fmt::Debug for TaskEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskEngine")
            .field("model", &self.model)
            .field("task", &self.task)
            .field("device", &self.device())
            .finish_non_exhaustive()
    }
}

impl TaskEngine {
    /// Loads weights, head and tokenizer; device and dtype are named as for [`Engine`](crate::Engine).
    pub fn load(files: &ModelFiles, task: Task, device: &str, dtype: &str) -> Result<Self> {
        let device = device::open(device)?;
        let dtype = device::dtype(dtype, &device)?;
        let (tokenizer, model) = rayon::join(
            || engine::tokenizer(files, None),
            || head::load(files, &device, dtype, task),
        );
        let (tokenizer, model) = (Arc::new(tokenizer?), model?);
        Ok(Self { model, tokenizer, task, device })
    }

    /// Computes a row of logits a text or a token, on the current rayon pool; `stop` is looked at between
    /// batches. With `only`, ascending positions in the flat tokens, those tokens alone have rows.
    ///
    /// # Errors
    /// [`Error::Input`] for tokens of another tokenizer, or outside of what the model knows, and for `only`
    /// where rows are of texts; [`Error::Stopped`] once `stop` is set.
    pub fn run(&self, tokens: &Tokens, only: Option<&[u32]>, stop: &AtomicBool) -> Result<Logits> {
        engine::check(tokens, self.tokenizer.digest(), self.model.sizes())?;
        let spans = self.spans(tokens, only)?;
        let (rows, width) = (spans.last().map_or(0, |span| span.end), self.model.width());
        let mut values = zeros(rows, width)?;
        let mut places = split(&mut values, &spans, width);
        let batches = batch::pack(tokens, TOKEN_BUDGET);
        let mut work: Vec<(&Batch, Vec<&mut [f32]>)> = Vec::with_capacity(batches.len());
        for batch in &batches {
            let of_batch = batch.order.iter().map(|&text| std::mem::take(&mut places[text]));
            work.push((batch, of_batch.collect()));
        }
        work.par_iter_mut().try_for_each(|(batch, places)| {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let chosen = only.map(|only| chosen(batch, tokens, only, &spans));
            if chosen.as_ref().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            self.model.logits(batch, chosen.as_deref(), &mut |logits| {
                let mut rest = logits;
                for place in places.iter_mut() {
                    let (row, after) = rest.split_at(place.len());
                    place.copy_from_slice(row);
                    rest = after;
                }
            })
        })?;
        Ok(Logits { values, rows, width })
    }

    /// The tokenizer whose tokens this model takes.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Logits in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.model.width()
    }

    /// Most tokens of a row, special tokens included.
    #[must_use]
    pub fn max_length(&self) -> usize {
        let positions = self.model.sizes().positions;
        self.tokenizer.max_length().map_or(positions, |length| length.min(positions))
    }

    /// The device's name.
    #[must_use]
    pub fn device(&self) -> String {
        device::label(&self.device)
    }

    /// Which rows of the logits each text has.
    fn spans(&self, tokens: &Tokens, only: Option<&[u32]>) -> Result<Vec<Range<usize>>> {
        if self.task.is_of_texts() {
            if only.is_some() {
                return Err(Error::input("this task has one row a text; positions do not apply"));
            }
            return Ok((0..tokens.len()).map(|text| text..text + 1).collect());
        }
        let ends = tokens.starts().zip(&tokens.lengths);
        let Some(only) = only else {
            return Ok(ends.map(|(start, &length)| start..start + length as usize).collect());
        };
        let inside = only.last().is_none_or(|&last| (last as usize) < tokens.ids.len());
        if !inside || !only.is_sorted_by(|a, b| a < b) {
            return Err(Error::input(
                "positions must ascend, each once, and be below the number of tokens",
            ));
        }
        let before = |end: usize| only.partition_point(|&position| (position as usize) < end);
        Ok(ends.map(|(start, &length)| before(start)..before(start + length as usize)).collect())
    }
}

/// Positions in a batch of those of `only` that lie in its texts.
#[allow(clippy::cast_possible_truncation)] // a batch has far fewer than 2^32 tokens
fn chosen(batch: &Batch, tokens: &Tokens, only: &[u32], spans: &[Range<usize>]) -> Vec<u32> {
    let starts: Vec<usize> = tokens.starts().collect();
    let mut base = 0;
    let mut chosen = Vec::new();
    for (&text, &length) in batch.order.iter().zip(&batch.lengths) {
        let local = |&position: &u32| (position as usize - starts[text] + base) as u32;
        chosen.extend(only[spans[text].clone()].iter().map(local));
        base += length;
    }
    chosen
}

/// Memory for all logits, or a word about it: a vocabulary a token is more than it seems.
fn zeros(rows: usize, width: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let count = rows.checked_mul(width);
    match count.map(|count| values.try_reserve_exact(count).map(|()| count)) {
        Some(Ok(count)) => values.resize(count, 0.0),
        _ => {
            return Err(Error::input(format!(
                "{rows} rows of {width} logits do not fit in memory; give fewer texts a call"
            )));
        }
    }
    Ok(values)
}

/// The rows of each text; `spans` cover the rows in order.
fn split<'v>(values: &'v mut [f32], spans: &[Range<usize>], width: usize) -> Vec<&'v mut [f32]> {
    let mut rest = values;
    let mut parts = Vec::with_capacity(spans.len());
    for span in spans {
        let (part, after) = rest.split_at_mut(span.len() * width);
        parts.push(part);
        rest = after;
    }
    parts
}
