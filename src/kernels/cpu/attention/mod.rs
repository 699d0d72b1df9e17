//! Attention of one text, without padding.

mod block;
mod pack;
mod plan;
mod relative;
#[cfg(test)]
mod tests;

pub use relative::Relative;

use self::block::Block;
use self::plan::{Parts, Plan};
use super::aligned::Aligned;
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::view::{Rows, RowsMut};
use crate::error::{Error, Result};

/// `softmax(scale q k^T + relative) v` for each head of one text of T tokens.
///
/// Threads that share one text take some heads each: the columns of `q`, `k`, `v` and of the output. A token whose
/// scores are all minus infinity sees nothing: its output is zero.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// (T, heads * width), as are `k` and `v`: columns of a fused projection's output.
    pub q: Rows<'a>,
    pub k: Rows<'a>,
    pub v: Rows<'a>,
    pub heads: usize,
    /// Positive.
    pub scale: f32,
    pub relative: Relative<'a>,
    /// Tokens farther from one another do not see each other.
    pub window: Option<usize>,
}

/// Memory of [`Attention::run`]. Keep one for each thread: it grows to the longest text and stays.
#[derive(Debug, Default)]
pub struct Workspace {
    numbers: Aligned<f32, 16>,
}

impl Workspace {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Attention<'_> {
    /// Writes the attention's output, (T, heads * width), on the calling thread.
    pub fn run(&self, workspace: &mut Workspace, out: RowsMut) -> Result<()> {
        self.run_on(Isa::best(), workspace, out)
    }

    /// [`Attention::run`] on that instruction set.
    pub fn run_on(&self, isa: Isa, workspace: &mut Workspace, out: RowsMut) -> Result<()> {
        self.check(&out)?;
        let plan = Plan::new(self)?;
        workspace.numbers.grow(plan.len())?;
        isa.run(Run { of: *self, plan, numbers: &mut workspace.numbers, out });
        Ok(())
    }

    fn check(&self, out: &RowsMut) -> Result<()> {
        let (rows, width) = (self.q.rows(), self.q.width());
        let same = [&self.k, &self.v].iter().all(|m| m.rows() == rows && m.width() == width);
        if same
            && (out.rows(), out.width()) == (rows, width)
            && self.heads > 0
            && width > 0
            && self.scale > 0.0
            && width.is_multiple_of(self.heads)
        {
            return self.relative.check(rows, self.heads, width);
        }
        Err(Error::internal(format!(
            "attention: {} heads, scale {}, and inputs that do not fit {rows} rows of {width} numbers",
            self.heads, self.scale
        )))
    }
}

struct Run<'a> {
    of: Attention<'a>,
    plan: Plan,
    numbers: &'a mut [f32],
    out: RowsMut<'a>,
}

impl Work for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { of, plan, numbers, mut out } = self;
        let Parts { keys, values, scores, results, positions, met_keys, met_queries } =
            plan.split(numbers);
        for head in 0..of.heads {
            let column = head * plan.width;
            pack::panels::<L>(&of.k, 0..plan.tokens, column, plan.width, keys);
            pack::values(&of.v, &plan, column, values);
            if let Relative::Disentangled { keys: Some(table), .. } = &of.relative {
                pack::panels::<L>(table, plan.buckets(), column, plan.width, positions);
            }
            if let Relative::Disentangled { queries: Some(table), .. } = &of.relative {
                relative::meet_keys::<L>(table, &plan, column, keys, met_queries);
            }
            for first in (0..plan.tokens).step_by(plan.block) {
                let mut block = Block {
                    of: &of,
                    plan: &plan,
                    head,
                    first,
                    count: plan.block.min(plan.tokens - first),
                    scores,
                    results,
                    met_keys,
                    met_queries,
                };
                block.run::<L>(keys, values, positions, &mut out);
            }
        }
    }
}
