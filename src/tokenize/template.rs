//! A post-processor as what it does to ids: which pieces a row is put together from.

use serde_json::Value;
use tokenizers::{PostProcessor as _, PostProcessorWrapper};

/// Most pieces of a row: far above every real template, far below what would hurt.
const MOST_PIECES: usize = 4096;

/// Where a piece's tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    First,
    Second,
    /// A special token.
    Id(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) origin: Origin,
    pub(super) type_id: u32,
    /// In the windows over what was cut off, upstream keeps the type id of before the template.
    pub(super) overflow_type_id: u32,
}

/// The rows that a post-processor makes of one text and of a pair, with and without special tokens.
#[derive(Debug)]
pub(super) struct Template {
    /// By special tokens, then by pair; `None` where upstream fails.
    layouts: [[Option<Vec<Piece>>; 2]; 2],
    added: [usize; 2],
}

impl Template {
    /// Fails with a reason for a template that no sane definition has.
    pub(super) fn new(post: Option<&PostProcessorWrapper>) -> Result<Self, &'static str> {
        let layout = |special: bool, pair: bool| {
            let rows =
                vec![vec![Piece::new(Origin::First, 0)], vec![Piece::new(Origin::Second, 1)]];
            let rows = rows.into_iter().take(1 + usize::from(pair)).collect();
            let rows = match post {
                Some(post) => process(post, rows, special)?,
                None => rows,
            };
            Some(rows.concat())
        };
        let layouts = [false, true].map(|special| [false, true].map(|pair| layout(special, pair)));
        let added = [false, true].map(|pair| post.map_or(0, |post| post.added_tokens(pair)));
        let most = layouts.iter().flatten().flatten().map(Vec::len).chain(added).max();
        if most.is_some_and(|most| most > MOST_PIECES) {
            return Err("its post_processor adds more than 4096 tokens to a text");
        }
        Ok(Self { layouts, added })
    }

    /// The pieces of a row, in order.
    pub(super) fn layout(&self, special: bool, pair: bool) -> Option<&[Piece]> {
        self.layouts[usize::from(special)][usize::from(pair)].as_deref()
    }

    /// Special tokens that a row gets, as upstream counts them.
    pub(super) fn added(&self, special: bool, pair: bool) -> usize {
        if special { self.added[usize::from(pair)] } else { 0 }
    }
}

impl Piece {
    fn new(origin: Origin, type_id: u32) -> Self {
        Self { origin, type_id, overflow_type_id: type_id }
    }
}

/// `process_encodings` of `processors/{bert,roberta,byte_level,template,sequence}.rs`, on pieces.
fn process(
    post: &PostProcessorWrapper,
    mut rows: Vec<Vec<Piece>>,
    special: bool,
) -> Option<Vec<Vec<Piece>>> {
    let token = |id, type_id| Piece::new(Origin::Id(id), type_id);
    match post {
        PostProcessorWrapper::ByteLevel(_) => Some(rows),
        PostProcessorWrapper::Sequence(all) => {
            all.as_ref().iter().try_fold(rows, |rows, post| process(post, rows, special))
        }
        PostProcessorWrapper::Bert(_) if !special => Some(rows),
        PostProcessorWrapper::Bert(bert) => {
            for (index, row) in rows.iter_mut().enumerate() {
                if index == 0 {
                    row.insert(0, token(bert.cls.1, 0));
                }
                row.push(token(bert.sep.1, u32::from(index > 0)));
            }
            Some(rows)
        }
        PostProcessorWrapper::Roberta(roberta) => {
            for (index, row) in rows.iter_mut().enumerate() {
                for piece in row.iter_mut() {
                    piece.type_id = 0;
                }
                if special {
                    for piece in row.iter_mut() {
                        piece.overflow_type_id = 0;
                    }
                    let start = if index == 0 { &roberta.cls } else { &roberta.sep };
                    row.insert(0, token(start.1, 0));
                    row.push(token(roberta.sep.1, 0));
                }
            }
            Some(rows)
        }
        PostProcessorWrapper::Template(template) => {
            let template = serde_json::to_value(template).ok()?;
            let which = ["single", "pair"].get(rows.len().checked_sub(1)?)?;
            let pieces = template[which].as_array()?.iter();
            let pieces = pieces.filter(|piece| special || piece.get("SpecialToken").is_none());
            pieces.map(|piece| apply(piece, &template["special_tokens"], &rows)).collect()
        }
    }
}

/// One piece of a `TemplateProcessing`; `None` where upstream fails.
fn apply(piece: &Value, tokens: &Value, rows: &[Vec<Piece>]) -> Option<Vec<Piece>> {
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    if let Some(sequence) = piece.get("Sequence") {
        let type_id = number(&sequence["type_id"])?;
        let row = rows.get(usize::from(sequence["id"] != "A"))?;
        return Some(row.iter().map(|piece| Piece { type_id, ..*piece }).collect());
    }
    let token = &piece["SpecialToken"];
    let type_id = number(&token["type_id"])?;
    let ids = tokens[token["id"].as_str()?]["ids"].as_array()?;
    ids.iter().map(|id| Some(Piece::new(Origin::Id(number(id)?), type_id))).collect()
}
