//! The pre-tokenizers that Unigram tokenizers come with.

use serde_json::Value;

/// Where pre-tokens begin and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Split {
    /// At white space, which is removed; then words are marked.
    Words(Option<Marker>),
    /// Spaces become marks, and pre-tokens begin at marks.
    Marks(Marker),
    /// Nowhere: a section is one pre-token, whose spaces may become marks.
    Nowhere(Option<Marker>),
}

/// Upstream's `Metaspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) mark: char,
    pub(super) prepend: Prepend,
    /// Whether pre-tokens begin at marks.
    pub(super) split: bool,
}

/// Where a mark is put that no space stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepend {
    Always,
    /// At the beginning of the whole text only.
    First,
    Never,
}

impl Split {
    /// `None` for a pre-tokenizer that is not known.
    pub(super) fn new(definition: &Value) -> Option<Self> {
        let sequence = definition.get("pretokenizers").and_then(Value::as_array);
        let parts = match (kind(definition), sequence) {
            (Some("Sequence"), Some(parts)) => &parts[..],
            _ if definition.is_null() => &[],
            _ => std::slice::from_ref(definition),
        };
        let split = match parts {
            [] => Self::Nowhere(None),
            [words] if kind(words) == Some("WhitespaceSplit") => Self::Words(None),
            [words, marker] if kind(words) == Some("WhitespaceSplit") => {
                Self::Words(Some(Marker::new(marker)?))
            }
            [marker] => {
                let marker = Marker::new(marker)?;
                if marker.split { Self::Marks(marker) } else { Self::Nowhere(Some(marker)) }
            }
            _ => return None,
        };
        // Whether a word is the first of its text is not followed through white space.
        let first = matches!(&split, Self::Words(Some(marker)) if marker.prepend == Prepend::First);
        (!first).then_some(split)
    }

    /// Whether spaces become marks that pre-tokens begin with.
    #[inline]
    pub(super) fn marks_spaces(&self) -> bool {
        matches!(self, Self::Marks(_))
    }

    pub(super) fn marker(&self) -> Option<&Marker> {
        match self {
            Self::Words(marker) | Self::Nowhere(marker) => marker.as_ref(),
            Self::Marks(marker) => Some(marker),
        }
    }
}

fn kind(definition: &Value) -> Option<&str> {
    definition.get("type")?.as_str()
}

impl Marker {
    /// Whether a section without a space before it gets a mark. `at_start`: it is the first of its text.
    pub(super) fn begins(&self, at_start: bool) -> bool {
        self.prepend == Prepend::Always || self.prepend == Prepend::First && at_start
    }

    fn new(definition: &Value) -> Option<Self> {
        if kind(definition)? != "Metaspace" {
            return None;
        }
        let mut chars = definition.get("replacement")?.as_str()?.chars();
        let mark = chars.next().filter(|mark| !mark.is_whitespace())?;
        let flag = |name: &str| match definition.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value.as_bool().map(Some),
        };
        let prepend = match definition.get("prepend_scheme") {
            None => None,
            Some(scheme) => Some(match scheme.as_str()? {
                "always" => Prepend::Always,
                "first" => Prepend::First,
                "never" => Prepend::Never,
                _ => return None,
            }),
        };
        let prepend = match (flag("add_prefix_space")?, prepend) {
            (Some(false), Some(Prepend::Never)) => Prepend::Never,
            // Upstream takes the older field for a contradiction of the newer one, whose default is `always`.
            (Some(false), _) => return None,
            (_, prepend) => prepend.unwrap_or(Prepend::Always),
        };
        let split = flag("split")?.unwrap_or(true);
        chars.next().is_none().then_some(Self { mark, prepend, split })
    }
}
