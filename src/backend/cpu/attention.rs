use std::sync::PoisonError;

use super::ops::Cpu;
use super::pass::{Pass, Rows};
use super::share;
use super::table::Table;
use crate::backend::seam::{Attention, Relative};
use crate::error::Result;
use crate::kernels::cpu::{self, RowsMut};
use crate::kernels::plain;

impl Pass<'_> {
    /// Turns queries and keys by the angles of their positions.
    pub(super) fn rotate(&self, qkv: &mut Rows, angles: &Table) -> Result<()> {
        let (head, wide) = (angles.width, qkv.width);
        let (count, mut start) = (angles.values.len() / head.max(1), 0);
        let all = cpu::Rows::dense(&angles.values, count, head)?;
        for &length in &self.batch.lengths {
            let here = all.range(0..length)?;
            let (cos, sin) = (here.columns(0..head / 2)?, here.columns(head / 2..head)?);
            let text = &mut qkv.data[start * wide..][..length * wide];
            let both = RowsMut::new(text, length, wide / 3 * 2, wide)?;
            cpu::rotate(cos, sin, head, both)?;
            start += length;
        }
        Ok(())
    }

    pub(super) fn attend(
        &self,
        qkv: &Rows,
        options: &Attention<'_, Cpu>,
        out: &mut Rows,
    ) -> Result<()> {
        let (hidden, all, mut start) = (out.width, qkv.view()?, 0);
        let mut workspace = self.workspace.attention.lock().unwrap_or_else(PoisonError::into_inner);
        for &length in &self.batch.lengths {
            let text = all.range(start..start + length)?;
            let part = |which: usize| text.columns(which * hidden..(which + 1) * hidden);
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let Attention { heads, scale, window, .. } = *options;
            let target = &mut out.data[start * hidden..][..length * hidden];
            let target = RowsMut::dense(target, length, hidden)?;
            let head = hidden / heads;
            let parts = share::parts(self.batch.threads.min(heads), 2 * length * length * hidden);
            let kept = workspace.len().max(parts);
            workspace.resize_with(kept, cpu::Workspace::new);
            let scratch = &mut workspace[..parts];
            share::by_columns(target, head, scratch, |first, target, scratch| {
                let columns = first..first + target.width();
                let [q, k, v] = [&q, &k, &v].map(|m| m.columns(columns.clone()));
                let (q, k, v, heads) = (q?, k?, v?, columns.len() / head);
                cpu::Attention { q, k, v, heads, scale, bias: None, window }.run(scratch, target)
            })?;
            start += length;
        }
        Ok(())
    }

    pub(super) fn attend_relative(&self, qkv: &Rows, options: &Attention<'_, Cpu>, out: &mut Rows) {
        let attention = plain::Attention {
            heads: options.heads,
            scale: options.scale,
            window: options.window,
            relative: relative(&options.relative),
        };
        let (hidden, wide, mut start) = (out.width, qkv.width, 0);
        let longest = self.batch.lengths.iter().max().copied().unwrap_or(0);
        let mut scratch = self.workspace.take(plain::scores_len(&attention, longest));
        for &length in &self.batch.lengths {
            let text = &qkv.data[start * wide..][..length * wide];
            let target = &mut out.data[start * hidden..][..length * hidden];
            plain::attend(text, length, &attention, target, &mut scratch);
            start += length;
        }
    }
}

fn relative<'a>(relative: &Relative<'a, Cpu>) -> plain::Relative<'a> {
    match relative {
        Relative::None => plain::Relative::None,
        Relative::Bias(table) => {
            plain::Relative::Bias { table: &table.values, reach: table.width.div_ceil(2) }
        }
        Relative::Disentangled { keys, queries, buckets } => plain::Relative::Disentangled {
            keys: keys.map(|table| &table.values[..]),
            queries: queries.map(|table| &table.values[..]),
            buckets,
        },
    }
}
