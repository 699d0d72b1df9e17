use std::borrow::Cow;

use super::config::Bounds;
use crate::backend::Backend;
use crate::error::Result;

/// Checks what the angles of `positions` positions are computed from.
pub(super) fn check(head: usize, positions: usize, theta: f64) -> Result<(), String> {
    // No tensor vouches for them, and their angles take memory.
    Bounds::COMPUTED_POSITIONS.check("max_position_embeddings", positions)?;
    if !head.is_multiple_of(2) {
        return Err(format!(
            "config.json: heads are {head} wide; rotary embeddings need an even width"
        ));
    }
    if !(theta.is_finite() && theta > 0.0) {
        return Err("config.json: rope_theta must be a positive number".to_owned());
    }
    Ok(())
}

/// Refuses the scaled kinds of rotary embeddings.
pub(super) fn default_only(rope_type: Option<&str>) -> Result<(), String> {
    match rope_type {
        None | Some("default") => Ok(()),
        Some(other) => {
            Err(format!("config.json: rope_type '{other}' is not supported; default is"))
        }
    }
}

/// The cosines, then the sines of each position: `(positions, head)`.
///
/// Source: `compute_default_rope_parameters` in transformers `models/modernbert/modeling_modernbert.py` at
/// v5.23; frequencies and angles in float32, as there.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // as upstream rounds
pub(super) fn angles<B: Backend>(
    backend: &B,
    head: usize,
    positions: usize,
    theta: f64,
) -> Result<B::Table> {
    let half = head / 2;
    let frequencies: Vec<f32> =
        (0..half).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head as f32)).collect();
    let mut angles = Vec::with_capacity(positions * head);
    for position in 0..positions {
        let turned = frequencies.iter().map(|frequency| position as f32 * frequency);
        angles.extend(turned.clone().map(f32::cos));
        angles.extend(turned.map(f32::sin));
    }
    backend.table(Cow::Owned(angles), head)
}
