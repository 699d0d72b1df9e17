//! Byte-level BPE: GPT-2, Llama 3, Qwen, GPT-4o and their like.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::definition::{Definition, Text};
use super::added::{Seams, Tokens};
use super::boundary::Boundaries;
use super::bpe::{self, Bpe};
use super::cache::{Cache, SHORT, key, key_at};
use super::compose::Form;
use super::family::Family;
use super::split::{Pattern, Runs};
use super::tokenset::{Alphabet, Tokenset};
use super::vocabulary::Vocabulary;
use super::work::{Model, Queue, Words, Work};

#[derive(Debug)]
struct ByteLevel {
    form: Option<Form>,
    splits: Splits,
    /// The ids of the bytes.
    bytes: Box<[u32; 256]>,
    bpe: Bpe,
    boundaries: Boundaries,
    /// All tokens, if a word that is one is not merged.
    whole: Option<Tokenset>,
    seams: Seams,
}

/// The pre-tokenizer.
#[derive(Debug)]
struct Splits {
    /// Whether a section that does not begin with a space gets one.
    add_space: bool,
    /// What divides a section before the pattern does.
    runs: Vec<Runs>,
    pattern: Pattern,
}

pub(super) fn load(definition: &Definition<'_>) -> Option<(Box<dyn Family>, Tokens)> {
    let model = &definition.model;
    let form = form(&definition.normalizer)?;
    let splits = splits(&definition.pre_tokenizer)?;
    let vocabulary = Vocabulary::new(model)?;
    let alphabet = Alphabet::new();
    let mut bytes = Box::new([0; 256]);
    // With all of them no byte is unknown, and what the model does with unknown ones is of no account.
    for (id, letter) in bytes.iter_mut().zip(alphabet.letters) {
        *id = vocabulary.id(letter.encode_utf8(&mut [0; 4]))?;
    }
    let normalize = |text: &str| Some(normalized(form, text).into_owned());
    let added = Tokens::new(definition, vocabulary.len(), |token| vocabulary.id(token), normalize)?;
    let bpe = Bpe::new(&vocabulary, &model.merges.0, |_, _| true)?;
    let boundaries = boundaries(&model.merges.0, &alphabet);
    let whole = match model.ignore_merges {
        Some(true) => Some(Tokenset::new(model.vocab.ids()?, &alphabet)?),
        _ => None,
    };
    let seams = added.seams();
    Some((Box::new(ByteLevel { form, splits, bytes, bpe, boundaries, whole, seams }), added))
}

impl Family for ByteLevel {
    fn encode(&self, text: &str, at_start: bool, work: &mut Work, limit: usize) {
        let text = self.normalize(text);
        self.encode_normalized(&text, at_start, work, limit);
    }

    fn settle(&self, work: &mut Work) {
        work.settle(self);
    }

    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        normalized(self.form, text)
    }

    fn encode_normalized(&self, text: &str, _at_start: bool, work: &mut Work, limit: usize) {
        if self.splits.add_space && !text.starts_with(' ') && !text.is_empty() {
            let mut spaced = std::mem::take(&mut work.text);
            spaced.clear();
            spaced.push(' ');
            spaced.push_str(text);
            self.pieces(&self.splits.runs, &spaced, work, limit);
            work.text = spaced;
        } else {
            self.pieces(&self.splits.runs, text, work, limit);
        }
    }

    fn cut(&self, text: &str, from: usize) -> usize {
        // All patterns end a word after a letter that a space or a stop follows, if normalizing keeps both.
        self.seams.cut(text, from, |left, _| {
            self.splits.pattern.is_letter(left) && self.form.is_none_or(|form| form.keeps(left))
        })
    }
}

impl ByteLevel {
    /// Divides `text` by each of `runs`, and encodes the pieces.
    fn pieces(&self, runs: &[Runs], mut text: &str, work: &mut Work, limit: usize) {
        let [first, rest @ ..] = runs else {
            return self.words(text.as_bytes(), work, limit);
        };
        while !text.is_empty() && work.least() < limit {
            let (piece, after) = text.split_at(first.end(text));
            self.pieces(rest, piece, work, limit);
            text = after;
        }
    }

    /// Encodes the words of `text`, each from where the last one ended.
    fn words(&self, text: &[u8], work: &mut Work, limit: usize) {
        let pattern = &self.splits.pattern;
        let mut at = 0;
        while at < text.len() && (limit == usize::MAX || work.least() < limit) {
            let end = pattern.end(text, at);
            let length = end - at;
            if length <= SHORT {
                work.push_short(key_at(text, at, length));
            } else if !pattern.drops(text, at) {
                work.push(&text[at..end]);
            }
            at = end;
            if work.is_full() {
                work.settle(self);
            }
        }
    }

    /// Where whole tokens are not merged, a part of a word differs from the word that is the same.
    fn part_key(&self, part: &[u8]) -> u128 {
        key(part) | u128::from(self.whole.is_some()) << 127
    }

    /// Runs `each` with the parts of a word that are merged on their own.
    fn parts<'w>(&self, word: &'w [u8], mut each: impl FnMut(&'w [u8])) {
        let mut at = 0;
        while at < word.len() {
            let end = at + self.boundaries.end(&word[at..]);
            each(&word[at..end]);
            at = end;
        }
    }

    /// Whether a new word is a token that is not merged; then `cache` has it.
    fn is_whole(&self, new: &Queue, entry: u128, cache: &mut Cache) -> bool {
        let Some(whole) = self.whole.as_ref().filter(|_| entry >> 127 == 0) else { return false };
        let id = new.word(entry, |word| whole.id(word));
        if let Some(id) = id {
            new.put(entry, &[id], cache);
        }
        id.is_some()
    }

    fn merge(&self, part: &[u8], work: &mut Work) {
        let symbols = &mut work.merge.symbols;
        symbols.clear();
        symbols.extend(self.symbols(part));
        self.bpe.merge(&mut work.merge, &mut work.ids);
    }

    fn symbols(&self, part: &[u8]) -> impl Iterator<Item = u32> {
        part.iter().map(|&byte| self.bytes[usize::from(byte)])
    }
}

/// Whether a word has characters of three bytes and more: those of scripts without spaces between words, so that
/// its parts are met again and it is not.
fn has_parts(word: &[u8]) -> bool {
    word.iter().any(|&byte| byte >= 0xe0)
}

impl Model for ByteLevel {
    #[cold]
    fn word(&self, word: &[u8], work: &mut Work) {
        if work.cache.append(word, &mut work.ids) {
            return;
        }
        let start = work.ids.len();
        if let Some(id) = self.whole.as_ref().and_then(|whole| whole.id(word)) {
            work.ids.push(id);
        } else if has_parts(word) {
            self.parts(word, |part| {
                if part.len() > SHORT {
                    return self.merge(part, work);
                }
                let key = self.part_key(part);
                if !work.cache.append_short(key, &mut work.ids) {
                    let start = work.ids.len();
                    self.merge(part, work);
                    work.cache.put_short(key, &work.ids[start..]);
                }
            });
        } else {
            self.merge(word, work);
        }
        work.cache.put(word, &work.ids[start..]);
    }

    #[cold]
    fn learn(&self, words: Words<'_>, work: &mut Work) {
        let Work { cache, new, merge, .. } = work;
        new.clear();
        words.unknown(cache, |word| {
            if let Some(whole) = &self.whole {
                whole.prefetch(word);
            }
            if has_parts(word) {
                self.parts(word, |part| {
                    if part.len() <= SHORT && !new.is_enough() {
                        let key = self.part_key(part);
                        cache.prefetch_short(key);
                        new.push_short(key);
                    }
                });
            } else if word.len() <= bpe::SHORT {
                new.push(word);
            }
        });
        let known = |new: &Queue, entry: u128, cache: &mut Cache| self.is_whole(new, entry, cache);
        new.learn(cache, merge, &self.bpe, known, |word, symbols| {
            symbols.extend(self.symbols(word));
        });
    }
}

fn boundaries(merges: &[(Text<'_>, Text<'_>)], alphabet: &Alphabet) -> Boundaries {
    // The longest character has four bytes, and so four letters.
    const MOST: usize = 4;
    let mut boundaries = Boundaries::default();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (first, second) in merges {
        left.clear();
        left.extend(first.chars().rev().take(MOST).map_while(|letter| alphabet.byte(letter)));
        left.reverse();
        right.clear();
        right.extend(second.chars().take(MOST).map_while(|letter| alphabet.byte(letter)));
        boundaries.insert(&left, &right);
    }
    boundaries
}

fn normalized(form: Option<Form>, text: &str) -> Cow<'_, str> {
    form.map_or(Cow::Borrowed(text), |form| form.apply(text))
}

/// `None` for a normalizer that is not known; no form for none.
#[allow(clippy::option_option)]
fn form(normalizer: &Value) -> Option<Option<Form>> {
    #[derive(Deserialize)]
    #[serde(tag = "type", deny_unknown_fields)]
    enum Normalizer {
        #[serde(rename = "NFC")]
        Nfc {},
        #[serde(rename = "NFKC")]
        Nfkc {},
        Sequence {
            normalizers: Vec<Normalizer>,
        },
    }
    if normalizer.is_null() {
        return Some(None);
    }
    let mut normalizer = Normalizer::deserialize(normalizer).ok()?;
    while let Normalizer::Sequence { mut normalizers } = normalizer {
        let Some(last) = normalizers.pop() else { return Some(None) };
        if !normalizers.is_empty() {
            return None;
        }
        normalizer = last;
    }
    match normalizer {
        Normalizer::Nfc {} => Some(Some(Form::Nfc)),
        Normalizer::Nfkc {} => Some(Some(Form::Nfkc)),
        Normalizer::Sequence { .. } => None,
    }
}

fn splits(pre_tokenizer: &Value) -> Option<Splits> {
    #[derive(Deserialize)]
    #[serde(tag = "type", deny_unknown_fields)]
    enum PreTokenizer {
        ByteLevel {
            add_prefix_space: bool,
            #[serde(rename = "trim_offsets")]
            _trim_offsets: bool,
            use_regex: Option<bool>,
        },
        Digits {
            individual_digits: bool,
        },
        Split {
            pattern: SplitPattern,
            behavior: Behavior,
            invert: bool,
        },
        Sequence {
            pretokenizers: Vec<PreTokenizer>,
        },
    }
    #[derive(Deserialize)]
    enum SplitPattern {
        Regex(String),
    }
    #[derive(Deserialize, PartialEq)]
    enum Behavior {
        Isolated,
        Removed,
    }

    let steps = match PreTokenizer::deserialize(pre_tokenizer).ok()? {
        PreTokenizer::Sequence { pretokenizers } => pretokenizers,
        one => vec![one],
    };
    let (mut runs, mut pattern, mut add_space) = (Vec::new(), None, None);
    let alone = steps.len() == 1;
    for step in steps {
        // Nothing is known to follow `ByteLevel`, or to divide further what a pattern made.
        if add_space.is_some() {
            return None;
        }
        match step {
            PreTokenizer::ByteLevel { add_prefix_space, use_regex, .. } => {
                add_space = Some(add_prefix_space).filter(|&space| alone || !space);
                add_space?;
                if use_regex.unwrap_or(true) {
                    if pattern.is_some() {
                        return None;
                    }
                    pattern = Some(Pattern::gpt2()?);
                }
            }
            PreTokenizer::Digits { individual_digits } if pattern.is_none() => {
                runs.push(Runs::digits(individual_digits));
            }
            PreTokenizer::Split { pattern: SplitPattern::Regex(regex), behavior, invert } => {
                let drops = behavior == Behavior::Removed;
                // Keeping matches and dropping the rest is `Removed` with what counts as a match inverted.
                if pattern.is_some() || drops != invert {
                    return None;
                }
                match Runs::new(&regex).filter(|_| !drops) {
                    Some(step) => runs.push(step),
                    None => pattern = Some(Pattern::new(&regex, drops)?),
                }
            }
            PreTokenizer::Digits { .. } | PreTokenizer::Sequence { .. } => return None,
        }
    }
    Some(Splits { add_space: add_space?, runs, pattern: pattern? })
}
