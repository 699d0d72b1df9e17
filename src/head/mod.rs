//! Hidden states to outputs: pooling to vectors, and the heads of tasks to logits.

mod family;
mod pooling;
mod sentence;
mod spec;
mod task;

pub use pooling::{Mode, Pooling};
pub use sentence::{Sentence, Shape};
pub use spec::Task;
pub use task::{Head, Model, TaskModel, load, tasks};
