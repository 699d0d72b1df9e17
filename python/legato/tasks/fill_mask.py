"""``fill-mask``: words for the gaps of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from legato._native import ModelFiles
from legato.errors import InputError, ModelError
from legato.tasks._head import LOG, Head, check_top_k, descending, softmax, texts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_USUAL = ("[MASK]", "<mask>")


class FillMask(Head):
    """Texts with gaps to words that may fill them."""

    def __init__(self, files: ModelFiles, *, device: str = "auto", dtype: str = "float32") -> None:
        """Load a masked language model.

        Raises:
            ModelError: The tokenizer has no mask token.
        """
        super().__init__(files, "masked-lm", device=device, dtype=dtype)
        stated = (files.read_json("tokenizer_config.json") or {}).get("mask_token")
        stated = stated.get("content") if isinstance(stated, Mapping) else stated
        for token in (stated,) if isinstance(stated, str) else _USUAL:
            mask_id = self.tokenizer.token_to_id(token)
            if mask_id is not None:
                self.mask_token, self._mask_id = token, mask_id
                return
        msg = "the tokenizer has no mask token; state it as mask_token in tokenizer_config.json"
        raise ModelError(msg)

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        top_k: int = 5,
        targets: str | Sequence[str] | None = None,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> Any:
        """Fill the gaps of texts.

        Args:
            inputs: One text or a sequence of them, each with one `mask_token` or more.
            top_k: How many words to return for a gap.
            targets: Words to choose from; None for the whole vocabulary. As in transformers, a word
                that is no token of it stands for its first token, and a warning says so.
            truncation: Cut a text that is too long; without it, it is refused.
            max_length: Tokens that a text is cut to; None takes the model's own limit.

        Returns:
            For each text a list of ``{"score", "token", "token_str", "sequence"}``, highest score
            first; a list of such lists for a text of several gaps. As in transformers, a sequence
            of one text answers as that text does.

        Raises:
            InputError: A text has no gap, there is no target, or an argument is out of range.

        Example:
            >>> best = fill(f"a fine {fill.mask_token} here", top_k=1)[0]
            >>> list(best)
            ['score', 'token', 'token_str', 'sequence']
        """
        check_top_k(top_k)
        among = None if targets is None else self._targets(targets)
        texts, _ = texts_of(inputs)
        if not texts:
            return []
        tokens = self.encode(texts, truncation=truncation, max_length=max_length)
        ids = tokens.input_ids
        gaps = np.flatnonzero(ids == self._mask_id)
        starts = np.concatenate(([0], np.cumsum(tokens.lengths)))
        bounds = np.searchsorted(gaps, starts)
        empty = np.flatnonzero(np.diff(bounds) == 0)
        if empty.size:
            msg = f"text {empty[0]} has no {self.mask_token} within the model's limit"
            raise InputError(msg)
        rows = self.engine.run(tokens, only=gaps.astype(np.uint32))
        results = []
        for text in range(len(texts)):
            row_ids = ids[starts[text] : starts[text + 1]]
            span = range(bounds[text], bounds[text + 1])
            filled = [
                self._filled(row_ids, gaps[i] - starts[text], rows[i], among, top_k, len(span))
                for i in span
            ]
            results.append(filled[0] if len(filled) == 1 else filled)
        return results[0] if len(results) == 1 else results

    def _filled(  # noqa: PLR0913, PLR0917 - a gap is all of these
        self,
        ids: NDArray[np.int32],
        gap: int,
        logits: NDArray[np.float32],
        among: NDArray[np.intp] | None,
        top_k: int,
        gaps: int,
    ) -> list[dict[str, Any]]:
        scores = softmax(logits)
        order = descending(scores, top_k) if among is None else among[descending(scores[among])]
        results = []
        for token in order[:top_k].tolist():
            row = ids.copy()
            row[gap] = token
            results.append(
                {
                    "score": float(scores[token]),
                    "token": token,
                    "token_str": self.tokenizer.decode([token]),
                    # Other gaps must stay to be seen.
                    "sequence": self.tokenizer.decode(row, skip_special_tokens=gaps == 1),
                }
            )
        return results

    def _targets(self, targets: str | Sequence[str]) -> NDArray[np.intp]:
        names, _ = texts_of(targets, "targets")
        found = []
        for index, name in enumerate(names):
            token = self.tokenizer.token_to_id(name)
            if token is None:
                parts = self.tokenizer.encode(name, add_special_tokens=False, truncation=False)
                first = parts.input_ids[:1].tolist()
                token = first[0] if first else None
                # Not which one: a target may be of a user's text.
                what = "is left out" if token is None else "its first token stands for it"
                LOG.warning("target %d is no token of the vocabulary; %s", index, what)
            found.append(token)
        tokens = list(dict.fromkeys(token for token in found if token is not None))
        if not tokens:
            msg = "no target is a token of the vocabulary; give whole tokens of the tokenizer"
            raise InputError(msg)
        return np.array(tokens, dtype=np.intp)
