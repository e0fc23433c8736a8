"""From texts to their token states: tokenised, cut, encoded, and joined again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError
from qkv.measurement.memory import release_free_memory
from qkv.progress import Progress
from qkv.text.encoder import Encoder, EncoderSettings, load_encoder, locate_encoder
from qkv.text.encoder.blocks import fill_bins
from qkv.text.tokenizer import Tokenizer
from qkv.text.windows import Prepared, prepare


def token_budget_batches(lengths: IntArray, batch_tokens: int) -> list[IntArray]:
    """Cut indices, the shortest texts first, into batches of at most `members × longest` tokens.

    A text longer than that is alone in its batch. Equal lengths keep their order.

    Args:
        lengths: int64 (texts,), tokens of each text.
        batch_tokens: tokens that a batch may have, padded to its longest member.
    """
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    by_length = lengths[order].tolist()
    batches = []
    first = 0
    for last, length in enumerate(by_length):
        # The newest member is the longest.
        if last > first and (last + 1 - first) * length > batch_tokens:
            batches.append(order[first:last])
            first = last
    if first < len(order):
        batches.append(order[first:])
    return batches


FORMAT = 1
"""Counts up when the same texts and settings come to give other states."""

# Texts whose windows are in work together: what bounds memory, beside the longest text itself.
# Enough that the last block of each group, which is not full, costs little.
GROUP_TOKENS = 65_536
# So many tokens leave few gaps in memory; asking after every single text would cost a tenth of it.
RELEASE_TOKENS = 16_384


class TextEncoder:
    """A frozen encoder with its tokenizer, for texts of any length.

    Args:
        encoder: with frozen weights.
        tokenizer: its own.
        settings: which states, and what becomes of long texts.
        below: how many of its top layers are left to a model that trains them; `all`: only tokens
            are wanted.

    Attributes:
        dim: width of a state.
        layers: whose output a state is; of several, their mean.
        identity: what tells encoder and tokenizer from others, as JSON values.
        facts: everything that determines a text's states, as JSON values.

    Raises:
        RecipeError: the settings ask for what the encoder does not have.
    """

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: Tokenizer,
        settings: EncoderSettings,
        *,
        below: int | Literal["all"] = 0,
    ) -> None:
        settings.truncation.window_pieces(encoder.positions)  # refuses what does not fit
        self.encoder, self.tokenizer, self.settings = encoder, tokenizer, settings
        self._since_release = 0
        self.dim = encoder.dim
        self.layers = _layers(encoder, settings, below)
        self.identity: dict[str, Any] = {**encoder.identity, "tokenizer_sha256": tokenizer.sha256}
        self.facts: dict[str, Any] = {
            "format": FORMAT,
            **self.identity,
            "layers": self.layers,
            "truncation": settings.truncation.model_dump(mode="json"),
            "precision": str(encoder.dtype).removeprefix("torch."),
        }

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Tokenise and cut texts of any length; an empty one is [CLS] [SEP]."""
        return prepare(
            texts, self.tokenizer, self.settings.truncation, positions=self.encoder.positions
        )

    def encode(
        self, prepared: Prepared, *, progress: Progress | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """States of each text, once each; they do not depend on the other texts.

        Args:
            prepared: from `prepare`.
            progress: called with (done, total) tokens after each batch.

        Yields:
            The index of a text, and its states (rows, dim) on the CPU, float32 or bfloat16.
        """
        done = 0
        for texts in _groups(prepared):
            states: dict[int, Tensor] = {}
            windows = np.concatenate([prepared.windows_of(text) for text in texts])
            lengths = prepared.lengths[windows]
            for batch in self._batches(lengths):
                ids = [prepared.window(window) for window in windows[batch]]
                computed = self.encoder.packed_states(ids, self.layers).cpu()
                parts = torch.split(computed, lengths[batch].tolist())
                for window, part in zip(windows[batch].tolist(), parts, strict=True):
                    first, last = prepared.keep[window]
                    states[window] = part[first:last]
                done += len(computed)
                if progress:
                    progress(done, prepared.tokens)
            for text in texts.tolist():
                # Joined even if it is one: a copy, where a part would hold its whole batch.
                yield text, torch.cat([states.pop(w) for w in prepared.windows_of(text).tolist()])
            self._since_release += int(lengths.sum())
            if self._since_release >= RELEASE_TOKENS:
                self._since_release = 0
                release_free_memory()

    def _batches(self, lengths: IntArray) -> list[IntArray]:
        """Windows that are computed together."""
        if not self.encoder.packs:
            return token_budget_batches(lengths, self.settings.batch_tokens)
        capacity = self.encoder.block_rows or max(self.settings.batch_tokens, int(lengths.max()))
        return fill_bins(lengths, capacity)


def open_text_encoder(
    settings: EncoderSettings,
    *,
    device: torch.device,
    below: int | Literal["all"] = 0,
    progress: Progress | None = None,
) -> TextEncoder:
    """Find and load an encoder with its tokenizer; arguments as for `TextEncoder`.

    Raises:
        RecipeError: the settings ask for what the encoder does not have.
        QKVError: it cannot be had.
    """
    files = locate_encoder(settings.name, settings.revision, progress=progress)
    tokenizer = Tokenizer(files.folder)
    encoder = load_encoder(files, device=device, precision=settings.precision)
    return TextEncoder(encoder, tokenizer, settings, below=below)


def _layers(encoder: Encoder, settings: EncoderSettings, below: int | Literal["all"]) -> list[int]:
    if below == 0 or below == "all":
        return settings.resolved_layers(encoder.num_layers)
    if not encoder.packs:
        raise RecipeError(
            f"unfreeze_layers is {below}, but the layers of {settings.name} do not stand alone",
            remedy="set it to 'all' or 0",
        )
    if not 0 < below <= encoder.num_layers:
        raise RecipeError(
            f"unfreeze_layers is {below}, but {settings.name} has {encoder.num_layers} layers",
            remedy=f"set it to {encoder.num_layers} or less, or to 'all'",
        )
    return [encoder.num_layers - below]


def _groups(prepared: Prepared) -> Iterator[IntArray]:
    """Texts, the shortest first, in groups of about as many tokens to compute."""
    order = np.argsort(prepared.rows, kind="stable")
    ends = np.cumsum(np.diff(prepared.starts[prepared.first_windows])[order])
    first = 0
    while first < len(order):
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + GROUP_TOKENS, side="right"))
        last = max(last, first + 1)
        yield order[first:last]
        first = last
