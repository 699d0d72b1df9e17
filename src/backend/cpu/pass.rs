use std::sync::{Arc, PoisonError};

use super::ops::Cpu;
use super::team::Team;
use super::workspace::{Buffer, Workspace};
use crate::batch::Batch;
use crate::error::Result;
use crate::kernels::cpu::{self, RowsMut};

/// A run over one batch.
#[derive(Debug)]
pub struct Pass<'a> {
    pub(super) batch: &'a Batch,
    pub(super) cpu: &'a Cpu,
    pub(super) workspace: Arc<Workspace>,
    /// Where several threads may share it.
    pub(super) team: Option<Arc<Team>>,
}

/// Rows of `width` numbers.
#[derive(Debug)]
pub struct Rows {
    pub(super) data: Buffer,
    pub(super) width: usize,
}

impl Pass<'_> {
    pub(super) fn rows(&self, count: usize, width: usize) -> Rows {
        Rows { data: self.workspace.take(count * width), width }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(team) = &self.team {
            team.close();
        }
        self.workspace.trim();
        let mut workspaces = self.cpu.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        workspaces.push(Arc::clone(&self.workspace));
    }
}

impl Rows {
    pub(super) fn count(&self) -> usize {
        self.data.len() / self.width.max(1)
    }

    pub(super) fn view(&self) -> Result<cpu::Rows<'_>> {
        cpu::Rows::dense(&self.data, self.count(), self.width)
    }

    pub(super) fn view_mut(&mut self) -> Result<RowsMut<'_>> {
        let (count, width) = (self.count(), self.width);
        RowsMut::dense(&mut self.data, count, width)
    }
}
