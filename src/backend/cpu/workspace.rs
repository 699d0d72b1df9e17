use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kernels::cpu;

/// Numbers that a workspace keeps between batches: those of the batches that the engine makes. What a huge text
/// took beyond goes back to the system.
const KEPT: usize = 16 << 20;

/// Buffers that activations lie in, used again by layer after layer and batch after batch.
///
/// A buffer is filled with zeros once, when it is made or grows: an operation writes all that it hands on.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    free: Mutex<Vec<Vec<f32>>>,
    /// Attention's own memory.
    pub(super) attention: Spares<cpu::Workspace>,
    /// Inputs of products in eight bits.
    pub(super) quantized: Spares<cpu::Quantized>,
}

/// Memory that is used again: as much of it as threads have used at a time.
#[derive(Debug, Default)]
pub(super) struct Spares<T>(Mutex<Vec<T>>);

impl<T: Default> Spares<T> {
    /// Lends one to `work`.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut one = self.lock().pop().unwrap_or_default();
        let result = work(&mut one);
        self.lock().push(one);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workspace {
    /// A buffer of `len` numbers, of any value.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, or else the largest, which grows.
        let fits = (0..free.len())
            .filter(|&i| free[i].len() >= len)
            .min_by_key(|&i| free[i].len())
            .or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
        let mut data = fits.map(|i| free.swap_remove(i)).unwrap_or_default();
        drop(free);
        if data.len() < len {
            data.clear();
            data.resize(len, 0.0);
        }
        Buffer { data, len, home: Arc::clone(self) }
    }

    /// Frees what is more than is worth keeping.
    pub(super) fn trim(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = free.iter().map(Vec::len).sum();
        if total > KEPT {
            free.clear();
            self.attention.lock().clear();
            self.quantized.lock().clear();
        }
    }
}

/// Numbers of a workspace, which get back there when they are dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    data: Vec<f32>,
    len: usize,
    home: Arc<Workspace>,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.home.free.lock().unwrap_or_else(PoisonError::into_inner).push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let workspace = Arc::new(Workspace::default());
        let first = workspace.take(100);
        let place = first.as_ptr();
        drop(first);
        let again = workspace.take(60);
        assert_eq!((again.as_ptr(), again.len()), (place, 60));
        assert_ne!(workspace.take(60).as_ptr(), place);
    }

    #[test]
    fn memory_returns_after_a_huge_batch() {
        let workspace = Arc::new(Workspace::default());
        drop(workspace.take(100));
        workspace.trim();
        assert_eq!(workspace.free.lock().unwrap().len(), 1);
        drop(workspace.take(KEPT + 1));
        workspace.trim();
        assert!(workspace.free.lock().unwrap().is_empty());
    }
}
