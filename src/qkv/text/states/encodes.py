"""What filling a store asks of an encoder of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from qkv.data.dataset import IntArray

Progress = Callable[[int, int], None]


class PreparedTexts(Protocol):
    """Texts that are tokenised and cut.

    If they also have `pieces`, int64 (texts,), the word pieces of each text before any were cut
    off, then those are kept beside the states, so that a later run can tell what was cut without
    tokenising again.
    """

    @property
    def rows(self) -> IntArray:
        """States that each text will have."""

    @property
    def tokens(self) -> int:
        """Tokens to compute for all of them; overlapping windows count twice."""


Prepared = TypeVar("Prepared", bound=PreparedTexts)


class Encodes(Protocol[Prepared]):
    """An encoder with its tokenizer and settings."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Everything that determines a state, as JSON values."""

    @property
    def dim(self) -> int:
        """Width of a state."""

    def prepare(self, texts: Sequence[str], *, progress: Progress | None = None) -> Prepared:
        """Tokenise and cut texts."""

    def encode(
        self, prepared: Prepared, *, progress: Progress | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Each text's index and states (rows, dim), once, texts of similar length together."""
