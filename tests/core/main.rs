//! The core as its callers see it: stores, the engine, and who may import whom.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod commits;
mod engine;
mod large;
mod layers;
mod local;
mod models;
mod refusals;
mod stores;
