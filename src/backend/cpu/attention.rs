use super::ops::{BESIDES, Cpu, Table};
use super::pass::{Pass, Rows};
use crate::backend::seam::{Attention, Relative};
use crate::error::Result;
use crate::kernels::cpu::{self, RowsMut};
use crate::kernels::plain;

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
            let of = cpu::Attention { q, k, v, heads: heads / parts, scale, bias: None, window };
            self.workspace.attention.with(|workspace| of.run(workspace, target))
        })
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

/// Parts of one text's heads that are computed on their own: enough in all for threads to end at about the same time.
fn parts(heads: usize, texts: usize) -> usize {
    let enough = ENOUGH.div_ceil(texts.max(1));
    (1..=heads).find(|parts| heads.is_multiple_of(*parts) && *parts >= enough).unwrap_or(heads)
}

/// Chunks of one operation.
const ENOUGH: usize = 16;

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
