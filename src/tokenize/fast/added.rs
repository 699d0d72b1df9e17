//! Tokens that are found in the text before the model sees it, as upstream's `added_vocabulary.rs` does.

use std::collections::HashMap;
use std::ops::Range;

use super::super::definition::{AddedToken, Definition};

/// Part of a text: an added token, or what lies between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Section {
    Text(Range<usize>),
    Token(u32),
}

/// A set of added tokens, searched from left to right, the longest of those that start at one place.
#[derive(Debug)]
pub(super) struct Added {
    /// Sorted by content, so that those with one prefix stand together.
    tokens: Vec<Token>,
    /// Which two bytes a token can begin with: bit `b0 << 8 | b1`. One-byte tokens set all of `b0`'s.
    starts: Box<[u64; 1024]>,
    /// The first bytes, if there are at most three: `memchr` finds them faster than a loop.
    first: Vec<u8>,
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // upstream's fields
struct Token {
    content: String,
    id: u32,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

/// The added tokens of a definition by where they are searched: in the raw text, and in the normalized text.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) raw: Option<Added>,
    pub(super) normalized: Option<Added>,
    /// How many of them the model's vocabulary does not have.
    pub(super) new: usize,
}

/// Where texts may be cut: not inside of an added token.
#[derive(Debug)]
pub(super) struct Seams {
    /// Which two bytes stand side by side in some token: bit `b0 << 8 | b1`.
    inner: Box<[u64; 1024]>,
}

impl Seams {
    /// Characters that are part of no word, whatever stands before them.
    const AFTER: [char; 8] = [' ', '\n', ',', '.', '，', '。', '、', '।'];

    /// The first place near `from` between a letter and a space or a stop that is in no token, and that
    /// `apart` says the family may cut too; the text's end if there is none.
    pub(super) fn cut(&self, text: &str, from: usize, apart: impl Fn(char, char) -> bool) -> usize {
        const NEAR: usize = 4096;
        let from = text.ceil_char_boundary(from);
        let mut before = None;
        for (at, after) in text[from..].char_indices().take(NEAR) {
            let at = from + at;
            if let Some(before) = before.filter(|c: &char| c.is_alphabetic())
                && Self::AFTER.contains(&after)
                && self.between(text, at)
                && apart(before, after)
            {
                return at;
            }
            before = Some(after);
        }
        text.len()
    }

    /// Whether the text can be cut at this place inside of it, as far as tokens are concerned.
    pub(super) fn between(&self, text: &str, at: usize) -> bool {
        !self.is_inner(text.as_bytes()[at - 1], text.as_bytes()[at])
    }

    fn is_inner(&self, first: u8, second: u8) -> bool {
        let pair = usize::from(first) << 8 | usize::from(second);
        self.inner[pair / 64] >> (pair % 64) & 1 == 1
    }
}

impl Tokens {
    /// A space in the text may be a mark (U+2581) in tokens, which are normalized where their text is.
    pub(super) fn seams(&self) -> Seams {
        let mut inner = Box::new([0; 1024]);
        for token in [&self.raw, &self.normalized].into_iter().flatten().flat_map(|set| &set.tokens)
        {
            let content = token.content.as_bytes();
            let spaced = content.windows(2).map(|pair| (pair[0], pair[1]));
            let marked = spaced.clone().filter(|pair| pair.1 == 0xe2).map(|pair| (pair.0, b' '));
            for (first, second) in spaced.chain(marked) {
                let pair = usize::from(first) << 8 | usize::from(second);
                inner[pair / 64] |= 1 << (pair % 64);
            }
        }
        Seams { inner }
    }

    /// Reads a definition's added tokens; `None` where upstream would number them otherwise than the file.
    ///
    /// `id_of` looks a token up in the model's vocabulary, `size` is that vocabulary's; `normalize` is what
    /// the definition's normalizer makes of a token's content.
    pub(super) fn new(
        definition: &Definition<'_>,
        size: usize,
        id_of: impl Fn(&str) -> Option<u32>,
        normalize: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let mut seen = HashMap::new();
        let mut next = u32::try_from(size).ok()?;
        let (mut raw, mut normalized) = (Vec::new(), Vec::new());
        for token in &definition.added_tokens {
            // An empty or repeated token has effects of its own upstream.
            if token.content.is_empty() || seen.insert(&*token.content, token.id).is_some() {
                return None;
            }
            let id = id_of(&token.content).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            if id != token.id {
                return None;
            }
            if token.normalized {
                let content = normalize(&token.content)?;
                normalized.push(Token { content, ..Token::new(token) });
            } else {
                raw.push(Token::new(token));
            }
        }
        // Stripped white space that begins another token makes upstream's sections overlap.
        let strips = definition.added_tokens.iter().any(|token| token.rstrip);
        if strips && seen.keys().any(|content| content.starts_with(char::is_whitespace)) {
            return None;
        }
        let mut ids: Vec<u32> = seen.into_values().collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != definition.added_tokens.len() {
            return None;
        }
        let new = next as usize - size;
        Some(Self { raw: Added::new(raw)?, normalized: Added::new(normalized)?, new })
    }
}

impl Token {
    fn new(token: &AddedToken<'_>) -> Self {
        Self {
            content: token.content.to_string(),
            id: token.id,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
        }
    }
}

impl Added {
    /// `Some(None)` for no tokens, `None` where two have the same or an empty content (after normalizing).
    #[allow(clippy::option_option)]
    fn new(mut tokens: Vec<Token>) -> Option<Option<Self>> {
        if tokens.is_empty() {
            return Some(None);
        }
        tokens.sort_unstable_by(|a, b| a.content.cmp(&b.content));
        let same = tokens.windows(2).any(|pair| pair[0].content == pair[1].content);
        if same || tokens[0].content.is_empty() {
            return None;
        }
        let mut starts = Box::new([0; 1024]);
        let mut first = Vec::new();
        for token in &tokens {
            let bytes = token.content.as_bytes();
            let start = usize::from(bytes[0]) << 8;
            let seconds = match bytes.get(1) {
                Some(&second) => start + usize::from(second)..start + usize::from(second) + 1,
                None => start..start + 256,
            };
            seconds.for_each(|pair| starts[pair / 64] |= 1 << (pair % 64));
            first.push(bytes[0]);
        }
        first.dedup();
        Some(Some(Self { tokens, starts, first }))
    }

    /// Calls `each` for every section of `text` in order, until it answers `false`.
    pub(super) fn sections(&self, text: &str, mut each: impl FnMut(Section) -> bool) {
        let mut done = 0; // where the last section ended
        let mut searched = 0;
        while let Some((mut start, token)) = self.find(text.as_bytes(), searched) {
            let mut end = start + token.content.len();
            searched = end;
            if token.single_word && !stands_alone(text, start, end) {
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if start > done && !each(Section::Text(done..start)) {
                return;
            }
            if !each(Section::Token(token.id)) {
                return;
            }
            // A match inside white space that was stripped is still reported upstream, from where it starts.
            done = end;
        }
        if done < text.len() {
            each(Section::Text(done..text.len()));
        }
    }

    /// Whether a token has this byte inside, so that a text must not be divided before it.
    pub(super) fn inside(&self, byte: u8) -> bool {
        self.tokens.iter().any(|token| token.content.as_bytes()[1..].contains(&byte))
    }

    /// The first match that starts at `from` or later, and of those that start there the longest.
    fn find(&self, text: &[u8], from: usize) -> Option<(usize, &Token)> {
        let mut at = from;
        loop {
            at += self.candidate(&text[at..])?;
            if let Some(token) = self.longest(&text[at..]) {
                return Some((at, token));
            }
            at += 1;
        }
    }

    /// Where the first byte of some token stands.
    fn candidate(&self, text: &[u8]) -> Option<usize> {
        match *self.first {
            [a] => memchr::memchr(a, text),
            [a, b] => memchr::memchr2(a, b, text),
            [a, b, c] => memchr::memchr3(a, b, c, text),
            _ => text.windows(2).position(|pair| self.may_start(pair[0], pair[1])).or_else(|| {
                let last = *text.last()?;
                self.first.contains(&last).then_some(text.len() - 1)
            }),
        }
    }

    fn may_start(&self, first: u8, second: u8) -> bool {
        let pair = usize::from(first) << 8 | usize::from(second);
        self.starts[pair / 64] >> (pair % 64) & 1 == 1
    }

    /// The longest token that `text` begins with: the sorted tokens are narrowed down byte by byte.
    fn longest(&self, text: &[u8]) -> Option<&Token> {
        if let [first, second, ..] = *text
            && !self.may_start(first, second)
        {
            return None;
        }
        let mut tokens = &self.tokens[..];
        let mut found = None;
        for (depth, byte) in text.iter().enumerate() {
            let byte_of = |token: &Token| token.content.as_bytes().get(depth).copied();
            let start = tokens.partition_point(|token| byte_of(token) < Some(*byte));
            let end = tokens.partition_point(|token| byte_of(token) <= Some(*byte));
            tokens = &tokens[start..end];
            let Some(token) = tokens.first() else { break };
            if token.content.len() == depth + 1 {
                found = Some(token);
            }
        }
        found
    }
}

/// Whether no word character touches the match, as upstream's `^\w` and `\w$` say.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let word = |c: char| regex_syntax::is_word_character(c);
    !text[..start].chars().next_back().is_some_and(word)
        && !text[end..].chars().next().is_some_and(word)
}
