"""What a tokenizer's call returns."""

from __future__ import annotations

from typing import Any

from legato._native import Encoding, Encodings


class BatchEncoding(dict[str, Any]):
    """A dict of what was asked for; of each row, on demand, all that there is to know.

    As in transformers, `batch.input_ids` is `batch["input_ids"]`, and `batch[0]` is the first row's
    `Encoding`. A row is encoded once more for that, so that calls that do not ask do not pay.
    Pickled or copied, it is the dict alone.
    """

    __slots__ = ("encodings",)
    encodings: Encodings | None

    def __init__(self, data: dict[str, Any], encodings: Encodings | None = None) -> None:
        """Take the columns by name, and the rows.

        A tokenizer's call does the same without this, in src/python/batch.rs.
        """
        super().__init__(data)
        self.encodings = encodings

    def __getitem__(self, key: str | int) -> Any:
        """Return a column by its name, or a row by its index."""
        return self.row(key) if isinstance(key, int) else super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        """Return a column by its name."""
        try:
            return super().__getitem__(name)
        except KeyError:
            raise AttributeError(f"no {name!r} in the batch: it has {', '.join(self)}") from None

    def row(self, index: int = 0) -> Encoding:
        """Return all that there is to know of a row.

        Raises:
            IndexError: there is no such row.
            LookupError: the batch was pickled or copied, and has its columns only.
        """
        if self.encodings is None:
            raise LookupError(
                "a batch that was pickled or copied has no rows; call the tokenizer again"
            )
        return self.encodings[index]

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row."""
        return self.row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return which word each token of a row is of; None for special tokens."""
        return self.row(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return which text of a pair each token of a row is of; None for special tokens."""
        return self.row(batch_index).sequence_ids

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the token that a character is in; with one number, of the first row."""
        row, char = _two(batch_or_char_index, char_index)
        return self.row(row).char_to_token(char, sequence_index)

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> tuple[int, int] | None:
        """Return where in its text a token is; with one number, of the first row."""
        row, token = _two(batch_or_token_index, token_index)
        return self.row(row).token_to_chars(token)

    def __reduce__(self) -> tuple[type[BatchEncoding], tuple[dict[str, Any]]]:
        """Leave the rows behind: they hold the tokenizer."""
        return (BatchEncoding, (dict(self),))


def _two(first: int, second: int | None) -> tuple[int, int]:
    return (0, first) if second is None else (first, second)
