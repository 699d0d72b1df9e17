/// What is encoded: a text, or words that the caller has already split.
#[derive(Debug)]
pub enum Text<S> {
    Whole(S),
    Words(Vec<S>),
}

/// A [`Text`], borrowed.
#[derive(Debug, Clone)]
pub enum View<'a> {
    Whole(&'a str),
    Words(Vec<&'a str>),
}

/// Anything that is a text.
pub trait Source: Sync {
    fn view(&self) -> View<'_>;

    /// How long it is.
    fn bytes(&self) -> usize;
}

impl<S: AsRef<str> + Sync> Source for S {
    fn view(&self) -> View<'_> {
        View::Whole(self.as_ref())
    }

    fn bytes(&self) -> usize {
        self.as_ref().len()
    }
}

impl<S: AsRef<str> + Sync> Source for Text<S> {
    fn view(&self) -> View<'_> {
        match self {
            Self::Whole(text) => View::Whole(text.as_ref()),
            Self::Words(words) => View::Words(words.iter().map(AsRef::as_ref).collect()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Whole(text) => text.as_ref().len(),
            Self::Words(words) => words.iter().map(|word| word.as_ref().len()).sum(),
        }
    }
}

/// The texts of one call, or pairs of them.
#[derive(Debug)]
pub struct Inputs<'a, S> {
    pub first: &'a [S],
    /// As many as the first.
    pub second: Option<&'a [S]>,
}

impl<S> Clone for Inputs<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Inputs<'_, S> {}

impl<S: Source> Inputs<'_, S> {
    /// What one of them costs, in bytes of text.
    pub(super) fn cost_of(&self, index: usize) -> usize {
        // A text without bytes is work too.
        16 + self.first[index].bytes() + self.second.map_or(0, |second| second[index].bytes())
    }

    /// What all of them cost, in bytes of text.
    #[must_use]
    pub fn cost(&self) -> usize {
        (0..self.first.len()).map(|index| self.cost_of(index)).sum()
    }
}
