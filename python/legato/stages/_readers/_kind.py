"""Which format a file has, by its name."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, Literal

from legato.errors import InputError

Kind = Literal["jsonl", "csv", "tsv", "txt", "parquet"]

KINDS: Final[dict[str, Kind]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.zst": "jsonl",
    ".ndjson.zst": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".parquet": "parquet",
}
"""The format for each ending of a name."""


def kind_of(name: str) -> Kind:
    """Return the format of a file, by the ending of its name.

    Args:
        name: File name, path or URI; case does not matter. A URI's query is not part of the name,
            unless only it has a known ending.

    Raises:
        InputError: The ending is unknown; the message has the ending and never the rest of the
            name, since a signed URL is a secret.
    """
    without_query = name.partition("?")[0].partition("#")[0] if "://" in name else name
    for candidate in (without_query, name):
        kind = KINDS.get(ending_of(candidate))
        if kind is not None:
            return kind
    ending = ending_of(without_query)
    what = f"the file's ending {ending!a} is unknown" if ending else "the file's name has no ending"
    msg = f"{what}; supported are {', '.join(KINDS)}: convert the file, or give it the right ending"
    raise InputError(msg)


def ending_of(name: str) -> str:
    """Return the ending of a file's name, in lower case: ``.csv``, ``.jsonl.zst``."""
    path = PurePosixPath(name)
    ending = path.suffix.lower()[:16]
    return _inner(path) + ending if ending == COMPRESSED else ending


COMPRESSED: Final = ".zst"
"""What the name of a compressed file ends with."""


def _inner(path: PurePosixPath) -> str:
    return PurePosixPath(path.stem).suffix.lower()[:16]
