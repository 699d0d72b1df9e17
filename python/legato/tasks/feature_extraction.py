"""``feature-extraction``: texts to vectors, as sentence-transformers makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from legato._native import Engine, ModelFiles
from legato.errors import InputError
from legato.tasks._head import LOG, Counted, texts_of

NONE = "none"
"""The pooling that leaves tokens as they are."""


class FeatureExtraction(Counted):
    """Texts to vectors, with pooling, Dense layers and normalisation as the model's files say.

    Attributes:
        engine: What computes them.
        prompts: Prompts by name, which calls put before texts.
        default_prompt_name: The prompt of calls that name none; None for none.
        truncated: Texts that calls have cut to the model's limit.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "float32",
        pooling: str | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
    ) -> None:
        """Load an encoder.

        Args:
            files: The model's files.
            device: Where to compute.
            dtype: What to compute in.
            pooling: As for a call.
            normalize: As for a call.
            truncate_dim: As for a call.
            prompts: Prompts by name, before those of the model's files.
            default_prompt_name: The prompt of calls that name none; None takes what the files say.

        Raises:
            ModelError: The files are no model that legato runs.
            DeviceError: The device or dtype is not available.
            InputError: An argument is out of range.
        """
        super().__init__()
        self._whole = pooling != NONE
        self.engine = Engine(
            files,
            device=device,
            dtype=dtype,
            pooling=pooling if self._whole else None,
            normalize=normalize,
            truncate_dim=truncate_dim,
        )
        self.prompts = {**files.prompts, **(prompts or {})}
        self.default_prompt_name = default_prompt_name or files.default_prompt_name
        if self.default_prompt_name is not None:
            self._prompt(None, self.default_prompt_name)

    def __call__(  # noqa: PLR0913 - each is a choice of its own
        self,
        inputs: str | Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        pooling: str | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> Any:
        """Compute vectors.

        Args:
            inputs: One text, or a sequence, an array, a series or an iterator of them.
            prompt_name: Which of `prompts` to put before each text; None takes the model's default.
            prompt: Text to put before each text; it goes before `prompt_name`. ``""`` is none.
            pooling: ``mean``, ``cls``, ``max``, ``lasttoken``, ``weightedmean`` or
                ``mean_sqrt_len_tokens``, or several joined by ``+``; ``none`` gives the last hidden
                state of each token. None takes what the model's files say.
            normalize: Scale vectors to unit length, after they are cut; False leaves them as they
                are. None takes what the model's files say, which is done before they are cut.
            truncate_dim: Numbers of a vector, the first ones (Matryoshka); None keeps all.
            truncation: Cut a text that is too long; without it, it is refused.
            max_length: Tokens that a text is cut to; None takes the model's own limit.

        Returns:
            float32 (n, W) in the order of the texts; (W,) for a single text. With pooling ``none``
            a list of float32 (1, T, H), views of one array, or one for a single text: the shape of
            transformers' lists.

        Raises:
            InputError: Something is no text, a text is too long, or an argument is out of range.

        Example:
            >>> embed = legato.pipeline("feature-extraction", model=MODEL)
            >>> embed("a text", truncate_dim=128, normalize=True).shape
            (128,)
            >>> embed(["a text"], pooling="none")[0].shape
            (1, 4, 384)
        """
        texts, single = texts_of(inputs)
        before = self._prompt(prompt, prompt_name)
        if before:
            texts = [before + text for text in texts]
        tokens = self.engine.tokenizer.encode(texts, truncation=truncation, max_length=max_length)
        self.count(tokens.truncated)
        if pooling == NONE or (pooling is None and not self._whole):
            if truncate_dim is not None or normalize:
                msg = "truncate_dim and normalize are for pooled vectors; leave them out with none"
                raise InputError(msg)
            flat = self.engine.hidden_states(tokens)
            ends = np.cumsum(tokens.lengths)
            states = [rows[None] for rows in np.split(flat, ends[:-1])] if texts else []
            return states[0] if single else states
        vectors = self.engine.run(
            tokens,
            pooling=pooling,
            normalize=normalize,
            truncate_dim=truncate_dim,
            prompt_tokens=self.engine.prompt_tokens(before),
        )
        return vectors[0] if single else vectors

    def _prompt(self, prompt: str | None, name: str | None) -> str:
        if prompt is not None:
            if name is not None:
                LOG.warning("prompt goes before prompt_name, which is ignored; give one of them")
            return prompt
        name = self.default_prompt_name if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            msg = f"there is no prompt '{name}'; the model has {', '.join(sorted(self.prompts))}"
            raise InputError(msg)
        return self.prompts[name]
