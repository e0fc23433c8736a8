"""What is trained: a head, or a head on the top of its encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError, RunError
from qkv.measurement.memory import BATCHES_BETWEEN, release_free_memory
from qkv.progress import Progress
from qkv.text.encoder import EncoderSettings
from qkv.text.encoder_cache import EncoderCache, Kind, pack, unpack
from qkv.text.text_encoder import TextEncoder, open_text_encoder, token_budget_batches
from qkv.text.windows import Cut, Prepared, cut_off


class TextModel(nn.Module):
    """Layers of an encoder, if any are trained, under a head.

    Args:
        head: states and mask to logits.
        top: what the inputs pass first: trained layers of the encoder, or all of it; None: the
            inputs are the states that the head reads.
    """

    def __init__(self, head: nn.Module, top: nn.Module | None = None) -> None:
        super().__init__()
        self.head = head
        self.top = top

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits float (texts, classes).

        Args:
            inputs: states (texts, tokens, dim), or int64 ids (texts, tokens) for a whole encoder.
            attention_mask: bool (texts, tokens), True where a token is.
        """
        states = inputs if self.top is None else self.top(inputs, attention_mask)
        logits: Tensor = self.head(states, attention_mask)
        return logits

    def forward_with_intermediates(
        self, inputs: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits, and what the head computed on the way."""
        states = inputs if self.top is None else self.top(inputs, attention_mask)
        return self.head.forward_with_intermediates(states, attention_mask)  # type: ignore[operator, no-any-return]


class Inputs(Protocol):
    """States or ids of a list of texts."""

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text."""
        ...

    def padded(self, indices: IntArray) -> tuple[Tensor, Tensor]:
        """Some texts: states (texts, tokens, dim) or int64 ids, and their mask (texts, tokens)."""
        ...


@torch.inference_mode()
def predict_inputs(
    model: nn.Module, inputs: Inputs, batch_tokens: int, device: torch.device
) -> Tensor:
    """Logits of every text by a model put in evaluation mode: float32 (texts, classes), CPU."""
    model.eval()
    batches = token_budget_batches(inputs.lengths, batch_tokens)
    parts = []
    for number, indices in enumerate(batches, start=1):
        states, attention_mask = inputs.padded(indices)
        parts.append(model(states.to(device), attention_mask.to(device)).float().cpu())
        if number % BATCHES_BETWEEN == 0:
            release_free_memory()
    logits = torch.cat(parts)
    in_order = torch.empty_like(logits)
    in_order[torch.cat([torch.from_numpy(indices) for indices in batches])] = logits
    return in_order


Unfrozen = int | Literal["all"]

# Texts read together when their states are not stored, which bounds the memory that they take.
TEXTS_AT_ONCE = 512


class Reading:
    """How a text model reads.

    The encoder is loaded when it is first needed.

    Args:
        settings: the encoder and which of its states.
        unfrozen: how many of its top layers belong to the model, and are not computed here.
        kind: how states are stored.
        device: where the encoder computes.
        expected: `identity` of the encoder that the model was trained with; None for a new model.
        progress: told while weights are fetched, in bytes.
    """

    def __init__(
        self,
        settings: EncoderSettings,
        unfrozen: Unfrozen,
        kind: Kind,
        device: torch.device,
        *,
        expected: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.unfrozen = settings, unfrozen
        self._kind, self._device = kind, device
        self._expected, self._progress = expected, progress

    @cached_property
    def encoder(self) -> TextEncoder:
        """The encoder with its tokenizer.

        Raises:
            RunError: it is not the one that the model was trained with.
            QKVError: it cannot be had.
        """
        opened = open_text_encoder(
            self.settings, device=self._device, below=self.unfrozen, progress=self._progress
        )
        found = opened.identity
        if self._expected is not None and found != self._expected:
            wrong = next(key for key in found if found[key] != self._expected.get(key))
            raise RunError(
                f"the model was trained with another encoder {self.settings.name}: its {wrong} was "
                f"{self._expected.get(wrong)}, not {found[wrong]}",
                remedy="name the same encoder, at the same revision, where it can be found",
            )
        return opened

    @cached_property
    def cache(self) -> EncoderCache:
        """Where states are kept."""
        return EncoderCache(self.encoder.facts, self.encoder.dim, kind=self._kind)

    def top(self) -> nn.Module | None:
        """A trainable copy of what is not computed here; None if all of it is."""
        if self.unfrozen == 0:
            return None
        if self.unfrozen == "all":
            return self.encoder.encoder.whole()
        return self.encoder.encoder.top(self.unfrozen)

    def stored(
        self,
        splits: Sequence[Sequence[str]],
        *,
        progress: Progress | None = None,
        note: Callable[[str], None] | None = None,
    ) -> list[Inputs]:
        """Inputs of several lists of texts, after everything that is missing has been encoded.

        Raises:
            DataError: the disk lacks the room.
        """
        if self.unfrozen == "all":
            return [held_ids(self.encoder, self.encoder.prepare(texts)) for texts in splits]
        everything = [text for texts in splits for text in texts]
        self.cache.fill(self.encoder, everything, progress=progress, note=note)
        return [self.cache.reader(texts) for texts in splits]

    def lengths(self, texts: Sequence[str]) -> IntArray:
        """Tokens that the model reads of each text, int64 (texts,)."""
        if self._has(texts):
            return self.cache.reader(texts).lengths
        return self.encoder.prepare(texts).rows

    def cut(self, texts: Sequence[str]) -> Cut:
        """What truncation leaves out of texts."""
        if not self._has(texts):
            return self.encoder.prepare(texts).cut
        positions = self.encoder.encoder.positions
        pieces = self.cache.reader(texts).pieces
        return cut_off(pieces, self.settings.truncation, positions=positions)

    def _has(self, texts: Sequence[str]) -> bool:
        """Whether the states of all are stored."""
        return self.unfrozen != "all" and not len(self.cache.missing(texts))

    def inputs(self, texts: Sequence[str], *, from_store: bool = False) -> Iterator[Inputs]:
        """Inputs of a list of texts, in order and in parts, so that memory stays bounded.

        They are taken from the store if that is wanted and has them all.
        """
        if from_store and self._has(texts):
            yield self.cache.reader(texts)
            return
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[start : start + TEXTS_AT_ONCE]
            yield self.prepared_inputs(self.encoder.prepare(part))

    def prepared_inputs(self, prepared: Prepared) -> Inputs:
        """Inputs of texts that are tokenised already; they are all in memory at once."""
        if self.unfrozen == "all":
            return held_ids(self.encoder, prepared)
        return held_states(self.encoder, prepared, self._kind)


class HeldInputs:
    """Inputs of a few texts, in memory.

    Args:
        lengths: int64 (texts,), tokens of each text.
        read: gives a text, by its number: states (tokens, dim) or int64 ids (tokens,).
    """

    def __init__(self, lengths: IntArray, read: Callable[[int], Tensor]) -> None:
        self.lengths = lengths
        self._read = read

    def padded(self, indices: IntArray) -> tuple[Tensor, Tensor]:
        """As `Inputs.padded`, with zeros where there is no token."""
        some = [self._read(index) for index in indices.tolist()]
        padded = nn.utils.rnn.pad_sequence(some, batch_first=True)
        mask = np.arange(padded.shape[1]) < self.lengths[indices, None]
        return padded, torch.from_numpy(mask)


def held_states(encoder: TextEncoder, prepared: Prepared, kind: Kind = "float16") -> HeldInputs:
    """States computed now, and rounded as a cache does it."""
    packed = {index: pack(states, kind) for index, states in encoder.encode(prepared)}
    return HeldInputs(prepared.rows, lambda index: unpack(*packed[index]))


def held_ids(encoder: TextEncoder, prepared: Prepared) -> HeldInputs:
    """Token ids of texts of one window each, for a model that holds the whole encoder.

    Raises:
        RecipeError: texts are read in several windows, which have no one list of tokens.
    """
    if encoder.settings.truncation.kind == "windows":
        raise RecipeError(
            "texts in overlapping windows have no one list of tokens",
            remedy="choose another truncation",
        )
    return HeldInputs(prepared.rows, lambda index: torch.from_numpy(prepared.window(index)).long())
