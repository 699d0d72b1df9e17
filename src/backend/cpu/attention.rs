use std::ops::Range;

use super::ops::{BESIDES, Cpu};
use super::pass::{Pass, Rows};
use super::table::Table;
use crate::backend::seam::{Attention, Relative};
use crate::error::Result;
use crate::kernels::cpu::{self, RowsMut};

impl Pass<'_> {
    /// Turns queries and keys by the angles of their positions.
    pub(super) fn rotate(&self, qkv: &mut Rows, angles: &Table) -> Result<()> {
        let head = angles.width;
        let (count, work) = (angles.values.len() / head.max(1), qkv.data.len() * BESIDES);
        let all = cpu::Rows::dense(&angles.values, count, head)?;
        let (cos, sin) = (all.columns(0..head / 2)?, all.columns(head / 2..head)?);
        let (rows, wide) = (qkv.count(), qkv.width);
        let mut both = RowsMut::new(&mut qkv.data, rows, wide / 3 * 2, wide)?;
        self.texts(work, &mut both, 1, |rows, _, text| {
            cpu::rotate(cos.range(0..rows.len())?, sin.range(0..rows.len())?, head, text)
        })
    }

    pub(super) fn attend(
        &self,
        qkv: &Rows,
        options: &Attention<'_, Cpu>,
        out: &mut Rows,
    ) -> Result<()> {
        let Attention { heads, scale, window, .. } = *options;
        let (hidden, all) = (out.width, qkv.view()?);
        let pairs: usize = self.batch.lengths.iter().map(|length| length * length).sum();
        let parts = parts(heads, self.batch.lengths.len());
        self.texts(2 * pairs * hidden, &mut out.view_mut()?, parts, |rows, columns, target| {
            let text = all.range(rows)?;
            let part = |which: usize| {
                text.columns(which * hidden + columns.start..which * hidden + columns.end)
            };
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let relative = relative(&options.relative, &columns, hidden / heads)?;
            let of = cpu::Attention { q, k, v, heads: heads / parts, scale, relative, window };
            self.workspace.attention.with(|workspace| of.run(workspace, target))
        })
    }
}

/// Parts of one text's heads that are computed on their own: enough in all for threads to end at about the same time.
fn parts(heads: usize, texts: usize) -> usize {
    let enough = ENOUGH.div_ceil(texts.max(1));
    (1..=heads).find(|parts| heads.is_multiple_of(*parts) && *parts >= enough).unwrap_or(heads)
}

/// Chunks of one operation.
const ENOUGH: usize = 16;

/// The part of `relative` that these columns, heads of a width, meet.
fn relative<'a>(
    relative: &Relative<'a, Cpu>,
    columns: &Range<usize>,
    width: usize,
) -> Result<cpu::Relative<'a>> {
    Ok(match relative {
        Relative::None => cpu::Relative::None,
        Relative::Bias(table) => {
            let heads = columns.start / width..columns.end / width;
            cpu::Relative::Bias(table.rows()?.range(heads)?)
        }
        Relative::Disentangled { keys, queries, buckets } => {
            let part = |table: Option<&'a Table>| {
                table.map(|table| table.rows()?.columns(columns.clone())).transpose()
            };
            cpu::Relative::Disentangled { keys: part(*keys)?, queries: part(*queries)?, buckets }
        }
    })
}
