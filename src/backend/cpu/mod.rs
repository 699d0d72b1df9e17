//! The backend of CPUs.

mod attention;
mod linear;
mod ops;
mod pass;
mod share;
mod table;
#[cfg(test)]
mod tests;
mod workspace;

pub use ops::Cpu;
