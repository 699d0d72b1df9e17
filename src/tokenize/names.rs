//! Ids to tokens and back, and to text: for definitions that a family covers, without upstream's own tables.
//!
//! Upstream keeps each token as a string of its own, twice. Here they lie in one buffer, made when first asked for.

use std::collections::{HashMap, HashSet};

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{Decoder, DecoderWrapper, NormalizedString, Normalizer};

use super::definition::{Definition, Vocab};
use super::oniguruma;

/// What a definition calls its ids.
#[derive(Debug)]
pub(super) struct Names {
    /// All tokens of the model, one after the other.
    text: String,
    /// Where each id's token lies in `text`; an empty one is no token.
    spans: Vec<(u32, u32)>,
    /// Ids in the order of their tokens.
    sorted: Vec<u32>,
    added: HashMap<u32, Added>,
    /// Contents of special tokens: upstream skips by text.
    special: HashSet<String>,
    decoder: Option<DecoderWrapper>,
}

#[derive(Debug)]
struct Added {
    content: String,
    /// What decoding starts from: normalized, where the token is searched in normalized text.
    decoded: String,
}

impl Names {
    /// `None` for what upstream would say otherwise: ids or tokens that stand twice, or empty tokens.
    pub(super) fn new(definition: &Definition<'_>) -> Option<Self> {
        let decoding = serde_json::to_value(&definition.decoder).ok()?;
        if oniguruma::differs(&decoding) || oniguruma::differs(&definition.normalizer) {
            return None;
        }
        let mut tokens: Vec<(&str, u32)> = match &definition.model.vocab {
            Vocab::Ids(ids) => ids.iter().map(|(token, id)| (&**token, *id)).collect(),
            Vocab::Scores(pieces) => {
                pieces.iter().zip(0..).map(|((p, _), id)| (&**p, id)).collect()
            }
        };
        let greatest = tokens.iter().map(|(_, id)| *id).max()? as usize;
        // Ids far apart would ask for much memory: upstream's tables have no such bound.
        if greatest > tokens.len() * 4 + 4096 {
            return None;
        }
        let mut spans = vec![(0, 0); greatest + 1];
        let mut text = String::with_capacity(tokens.iter().map(|(token, _)| token.len()).sum());
        for (token, id) in &tokens {
            let span = &mut spans[*id as usize];
            if *span != (0, 0) || token.is_empty() {
                return None;
            }
            *span = (u32::try_from(text.len()).ok()?, u32::try_from(token.len()).ok()?);
            text.push_str(token);
        }
        tokens.sort_unstable();
        if tokens.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let sorted = tokens.into_iter().map(|(_, id)| id).collect();
        let normalizer: Option<NormalizerWrapper> =
            serde_json::from_value(definition.normalizer.clone()).ok()?;
        let (mut added, mut special) = (HashMap::new(), HashSet::new());
        for token in &definition.added_tokens {
            let content = token.content.to_string();
            let mut decoded = NormalizedString::from(&*content);
            if let Some(normalizer) = normalizer.as_ref().filter(|_| token.normalized) {
                normalizer.normalize(&mut decoded).ok()?;
            }
            let decoded = decoded.get().to_owned();
            if token.special {
                special.insert(content.clone());
            }
            added.insert(token.id, Added { content, decoded });
        }
        Some(Self { text, spans, sorted, added, special, decoder: definition.decoder.clone() })
    }

    /// The token with an id, as upstream names it: an added token that is normalized by what it is searched as.
    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.added.get(&id).map(|added| &*added.decoded).or_else(|| self.model_token(id))
    }

    /// The id of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let mut added = self.added.iter();
        if let Some((id, _)) = added.find(|(_, added)| added.content == token) {
            return Some(*id);
        }
        let at = self.sorted.binary_search_by(|&id| self.model_token(id).cmp(&Some(token))).ok()?;
        Some(self.sorted[at])
    }

    /// The text of ids; ids without a token are left out. `None` where the decoder fails.
    pub(super) fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Option<String> {
        let tokens = ids.iter().filter_map(|&id| self.token(id));
        let kept = tokens.filter(|token| !(skip_special_tokens && self.special.contains(*token)));
        self.join(kept.map(str::to_owned).collect())
    }

    /// The text of tokens. `None` where the decoder fails.
    pub(super) fn join(&self, tokens: Vec<String>) -> Option<String> {
        match &self.decoder {
            Some(decoder) => decoder.decode(tokens).ok(),
            None => Some(tokens.join(" ")),
        }
    }

    fn model_token(&self, id: u32) -> Option<&str> {
        let &(start, length) = self.spans.get(id as usize)?;
        (length > 0).then(|| &self.text[start as usize..][..length as usize])
    }
}
