"""``text-classification``: labels of texts, or of pairs of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from legato._native import ModelFiles, Tokenizer, Tokens
from legato.errors import InputError
from legato.tasks._head import (
    Head,
    Pair,
    check_top_k,
    descending,
    listed,
    pairs_of,
    sigmoid,
    softmax,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Function: TypeAlias = Literal["softmax", "sigmoid", "none"]


class TextClassification(Head):
    """Texts to labels with scores."""

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "float32",
        engine: Any = None,
    ) -> None:
        """Load a model with a head for labels of texts."""
        super().__init__(
            files, "sequence-classification", device=device, dtype=dtype, engine=engine
        )
        self._labels = self.labels()

    def __call__(
        self,
        inputs: str | Pair | Iterable[str | Pair],
        *,
        top_k: int | Literal[""] | None = "",
        function_to_apply: Function | None = None,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> Any:
        """Score the labels of texts.

        Args:
            inputs: A text, a pair as ``dict(text=..., text_pair=...)``, or a sequence of either.
            top_k: How many labels to return; None for all. Not given, it is the best one, not in a
                list.
            function_to_apply: ``softmax``, ``sigmoid`` or ``none``; None takes what the config's
                problem_type asks for: sigmoid for several labels at once and for a single logit,
                none for regression, else softmax.
            truncation: Cut a text that is too long; without it, it is refused.
            max_length: Tokens that a text is cut to; None takes the model's own limit.

        Returns:
            ``{"label": ..., "score": ...}`` for each input, or a list of them, highest first, if
            `top_k` is given. For a single text a list, as transformers has it.

        Raises:
            InputError: Something is no text or pair, or an argument is out of range.

        Example:
            >>> len(classify("a fine day"))
            1
            >>> [list(one) for one in classify("a fine day", top_k=2)]
            [['label', 'score'], ['label', 'score']]
        """
        given, single = listed(inputs)
        texts, pairs = pairs_of(given)
        tokens = self.encode(texts, pairs, truncation=truncation, max_length=max_length)
        results = self.answers(tokens, top_k=top_k, function_to_apply=function_to_apply)
        # A single text without top_k: in a list, as transformers has it.
        alone = single and not (top_k == "" and isinstance(inputs, str))
        return results[0] if alone else results

    @staticmethod
    def tokens(tokenizer: Tokenizer, texts: Sequence[str], max_length: int | None) -> Tokens:
        """Encode texts, cut to `max_length`: the first half of a call, which needs no weights."""
        return tokenizer.encode(texts, max_length=max_length)

    def answers(
        self,
        tokens: Tokens,
        *,
        top_k: int | Literal[""] | None = "",
        function_to_apply: Function | None = None,
    ) -> list[Any]:
        """Score the labels of encoded texts: the second half of a call, with a result a text."""
        count = 1 if top_k == "" else top_k
        check_top_k(count)
        scores = self._apply(self.engine.run(tokens), function_to_apply)
        results = [self._ranked(row, count) for row in scores]
        return [labels[0] for labels in results] if top_k == "" else results

    def _ranked(self, scores: NDArray[np.float32], top_k: int | None) -> list[dict[str, Any]]:
        order = descending(scores, top_k)
        return [{"label": self._labels[i], "score": float(scores[i])} for i in order]

    def _apply(self, logits: NDArray[np.float32], function: str | None) -> NDArray[np.float32]:
        name = function or self.function()
        functions = {"softmax": softmax, "sigmoid": sigmoid, "none": None}
        if name not in functions:
            msg = f"function_to_apply must be {', '.join(functions)} or None, not '{name}'"
            raise InputError(msg)
        apply = functions[name]
        return logits if apply is None else apply(logits)

    def function(self) -> str:
        """Return what is applied where a call names nothing: what the config asks for."""
        problem = self.config.get("problem_type")
        if problem == "regression":
            return "none"
        several = problem == "multi_label_classification" or self.engine.width == 1
        return "sigmoid" if several else "softmax"
