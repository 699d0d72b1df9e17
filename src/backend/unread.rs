//! Tensors that no layer has asked for: a sign that the config does not describe the checkpoint.

use std::collections::BTreeSet;

/// What checkpoints keep beside their weights: tables that are computed from the config, not learnt.
const BUFFERS: [&str; 3] = ["inv_freq", "position_ids", "masked_bias"];

/// The first of `all` names that lies in a numbered layer, like some of those that were read, but was not read
/// itself: a layer more than the config says, or a part of a layer that the architecture does not know.
/// Heads, poolers and the like, which another task reads, are outside of numbered layers.
pub(super) fn unread<'n>(
    all: impl IntoIterator<Item = &'n str>,
    read: &BTreeSet<&str>,
) -> Option<&'n str> {
    let layers: BTreeSet<&str> = read.iter().filter_map(|name| Some(layer(name)?.0)).collect();
    all.into_iter().find(|name| {
        let known = layer(name).is_some_and(|(stem, _)| layers.contains(stem));
        let buffer = BUFFERS.iter().any(|buffer| name.ends_with(buffer));
        known && !buffer && !read.contains(name)
    })
}

/// What stands before the first number in a name, and the number: `encoder.layer` and `7`.
fn layer(name: &str) -> Option<(&str, usize)> {
    let mut end = 0;
    for part in name.split('.') {
        if let Ok(number) = part.parse() {
            return Some((name[..end].trim_end_matches('.'), number));
        }
        end += part.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: [&str; 4] = [
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.0.output.dense.weight",
        "bert.encoder.layer.1.output.dense.weight",
        "bert.encoder.layer.1.output.LayerNorm.gamma",
    ];

    fn found(more: &[&'static str]) -> Option<&'static str> {
        unread(READ.into_iter().chain(more.iter().copied()), &READ.into())
    }

    #[test]
    fn what_belongs_to_other_tasks_is_no_sign() {
        let others = [
            "bert.pooler.dense.weight",
            "bert.embeddings.position_ids",
            "cls.predictions.bias",
            "classifier.weight",
            "bert.encoder.layer.0.attention.rotary_emb.inv_freq",
            "classifiers.0.weight",
        ];
        assert_eq!(found(&others), None);
    }

    #[test]
    fn layers_and_parts_that_nobody_knows_are_found() {
        for name in [
            "bert.encoder.layer.2.output.dense.weight",
            "bert.encoder.layer.0.output.adapter.weight",
            "bert.encoder.layer.0.attention.self.distance_embedding.weight",
        ] {
            assert_eq!(found(&["classifier.weight", name]), Some(name));
        }
    }
}
