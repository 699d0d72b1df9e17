"""Legato and the tokenizers package on the same texts: every field of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]
PAD_ID = 1
FIELDS = ("ids", "type_ids", "special_tokens_mask", "offsets", "word_ids", "sequence_ids")


class Options(NamedTuple):
    """How texts are encoded.

    Attributes:
        add_special_tokens: Whether the template's tokens are added.
        max_length: Tokens that a row is cut to.
        strategy: Which text of a pair is cut.
        side: Which end is cut off.
        stride: Tokens that windows share; None for no windows.
        details: Whether offsets, words and masks are compared too, not only what a model is given.
        padded: Whether legato is asked for padded arrays, and the columns of a multiple of this.
    """

    add_special_tokens: bool = True
    max_length: int | None = None
    strategy: str = "longest_first"
    side: str = "right"
    stride: int | None = None
    details: bool = False
    padded: int | None = None


class Raised(NamedTuple):
    """What stands for rows where one side raised."""

    error: str


def theirs(tokenizer: Any, texts: Sequence[Any], options: Options) -> list[list[Row]] | Raised:
    """Return the rows of each text or pair, as the tokenizers package encodes them."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    try:
        if options.max_length is not None:
            tokenizer.enable_truncation(
                options.max_length,
                stride=options.stride or 0,
                strategy=options.strategy,
                direction=options.side,
            )
        # Upstream's fast call is as exact, but gives both texts of a pair the same type id.
        fast = not options.details and bool(texts) and isinstance(texts[0], str)
        encode = tokenizer.encode_batch_fast if fast else tokenizer.encode_batch
        encodings = encode(list(texts), add_special_tokens=options.add_special_tokens)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return Raised(f"{type(error).__name__}: {error}"[:200])
        raise
    windows = options.stride is not None
    return [
        [_row(row, options) for row in (one, *(one.overflowing if windows else ()))]
        for one in encodings
    ]


def _row(encoding: Any, options: Options) -> Row:
    names = FIELDS if options.details else FIELDS[:2]
    return {name: getattr(encoding, name) for name in names}


def ours(tokenizer: Any, texts: Sequence[Any], options: Options) -> list[list[Row]] | Raised:
    """Return the rows of each text or pair, as legato encodes them."""
    if not len(texts):
        return []
    try:
        return (
            _called(tokenizer, texts, options)
            if callable(tokenizer)
            else _flat(tokenizer, texts, options)
        )
    except Exception as error:  # noqa: BLE001 - one side may refuse only what the other refuses
        return Raised(f"{type(error).__name__}: {error}"[:200])


def _called(tokenizer: Any, texts: Sequence[Any], options: Options) -> list[list[Row]]:
    if options.padded:
        return _padded(tokenizer, texts, options)
    windows = options.stride is not None
    batch = tokenizer(
        *_columns(texts),
        add_special_tokens=options.add_special_tokens,
        truncation=options.strategy if options.max_length is not None else False,
        max_length=options.max_length,
        truncation_side=options.side,
        stride=options.stride or 0,
        return_overflowing_tokens=windows,
        return_token_type_ids=True,
        return_attention_mask=True,
        return_special_tokens_mask=options.details,
        return_offsets_mapping=options.details,
    )
    rows: list[list[Row]] = [[] for _ in texts]
    sample = batch["overflow_to_sample_mapping"] if windows else range(len(texts))
    for index, text in enumerate(sample):
        row = {"ids": batch["input_ids"][index], "type_ids": batch["token_type_ids"][index]}
        if batch["attention_mask"][index] != [1] * len(row["ids"]):
            row["attention_mask"] = batch["attention_mask"][index]
        if options.details:
            row["special_tokens_mask"] = batch["special_tokens_mask"][index]
            row["offsets"] = [tuple(span) for span in batch["offset_mapping"][index]]
            row["word_ids"] = batch.word_ids(index)
            row["sequence_ids"] = batch.sequence_ids(index)
        rows[text].append(row)
    return rows


def _columns(texts: Sequence[Any]) -> tuple[list[str], list[str] | None]:
    if isinstance(texts[0], tuple):
        return [text[0] for text in texts], [text[1] for text in texts]
    return list(texts), None


def _padded(tokenizer: Any, texts: Sequence[Any], options: Options) -> list[list[Row]]:
    """Return the rows of padded arrays, less the padding; what is wrong with it is a field of the row."""
    left = len(texts) % 2 == 0
    batch = tokenizer(
        *_columns(texts),
        add_special_tokens=options.add_special_tokens,
        truncation=options.strategy if options.max_length is not None else False,
        max_length=options.max_length,
        truncation_side=options.side,
        padding=True,
        padding_side="left" if left else "right",
        pad_to_multiple_of=options.padded,
        pad_id=PAD_ID,
        return_tensors="np",
        return_token_type_ids=True,
        return_attention_mask=True,
        dtype=np.int32 if len(texts) % 3 == 0 else np.int64,
    )
    ids, types, mask = (batch[name] for name in ("input_ids", "token_type_ids", "attention_mask"))
    lengths = mask.sum(axis=1)
    longest = int(lengths.max(initial=0))
    rows: list[list[Row]] = []
    for index, length in enumerate(lengths.tolist()):
        width = ids.shape[1]
        real = np.zeros(width, np.bool_)
        real[width - length if left else 0 : width if left else length] = True
        row: Row = {"ids": ids[index][real].tolist(), "type_ids": types[index][real].tolist()}
        if width != -(-longest // options.padded) * options.padded:
            row["width"] = width
        if (
            (mask[index] != real).any()
            or (ids[index][~real] != PAD_ID).any()
            or types[index][~real].any()
        ):
            row["padding"] = (ids[index].tolist(), mask[index].tolist(), types[index].tolist())
        rows.append([row])
    return rows


def _flat(tokenizer: Any, texts: Sequence[str], options: Options) -> list[list[Row]]:
    tokens = tokenizer.encode(
        list(texts),
        truncation=options.max_length is not None,
        max_length=options.max_length,
        add_special_tokens=options.add_special_tokens,
    )
    ends = np.cumsum(tokens.lengths)[:-1]
    columns = (np.split(values, ends) for values in (tokens.input_ids, tokens.token_type_ids))
    return [
        [{"ids": ids.tolist(), "type_ids": types.tolist()}]
        for ids, types in zip(*columns, strict=True)
    ]


def first_difference(
    legato: Any, original: Any, texts: Sequence[Any], options: Options
) -> tuple[int, Any, Any] | None:
    """Return the index of the first text whose rows differ, with both sides; None if none does.

    Where a whole batch raises, its texts are compared one by one: both sides must refuse the same.
    """
    if not callable(legato):  # the call is not there yet: only ids and type ids can be compared
        options = options._replace(details=False, stride=None, padded=None, side="right")
    found, expected = ours(legato, texts, options), theirs(original, texts, options)
    if isinstance(found, Raised) or isinstance(expected, Raised):
        if len(texts) == 1:
            both = isinstance(found, Raised) and isinstance(expected, Raised)
            return None if both else (0, found, expected)
        for index, text in enumerate(texts):
            if difference := first_difference(legato, original, [text], options):
                return (index, *difference[1:])
        return None
    for index, (got, want) in enumerate(zip(found, expected, strict=True)):
        if got != want:
            return index, got, want
    return None
