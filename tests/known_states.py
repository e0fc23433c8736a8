"""An encoder of texts whose states are known: for tests of what stores them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkv.data.dataset import IntArray

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PreparedWords:
    texts: tuple[str, ...]
    rows: IntArray
    pieces: IntArray
    tokens: int


class KnownStates:
    """A word is a token, and the states of a text are random numbers seeded by its hash.

    Args:
        dim: width of a state.
        fail_after: texts that are encoded before `error` is raised; None: it never is.
        error: what is raised.
        name: what the facts call the encoder.
    """

    def __init__(
        self,
        dim: int = 6,
        *,
        fail_after: int | None = None,
        error: type[BaseException] = KeyboardInterrupt,
        name: str = "fake",
    ) -> None:
        self.dim = dim
        self.facts: dict[str, Any] = {"name": name, "layers": [2], "precision": "float32"}
        self.fail_after = fail_after
        self.error = error
        self.encoded: list[str] = []

    def prepare(self, texts: Sequence[str], *, progress: Progress | None = None) -> PreparedWords:
        rows = np.array([len(text.split()) + 2 for text in texts], dtype=np.int64)
        if progress:
            progress(len(texts), len(texts))
        return PreparedWords(tuple(texts), rows, rows - 2, int(rows.sum()))

    def encode(
        self, prepared: PreparedWords, *, progress: Progress | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        done = 0
        for index in np.argsort(prepared.rows, kind="stable").tolist():
            if self.fail_after is not None and len(self.encoded) >= self.fail_after:
                raise self.error("stopped by the test")
            text = prepared.texts[index]
            self.encoded.append(text)
            done += int(prepared.rows[index])
            if progress:
                progress(done, prepared.tokens)
            yield index, self.states(text)

    def states(self, text: str) -> Tensor:
        """float32 (tokens, dim), the same at every call."""
        seed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]
        generator = np.random.default_rng(list(seed))
        states = generator.standard_normal((len(text.split()) + 2, self.dim), dtype=np.float32)
        return torch.from_numpy(states)
