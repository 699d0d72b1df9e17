use crate::error::{Error, Result};

/// Token ids of `B` texts, flat: `N` tokens in all, no padding.
///
/// `lengths` says where one text ends and the next begins. `tokenizer_digest` names the tokenizer that
/// made the ids, so that an engine can refuse those of another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Token ids, `(N,)`.
    pub ids: Vec<u32>,
    /// Segment ids, `(N,)`: 0 for the first sequence, 1 for the second of a pair.
    pub type_ids: Vec<u32>,
    /// Tokens of each text, `(B,)`; they add up to `N`.
    pub lengths: Vec<u32>,
    /// How many texts were cut to the maximum length.
    pub truncated: usize,
    /// sha256 of the tokenizer definition, lower-case hex.
    pub tokenizer_digest: String,
}

impl Tokens {
    /// Number of texts, `B`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Index of the text that the token at `position` belongs to.
    #[must_use]
    pub fn text_of(&self, position: usize) -> usize {
        let ends = self.lengths.iter().scan(0, |end, &length| {
            *end += length as usize;
            Some(*end)
        });
        ends.take_while(|&end| end <= position).count()
    }

    /// Where each text's tokens begin.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        self.lengths.iter().scan(0, |end, &length| {
            let start = *end;
            *end += length as usize;
            Some(start)
        })
    }

    /// Adds one text.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u32], truncated: bool) -> Result<()> {
        let length = u32::try_from(ids.len())
            .map_err(|_| Error::input("a text has more than 2^32 tokens; split it"))?;
        self.ids.extend_from_slice(ids);
        self.type_ids.extend_from_slice(type_ids);
        self.lengths.push(length);
        self.truncated += usize::from(truncated);
        Ok(())
    }

    /// Fails unless the parts fit together, as a caller's or a file's may not.
    pub fn check(&self) -> Result<()> {
        let total: u64 = self.lengths.iter().map(|&n| u64::from(n)).sum();
        if total != self.ids.len() as u64 || self.type_ids.len() != self.ids.len() {
            return Err(Error::input(format!(
                "tokens do not fit together: lengths add up to {total}, but there are {} ids and {} \
                 type ids; encode the texts again",
                self.ids.len(),
                self.type_ids.len()
            )));
        }
        Ok(())
    }
}
