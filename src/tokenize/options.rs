/// An end of a text, or of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    Left,
    #[default]
    Right,
}

/// Which text of a pair is cut to make the two fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The longer, then both by halves; a text without a second is simply cut.
    #[default]
    LongestFirst,
    OnlyFirst,
    OnlySecond,
}

/// What belongs to one call of [`Tokenizer::encode`](super::Tokenizer::encode).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // each is a question of its own
pub struct EncodeOptions {
    /// How texts are cut to the maximum length; `None` keeps all of their tokens.
    pub truncation: Option<Strategy>,
    /// Maximum tokens of a row, special tokens included; `None` takes the tokenizer's own limit.
    pub max_length: Option<usize>,
    /// The end at which tokens are cut off.
    pub side: Side,
    /// Keep what is cut off as further rows, windows over the text.
    pub overflow: bool,
    /// Tokens that neighbouring windows share.
    pub stride: usize,
    /// Add the special tokens that the tokenizer's template names.
    pub add_special_tokens: bool,
    /// Say of each token whether the template added it.
    pub special_mask: bool,
    /// Say of each token where in the text it is, in characters.
    pub offsets: bool,
}

impl Default for EncodeOptions {
    /// Texts cut from the right to the tokenizer's own limit, with special tokens.
    fn default() -> Self {
        Self {
            truncation: Some(Strategy::LongestFirst),
            max_length: None,
            side: Side::Right,
            overflow: false,
            stride: 0,
            add_special_tokens: true,
            special_mask: false,
            offsets: false,
        }
    }
}
