use super::matrix::View;
use super::options::Side;
use super::tokens::Tokens;

/// What a call made of its texts: rows of tokens, in the order of the texts.
#[derive(Debug, Default)]
pub struct Rows {
    /// One for each task, in order.
    pub(super) parts: Vec<Part>,
}

/// Rows that one task made, flat.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) ids: Vec<u32>,
    /// Empty if all are 0.
    pub(super) type_ids: Vec<u32>,
    /// Whether the template added the token. Empty unless asked for.
    pub(super) special: Vec<bool>,
    /// Where in the text it is, in characters. Empty unless asked for.
    pub(super) offsets: Vec<(u32, u32)>,
    pub(super) lengths: Vec<u32>,
    /// Which text a row is of. Empty unless a text may have several.
    pub(super) texts: Vec<usize>,
    pub(super) truncated: usize,
}

/// How rows become as wide as each other.
#[derive(Debug, Clone, Copy)]
pub struct Padding {
    pub width: usize,
    pub side: Side,
    pub id: u32,
    pub type_id: u32,
}

/// What a matrix says of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Ids,
    TypeIds,
    /// 1 for a token, 0 for padding.
    Attention,
    /// 1 for a token of the template and for padding.
    Special,
    /// Start and end: two numbers for each token.
    Offsets,
}

impl Padding {
    /// What a column says of padding.
    #[must_use]
    pub fn value(&self, column: Column) -> u32 {
        match column {
            Column::Ids => self.id,
            Column::TypeIds => self.type_id,
            Column::Special => 1,
            Column::Attention | Column::Offsets => 0,
        }
    }
}

impl Rows {
    /// Most cells of a padded matrix: 16 GiB. A greater one is a mistake, which must not end the process.
    pub const MOST_CELLS: usize = 1 << 31;

    /// Number of rows, `B`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lengths.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.lengths.is_empty())
    }

    /// Tokens of each row, `(B,)`.
    pub fn lengths(&self) -> impl Iterator<Item = u32> + '_ {
        self.parts.iter().flat_map(|part| part.lengths.iter().copied())
    }

    /// Index of the text that each row is of, `(B,)`; empty unless windows were asked for.
    pub fn texts(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().flat_map(|part| part.texts.iter().copied())
    }

    /// A column of each row, without padding: its numbers are the caller's to collect.
    pub fn each(&self, column: Column, mut row: impl FnMut(&mut dyn Iterator<Item = u32>)) {
        for part in &self.parts {
            let view = part.view();
            let mut start = 0;
            for &length in view.lengths {
                let span = start..start + length as usize;
                start = span.end;
                match column {
                    Column::Ids => row(&mut view.ids[span].iter().copied()),
                    Column::TypeIds if view.type_ids.is_empty() => row(&mut span.map(|_| 0)),
                    Column::TypeIds => row(&mut view.type_ids[span].iter().copied()),
                    Column::Attention => row(&mut span.map(|_| 1)),
                    Column::Special => row(&mut view.special[span].iter().map(|&is| u32::from(is))),
                    Column::Offsets => {
                        row(&mut view.offsets[span].iter().flat_map(|&(start, end)| [start, end]));
                    }
                }
            }
        }
    }

    /// The rows as [`Tokens`] of the tokenizer with this digest.
    pub(super) fn into_tokens(mut self, tokenizer_digest: String) -> Tokens {
        let truncated = self.parts.iter().map(|part| part.truncated).sum();
        let typed = self.parts.iter().any(|part| !part.type_ids.is_empty());
        if let [part] = &mut self.parts[..] {
            let part = std::mem::take(part);
            let type_ids = if typed { part.type_ids } else { vec![0; part.ids.len()] };
            return Tokens {
                ids: part.ids,
                type_ids,
                lengths: part.lengths,
                truncated,
                tokenizer_digest,
            };
        }
        let count = self.parts.iter().map(|part| part.ids.len()).sum();
        let mut ids = Vec::with_capacity(count);
        let mut type_ids = if typed { Vec::with_capacity(count) } else { vec![0; count] };
        let mut lengths = Vec::with_capacity(self.len());
        for part in &self.parts {
            ids.extend_from_slice(&part.ids);
            lengths.extend_from_slice(&part.lengths);
            if typed {
                type_ids.extend_from_slice(&part.type_ids);
                type_ids.resize(ids.len(), 0);
            }
        }
        Tokens { ids, type_ids, lengths, truncated, tokenizer_digest }
    }
}

impl Part {
    pub(super) fn view(&self) -> View<'_> {
        let Self { ids, type_ids, special, offsets, lengths, .. } = self;
        View { ids, type_ids, special, offsets, lengths }
    }
}
