//! The core as its callers see it: stores, the engine, and who may import whom.
#![allow(clippy::expect_used, clippy::unwrap_used)]
// `on_each(async |store| ..)` reads better than a reference to a closure.
#![allow(clippy::needless_pass_by_value)]
// A type stands beside the table that it describes.
#![allow(clippy::items_after_statements)]

mod adopt;
mod commits;
mod engine;
mod heads;
mod hostile;
mod large;
mod layers;
mod local;
mod models;
mod parity;
mod quantized;
mod refusals;
mod stores;
