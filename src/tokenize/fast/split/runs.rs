use super::classes::{Classes, NUMBER};

/// A pre-tokenizer that isolates runs of some characters.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Runs {
    kind: Kind,
    /// The most characters of a run; longer ones are several.
    most: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// What the standard library calls numeric, as `Digits` does.
    Numeric,
    /// `\p{N}`
    Number(&'static Classes),
    /// `[一-龥぀-ゟ゠-ヿ]`
    HanAndKana,
}

impl Runs {
    /// The `Digits` pre-tokenizer.
    pub(in super::super) fn digits(individual: bool) -> Self {
        Self { kind: Kind::Numeric, most: if individual { 1 } else { usize::MAX } }
    }

    /// A regular expression whose matches are isolated; `None` if it is not known.
    pub(in super::super) fn new(regex: &str) -> Option<Self> {
        let number = |most| Some(Self { kind: Kind::Number(Classes::of_process()?), most });
        match regex {
            r"\p{N}{1,3}" => number(3),
            r"\p{N}" => number(1),
            r"\p{N}+" => number(usize::MAX),
            "[一-龥぀-ゟ゠-ヿ]+" => Some(Self { kind: Kind::HanAndKana, most: usize::MAX }),
            _ => None,
        }
    }

    /// The end of the piece that `text` begins with.
    pub(in super::super) fn end(&self, text: &str) -> usize {
        let mut chars = text.char_indices();
        let Some((_, first)) = chars.next() else { return 0 };
        let inside = self.has(first);
        let most = if inside { self.most } else { usize::MAX };
        let mut count = 1;
        let end = chars.find(|&(_, c)| {
            count += 1;
            count > most || self.has(c) != inside
        });
        end.map_or(text.len(), |(at, _)| at)
    }

    fn has(&self, c: char) -> bool {
        match self.kind {
            Kind::Numeric => c.is_numeric(),
            Kind::Number(classes) => classes.of(c.into()) & NUMBER != 0,
            Kind::HanAndKana => matches!(c, '一'..='龥' | '\u{3040}'..='\u{30ff}'),
        }
    }
}
