//! One call's work: texts to rows, task by task.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use tokenizers::Encoding;

use super::exact::{Cut, Exact};
use super::fast::{Fast, Work};
use super::options::{EncodeOptions, Side, Strategy};
use super::rows::{Part, Rows};
use super::source::{Inputs, Source, View};
use super::template::{Origin, Piece};
use super::truncate::{Refusal, kept, windows};
use crate::error::{Error, Result};

/// Bytes of text for which a call stays on its own thread: waking others costs more than they save.
pub(super) const INLINE_BYTES: usize = 32 << 10;

/// Bytes of text of one task, at least and at most.
const TASK_BYTES: Range<usize> = 8 << 10..256 << 10;

/// Most tokens of all windows over one text.
const MOST_TOKENS: usize = 1 << 27;

/// A call's options, resolved.
#[derive(Debug)]
pub(super) struct Plan<'t> {
    /// Where ids come from.
    pub(super) fast: Option<&'t Fast>,
    /// Where they come from else, and all details. Always there if there is no `fast`.
    pub(super) exact: Option<&'t Exact>,
    /// What rows are put together from; `None` where upstream fails.
    pub(super) layout: Option<&'t [Piece]>,
    pub(super) options: EncodeOptions,
    pub(super) cut: Option<Cut>,
    /// Whether more is asked for than `fast` and the layout can tell.
    pub(super) detailed: bool,
}

/// What a task reuses from text to text.
#[derive(Default)]
struct Buffers {
    first: Vec<u32>,
    second: Vec<u32>,
}

impl Plan<'_> {
    /// Encodes texts, in parallel if it is called in a rayon pool and there are enough of them.
    pub(super) fn run<S: Source>(&self, inputs: Inputs<'_, S>, stop: &AtomicBool) -> Result<Rows> {
        let bytes = inputs.cost();
        if bytes <= INLINE_BYTES || rayon::current_thread_index().is_none() {
            let all = 0..inputs.first.len();
            return Ok(Rows { parts: vec![self.task(inputs, all, bytes, stop)?] });
        }
        let target =
            (bytes / (rayon::current_num_threads() * 8)).clamp(TASK_BYTES.start, TASK_BYTES.end);
        let mut tasks = Vec::with_capacity(bytes / target + 1);
        let (mut start, mut size) = (0, 0);
        for index in 0..inputs.first.len() {
            size += inputs.cost_of(index);
            if size >= target {
                tasks.push((start..index + 1, size));
                (start, size) = (index + 1, 0);
            }
        }
        tasks.push((start..inputs.first.len(), size));
        let parts = tasks.into_par_iter().map(|(texts, size)| self.task(inputs, texts, size, stop));
        Ok(Rows { parts: parts.collect::<Result<_>>()? })
    }

    fn task<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        texts: Range<usize>,
        bytes: usize,
        stop: &AtomicBool,
    ) -> Result<Part> {
        let mut part = Part::default();
        part.lengths.reserve(texts.len());
        // Most texts have more bytes a token, those with fewer let it grow.
        let most = self.cut.map_or(usize::MAX, |cut| cut.room.saturating_add(16));
        part.ids.reserve((bytes / 4 + texts.len() * 4).min(most.saturating_mul(texts.len())));
        match self.fast {
            Some(fast) if !self.detailed => {
                fast.with_work(|work| self.stream(inputs, texts, fast, work, stop, &mut part))?;
            }
            _ => {
                let mut buffers = Buffers::default();
                for index in texts {
                    check(stop)?;
                    self.push(inputs, index, &mut buffers, &mut part)
                        .map_err(|refusal| self.explain(refusal, index))?;
                }
            }
        }
        Ok(part)
    }

    /// Adds the rows of texts as `fast` encodes them: some texts at once, whose words wait for memory together.
    fn stream<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        texts: Range<usize>,
        fast: &Fast,
        work: &mut Work,
        stop: &AtomicBool,
        part: &mut Part,
    ) -> Result<()> {
        let limit = self.limit();
        let mut done = texts.start;
        let mut buffers = Buffers::default();
        for index in texts {
            check(stop)?;
            let first = inputs.first[index].view();
            let second = inputs.second.map(|second| second[index].view());
            match (first, second) {
                (View::Whole(first), None) => fast.encode(first, work, limit),
                (View::Whole(first), Some(View::Whole(second))) => {
                    fast.encode(first, work, limit);
                    fast.encode(second, work, limit);
                }
                _ => {
                    fast.settle(work);
                    self.drain(inputs, &mut done, work, part)?;
                    self.push(inputs, index, &mut buffers, part)
                        .map_err(|refusal| self.explain(refusal, index))?;
                    done = index + 1;
                }
            }
            if work.ended() > 0 {
                self.drain(inputs, &mut done, work, part)?;
            }
        }
        fast.settle(work);
        self.drain(inputs, &mut done, work, part)
    }

    /// Adds the rows of those texts from `done` on that have all their ids.
    fn drain<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        done: &mut usize,
        work: &mut Work,
        part: &mut Part,
    ) -> Result<()> {
        let mut add = |first: &[u32], second: &[u32]| {
            let index = *done;
            *done += 1;
            self.rows(inputs, index, first, second, part)
                .map_err(|refusal| self.explain(refusal, index))
        };
        if inputs.second.is_some() {
            work.drain(|[first, second]| add(first, second))
        } else {
            work.drain(|[first]| add(first, &[]))
        }
    }

    /// How many ids of a text are needed: one more than fits says that there is more.
    fn limit(&self) -> Option<usize> {
        let cut = self.cut.filter(|cut| cut.side == Side::Right && cut.stride.is_none())?;
        Some(cut.room.saturating_add(1))
    }

    /// Adds the rows of one text or pair: upstream's ids.
    fn push<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        index: usize,
        buffers: &mut Buffers,
        part: &mut Part,
    ) -> Result<(), Refusal> {
        if self.detailed {
            let second = inputs.second.map(|second| second[index].view());
            return self.push_details(index, &inputs.first[index].view(), second.as_ref(), part);
        }
        self.encode(inputs, index, buffers)?;
        self.rows(inputs, index, &buffers.first, &buffers.second, part)
    }

    /// All ids of one text or pair.
    fn encode<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        index: usize,
        buffers: &mut Buffers,
    ) -> Result<(), Refusal> {
        buffers.first.clear();
        buffers.second.clear();
        self.ids(&inputs.first[index].view(), &mut buffers.first)?;
        let second = inputs.second.map(|second| second[index].view());
        second.map_or(Ok(()), |second| self.ids(&second, &mut buffers.second))
    }

    /// Adds the rows of one text or pair, cut and put together as the layout says; at least [`Plan::limit`] of the
    /// ids that each has.
    fn rows<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        text: usize,
        first: &[u32],
        second: &[u32],
        part: &mut Part,
    ) -> Result<(), Refusal> {
        let layout = self.layout.ok_or(Refusal::Unencodable)?;
        let paired = inputs.second.is_some();
        let mut cut = (first.len(), second.len());
        if let Some(Cut { room, strategy, .. }) = self.cut {
            let odd = room % 2 == 1 && strategy == Strategy::LongestFirst;
            if self.limit().is_some() && odd && cut.0.min(cut.1) > room {
                // The longer one gets the odd token, so both lengths must be known.
                let mut all = Buffers::default();
                self.encode(inputs, text, &mut all)?;
                cut = (all.first.len(), all.second.len());
            }
            cut = kept(cut.0, paired.then_some(cut.1), room, strategy)?;
        }
        part.truncated += usize::from(first.len() > cut.0 || second.len() > cut.1);
        let second = self.stays(second, cut.1);
        let (stride, side) = match self.cut {
            Some(Cut { stride: Some(stride), side, .. }) if first.len() > cut.0 => (stride, side),
            _ => {
                let texts = [self.stays(first, cut.0), second];
                return part.push(layout, texts, self.row(text, false));
            }
        };
        let windows = windows(first.len(), cut.0, stride, side)?;
        if windows.len().saturating_mul(cut.0) > MOST_TOKENS {
            return Err(Refusal::Windows);
        }
        for (index, window) in windows.into_iter().enumerate() {
            part.push(layout, [&first[window], second], self.row(text, index > 0))?;
        }
        Ok(())
    }

    /// Appends all ids of a text.
    fn ids(&self, text: &View<'_>, ids: &mut Vec<u32>) -> Result<(), Refusal> {
        match (text, self.fast, self.exact) {
            (View::Whole(text), Some(fast), _) => fast.with_work(|work| {
                fast.encode(text, work, None);
                fast.settle(work);
                work.drain(|[all]| {
                    ids.extend_from_slice(all);
                    Ok(())
                })
            }),
            (_, _, Some(exact)) => exact.ids(text, ids),
            _ => Err(Refusal::Unencodable),
        }
    }

    /// The end of a text's ids that is not cut off.
    fn stays<'i>(&self, ids: &'i [u32], count: usize) -> &'i [u32] {
        match self.cut {
            Some(Cut { side: Side::Left, .. }) => &ids[ids.len() - count..],
            _ => &ids[..count],
        }
    }

    fn row(&self, text: usize, overflow: bool) -> Row {
        let numbered = self.options.overflow;
        Row { text, overflow, numbered, special_mask: self.options.special_mask }
    }

    /// Adds the rows of one text or pair as upstream makes them.
    fn push_details(
        &self,
        text: usize,
        first: &View<'_>,
        second: Option<&View<'_>>,
        part: &mut Part,
    ) -> Result<(), Refusal> {
        let (mut encoding, truncated) = self.encoding(first, second)?;
        part.truncated += usize::from(truncated);
        let overflow = encoding.take_overflowing();
        for encoding in std::iter::once(encoding).chain(overflow) {
            part.push_encoding(&encoding, self.row(text, false))?;
        }
        Ok(())
    }

    /// All that upstream knows of one text or pair, and whether it was cut.
    pub(super) fn encoding(
        &self,
        first: &View<'_>,
        second: Option<&View<'_>>,
    ) -> Result<(Encoding, bool), Refusal> {
        let (Some(exact), Some(layout)) = (self.exact, self.layout) else {
            return Err(Refusal::Unencodable);
        };
        let copies = [Origin::First, Origin::Second]
            .map(|origin| layout.iter().filter(|piece| piece.origin == origin).count());
        exact.encode(first, second, self.cut, self.options.add_special_tokens, copies)
    }

    pub(super) fn explain(&self, refusal: Refusal, text: usize) -> Error {
        let room = self.cut.map_or(0, |cut| cut.room);
        Error::input(match refusal {
            Refusal::Unencodable => format!(
                "text {text} cannot be encoded by this tokenizer; leave it out, or check that \
                 tokenizer.json is whole and has a token for what is unknown"
            ),
            Refusal::NoSecond => format!(
                "text {text} is too long and has no second text to cut; use truncation='longest_first'"
            ),
            Refusal::TooShort => format!(
                "text {text} leaves no room for the other of its pair, which alone may be cut: {room} \
                 tokens fit beside the special tokens; use truncation='longest_first' or a greater \
                 max_length"
            ),
            Refusal::Stride => format!(
                "stride {} leaves no room for new tokens in the windows over text {text}; use a smaller \
                 stride or a greater max_length",
                self.options.stride
            ),
            Refusal::Windows => format!(
                "the windows over text {text} are too many to keep at once; use a smaller stride, or \
                 divide the text"
            ),
        })
    }
}

fn check(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
}

/// What is known of a row beside its tokens.
#[derive(Clone, Copy)]
struct Row {
    text: usize,
    overflow: bool,
    /// Whether a text may have several rows, so that each says which it is of.
    numbered: bool,
    special_mask: bool,
}

impl Part {
    fn push(&mut self, layout: &[Piece], texts: [&[u32]; 2], row: Row) -> Result<(), Refusal> {
        let start = self.ids.len();
        for piece in layout {
            match piece.origin {
                Origin::First => self.ids.extend_from_slice(texts[0]),
                Origin::Second => self.ids.extend_from_slice(texts[1]),
                Origin::Id(id) => self.ids.push(id),
            }
            let type_id = if row.overflow { piece.overflow_type_id } else { piece.type_id };
            if type_id != 0 || !self.type_ids.is_empty() {
                // Everything before this piece that has no number yet has 0.
                let before = self.ids.len() - piece.length(texts);
                self.type_ids.resize(before, 0);
                self.type_ids.resize(self.ids.len(), type_id);
            }
            if row.special_mask {
                self.special.resize(self.ids.len(), matches!(piece.origin, Origin::Id(_)));
            }
        }
        self.end_row(start, row)
    }

    fn push_encoding(&mut self, encoding: &Encoding, row: Row) -> Result<(), Refusal> {
        let start = self.ids.len();
        self.ids.extend_from_slice(encoding.get_ids());
        self.type_ids.extend_from_slice(encoding.get_type_ids());
        self.special.extend(encoding.get_special_tokens_mask().iter().map(|&is| is != 0));
        let number = |at: usize| u32::try_from(at).map_err(|_| Refusal::Windows);
        for &(from, to) in encoding.get_offsets() {
            self.offsets.push((number(from)?, number(to)?));
        }
        self.end_row(start, row)
    }

    fn end_row(&mut self, start: usize, row: Row) -> Result<(), Refusal> {
        let length = self.ids.len() - start;
        self.lengths.push(u32::try_from(length).map_err(|_| Refusal::Windows)?);
        if row.numbered {
            self.texts.push(row.text);
        }
        Ok(())
    }
}

impl Piece {
    fn length(&self, texts: [&[u32]; 2]) -> usize {
        match self.origin {
            Origin::First => texts[0].len(),
            Origin::Second => texts[1].len(),
            Origin::Id(_) => 1,
        }
    }
}
