//! Hidden states to outputs: pooling to vectors, and the heads of tasks to logits.

mod family;
mod pooling;
mod spec;
mod task;

pub use pooling::Pooling;
pub use spec::Task;
pub use task::{Head, Model, TaskModel, load, tasks};
