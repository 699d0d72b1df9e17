use std::ops::Range;

use super::options::Side;
use super::rows::Padding;

/// All that there is to know of one row.
#[derive(Debug, Clone)]
pub struct Encoding(tokenizers::Encoding);

impl Encoding {
    /// A row, and the windows over what was cut off of it.
    pub(super) fn all(mut encoding: tokenizers::Encoding) -> Vec<Self> {
        let overflow = encoding.take_overflowing();
        std::iter::once(encoding).chain(overflow).map(Self).collect()
    }

    /// As wide as the padding says, with this token.
    pub fn pad(&mut self, padding: &Padding, token: &str) {
        let side = match padding.side {
            Side::Left => tokenizers::PaddingDirection::Left,
            Side::Right => tokenizers::PaddingDirection::Right,
        };
        self.0.pad(padding.width, padding.id, padding.type_id, token, side);
    }

    #[must_use]
    pub fn ids(&self) -> &[u32] {
        self.0.get_ids()
    }

    #[must_use]
    pub fn type_ids(&self) -> &[u32] {
        self.0.get_type_ids()
    }

    #[must_use]
    pub fn attention_mask(&self) -> &[u32] {
        self.0.get_attention_mask()
    }

    #[must_use]
    pub fn special_tokens_mask(&self) -> &[u32] {
        self.0.get_special_tokens_mask()
    }

    #[must_use]
    pub fn tokens(&self) -> &[String] {
        self.0.get_tokens()
    }

    /// Where in its text each token is, in characters.
    #[must_use]
    pub fn offsets(&self) -> &[(usize, usize)] {
        self.0.get_offsets()
    }

    /// Which word of its text each token is of; `None` for special tokens.
    #[must_use]
    pub fn word_ids(&self) -> &[Option<u32>] {
        self.0.get_word_ids()
    }

    /// Which text of a pair each token is of; `None` for special tokens.
    #[must_use]
    pub fn sequence_ids(&self) -> Vec<Option<usize>> {
        self.0.get_sequence_ids()
    }

    /// The token that a character of a text is in.
    #[must_use]
    pub fn char_to_token(&self, at: usize, sequence: usize) -> Option<usize> {
        self.0.char_to_token(at, sequence)
    }

    /// The word that a character of a text is in.
    #[must_use]
    pub fn char_to_word(&self, at: usize, sequence: usize) -> Option<u32> {
        self.0.char_to_word(at, sequence)
    }

    /// The characters of a token.
    #[must_use]
    pub fn token_to_chars(&self, token: usize) -> Option<Range<usize>> {
        self.0.token_to_chars(token).map(|(_, (start, end))| start..end)
    }

    /// The word that a token is of.
    #[must_use]
    pub fn token_to_word(&self, token: usize) -> Option<u32> {
        self.0.token_to_word(token).map(|(_, word)| word)
    }

    /// The tokens of a word.
    #[must_use]
    pub fn word_to_tokens(&self, word: u32, sequence: usize) -> Option<Range<usize>> {
        self.0.word_to_tokens(word, sequence).map(|(start, end)| start..end)
    }

    /// The characters of a word.
    #[must_use]
    pub fn word_to_chars(&self, word: u32, sequence: usize) -> Option<Range<usize>> {
        self.0.word_to_chars(word, sequence).map(|(start, end)| start..end)
    }
}
