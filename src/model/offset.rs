use std::borrow::Cow;

use super::config::Bounds;
use crate::backend::{Backend, Loader, Lookup};
use crate::batch::Batch;
use crate::error::Result;

/// Position embeddings whose first text position comes after that of the padding token, as fairseq counts.
///
/// Source: `create_position_ids_from_input_ids` in transformers `models/roberta/modeling_roberta.py` at v5.23.
#[derive(Debug)]
pub(super) struct Positions<B: Backend> {
    table: B::Table, // (P, H)
    pad: u32,
}

/// Rows of a batch's tokens, before the offset.
pub(super) struct Rows<'a> {
    ids: Cow<'a, [u32]>,
    offset: u32,
}

impl<B: Backend> Positions<B> {
    /// How many tokens a text may have where the table has `rows`.
    pub(super) fn capacity(rows: usize, pad: u32) -> Result<usize, String> {
        Bounds::POSITIONS.check("max_position_embeddings", rows)?;
        rows.checked_sub(pad as usize + 1).filter(|&most| most > 0).ok_or_else(|| {
            format!(
                "config.json: max_position_embeddings is {rows}, it must be more than pad_token_id \
                 {pad} and one"
            )
        })
    }

    pub(super) fn load(at: &Loader<'_, B>, rows: usize, width: usize, pad: u32) -> Result<Self> {
        Ok(Self { table: at.table("position_embeddings", rows, width)?, pad })
    }

    /// Padding tokens that stand inside of a text have the padding's position, and those after them count on.
    pub(super) fn of<'a>(&self, batch: &'a Batch) -> Rows<'a> {
        if !batch.ids.contains(&self.pad) {
            return Rows { ids: Cow::Borrowed(&batch.positions), offset: self.pad + 1 };
        }
        let mut next = self.pad;
        let position = |(&id, &position): (&u32, &u32)| {
            if position == 0 {
                next = self.pad;
            }
            if id == self.pad {
                return self.pad;
            }
            next += 1;
            next
        };
        Rows { ids: batch.ids.iter().zip(&batch.positions).map(position).collect(), offset: 0 }
    }

    pub(super) fn lookup<'a>(&'a self, rows: &'a Rows<'_>) -> Lookup<'a, B> {
        Lookup { table: &self.table, ids: &rows.ids, offset: rows.offset }
    }
}
